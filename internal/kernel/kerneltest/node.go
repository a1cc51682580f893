// SPDX-License-Identifier: Apache-2.0

package kerneltest

import (
	"weft/internal/netstate"
	"weft/internal/nft"
)

// testForeign: objects of every kind without weft's mark are left alone by a node that wants nothing.
func testForeign(e *env) {
	boot := func(r netstate.Route) netstate.Route {
		r.Protocol = 3 // RTPROT_BOOT
		return r.Canonical()
	}
	e.up("eth0", "eth1")
	for _, o := range []netstate.Object{
		netstate.Link{Name: "bond7", Kind: netstate.Bond, Bond: &netstate.BondAttrs{Mode: new("active-backup")}},
		netstate.Link{Name: "eth0.7", Kind: netstate.VLAN, Parent: "eth0", VLAN: &netstate.VLANAttrs{ID: 7}},
		netstate.Link{Name: "br7", Kind: netstate.Bridge, MAC: "02:00:00:00:00:07", Bridge: &netstate.BridgeAttrs{VLANFiltering: new(true), DefaultPVID: new(uint16(0))}},
		netstate.Link{Name: "vrf7", Kind: netstate.VRF, VRF: &netstate.VRFAttrs{Table: 7}},
		netstate.Addr{Prefix: prefix("192.0.2.1/24"), Dev: "eth0"},
		netstate.Addr{Prefix: prefix("2001:db8::1/64"), Dev: "eth0"},
		boot(netstate.Route{Dst: all4, Via: addr("192.0.2.254"), Dev: "eth0"}),
		boot(netstate.Route{Dst: all6, Via: addr("2001:db8::fe"), Dev: "eth0"}),
		boot(netstate.Route{Dst: prefix("10.0.0.0/8"), Type: "unreachable", Table: 993}),
		netstate.Rule{Family: 4, Priority: 77, IIF: "tap7", Table: 7, Action: "lookup", Protocol: 3},
		netstate.Rule{Family: 6, Priority: 77, IIF: "tap7", Table: 7, Action: "lookup"},
		netstate.Neigh{IP: addr("192.0.2.7"), Dev: "eth0", MAC: "02:00:00:00:00:77"},
		netstate.Neigh{IP: addr("192.0.2.8"), Dev: "eth0", Proxy: true},
		netstate.Neigh{IP: addr("2001:db8::8"), Dev: "eth0", Proxy: true, Protocol: 3},
	} {
		e.add(o)
	}
	e.set(netstate.Link{Name: "eth2", Master: new("br7")})
	e.add(netstate.BridgeVLAN{Dev: "eth2", VID: 70}, netstate.FDB{MAC: "02:00:00:00:00:78", Dev: "eth2", VLAN: 70})
	before := e.observe()
	e.converge(&netstate.State{})
	e.same(before, e.observe())

	// nor by one that comes and goes beside them
	e.converge(node("eth1", "bond0"))
	e.converge(&netstate.State{})
	after := e.observe()
	for o := range before.All() {
		if l, ok := o.(netstate.Link); ok && l.Name == "eth1" {
			continue // it was lent, and comes back as released links do: down
		}
		if have := after.Get(o.Key()); !byKernel(o) && (have == nil || !have.Meets(withoutStatus(o))) {
			e.Errorf("%v\n   is: %v\n  was: %v", o.Key(), have, o)
		}
	}
}

func withoutStatus(o netstate.Object) netstate.Object {
	if l, ok := o.(netstate.Link); ok {
		l.Status = nil
		return l
	}
	return o
}

// testNode: a node with a bond, a bridged and a routed network with guests converges in one go, stays so, survives what
// operators do to it, and goes away without a trace.
func testNode(e *env) {
	before := e.observe()
	want := node("eth0", "bond0")
	want.Put(netstate.Link{Name: "eth1", Master: new("bond0"), Group: &ours})
	guests(want)
	e.converge(want)
	for o := range want.All() {
		e.has(o)
	}
	e.effect(netstate.Link{Name: "bond0", Up: new(true)}, netstate.Link{Name: "bond0", Up: new(false)})
	e.converge(want)
	e.do(netstate.Link{Name: "tap1", Master: new("vrf993")}, netstate.Link{Name: "tap1", Master: new("")})
	e.converge(want)
	e.do(*e.observe().Link("vrf993"), nil)
	e.converge(want)
	e.converge(&netstate.State{})
	after := e.observe()
	for o := range after.All() {
		if o.Owned() {
			e.Errorf("%v is left", o)
		}
	}
	for o := range before.All() {
		have := after.Get(o.Key())
		if l, ok := o.(netstate.Link); ok { // a member keeps the MTU and may keep the MAC of its bond
			o = netstate.Link{Name: l.Name, Master: l.Master, Group: l.Group, Alias: l.Alias}
		}
		if have == nil || !have.Meets(o) {
			e.Errorf("%v\n   is: %v\n  was: %v", o.Key(), have, o)
		}
	}
}

