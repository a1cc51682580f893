// SPDX-License-Identifier: Apache-2.0

package announce

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"time"

	"weft/internal/frame"
	"weft/internal/wire"
)

// The probe's times. RFC 5227 section 1.1 waits up to a second before the first of three probes, one to two seconds
// between them and two seconds after the last: every start of a VM would take seven seconds. Those are made for networks
// in which everybody starts at once, and for links that are not up yet; here one node asks others that are running, on a
// link that carries already, and who answers does so in milliseconds. Who answers later (a proxy with the kernel's usual
// proxy_delay takes up to 0.8 s) is found when it speaks: Says.
const (
	probes    = 2
	probeGap  = 100 * time.Millisecond
	probeTime = 300 * time.Millisecond // from the first probe to the verdict
)

// ProbeWire is what probing takes of package wire.
type ProbeWire interface {
	Wire
	Listen(ctx context.Context, ifindex int) (<-chan wire.Event, error)
	Join(ifindex int, group frame.MAC) (leave func() error, err error)
}

// Holder is somebody else who has an address, or is about to take it.
type Holder struct {
	Addr netip.Addr
	MAC  frame.MAC
}

// Probe asks on a device whether anybody has the addresses, and returns who has, one for each address at most, in the
// order of addrs. It takes 300 ms, less when all are held. Nobody's neighbour table learns anything wrong from it.
//
// An IPv4 address is asked for by an ARP probe, which its holder answers, and where arpSource is valid also in that
// address's name, because the kernel answers no probe as a proxy (arp_process in net/ipv4/arp.c): only so another node
// tells that it has the guest. An IPv6 address is asked for as in duplicate address detection, and in the name of the
// device's link-local address where it has one. Others that try the address themselves at this moment count as holders
// (RFC 5227 section 2.1.1, RFC 4862 section 5.4.3). What carries the device's own address does not count.
func Probe(ctx context.Context, w ProbeWire, dev string, arpSource netip.Addr, addrs []netip.Addr) ([]Holder, error) {
	d, err := w.Device(dev)
	if err != nil {
		return nil, fmt.Errorf("probe: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events, err := w.Listen(ctx, d.Index)
	if err != nil {
		return nil, fmt.Errorf("probe on %s: %w", dev, err)
	}
	leave, err := joinAll(w, d.Index, addrs)
	defer leave()
	if err != nil {
		return nil, fmt.Errorf("probe on %s: %w", dev, err)
	}
	held := map[netip.Addr]frame.MAC{}
	next := time.NewTimer(0)
	defer next.Stop()
	for asked := 0; !all(held, addrs); {
		select {
		case <-next.C:
			if asked == probes {
				return holders(held, addrs), nil
			}
			if err := ask(w, d, arpSource, addrs); err != nil {
				return nil, fmt.Errorf("probe on %s: %w", dev, err)
			}
			if asked++; asked < probes {
				next.Reset(probeGap)
			} else {
				next.Reset(probeTime - (probes-1)*probeGap)
			}
		case e, ok := <-events:
			if !ok {
				return nil, fmt.Errorf("probe on %s: interrupted: %w", dev, cmp.Or(ctx.Err(), io.ErrUnexpectedEOF))
			}
			if h, ok := holder(e.Frame); ok && h.MAC != d.MAC && held[h.Addr] == (frame.MAC{}) {
				held[h.Addr] = h.MAC
			}
		}
	}
	return holders(held, addrs), nil
}

// joinAll makes the device take what is asked and said about the IPv6 addresses among addrs.
func joinAll(w ProbeWire, ifindex int, addrs []netip.Addr) (leave func(), err error) {
	var joined []func() error
	leave = func() {
		for _, l := range joined {
			_ = l() // a device that went has no groups
		}
	}
	for _, a := range addrs {
		if !a.Is6() {
			continue
		}
		l, err := w.Join(ifindex, frame.MulticastMAC(frame.SolicitedNode(a)))
		if err != nil {
			return leave, err
		}
		joined = append(joined, l)
	}
	return leave, nil
}

func ask(w Wire, d wire.Device, arpSource netip.Addr, addrs []netip.Addr) error {
	for _, a := range addrs {
		questions := make([]frame.Frame, 0, 2)
		switch {
		case a.Is4():
			questions = append(questions, frame.ARPProbe(d.MAC, a))
			if arpSource.Is4() && arpSource != a {
				questions = append(questions, frame.ARPRequest(d.MAC, arpSource, a))
			}
		default:
			questions = append(questions, frame.DADNS(d.MAC, a))
			if d.LinkLocal.IsValid() {
				questions = append(questions, frame.Solicit(d.MAC, d.LinkLocal, a))
			}
		}
		for _, q := range questions {
			if err := w.Send(d.Index, q); err != nil {
				return err
			}
		}
	}
	return nil
}

// holder returns who has an address, or tries to have it, by a frame.
func holder(f frame.Frame) (Holder, bool) {
	if h, ok := Says(f); ok {
		return h, true
	}
	return Tries(f)
}

func all(held map[netip.Addr]frame.MAC, addrs []netip.Addr) bool {
	return !slices.ContainsFunc(addrs, func(a netip.Addr) bool { return held[a] == frame.MAC{} })
}

func holders(held map[netip.Addr]frame.MAC, addrs []netip.Addr) []Holder {
	var found []Holder
	for i, a := range addrs {
		if mac, ok := held[a]; ok && !slices.Contains(addrs[:i], a) {
			found = append(found, Holder{a, mac})
		}
	}
	return found
}
