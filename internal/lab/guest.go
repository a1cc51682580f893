// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// guest is a VM, or a namespace that stands for one.
type guest struct {
	name, node, tap string
	qemu            *exec.Cmd // nil for a namespace
	exited          chan struct{}
	console         string   // file of its serial console
	shuttle         *shuttle // nil but for one that can migrate
	target          *place   // of the migration under way
}

// AddGuest makes a guest that is a namespace: its eth0, which has the MAC, is the other end of the
// node's interface tap. Neither has an address; the guest's end is up, the tap is left down.
func (l *Lab) AddGuest(ctx context.Context, name, node, tap, mac string) error {
	if err := l.checkNewGuest(name, node); err != nil {
		return err
	}
	if err := l.addMachine(ctx, name); err != nil {
		return err
	}
	ns := l.netns(name)
	if err := batch(ctx, l.netns(node), "ip", []string{
		fmt.Sprintf("link add name %s type veth peer name eth0 address %s netns %s", tap, mac, ns),
	}); err != nil {
		return err
	}
	if err := batch(ctx, ns, "ip", []string{"link set eth0 up"}); err != nil {
		return err
	}
	l.guests[name] = &guest{name: name, node: node, tap: tap}
	return l.record(ctx, wire{a: node, aDev: tap, b: name, bDev: "eth0"})
}

func (l *Lab) checkNewGuest(name, node string) error {
	if !l.isNode(node) {
		return fmt.Errorf("adding guest %s: %q is no node (%s)", name, node, strings.Join(l.nodes(), ", "))
	}
	if l.guests[name] != nil || l.has(name) {
		return fmt.Errorf("adding guest %s: the lab has a machine of that name", name)
	}
	return nil
}

// RemoveGuest ends a guest; its tap goes with it, as when a VM is stopped.
func (l *Lab) RemoveGuest(ctx context.Context, name string) error {
	g := l.guests[name]
	if g == nil {
		return fmt.Errorf("removing guest %s: there is none", name)
	}
	delete(l.guests, name)
	if g.qemu != nil {
		_ = g.qemu.Process.Kill()
		<-g.exited
		return batch(ctx, l.netns(g.node), "ip", []string{"link del " + g.tap})
	}
	if g.shuttle != nil {
		if err := g.shuttle.close(); err != nil {
			return fmt.Errorf("removing guest %s: %w", name, err)
		}
	} else if err := batch(ctx, l.netns(g.node), "ip", []string{"link del " + g.tap}); err != nil {
		return err
	}
	if err := endProcesses([]string{l.netns(name)}); err != nil {
		return err
	}
	path := filepath.Join(netnsDir, l.netns(name))
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("removing guest %s: %w", name, err)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("removing guest %s: %w", name, err)
	}
	return nil
}

// VMGuest says what a real guest does: its addresses, the gateways of these, and whom it pings.
type VMGuest struct {
	Name, Node, Tap, MAC string
	Addresses            []netip.Prefix
	Gateways             []netip.Addr // onlink
	Ping                 []netip.Addr
}

// AddVMGuest boots a QEMU guest on a real tap device of the node. The tap is left down: it is up
// when weft has plugged the guest in. The guest says on its serial console "guest: ping ADDR ok"
// once for each address that answered.
func (l *Lab) AddVMGuest(ctx context.Context, vg VMGuest) error {
	if err := l.checkNewGuest(vg.Name, vg.Node); err != nil {
		return err
	}
	kernel, initrd, err := l.guestImage(ctx)
	if err != nil {
		return fmt.Errorf("preparing guest %s: %w", vg.Name, err)
	}
	ns := l.netns(vg.Node)
	if err := batch(ctx, ns, "ip", []string{"tuntap add mode tap name " + vg.Tap}); err != nil {
		return err
	}
	offload := ""
	if l.opt.Pcap != "" {
		offload = ",vnet_hdr=off" // QEMU would record that header too
	}
	console := filepath.Join(l.dir, "console-"+vg.Name)
	cmd := exec.Command("qemu-system-x86_64",
		"-accel", "tcg", "-cpu", "max", "-smp", "1", "-m", "128M", "-nodefaults", "-no-user-config",
		"-display", "none", "-no-reboot", "-serial", "file:"+console,
		"-kernel", kernel, "-initrd", initrd, "-append", vg.cmdline(),
		"-netdev", "tap,id=n0,ifname="+vg.Tap+",script=no,downscript=no"+offload,
		"-device", "virtio-net-pci,netdev=n0,romfile=,mac="+vg.MAC)
	if l.opt.Pcap != "" { // QEMU records it: tcpdump cannot listen on a tap that is still down
		file := l.pcapFile(wire{a: vg.Node, aDev: vg.Tap, b: vg.Name, bDev: "eth0"})
		cmd.Args = append(cmd.Args, "-object", "filter-dump,id=dump,netdev=n0,file="+file)
	}
	log, err := os.Create(console + ".qemu")
	if err != nil {
		return fmt.Errorf("starting guest %s: %w", vg.Name, err)
	}
	defer func() { _ = log.Close() }()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := start(ns, cmd); err != nil {
		return fmt.Errorf("starting guest %s: %w", vg.Name, err)
	}
	g := &guest{name: vg.Name, node: vg.Node, tap: vg.Tap, qemu: cmd, exited: make(chan struct{}), console: console}
	go func() {
		_ = cmd.Wait()
		close(g.exited)
	}()
	l.guests[vg.Name] = g
	return nil
}

// cmdline is the kernel command line that tells the guest's init what to do.
func (vg VMGuest) cmdline() string {
	args := []string{"console=ttyS0", "quiet", "panic=-1", "mitigations=off", "random.trust_cpu=on",
		// Every piece of kernel that does not run is one that need not be translated, twice where the lab is in a VM itself.
		"acpi=off", "apparmor=0", "audit=0", "cryptomgr.notests", "lsm=", "nokaslr", "no_timer_check", "nosoftlockup",
		"nowatchdog", "8250.nr_uarts=1", "rcupdate.rcu_expedited=1"}
	for _, a := range vg.Addresses {
		args = append(args, "weft.addr="+a.String())
	}
	for _, g := range vg.Gateways {
		args = append(args, "weft.via="+g.String())
	}
	for _, p := range vg.Ping {
		args = append(args, "weft.ping="+p.String())
	}
	return strings.Join(args, " ")
}

// Console is what a QEMU guest has said on its serial console; an error when it has ended.
func (l *Lab) Console(name string) (string, error) {
	g := l.guests[name]
	if g == nil || g.qemu == nil {
		return "", fmt.Errorf("reading the console of %s: it is no QEMU guest", name)
	}
	text, err := os.ReadFile(g.console)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("reading the console of %s: %w", name, err)
	}
	select {
	case <-g.exited:
		log, _ := os.ReadFile(g.console + ".qemu")
		return string(text), fmt.Errorf("guest %s has ended: %s", name, strings.TrimSpace(string(log)))
	default:
		return string(text), nil
	}
}
