// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"strings"

	"weft/internal/netstate"
	"weft/internal/nft"
)

// Simulate changes s as the kernel would when it does op, with the side effects that other operations of a plan depend
// on. Facts are from Linux 6.1; package kernel's conformance suite holds them against the running one.
func Simulate(s *netstate.State, op Op) error {
	for _, c := range op.Changes {
		if err := simulate(s, c); err != nil {
			return fmt.Errorf("simulate %s: %w", c.Key(), err)
		}
	}
	return nil
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
}

// put brings an object or changes it. What is there already is not an error, but another route of its key is.
func put(s *netstate.State, c Change) error {
	if dev := netstate.DevOf(c.New); dev != "" && s.Link(dev) == nil {
		return fmt.Errorf("%s: no such device", dev)
	}
	have := s.Get(c.Key())
	switch o := c.New.(type) {
	case netstate.Route:
		if c.Old == nil && have != nil && !have.Meets(o) {
			return fmt.Errorf("file exists: %s", have)
		}
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

// addLink makes a link with the kernel's defaults for what is not asked for.
func addLink(s *netstate.State, l netstate.Link) error {
	if have := s.Link(l.Name); have != nil {
		if have.Kind != l.Kind {
			return fmt.Errorf("file exists")
		}
		return setLink(s, l) // made before, or by the module that was loaded for it
	}
	made := netstate.Link{
		Name: l.Name, Kind: l.Kind, Parent: l.Parent, Master: new(""), MTU: 1500, Up: new(false), Group: new(uint32(0)), Alias: new(""),
	}
	if l.Parent != "" {
		p := s.Link(l.Parent)
		if p == nil {
			return fmt.Errorf("%s: no such device", l.Parent)
		}
		made.MTU, made.MAC = p.MTU, p.MAC
	}
	if l.Kind == netstate.VRF {
		made.MTU = 65575
		firstVRF(s)
	}
	s.Put(netstate.Merge(made, l))
	return nil
}

// firstVRF adds the rules that come with a namespace's first VRF (drivers/net/vrf.c: vrf_add_fib_rules) and stay.
func firstVRF(s *netstate.State) {
	for _, family := range []int{4, 6} {
		r := netstate.Rule{Family: family, Priority: 1000, L3MDev: true, Action: "lookup", Protocol: protoKernel}
		if s.Get(r.Key()) == nil {
			s.Put(r)
		}
	}
}

// deleteLink removes a link, all that hangs on it, and frees its ports.
func deleteLink(s *netstate.State, name string) {
	gone := s.Link(name)
	s.Delete(netstate.LinkKey(name))
	for _, l := range s.Above(name) {
		if l.Parent == name && l.Kind == netstate.VLAN {
			deleteLink(s, l.Name)
			continue
		}
		l.Master = new("")
		s.Put(l)
		switch {
		case gone == nil:
		case gone.Kind == netstate.VRF && l.IsUp():
			cycle(s, l.Name)
		case gone.Kind == netstate.Bridge:
			removeHanging(s, l.Name, netstate.KindBridgeVLAN, netstate.KindFDB)
		case gone.Kind == netstate.Bond && l.IsUp():
			l.Up = new(false)
			s.Put(l)
			down(s, l.Name)
		}
	}
	for _, o := range s.On(name) {
		s.Delete(o.Key())
	}
}

// setLink sets the fields of part on the link.
func setLink(s *netstate.State, part netstate.Link) error {
	h := s.Link(part.Name)
	if h == nil {
		return fmt.Errorf("no such device")
	}
	was := *h
	if m := part.MasterName(); m != "" && s.Link(m) == nil {
		return fmt.Errorf("%s: no such device", m)
	}
	part.Kind = was.Kind
	l := netstate.Merge(was, part)
	s.Put(l)
	if part.Master != nil && was.MasterName() != *part.Master {
		enslave(s, l.Name, was.MasterName())
	}
	if part.MTU != 0 {
		lowerMTU(s, l.Name, part.MTU)
	}
	if part.MAC != "" && l.Kind == netstate.Bond {
		for _, m := range s.Above(l.Name) {
			if m.MasterName() == l.Name {
				m.MAC = part.MAC // bond_set_mac_address
				s.Put(m)
			}
		}
	}
	if part.Up != nil && *part.Up != was.IsUp() {
		if *part.Up {
			return up(s, l.Name)
		}
		down(s, l.Name)
	}
	return nil
}

// enslave models what a change of master does to the port.
func enslave(s *netstate.State, port, from string) {
	l := s.Link(port)
	if m := s.Link(from); m != nil && m.Kind == netstate.Bridge || l.MasterName() == "" {
		removeHanging(s, port, netstate.KindBridgeVLAN, netstate.KindFDB)
	}
	m := s.Link(l.MasterName())
	vrf := m != nil && m.Kind == netstate.VRF
	if old := s.Link(from); old != nil && old.Kind == netstate.VRF {
		vrf = true
	}
	switch {
	case vrf && l.IsUp():
		cycle(s, port)
	case m != nil && m.Kind == netstate.Bond:
		if m.MAC == "" { // nobody set one: the bond takes its first member's
			m.MAC = l.MAC
			s.Put(*m)
		}
		l.MAC, l.MTU, l.Up = m.MAC, m.MTU, new(true) // bond_enslave: the bond's MAC and MTU, and it opens the port
		s.Put(*l)
	}
}

// cycle is a link going down and up again.
func cycle(s *netstate.State, name string) {
	flush(s, name)
	for _, c := range s.Above(name) {
		if c.Parent == name && c.IsUp() {
			flush(s, c.Name)
		}
	}
}

// down takes a link down, and the VLAN devices on it.
func down(s *netstate.State, name string) {
	flush(s, name)
	for _, c := range s.Above(name) {
		if c.Parent == name && c.Kind == netstate.VLAN && c.IsUp() {
			c.Up = new(false)
			s.Put(c)
			down(s, c.Name)
		}
	}
}

// up puts a link up, and the VLAN devices on it (net/8021q: vlan_device_event).
func up(s *netstate.State, name string) error {
	if l := s.Link(name); l.Parent != "" {
		if p := s.Link(l.Parent); p != nil && !p.IsUp() {
			return fmt.Errorf("network is down: %s, which it stands on, is not up", l.Parent)
		}
	}
	for _, c := range s.Above(name) {
		if c.Parent == name && c.Kind == netstate.VLAN && !c.IsUp() {
			c.Up = new(true)
			s.Put(c)
		}
	}
	return nil
}

// flush removes what a link loses when it goes down: routes, neighbours and proxies, and its global IPv6 addresses.
func flush(s *netstate.State, dev string) {
	for _, o := range s.On(dev) {
		switch o := o.(type) {
		case netstate.Route, netstate.Neigh:
			s.Delete(o.Key())
		case netstate.Addr:
			if o.Prefix.Addr().Is6() {
				s.Delete(o.Key())
			}
		}
	}
}

func removeHanging(s *netstate.State, dev string, kinds ...netstate.Kind) {
	for _, o := range s.On(dev) {
		for _, k := range kinds {
			if o.Key().Kind == k {
				s.Delete(o.Key())
			}
		}
	}
}

// lowerMTU models how an MTU spreads: a bond's to its members, a device's to VLANs on it that would be above it.
func lowerMTU(s *netstate.State, name string, mtu uint32) {
	l := s.Link(name)
	for _, c := range s.Above(name) {
		switch {
		case l.Kind == netstate.Bond && c.MasterName() == name, c.Parent == name && c.Kind == netstate.VLAN && c.MTU > mtu:
			c.MTU = mtu
			s.Put(c)
			lowerMTU(s, c.Name, mtu)
		}
	}
}

// through names the links that stand on this one or are its ports, for messages.
func through(s *netstate.State, name string) string {
	var names []string
	for _, l := range s.Above(name) {
		names = append(names, l.Name)
	}
	if len(names) > 5 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:4], ", "), len(names)-4)
	}
	return strings.Join(names, ", ")
}