// node is a bond of one member with VLAN 992 in a bridge and VLAN 993 in a VRF.
func node(member, bond string) *netstate.State {
	vlan := func(id uint16, l netstate.Link) netstate.Link {
		l.Kind, l.Parent, l.VLAN, l.Up = netstate.VLAN, bond, &netstate.VLANAttrs{ID: id}, new(true)
		return l
	}
	s := &netstate.State{}
	s.Put(
		netstate.Link{Name: member, Master: &bond, Group: &ours},
		netstate.Link{Name: bond, Kind: netstate.Bond, Up: new(true), Group: &ours, Alias: new("weft: uplink"), Bond: &netstate.BondAttrs{
			Mode: new("802.3ad"), MIIMon: new(uint32(100)), LACPRate: new("fast"), XmitHashPolicy: new("layer3+4")}},
		vlan(992, netstate.Link{Name: bond + ".992", Group: new(netstate.GroupUplink + 70992), Master: new("vlan992")}),
		vlan(993, netstate.Link{Name: bond + ".993", Group: new(netstate.GroupUplink + 993), Master: new("vrf993")}),
		netstate.Link{Name: "vlan992", Kind: netstate.Bridge, Up: new(true), Group: &ours, MAC: "02:00:00:00:09:92", Bridge: &netstate.BridgeAttrs{
			STP: new(false), ForwardDelay: new(uint32(0)), MulticastSnooping: new(false)}},
		netstate.Link{Name: "vrf993", Kind: netstate.VRF, Up: new(true), Group: &ours, VRF: &netstate.VRFAttrs{Table: 993}},
		addrOn(bond, "198.51.100.10/24"),
		route(netstate.Route{Dst: prefix("203.0.113.0/24"), Via: addr("198.51.100.254"), Dev: bond}),
		route(netstate.Route{Dst: prefix("62.217.124.48/29"), Dev: bond + ".993", Table: 993}),
		route(netstate.Route{Dst: all4, Via: addr("62.217.124.49"), Dev: bond + ".993", Table: 993}),
		route(netstate.Route{Dst: all4, Type: "unreachable", Table: 993, Metric: netstate.LastMetric}),
		route(netstate.Route{Dst: prefix("2001:db8:993::/64"), Dev: bond + ".993", Table: 993}),
		route(netstate.Route{Dst: all6, Via: addr("2001:db8:993::1"), Dev: bond + ".993", Table: 993}),
		route(netstate.Route{Dst: all6, Type: "unreachable", Table: 993, Metric: netstate.LastMetric}),
		netstate.Sysctl{Path: "net/ipv4/conf/" + bond + ".993/proxy_arp", Value: "1"},
		netstate.Sysctl{Path: "net/ipv6/conf/" + bond + ".993/proxy_ndp", Value: "1"},
		netstate.Sysctl{Path: "net/ipv4/neigh/" + bond + ".993/proxy_delay", Value: "0"},
		netstate.Sysctl{Path: "net/ipv6/conf/vlan992/disable_ipv6", Value: "1"},
	)
	for _, f := range []int{4, 6} {
		s.Put(rule(netstate.Rule{Family: f, Priority: 1, L3MDev: true}), rule(netstate.Rule{Family: f, Priority: 2, Table: netstate.TableLocal}))
	}
	return s
}

// guests plugs tap0 into VLAN 992, and tap1 and tap2 into VLAN 993.
func guests(s *netstate.State) {
	s.Put(
		netstate.Link{Name: "tap0", Master: new("vlan992"), Up: new(true), Group: new(netstate.GroupTap + 70992)},
		nft.Table{
			Family: nft.ARP, Name: nft.TableName,
			Sets:   []nft.Set{{Name: "arp_source", Key: []string{"devgroup"}, Data: "ipv4_addr"}},
			Chains: []nft.Chain{{Name: "output", Type: "filter", Hook: "output", Policy: "accept", Rules: []nft.Rule{{Exprs: []nft.Expr{"arp operation request", "arp saddr ip set oifgroup map @arp_source"}}}}},
		},
		nft.Element{Family: nft.ARP, Table: nft.TableName, Set: "arp_source", Parts: []string{"8800993"}, Value: "62.217.124.54"},
	)
	for i, tap := range []string{"tap1", "tap2"} {
		v4, v6 := []string{"62.217.124.53", "62.217.124.52"}[i], []string{"2001:db8:993::53", "2001:db8:993::52"}[i]
		s.Put(
			netstate.Link{Name: tap, Master: new("vrf993"), Up: new(true), MAC: "cc:47:52:4e:45:54", Group: new(netstate.GroupTap + 993)},
			route(netstate.Route{Dst: prefix(v4 + "/32"), Dev: tap, Table: 993}),
			route(netstate.Route{Dst: prefix(v6 + "/128"), Dev: tap, Table: 993}),
			netstate.Neigh{IP: addr(v4), Dev: tap, MAC: "02:00:00:00:00:53", Protocol: netstate.Protocol},
			netstate.Neigh{IP: addr("2001:db8:993::1"), Dev: tap, Proxy: true, Protocol: netstate.Protocol},
			netstate.Neigh{IP: addr(v6), Dev: "bond0.993", Proxy: true, Protocol: netstate.Protocol},
			netstate.Sysctl{Path: "net/ipv4/conf/" + tap + "/proxy_arp", Value: "1"},
			netstate.Sysctl{Path: "net/ipv4/neigh/" + tap + "/proxy_delay", Value: "0"},
		)
	}
}
