// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"net/netip"

	"weft/internal/netstate"
)

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
		if l.MTU > p.MTU && p.MTU > 0 {
			return fmt.Errorf("invalid argument: MTU %d is above that of %s, %d", l.MTU, p.Name, p.MTU)
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
	if gone == nil {
		return
	}
	for _, l := range s.Above(name) {
		if l.Parent == name && l.Kind == netstate.VLAN {
			deleteLink(s, l.Name)
			continue
		}
		if l.MasterName() == name {
			l.Master = new("")
			s.Put(l)
			leave(s, l.Name, *gone)
		}
	}
	if m := s.Link(gone.MasterName()); m != nil {
		free := *gone
		free.Master = new("")
		s.Put(free)
		leave(s, name, *m)
	}
	for _, o := range s.On(name) {
		s.Delete(o.Key())
	}
	s.Delete(netstate.LinkKey(name))
}

// setLink sets the fields of part on the link.
func setLink(s *netstate.State, part netstate.Link) error {
	was := s.Link(part.Name)
	if was == nil {
		return fmt.Errorf("no such device")
	}
	if err := settable(s, *was, part); err != nil {
		return err
	}
	part.Kind = was.Kind
	next := *was
	if b := part.Bond; b != nil { // the two ways of watching a member exclude each other
		watch := netstate.Link{Bond: &netstate.BondAttrs{}}
		if b.MIIMon != nil && *b.MIIMon > 0 {
			watch.Bond.ARPInterval = new(uint32(0))
		} else if b.ARPInterval != nil && *b.ARPInterval > 0 {
			watch.Bond.MIIMon = new(uint32(0))
		}
		next = netstate.Merge(next, watch)
	}
	s.Put(netstate.Merge(next, part))
	if part.MAC != "" {
		spreadMAC(s, part.Name, was.MAC)
	}
	if part.MTU != 0 {
		spreadMTU(s, part.Name)
	}
	if l := s.Link(part.Name); l.Kind == netstate.Bridge && !snoops(l) {
		for m := range netstate.Of[netstate.MDB](s) {
			if m.Bridge == part.Name {
				s.Delete(m.Key())
			}
		}
	}
	if part.Master != nil && was.MasterName() != *part.Master {
		enslave(s, part.Name, was.MasterName())
	}
	if part.Up != nil && *part.Up != was.IsUp() {
		if *part.Up {
			up(s, part.Name)
		} else {
			down(s, part.Name)
		}
	}
	return nil
}

// settable says why the kernel refuses to set the fields of part.
func settable(s *netstate.State, was, part netstate.Link) error {
	if to := part.MasterName(); to != "" && to != was.MasterName() {
		m := s.Link(to)
		if m == nil {
			return fmt.Errorf("%s: no such device", to)
		}
		if m.Kind == netstate.Bond && was.IsUp() {
			return fmt.Errorf("operation not permitted: a bond takes only links that are down")
		}
	}
	parent := s.Link(was.Parent)
	if part.Up != nil && *part.Up && !was.IsUp() && was.Kind == netstate.VLAN && parent != nil && !parent.IsUp() {
		return fmt.Errorf("network is down: %s, which it stands on, is not up", parent.Name)
	}
	if was.Kind == netstate.VLAN && parent != nil && parent.MTU > 0 && part.MTU > parent.MTU {
		return fmt.Errorf("numerical result out of range: MTU %d is above that of %s, %d", part.MTU, parent.Name, parent.MTU)
	}
	if part.Port != nil && part.Master == nil {
		if m := s.Link(was.MasterName()); m == nil || m.Kind != netstate.Bridge {
			return fmt.Errorf("operation not supported: it is no port of a bridge")
		}
	}
	if b := part.Bond; b != nil {
		if (b.Mode != nil || b.FailOverMAC != nil) && len(ports(s, was.Name)) > 0 {
			return fmt.Errorf("directory not empty: a bond's mode and fail_over_mac change only while it has no members")
		}
		if (b.Mode != nil || b.LACPRate != nil || b.ADSelect != nil) && was.IsUp() {
			return fmt.Errorf("operation not permitted: a bond's mode, lacp_rate and ad_select change only while it is down")
		}
	}
	return nil
}

// ports returns the links whose master the link is.
func ports(s *netstate.State, name string) []netstate.Link {
	var list []netstate.Link
	for _, l := range s.Above(name) {
		if l.MasterName() == name {
			list = append(list, l)
		}
	}
	return list
}

// snoops reports whether a bridge looks who listens to which group, which it does unless told otherwise.
func snoops(bridge *netstate.Link) bool {
	return bridge.Bridge == nil || bridge.Bridge.MulticastSnooping == nil || *bridge.Bridge.MulticastSnooping
}

// enslave models what a change of master does to the port, which has the new one already.
func enslave(s *netstate.State, port, from string) {
	if m := s.Link(from); m != nil {
		leave(s, port, *m)
	}
	l := s.Link(port)
	m := s.Link(l.MasterName())
	if m == nil {
		return
	}
	switch m.Kind {
	case netstate.VRF:
		if l.IsUp() {
			cycle(s, port)
		}
	case netstate.Bond:
		join(s, *l, *m)
	case netstate.Bridge:
		fresh := netstate.PortAttrs{Learning: new(true), Isolated: new(false), Locked: new(false), Flood: new(true)}
		if l.Port != nil && s.Link(from) == nil { // set by the same request
			fresh = netstate.Merge(fresh, *l.Port)
		}
		l.Port = &fresh
		s.Put(*l)
		if b := m.Bridge; b != nil && b.VLANFiltering != nil && *b.VLANFiltering && b.DefaultPVID != nil && *b.DefaultPVID != 0 {
			s.Put(netstate.BridgeVLAN{Dev: port, VID: *b.DefaultPVID, PVID: true, Untagged: true, Ours: l.Owned()})
		}
	}
}

