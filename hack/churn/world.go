// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// The namespaces: the node, and what is beyond its uplinks. Guests' are guestNS and a number.
const (
	nodeNS  = "weft-churn"
	outNS   = "weft-churn-out"
	guestNS = "weft-churn-g"
)

// world is the node with its agent and its lasting guests.
type world struct {
	weft, dir string
	full      bool // the kernel has VRF, bond and VLAN devices
	agent     *agent
	guests    []*guest
}

// plainFile is the node where the kernel has neither bonds nor VLANs nor VRFs: the bridge is made by hand.
const plainFile = `node: hv1
networks:
  tenants: {mode: bridged, managed: false, bridge: br0}
  public:
    mode: routed
    uplink: up1
    policy: rules
    table: 993
    ipv4: {subnet: 10.64.0.0/16, gateway: 10.64.0.1, arp_source: 10.64.0.2}
    ipv6: {subnet: "2001:db8:993::/64", gateway: "2001:db8:993::1"}
`

const fullFile = `node: hv1
bonds:
  bond0: {members: [up0, up1], mode: active-backup, addresses: [10.0.0.11/24]}
networks:
  tenants: {mode: bridged, uplink: bond0, vlan: 992}
  public:
    mode: routed
    uplink: bond0
    vlan: 993
    ipv4: {subnet: 10.64.0.0/16, gateway: 10.64.0.1, arp_source: 10.64.0.2}
    ipv6: {subnet: "2001:db8:993::/64", gateway: "2001:db8:993::1"}
`

// beyond is what answers on the uplinks: a port for each network, with the gateways.
const (
	beyondPlain = `
link set out0 up
link set out1 up
address add 10.9.0.1/16 dev out0
address add 10.64.0.1/16 dev out1
address add 2001:db8:993::1/64 dev out1 nodad
`
	beyondFull = `
link add sw0 type bridge forward_delay 0
link set out0 master sw0 up
link set out1 master sw0 up
link set sw0 up
link add link sw0 name sw0.992 type vlan id 992
link add link sw0 name sw0.993 type vlan id 993
link set sw0.992 up
link set sw0.993 up
address add 10.9.0.1/16 dev sw0.992
address add 10.64.0.1/16 dev sw0.993
address add 2001:db8:993::1/64 dev sw0.993 nodad
`
	bridgeByHand = `
link add br0 type bridge forward_delay 0 mcast_snooping 0
link set up0 master br0 up
link set br0 up
link set up1 up
`
)

// build makes the world, starts the agent, and plugs the lasting guests in. What it returns is to be removed, whatever the error.
func build(ctx context.Context, weft, dir string) (*world, error) {
	w := &world{weft: weft, dir: dir}
	w.agent = &agent{world: w}
	if err := w.remove(); err != nil {
		return w, err
	}
	for _, ns := range []string{nodeNS, outNS} {
		if err := ip("", "netns add "+ns); err != nil {
			return w, err
		}
	}
	if err := ip(nodeNS, "link set lo up\nlink add up0 type veth peer name out0 netns "+outNS+"\nlink add up1 type veth peer name out1 netns "+outNS); err != nil {
		return w, err
	}
	probe := "link add probe0 type bond\nlink add link probe0 name probe1 type vlan id 2\nlink add probe2 type vrf table 2"
	w.full = ip(nodeNS, probe) == nil
	for _, dev := range []string{"probe1", "probe0", "probe2"} {
		_ = ip(nodeNS, "link del "+dev) // as far as they came
	}
	file, beyond := fullFile, beyondFull
	if !w.full {
		file, beyond = plainFile, beyondPlain
		if err := ip(nodeNS, bridgeByHand); err != nil {
			return w, err
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "node.yaml"), []byte(file), 0o644); err != nil {
		return w, err
	}
	if err := ip(outNS, beyond); err != nil {
		return w, err
	}
	if _, err := w.run(ctx, "apply"); err != nil {
		return w, err
	}
	if err := w.agent.start(); err != nil {
		return w, err
	}
	if _, err := w.agent.ready(ctx); err != nil {
		return w, err
	}
	return w, w.addGuests(ctx)
}

func (w *world) words() string {
	if w.full {
		return "a node with an active-backup bond: one network bridged on a VLAN of it, one routed by a VRF"
	}
	return "this kernel has no bonds, VLANs and VRFs: one network bridged, one routed by rules"
}

// remove ends the agent and the pingers, and removes the namespaces, also those that a killed run left.
func (w *world) remove() error {
	errs := []error{w.agent.kill()}
	for _, g := range w.guests {
		errs = append(errs, g.end())
	}
	left, err := filepath.Glob("/run/netns/" + nodeNS + "*")
	errs = append(errs, err)
	for _, ns := range left {
		errs = append(errs, ip("", "netns del "+filepath.Base(ns)))
	}
	return errors.Join(errs...)
}

// ip runs lines of ip in a namespace; "" is the process's own.
func ip(ns, lines string) error {
	args := []string{"-batch", "-"}
	if ns != "" {
		args = append([]string{"-n", ns}, args...)
	}
	cmd := exec.Command("ip", args...)
	cmd.Stdin = strings.NewReader(lines + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("ip in %q: %w: %s", ns, err, out)
	}
	return nil
}

// inside runs f in a network namespace, on a thread that ends with it.
func inside(ns string, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked
		file, err := os.Open("/run/netns/" + ns)
		if err == nil {
			err = errors.Join(unix.Setns(int(file.Fd()), unix.CLONE_NEWNET), file.Close())
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

// command is weft with its file and folders, to be run in the node's namespace.
func (w *world) command(args ...string) *exec.Cmd {
	cmd := exec.Command(w.weft, append([]string{"--file", w.dir + "/node.yaml", "--run", w.dir + "/run", "--lib", w.dir + "/lib"}, args...)...)
	cmd.Dir = w.dir
	return cmd
}

// runTime is how long a verb may take, on a machine that is busy with two hundred others.
const runTime = 2 * time.Minute

// run runs weft in the node's namespace and returns what it prints.
func (w *world) run(ctx context.Context, args ...string) (string, error) {
	var out strings.Builder
	cmd := w.command(args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := inside(nodeNS, cmd.Start); err != nil {
		return "", err
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	defer stop()
	late := time.AfterFunc(runTime, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	if err := cmd.Wait(); err != nil {
		return out.String(), fmt.Errorf("weft %s: %w: %s", strings.Join(args, " "), err, out.String())
	}
	return out.String(), nil
}

// openTap makes a tap in the node's namespace. It is there until it is closed. A process that was just being started may hold the last
// one of that name for a moment longer.
func openTap(ctx context.Context, name string) (fd int, err error) {
	for began := time.Now(); ; pause(ctx, 5*time.Millisecond) {
		err = inside(nodeNS, func() error { fd, err = tap(name); return err })
		if !errors.Is(err, unix.EBUSY) || ctx.Err() != nil || time.Since(began) > runTime {
			break
		}
	}
	if err != nil {
		return -1, fmt.Errorf("make %s: %w", name, err)
	}
	return fd, nil
}

// tap makes a tap in the namespace of this thread.
func tap(name string) (int, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	req, err := unix.NewIfreq(name)
	if err == nil {
		req.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
	}
	if err != nil {
		return -1, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}
