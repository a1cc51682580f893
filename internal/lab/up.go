// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// nodeFiles are the node files of the demo and of weft lab up.
//
//go:embed files/*.yaml
var nodeFiles embed.FS

// writeNodeFile writes one of nodeFiles as the file of a node and returns its text.
func (l *Lab) writeNodeFile(node, name string) (string, error) {
	data, err := nodeFiles.ReadFile("files/" + name)
	if err != nil {
		return "", fmt.Errorf("finding the node file %s: %w", name, err)
	}
	if err := os.WriteFile(l.File(node), data, 0o644); err != nil {
		return "", fmt.Errorf("writing the file of node %s: %w", node, err)
	}
	return string(data), nil
}

// must runs weft on a node and wants exit code 0.
func (l *Lab) must(ctx context.Context, node string, args ...string) error {
	out, err := l.Weft(ctx, node, l.File(node), args...)
	if err == nil {
		err = out.Err()
	}
	if err != nil {
		return fmt.Errorf("%s: weft %s: %w", node, strings.Join(args, " "), err)
	}
	return nil
}

// Up builds a lab with both nodes applied, a bridged guest and a routed one on each, and leaves
// it standing.
func Up(ctx context.Context, opt Options, out io.Writer) (err error) {
	if names, err := namespaces(opt.Prefix); err != nil {
		return err
	} else if len(names) > 0 {
		return errors.New("a lab is up already; end it with: weft lab down")
	}
	p := newPaper(out)
	stop := p.progress("building the datacenter")
	defer stop()
	l, err := New(ctx, opt)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Close())
		} else {
			err = l.Leave()
		}
	}()
	for _, node := range []string{"hv1", "hv2"} {
		if _, err := l.writeNodeFile(node, "up-"+node+".yaml"); err != nil {
			return err
		}
		if err := l.must(ctx, node, "apply"); err != nil {
			return err
		}
	}
	if err := l.upGuests(ctx); err != nil {
		return err
	}
	stop()
	text, err := l.Topology(ctx)
	if err != nil {
		return err
	}
	p.printf("%s\nThe lab is up. Look around:\n%s", text, lookAround)
	return nil
}

const lookAround = `  weft lab shell hv1                         a shell on a node: weft plan, weft status, ip -d link, ...
  weft lab shell g1 -- ping -c3 203.0.113.80 one command on a guest
  weft lab shell rt -- tcpdump -eni rt0      on the router (sw is the switch, inet the internet)
  weft lab down                              ends it
`

// upGuests adds to each node a guest in the bridged network and one in the routed network.
func (l *Lab) upGuests(ctx context.Context) error {
	for _, g := range []struct {
		name, node, tap, mac string
		network              string
		ips                  []string // of the NIC
		lines                []string // of ip, in the guest
	}{
		{"g1", "hv1", "tap0", "aa:00:00:94:ed:40", "tenants", nil, bridgedGuest("192.0.2.53", "2001:db8:992::53")},
		{"g2", "hv1", "tap1", "aa:00:00:94:ed:41", "public", []string{"62.217.124.51", "2001:db8:993::51"}, routedGuest("62.217.124.51", "2001:db8:993::51")},
		{"g3", "hv2", "tap0", "aa:00:00:94:ed:42", "tenants", nil, bridgedGuest("192.0.2.54", "2001:db8:992::54")},
		{"g4", "hv2", "tap1", "aa:00:00:94:ed:43", "public", []string{"62.217.124.52", "2001:db8:993::52"}, routedGuest("62.217.124.52", "2001:db8:993::52")},
	} {
		if err := l.AddGuest(ctx, g.name, g.node, g.tap, g.mac); err != nil {
			return err
		}
		args := []string{"nic", "add", "--name", g.tap, "--mac", g.mac, "--network", g.network}
		for _, ip := range g.ips {
			args = append(args, "--ip", ip)
		}
		if err := l.must(ctx, g.node, args...); err != nil {
			return err
		}
		if err := batch(ctx, l.netns(g.name), "ip", g.lines); err != nil {
			return err
		}
	}
	return nil
}

// bridgedGuest configures a guest's eth0 in the VLAN of network tenants.
func bridgedGuest(ip4, ip6 string) []string {
	return []string{
		"addr flush dev eth0 scope global",
		"addr add " + ip4 + "/24 dev eth0",
		"addr add " + ip6 + "/64 dev eth0 nodad",
		"route replace default via 192.0.2.1 dev eth0",
		"route replace default via 2001:db8:992::1 dev eth0",
	}
}

// routedGuest configures a guest's eth0 in the network public: a whole subnet for IPv4, as a guest
// that knows nothing of routed networks would; for IPv6 its own address and the gateway.
func routedGuest(ip4, ip6 string) []string {
	return []string{
		"addr flush dev eth0 scope global",
		"addr add " + ip4 + "/29 dev eth0",
		"addr add " + ip6 + "/128 dev eth0 nodad",
		"route replace default via 62.217.124.49 dev eth0",
		"route replace default via 2001:db8:993::1 dev eth0 onlink",
	}
}

// Stay prints that the lab is up and returns when it has been ended.
func Stay(ctx context.Context, opt Options, out io.Writer) error {
	if _, err := io.WriteString(out, upMark); err != nil {
		return err
	}
	for {
		names, err := namespaces(opt.Prefix)
		if err != nil || len(names) == 0 {
			return err
		}
		if !pause(ctx, time.Second) {
			return ctx.Err()
		}
	}
}

// Down ends the lab that Up left standing.
func Down(opt Options) error {
	l, err := Open(opt)
	if err != nil {
		return err
	}
	return l.Close()
}

// Shell replaces this process by a command on a machine of the standing lab, or without one by a
// shell. There weft works on the node's own file.
func Shell(opt Options, machine string, argv []string) error {
	l, err := Open(opt)
	if err != nil {
		return err
	}
	if err := l.Leave(); err != nil {
		return err
	}
	if !l.has(machine) {
		machines, err := l.Machines()
		return errors.Join(fmt.Errorf("the lab has no machine %q; it has: %s", machine, strings.Join(machines, " ")), err)
	}
	flags := l.NodeArgs(machine, l.File(machine))
	if len(argv) == 0 {
		rc := filepath.Join(l.dir, "shell-"+machine)
		text := fmt.Sprintf("[ ! -e ~/.bashrc ] || . ~/.bashrc\nPS1='%s# '\nweft() { %s %s \"$@\"; }\n", machine, opt.Weft, strings.Join(flags, " "))
		if err := os.WriteFile(rc, []byte(text), 0o644); err != nil {
			return fmt.Errorf("writing the shell's file: %w", err)
		}
		argv = []string{"bash", "--rcfile", rc, "-i"}
	} else if argv[0] == "weft" {
		argv = append(append([]string{opt.Weft}, flags...), argv[1:]...)
	}
	ip, err := exec.LookPath("ip")
	if err != nil {
		return fmt.Errorf("entering namespace %s: %w", l.netns(machine), err)
	}
	argv = append([]string{ip, "netns", "exec", l.netns(machine)}, argv...)
	if err := syscall.Exec(ip, argv, os.Environ()); err != nil {
		return fmt.Errorf("entering namespace %s: %w", l.netns(machine), err)
	}
	return nil
}
