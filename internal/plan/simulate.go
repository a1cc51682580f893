// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"net/netip"
	"strings"

	"weft/internal/netstate"
	"weft/internal/nft"
)

// Simulate changes s as the kernel would when it does op, with the side effects that other operations of a plan depend
// on. Facts are from Linux 6.1; package kernel's conformance suite holds them against the running one.
func Simulate(s *netstate.State, op Op) error {
	for _, c := range op.Changes {
		if err := simulate(s, c); err != nil {
			return fmt.Errorf("%s: %w", subject(c.Key()), err)
		}
	}
	return nil
}

// subject names an object in an error: a link by its name alone.
func subject(k netstate.Key) string {
	if k.Kind == netstate.KindLink {
		return k.ID
	}
	return k.String()
}

func simulate(s *netstate.State, c Change) error {
	old, wasLink := c.Old.(netstate.Link)
	next, isLink := c.New.(netstate.Link)
	switch {
	case isLink && wasLink:
		return setLink(s, next)
	case isLink:
		return addLink(s, next)
	case wasLink:
		if s.Link(old.Name) != nil {
			deleteLink(s, old.Name)
		}
	case c.New == nil:
		remove(s, c.Old)
	default:
		return put(s, c)
	}
	return nil
}

// remove takes an object away. What is gone already, or is another one by now, stays as it is.
func remove(s *netstate.State, old netstate.Object) {
	have := s.Get(old.Key())
	if have == nil {
		return
	}
	switch o := old.(type) {
	case netstate.Sysctl: // a setting cannot go
		return
	case netstate.Route:
		if !have.Meets(old) {
			return
		}
	case netstate.Rule:
		if o.IsLocal() { // it cannot go either: it goes back to where the kernel puts it
			o.Priority, o.Protocol = 0, protoKernel
			s.Put(o)
			return
		}
	case nft.Table:
		loseElements(s, o, func(string) bool { return true })
	}
	s.Delete(old.Key())
	if a, ok := old.(netstate.Addr); ok && a.Prefix.Addr().Is4() {
		lastAddr(s, a.Dev)
	}
}

// lastAddr models what a link loses with its last IPv4 address: its IPv4 routes, neighbours and proxies (fib_disable_ip).
func lastAddr(s *netstate.State, dev string) {
	hanging := s.On(dev)
	for _, o := range hanging {
		if a, ok := o.(netstate.Addr); ok && a.Prefix.Addr().Is4() {
			return
		}
	}
	flush(s, dev, netip.Addr.Is4)
}

// put brings an object or changes it. What is there already is not an error, but another route of its key is.
func put(s *netstate.State, c Change) error {
	dev := netstate.DevOf(c.New)
	if dev != "" && s.Link(dev) == nil {
		return fmt.Errorf("%s: no such device", dev)
	}
	have := s.Get(c.Key())
	switch o := c.New.(type) {
	case netstate.Route:
		for _, h := range o.NextHops {
			if s.Link(h.Dev) == nil {
				return fmt.Errorf("%s: no such device", h.Dev)
			}
		}
		if c.Old == nil && have != nil && !have.Meets(o) {
			return fmt.Errorf("file exists: %s", have)
		}
	case netstate.BridgeVLAN:
		if err := putVLAN(s, o); err != nil {
			return err
		}
	case netstate.FDB:
		if bridgeOf(s, dev) == nil {
			return fmt.Errorf("operation not supported: %s is no port of a bridge", dev)
		}
	case netstate.MDB:
		if br := bridgeOf(s, dev); br == nil || br.Name != o.Bridge || !br.IsUp() || !snoops(br) {
			return fmt.Errorf("invalid argument: %s is no port of a bridge that is up and snoops", dev)
		}
	case netstate.Sysctl:
		defer sysctlEffects(s, o)
	case nft.Table:
		if t, ok := have.(nft.Table); ok {
			lost := map[string]bool{}
			for _, name := range t.Loses(o) {
				lost[name] = true
			}
			loseElements(s, t, func(set string) bool { return lost[set] })
		}
	}
	s.Put(settle(s, c.New))
	return nil
}

// bridgeOf returns the bridge that the link is, or is a port of; nil for none.
func bridgeOf(s *netstate.State, dev string) *netstate.Link {
	l := s.Link(dev)
	if l != nil && l.Kind != netstate.Bridge {
		l = s.Link(l.MasterName())
	}
	if l == nil || l.Kind != netstate.Bridge {
		return nil
	}
	return l
}

// putVLAN checks that the VLAN has a port to be on. A port has one PVID: the new one takes it from the old one.
func putVLAN(s *netstate.State, v netstate.BridgeVLAN) error {
	if bridgeOf(s, v.Dev) == nil {
		return fmt.Errorf("operation not supported: %s is no port of a bridge", v.Dev)
	}
	if !v.PVID {
		return nil
	}
	for _, o := range s.On(v.Dev) {
		if other, ok := o.(netstate.BridgeVLAN); ok && other.PVID && other.VID != v.VID {
			other.PVID = false
			s.Put(other)
		}
	}
	return nil
}

// sysctlEffects models the settings that the kernel spreads, and those that take something away.
func sysctlEffects(s *netstate.State, set netstate.Sysctl) {
	p := strings.Split(set.Path, "/")
	if set.Path == "net/ipv4/ip_forward" { // another name of the same setting
		p = []string{"net", "ipv4", "conf", "all", "forwarding"}
	}
	if len(p) != 5 || p[2] != "conf" {
		return
	}
	spreads := p[4] == "forwarding" || p[1] == "ipv6" && p[4] == "disable_ipv6"
	if spreads && p[3] == "all" {
		for o := range netstate.Of[netstate.Sysctl](s) {
			q := strings.Split(o.Path, "/")
			if len(q) == 5 && q[1] == p[1] && q[2] == "conf" && q[4] == p[4] || o.Path == "net/ipv4/ip_forward" && p[1] == "ipv4" {
				o.Value = set.Value
				s.Put(o)
			}
		}
	}
	if p[1] != "ipv6" || p[4] != "disable_ipv6" || set.Value == "0" {
		return
	}
	if p[3] != "all" {
		flush(s, p[3], netip.Addr.Is6)
		return
	}
	for l := range netstate.Of[netstate.Link](s) {
		flush(s, l.Name, netip.Addr.Is6)
	}
}

// protoKernel is RTPROT_KERNEL.
const protoKernel = 2

// settle marks what has no mark of its own as the kernel's observer would.
func settle(s *netstate.State, o netstate.Object) netstate.Object {
	switch o := o.(type) {
	case netstate.BridgeVLAN:
		l := s.Link(o.Dev)
		o.Ours = l != nil && l.Owned()
		return o
	case netstate.FDB:
		l := s.Link(o.Dev)
		o.Ours = l != nil && l.Owned()
		return o
	case netstate.MDB:
		l := s.Link(o.Dev)
		o.Ours = l != nil && l.Owned()
		return o
	}
	return o
}

func loseElements(s *netstate.State, t nft.Table, lost func(set string) bool) {
	for e := range netstate.Of[nft.Element](s) {
		if e.TableKey() == t.Key() && lost(e.Set) {
			s.Delete(e.Key())
		}
	}
}
