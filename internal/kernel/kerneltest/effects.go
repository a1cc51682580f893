// SPDX-License-Identifier: Apache-2.0

package kerneltest

import (
	"weft/internal/netstate"
)

// These tests do one thing and check two: that what weft relies on came of it, and that package plan foresaw everything
// that did (see env.effect).

// updown changes a link's administrative state.
func (e *env) updown(name string, up bool) {
	e.Helper()
	was := !up
	e.effect(netstate.Link{Name: name, Up: &was}, netstate.Link{Name: name, Up: &up})
}

func (e *env) enslave(name, master string) {
	e.Helper()
	old := e.observe().Link(name).Master
	e.effect(netstate.Link{Name: name, Master: old}, netstate.Link{Name: name, Master: &master})
}

// busy puts one of everything on eth0, which is up, and returns what it put there.
func (e *env) busy(table uint32) []netstate.Object {
	e.Helper()
	e.up("eth0")
	all := []netstate.Object{
		addrOn("eth0", "192.0.2.1/24"),
		addrOn("eth0", "2001:db8::1/64"),
		route(netstate.Route{Dst: prefix("62.217.124.53/32"), Dev: "eth0", Table: table}),
		route(netstate.Route{Dst: prefix("2001:db8:993::53/128"), Dev: "eth0", Table: table}),
		netstate.Neigh{IP: addr("62.217.124.53"), Dev: "eth0", MAC: "02:00:00:00:00:53", Protocol: netstate.Protocol},
		netstate.Neigh{IP: addr("2001:db8:993::53"), Dev: "eth0", MAC: "02:00:00:00:00:53", Protocol: netstate.Protocol},
		netstate.Neigh{IP: addr("62.217.124.49"), Dev: "eth0", Proxy: true, Protocol: netstate.Protocol},
		netstate.Neigh{IP: addr("2001:db8:993::1"), Dev: "eth0", Proxy: true, Protocol: netstate.Protocol},
	}
	for _, o := range all {
		e.do(nil, o)
	}
	e.has(all...)
	return all
}

func testDown(e *env) {
	closed := route(netstate.Route{Dst: all4, Type: "unreachable", Table: 993, Metric: netstate.LastMetric})
	e.add(closed)
	all := e.busy(993)
	e.do(nil, netstate.Link{Name: "eth0.5", Kind: netstate.VLAN, Parent: "eth0", Group: &ours, VLAN: &netstate.VLANAttrs{ID: 5}})
	e.up("eth0.5")
	e.updown("eth0", false)
	e.lacks(all[1:]...)
	e.has(all[0], closed, netstate.Link{Name: "eth0.5", Up: new(false)})
	e.updown("eth0", true)
}

func testParentDeleted(e *env) {
	e.add(netstate.Link{Name: "bond0", Kind: netstate.Bond, Group: &ours, Bond: &netstate.BondAttrs{Mode: new("active-backup")}})
	vlan := netstate.Link{Name: "bond0.5", Kind: netstate.VLAN, Parent: "bond0", Group: &ours, VLAN: &netstate.VLANAttrs{ID: 5}}
	inner := netstate.Link{Name: "inner", Kind: netstate.VLAN, Parent: "bond0.5", Group: &ours, VLAN: &netstate.VLANAttrs{ID: 6}}
	e.add(vlan, inner)
	e.up("bond0", "bond0.5")
	hung := []netstate.Object{
		addrOn("bond0.5", "192.0.2.1/24"), addrOn("bond0.5", "2001:db8::1/64"),
		route(netstate.Route{Dst: prefix("10.0.0.0/8"), Dev: "bond0.5", Table: 993}),
		netstate.Neigh{IP: addr("192.0.2.9"), Dev: "bond0.5", MAC: "02:00:00:00:00:53", Protocol: netstate.Protocol},
	}
	e.add(hung...)
	e.effect(*e.observe().Link("bond0"), nil)
	e.lacks(append(hung, vlan, inner)...)
}

func testEnslaveVRF(e *env) {
	e.effect(nil, netstate.Link{Name: "vrf993", Kind: netstate.VRF, MAC: "02:00:00:00:09:93", Group: &ours, VRF: &netstate.VRFAttrs{Table: 993}})
	e.up("vrf993")
	all := e.busy(993)
	e.enslave("eth0", "vrf993")
	e.lacks(all[1:]...) // enslaving takes the link down and up
}

