// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"
)

// AddTapGuest makes a guest that migrates as a VM of QEMU does: a namespace whose eth0 has the MAC, and a tap of the node
// that this process holds. Neither has an address; the guest's end is up, the tap is left down.
func (l *Lab) AddTapGuest(ctx context.Context, name, node, tap, mac string) error {
	if err := l.checkNewGuest(name, node); err != nil {
		return err
	}
	addr, err := net.ParseMAC(mac)
	if err != nil || len(addr) != 6 {
		return fmt.Errorf("adding guest %s: %q is no MAC address", name, mac)
	}
	if err := l.addMachine(ctx, name); err != nil {
		return err
	}
	eth0, err := openTap(l.netns(name), "eth0")
	if err != nil {
		return err
	}
	host, err := openTap(l.netns(node), tap)
	if err != nil {
		return errors.Join(err, eth0.Close())
	}
	l.guests[name] = &guest{name: name, node: node, tap: tap, shuttle: newShuttle(addr, eth0, host)}
	if err := batch(ctx, l.netns(name), "ip", []string{"link set eth0 address " + mac + " up"}); err != nil {
		return err
	}
	return l.record(ctx, wire{a: node, aDev: tap, b: name, bDev: "eth0"})
}

// migrating is the guest of that name, if it can migrate.
func (l *Lab) migrating(name string) (*guest, error) {
	g := l.guests[name]
	if g == nil || g.shuttle == nil {
		return nil, fmt.Errorf("migrating %s: it is no guest of tapguest", name)
	}
	return g, nil
}

// Prepare makes the tap of a guest on the node that it is going to migrate to, down, as QEMU's -incoming does.
func (l *Lab) Prepare(name, node, tap string) error {
	g, err := l.migrating(name)
	if err != nil {
		return err
	}
	if !l.isNode(node) {
		return fmt.Errorf("migrating %s: %q is no node", name, node)
	}
	f, err := openTap(l.netns(node), tap)
	if err != nil {
		return err
	}
	if err := g.shuttle.prepare(f); err != nil {
		return errors.Join(fmt.Errorf("migrating %s: %w", name, err), f.Close())
	}
	g.target = &place{node, tap}
	return nil
}

// Switch lets a guest go on at the target of its migration and announces it as QEMU does, and with garp also as a Linux
// guest does. The source keeps its tap, as that of a paused VM. Running pingers note the moment.
func (l *Lab) Switch(ctx context.Context, name string, garp bool) error {
	g, err := l.migrating(name)
	if err != nil {
		return err
	}
	var own [][]byte
	if garp {
		if own, err = l.gratuitous(ctx, g); err != nil {
			return err
		}
	}
	now := time.Now()
	if err := g.shuttle.turn(own); err != nil {
		return fmt.Errorf("migrating %s: %w", name, err)
	}
	for _, p := range l.pingers {
		p.marks = append(p.marks, now)
	}
	return nil
}

// gratuitous are the announcements of a guest's own IPv4 addresses.
func (l *Lab) gratuitous(ctx context.Context, g *guest) ([][]byte, error) {
	list, err := l.interfaces(ctx, g.name)
	if err != nil {
		return nil, err
	}
	var frames [][]byte
	for _, i := range list {
		for _, a := range i.Addrs {
			if addr, err := netip.ParseAddr(a.Local); err == nil && addr.Is4() && i.Name == "eth0" {
				frames = append(frames, gratuitous(g.shuttle.mac, addr.As4()))
			}
		}
	}
	return frames, nil
}

// Finish ends a migration: the source's tap goes.
func (l *Lab) Finish(name string) error {
	g, err := l.migrating(name)
	if err != nil {
		return err
	}
	if err := g.shuttle.finish(); err != nil {
		return fmt.Errorf("migrating %s: %w", name, err)
	}
	g.node, g.tap, g.target = g.target.node, g.target.tap, nil
	return nil
}

// Abort ends a migration: the target's tap goes, and the guest runs on at the source, without a word.
func (l *Lab) Abort(name string) error {
	g, err := l.migrating(name)
	if err != nil {
		return err
	}
	if err := g.shuttle.abort(); err != nil {
		return fmt.Errorf("migrating %s: %w", name, err)
	}
	g.target = nil
	return nil
}

// place is where a guest has a tap.
type place struct{ node, tap string }

func (l *Lab) closeShuttles() error {
	var errs []error
	for _, g := range l.guests {
		if g.shuttle == nil {
			continue
		}
		if err := g.shuttle.close(); err != nil && !errors.Is(err, os.ErrClosed) {
			errs = append(errs, fmt.Errorf("ending guest %s: %w", g.name, err))
		}
		g.shuttle = nil
	}
	return errors.Join(errs...)
}
