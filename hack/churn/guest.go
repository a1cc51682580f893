// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// guest is one of those that last, and what its pinger beyond the uplink sees.
type guest struct {
	name, mac, network string
	addrs              []string
	pings              []*ping
}

// ping is a running ping.
type ping struct {
	cmd    *exec.Cmd
	exited chan struct{}

	mu         sync.Mutex
	last, lost int // the greatest number that was answered; those before it that were not
}

// addGuests plugs two guests into each network and has them pinged.
func (w *world) addGuests(ctx context.Context) error {
	for i := range 4 {
		g := &guest{name: fmt.Sprintf("%s%d", guestNS, i), mac: fmt.Sprintf("aa:00:00:ff:00:%02x", i), network: "tenants", addrs: []string{fmt.Sprintf("10.9.255.%d", i+10)}}
		lines := "address add " + g.addrs[0] + "/16 dev eth0"
		if i >= 2 {
			g.network = "public"
			g.addrs = []string{fmt.Sprintf("10.64.255.%d", i+10), fmt.Sprintf("2001:db8:993::ff:%d", i+10)}
			lines = "address add " + g.addrs[0] + "/16 dev eth0\naddress add " + g.addrs[1] + "/128 dev eth0 nodad\nroute add default via 2001:db8:993::1 dev eth0 onlink"
		}
		if err := ip("", "netns add "+g.name); err != nil {
			return err
		}
		tap := fmt.Sprintf("lasts%d", i)
		if err := ip(nodeNS, fmt.Sprintf("link add %s type veth peer name eth0 address %s netns %s", tap, g.mac, g.name)); err != nil {
			return err
		}
		if err := ip(g.name, "link set lo up\nlink set eth0 up\n"+lines); err != nil {
			return err
		}
		args := []string{"nic", "add", "--name", tap, "--mac", g.mac, "--network", g.network, "--id", g.name}
		for _, a := range g.addrs {
			args = append(args, "--ip", a)
		}
		if _, err := w.run(ctx, args...); err != nil {
			return err
		}
		w.guests = append(w.guests, g)
	}
	for _, g := range w.guests {
		for _, a := range g.addrs {
			if err := g.pinged(ctx, a); err != nil {
				return err
			}
		}
	}
	return nil
}

// pinged has an address pinged ten times a second, from the moment on that it answers.
func (g *guest) pinged(ctx context.Context, addr string) error {
	for {
		once := exec.CommandContext(ctx, "ping", "-c", "1", "-W", "1", addr)
		if err := inside(outNS, once.Start); err != nil {
			return err
		}
		if once.Wait() == nil {
			break
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	p := &ping{cmd: exec.Command("ping", "-n", "-i", "0.1", addr), exited: make(chan struct{})}
	p.cmd.Env = []string{"LC_ALL=C"}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := inside(outNS, p.cmd.Start); err != nil {
		return err
	}
	g.pings = append(g.pings, p)
	go func() {
		defer close(p.exited)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			p.read(lines.Text())
		}
		_ = p.cmd.Wait() // it is ended by a signal
	}()
	return nil
}

// read counts an answer. One that a later one has overtaken was counted as lost, and stays so.
func (p *ping) read(line string) {
	_, rest, ok := strings.Cut(line, "icmp_seq=")
	number, answer, _ := strings.Cut(rest, " ")
	seq, err := strconv.Atoi(number)
	if !ok || err != nil || !strings.HasPrefix(answer, "ttl=") {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for seq < p.last-1<<15 { // ping counts in 16 bits
		seq += 1 << 16
	}
	if seq > p.last {
		p.lost += seq - p.last - 1
		p.last = seq
	}
}

// lost returns how many pings were answered and lost until now, of all lasting guests.
func (w *world) lost() (answered, lost int) {
	for _, g := range w.guests {
		for _, p := range g.pings {
			p.mu.Lock()
			answered, lost = answered+p.last-p.lost, lost+p.lost
			p.mu.Unlock()
		}
	}
	return answered, lost
}

// end ends the pingers of a guest.
func (g *guest) end() error {
	var errs []error
	for _, p := range g.pings {
		if err := p.cmd.Process.Signal(syscall.SIGINT); err != nil {
			errs = append(errs, fmt.Errorf("the pinger of %s ended by itself: %w", g.name, err))
		}
		<-p.exited
	}
	return errors.Join(errs...)
}