// join models bond_enslave: the member has the bond's MAC and MTU from then on, and is up.
func join(s *netstate.State, l, bond netstate.Link) {
	if bond.MAC == "" { // nobody set one: the bond takes its first member's
		bond.MAC = l.MAC
		s.Put(bond)
		spreadMAC(s, bond.Name, "")
	}
	status := netstate.LinkStatus{}
	if l.Status != nil {
		status = *l.Status
	}
	if status.Member == nil {
		status.Member = &netstate.MemberStatus{PermMAC: l.MAC}
	}
	l.Status = &status
	l.MAC, l.Up = bond.MAC, new(true)
	if bond.MTU != 0 {
		l.MTU = bond.MTU
	}
	s.Put(l)
}

// leave models what a port loses when it leaves its master. Its Master is another one by now, or none.
func leave(s *netstate.State, port string, from netstate.Link) {
	l := s.Link(port)
	switch from.Kind {
	case netstate.VRF:
		if l.IsUp() {
			cycle(s, port)
		}
	case netstate.Bridge:
		l.Port = nil
		s.Put(*l)
		for _, o := range s.On(port) {
			if k := o.Key().Kind; k == netstate.KindBridgeVLAN || k == netstate.KindFDB || k == netstate.KindMDB {
				s.Delete(o.Key())
			}
		}
	case netstate.Bond: // bond_release: closed, with the MAC that it came with
		was := *l
		if st := l.Status; st != nil {
			status := *st
			if m := st.Member; m != nil && m.PermMAC != "" {
				l.MAC = m.PermMAC
			}
			status.Member = nil
			l.Status = &status
		}
		l.Up = new(false)
		s.Put(*l)
		if was.IsUp() {
			down(s, port)
		}
		if m := s.Link(from.Name); m != nil && len(ports(s, from.Name)) == 0 {
			m.MAC = "" // a bond without members has a random one
			s.Put(*m)
		}
	}
}

// cycle is a link going down and up again, as when it joins or leaves a VRF.
func cycle(s *netstate.State, name string) {
	down(s, name)
	l := s.Link(name)
	l.Up = new(true)
	s.Put(*l)
	up(s, name)
}

// down takes what a link loses when it is down, and takes down the VLAN devices on it.
func down(s *netstate.State, name string) {
	flush(s, name, netip.Addr.IsValid)
	for _, c := range s.Above(name) {
		if c.Parent == name && c.Kind == netstate.VLAN && c.IsUp() {
			c.Up = new(false)
			s.Put(c)
			down(s, c.Name)
		}
	}
}

// up puts the VLAN devices up that are on a link that is up now, whether or not they were before (vlan_device_event).
func up(s *netstate.State, name string) {
	for _, c := range s.Above(name) {
		if c.Parent == name && c.Kind == netstate.VLAN && !c.IsUp() {
			c.Up = new(true)
			s.Put(c)
			up(s, c.Name)
		}
	}
}

// flush removes what a link loses when a family stops on it: routes, neighbours and proxies, and of IPv6 the addresses.
func flush(s *netstate.State, dev string, family func(netip.Addr) bool) {
	for _, o := range s.On(dev) {
		switch o := o.(type) {
		case netstate.Route:
			if family(o.Dst.Addr()) && !survives(s, o, dev) {
				s.Delete(o.Key())
			}
		case netstate.Neigh:
			if family(o.IP) {
				s.Delete(o.Key())
			}
		case netstate.Addr:
			if o.Prefix.Addr().Is6() && family(o.Prefix.Addr()) {
				s.Delete(o.Key())
			}
		}
	}
}

// survives reports whether a route has another way left: an IPv4 multipath route stays while one of its links is up.
func survives(s *netstate.State, r netstate.Route, dev string) bool {
	if r.Dst.Addr().Is6() {
		return false
	}
	for _, h := range r.NextHops {
		if l := s.Link(h.Dev); h.Dev != dev && l != nil && l.IsUp() {
			return true
		}
	}
	return false
}

// spreadMTU models how an MTU spreads: a bond's to its members, a device's to VLANs on it that would be above it.
func spreadMTU(s *netstate.State, name string) {
	l := s.Link(name)
	for _, c := range s.Above(name) {
		switch {
		case l.Kind == netstate.Bond && c.MasterName() == name, c.Parent == name && c.Kind == netstate.VLAN && c.MTU > l.MTU:
			c.MTU = l.MTU
			s.Put(c)
			spreadMTU(s, c.Name)
		}
	}
}

// spreadMAC models how a MAC spreads: a bond's to its members, a device's to the VLAN devices that still have its old one.
func spreadMAC(s *netstate.State, name, old string) {
	l := s.Link(name)
	for _, c := range s.Above(name) {
		switch {
		case l.Kind == netstate.Bond && c.MasterName() == name && c.Parent != name, c.Parent == name && c.Kind == netstate.VLAN && c.MAC == old:
			before := c.MAC
			c.MAC = l.MAC
			s.Put(c)
			spreadMAC(s, c.Name, before)
		}
	}
}