func testVRFDeleted(e *env) {
	vrf := netstate.Link{Name: "vrf993", Kind: netstate.VRF, MAC: "02:00:00:00:09:93", Group: &ours, VRF: &netstate.VRFAttrs{Table: 993}}
	e.add(vrf)
	e.up("vrf993")
	closed := route(netstate.Route{Dst: all4, Type: "unreachable", Table: 993, Metric: netstate.LastMetric})
	closed6 := route(netstate.Route{Dst: all6, Type: "unreachable", Table: 993, Metric: netstate.LastMetric})
	e.add(closed, closed6)
	e.set(netstate.Link{Name: "eth0", Master: new("vrf993")})
	e.busy(993)
	e.effect(*e.observe().Link("vrf993"), nil)
	e.has(netstate.Link{Name: "eth0", Master: new("")})
}

func testEnslaveBond(e *env) {
	e.effect(nil, netstate.Link{Name: "bond0", Kind: netstate.Bond, MAC: "02:00:00:00:0b:00", MTU: 1400, Group: &ours, Bond: &netstate.BondAttrs{Mode: new("active-backup"), MIIMon: new(uint32(100))}})
	e.enslave("eth0", "bond0")
	e.has(netstate.Link{Name: "eth0", MAC: "02:00:00:00:0b:00", MTU: 1400, Up: new(true)})
	e.enslave("eth1", "bond0")
	e.updown("bond0", true)
	e.effect(netstate.Link{Name: "bond0", MTU: 1400}, netstate.Link{Name: "bond0", MTU: 1450})
	e.has(netstate.Link{Name: "eth1", MTU: 1450})
	e.effect(netstate.Link{Name: "bond0", MAC: "02:00:00:00:0b:00"}, netstate.Link{Name: "bond0", MAC: "02:00:00:00:0b:01"})
	e.has(netstate.Link{Name: "eth1", MAC: "02:00:00:00:0b:01"})
	e.updown("bond0", false)
	e.loose["eth1"] = true // a member gets back the MAC and the MTU that it came with
	e.effect(netstate.Link{Name: "eth1", Master: new("bond0")}, netstate.Link{Name: "eth1", Master: new("")})
}

func testBondDeleted(e *env) {
	e.add(netstate.Link{Name: "bond0", Kind: netstate.Bond, Group: &ours, Bond: &netstate.BondAttrs{Mode: new("802.3ad"), MIIMon: new(uint32(100))}})
	first := e.observe().Link("eth0").MAC
	for _, l := range []string{"bond0", "eth0", "eth1"} { // whether a MAC was set or made up is not told
		e.loose[l] = true
	}
	e.enslave("eth0", "bond0")
	e.has(netstate.Link{Name: "bond0", MAC: first}) // a bond without a MAC of its own takes its first member's
	e.enslave("eth1", "bond0")
	e.up("bond0")
	e.effect(*e.observe().Link("bond0"), nil)
	e.has(netstate.Link{Name: "eth0", Master: new("")}, netstate.Link{Name: "eth1", Master: new("")})
}

func testBridgeDeleted(e *env) {
	e.bridge992(true)
	vlan := netstate.BridgeVLAN{Dev: "eth0", VID: 992}
	entry := netstate.FDB{MAC: "02:00:00:00:00:99", Dev: "eth0", VLAN: 992}
	e.add(vlan, entry)
	e.up("eth0", "vlan992")
	e.effect(*e.observe().Link("vlan992"), nil)
	e.lacks(vlan, entry)
	e.has(netstate.Link{Name: "eth0", Master: new(""), Up: new(true)})
}

func testParentMTU(e *env) {
	e.up("eth0")
	e.add(netstate.Link{Name: "eth0.5", Kind: netstate.VLAN, Parent: "eth0", MTU: 1500, Group: &ours, VLAN: &netstate.VLANAttrs{ID: 5}})
	e.effect(netstate.Link{Name: "eth0", MTU: 1500}, netstate.Link{Name: "eth0", MTU: 1400})
	e.has(netstate.Link{Name: "eth0.5", MTU: 1400})
}
