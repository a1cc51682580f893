// SPDX-License-Identifier: Apache-2.0

package kerneltest

import (
	"net/netip"

	"weft/internal/netstate"
)

var ours = netstate.GroupOwned

func testBond(e *env) {
	bond := netstate.Link{Name: "bond0", Kind: netstate.Bond, MTU: 1500, Group: &ours, Alias: new("weft: uplink"), Bond: &netstate.BondAttrs{
		Mode: new("802.3ad"), MIIMon: new(uint32(100)), LACPRate: new("slow"), XmitHashPolicy: new("layer2")}}
	e.add(bond)
	for _, a := range []netstate.BondAttrs{
		{LACPRate: new("fast")},
		{MIIMon: new(uint32(50))},
		{UpDelay: new(uint32(200))},
		{DownDelay: new(uint32(100))},
		{XmitHashPolicy: new("layer3+4")},
		{MinLinks: new(uint32(1))},
		{ADSelect: new("bandwidth")},
		{NumPeerNotif: new(uint32(3))},
		{LACPRate: new("slow"), MinLinks: new(uint32(0)), ADSelect: new("count")},
	} {
		e.set(netstate.Link{Name: "bond0", Bond: &a})
	}
	for _, mode := range []string{"balance-rr", "active-backup", "balance-xor", "broadcast", "balance-tlb", "balance-alb", "802.3ad"} {
		e.set(netstate.Link{Name: "bond0", Bond: &netstate.BondAttrs{Mode: &mode}})
	}
	for _, policy := range []string{"layer2", "layer2+3", "encap2+3", "encap3+4", "vlan+srcmac"} {
		e.set(netstate.Link{Name: "bond0", Bond: &netstate.BondAttrs{XmitHashPolicy: &policy}})
	}
	e.setCommon("bond0")

	for _, m := range []string{"eth0", "eth1"} {
		e.set(netstate.Link{Name: m, Group: &ours, Master: new("bond0")})
	}
	e.set(netstate.Link{Name: "bond0", Up: new(true)})
	e.has(netstate.Link{Name: "eth0", Master: new("bond0")}, netstate.Link{Name: "eth1", Master: new("bond0")})
	e.set(netstate.Link{Name: "eth1", Master: new("")})
	e.remove(bond)
	e.has(netstate.Link{Name: "eth0", Master: new("")})
}

func testActiveBackup(e *env) {
	e.add(netstate.Link{Name: "bond0", Kind: netstate.Bond, Group: &ours, Bond: &netstate.BondAttrs{
		Mode: new("active-backup"), MIIMon: new(uint32(100)), PrimaryReselect: new("better"), FailOverMAC: new("none")}})
	e.set(netstate.Link{Name: "bond0", Bond: &netstate.BondAttrs{PrimaryReselect: new("failure")}})
	for _, policy := range []string{"active", "follow", "none"} {
		e.set(netstate.Link{Name: "bond0", Bond: &netstate.BondAttrs{FailOverMAC: &policy}})
	}
	for _, m := range []string{"eth0", "eth1"} {
		e.set(netstate.Link{Name: m, Master: new("bond0")})
	}
	for _, primary := range []string{"eth1", "eth0", ""} {
		e.set(netstate.Link{Name: "bond0", Bond: &netstate.BondAttrs{Primary: &primary}})
	}
	e.set(netstate.Link{Name: "bond0", Bond: &netstate.BondAttrs{MIIMon: new(uint32(0))}})
	e.set(netstate.Link{Name: "bond0", Bond: &netstate.BondAttrs{ARPInterval: new(uint32(1000)), ARPIPTarget: []string{"192.0.2.1", "192.0.2.2"}}})
	e.set(netstate.Link{Name: "bond0", Bond: &netstate.BondAttrs{ARPIPTarget: []string{"192.0.2.9"}}})
}

// testBondTakenOver: loading the bonding module makes a bond0, unless it is told not to. Whoever asks for a bond0 then
// is to get it.
func testBondTakenOver(e *env) {
	e.do(nil, netstate.Link{Name: "bond0", Kind: netstate.Bond})
	e.add(netstate.Link{Name: "bond0", Kind: netstate.Bond, MTU: 1500, Group: &ours, Alias: new("weft: uplink"), Bond: &netstate.BondAttrs{
		Mode: new("802.3ad"), MIIMon: new(uint32(100)), LACPRate: new("fast")}})
}

func testVLAN(e *env) {
	e.set(netstate.Link{Name: "eth0", Up: new(true)})
	vlan := netstate.Link{Name: "eth0.993", Kind: netstate.VLAN, Parent: "eth0", Group: &ours, Alias: new("weft: network public"), VLAN: &netstate.VLANAttrs{ID: 993}}
	e.add(vlan)
	e.setCommon("eth0.993")
	inner := netstate.Link{Name: "inner", Kind: netstate.VLAN, Parent: "eth0.993", Group: &ours, VLAN: &netstate.VLANAttrs{ID: 4094, Protocol: "802.1Q"}}
	service := netstate.Link{Name: "service", Kind: netstate.VLAN, Parent: "eth0", Group: &ours, VLAN: &netstate.VLANAttrs{ID: 1, Protocol: "802.1ad"}}
	e.add(inner, service)
	e.remove(inner, service, vlan)
}

func testBridge(e *env) {
	bridge := netstate.Link{Name: "vlan992", Kind: netstate.Bridge, MAC: "02:00:00:00:09:92", MTU: 1500, Group: &ours, Alias: new("weft: network lan"), Bridge: &netstate.BridgeAttrs{
		STP: new(false), ForwardDelay: new(uint32(0)), MulticastSnooping: new(false), VLANFiltering: new(false), DefaultPVID: new(uint16(0))}}
	e.add(bridge)
	for _, a := range []netstate.BridgeAttrs{
		{AgeingTime: new(uint32(6000))},
		{VLANFiltering: new(true)},
		{DefaultPVID: new(uint16(7))},
		{DefaultPVID: new(uint16(0))},
		{MulticastSnooping: new(true), MulticastQuerier: new(true)},
		{ForwardDelay: new(uint32(400))},
		{STP: new(true)},
		{STP: new(false), ForwardDelay: new(uint32(0)), AgeingTime: new(uint32(30000)), MulticastSnooping: new(false), MulticastQuerier: new(false)},
	} {
		e.set(netstate.Link{Name: "vlan992", Bridge: &a})
	}
	e.setCommon("vlan992")
	e.remove(bridge)
}

func testVRF(e *env) {
	vrf := netstate.Link{Name: "vrf993", Kind: netstate.VRF, Group: &ours, Alias: new("weft: network public"), VRF: &netstate.VRFAttrs{Table: 993}}
	e.add(vrf)
	for _, family := range []int{4, 6} { // the kernel's own rule comes with the first VRF
		e.has(netstate.Rule{Family: family, Priority: 1000, L3MDev: true, Action: "lookup"})
	}
	e.setCommon("vrf993")
	e.remove(vrf)
}

func testBorrowed(e *env) {
	before := e.observe()
	e.setCommon("eth0")
	l := before.Link("eth0")
	e.set(netstate.Link{Name: "eth0", MAC: l.MAC, MTU: l.MTU, Group: l.Group, Alias: l.Alias, Up: l.Up})
	e.same(before, e.observe())
}

// setCommon sets what every link has, one by one and together.
func (e *env) setCommon(name string) {
	e.Helper()
	for _, l := range []netstate.Link{
		{MTU: 1400},
		{MAC: "02:00:00:00:aa:01"},
		{Group: new(netstate.GroupTap + 993)},
		{Alias: new("weft: it's \"quoted\"")},
		{Alias: new("")},
		{Up: new(true)},
		{Up: new(false)},
		{MTU: 1500, MAC: "02:00:00:00:aa:02", Group: &ours, Alias: new("weft: all at once"), Up: new(true)},
		{Up: new(false)},
	} {
		l.Name = name
		e.set(l)
	}
}

// bridge992 is a bridge with eth0 as its port.
func (e *env) bridge992(aware bool) netstate.Link {
	e.Helper()
	b := netstate.Link{Name: "vlan992", Kind: netstate.Bridge, MAC: "02:00:00:00:09:92", Group: &ours, Bridge: &netstate.BridgeAttrs{
		VLANFiltering: &aware, DefaultPVID: new(uint16(0))}}
	e.do(nil, b)
	e.set(netstate.Link{Name: "eth0", Group: &ours, Master: new("vlan992")})
	return b
}

func testPort(e *env) {
	e.bridge992(false)
	for _, p := range []netstate.PortAttrs{
		{Learning: new(false)},
		{Isolated: new(true)},
		{Locked: new(true)},
		{Flood: new(false)},
		{Learning: new(true), Isolated: new(false), Locked: new(false), Flood: new(true)},
	} {
		e.set(netstate.Link{Name: "eth0", Port: &p})
	}
}

func testBridgeVLANs(e *env) {
	e.bridge992(true)
	var all []netstate.Object
	for vid := uint16(100); vid < 110; vid++ { // the kernel tells them as a range
		all = append(all, netstate.BridgeVLAN{Dev: "eth0", VID: vid})
	}
	access := netstate.BridgeVLAN{Dev: "eth0", VID: 992, PVID: true, Untagged: true}
	last := netstate.BridgeVLAN{Dev: "eth0", VID: 4094, Untagged: true}
	self := netstate.BridgeVLAN{Dev: "vlan992", VID: 992, Self: true}
	all = append(all, access, last, self)
	e.add(all...)
	for v := range netstate.Of[netstate.BridgeVLAN](e.observe()) {
		if !v.Owned() {
			e.Errorf("%v is not known to be weft's", v)
		}
	}
	tagged := netstate.BridgeVLAN{Dev: "eth0", VID: 992}
	e.do(access, tagged)
	e.has(tagged)
	e.remove(all...)
}

func testFDB(e *env) {
	e.bridge992(true)
	e.add(netstate.BridgeVLAN{Dev: "eth0", VID: 992})
	entry := netstate.FDB{MAC: "02:00:00:00:00:99", Dev: "eth0", VLAN: 992}
	e.add(entry)
	for f := range netstate.Of[netstate.FDB](e.observe()) {
		if f.Key() != entry.Key() || !f.Owned() {
			e.Errorf("saw %v, want only %v, and weft's", f, entry)
		}
	}
	e.remove(entry)
	entry.Sticky = true
	e.add(entry)
	loose := entry
	loose.Sticky = false
	e.do(entry, loose)
	e.has(loose)
	e.do(loose, entry)
	e.has(entry)
	e.remove(entry)
}

func testMDB(e *env) {
	bridge := netstate.Link{Name: "vlan992", Kind: netstate.Bridge, Up: new(true), Group: &ours, Bridge: &netstate.BridgeAttrs{MulticastSnooping: new(true)}}
	e.add(bridge)
	e.do(nil, netstate.Link{Name: "eth0", Master: new("vlan992"), Group: &ours})
	four, six := netstate.MDB{Bridge: "vlan992", Dev: "eth0", Group: netip.MustParseAddr("239.1.2.3")}, netstate.MDB{Bridge: "vlan992", Dev: "eth0", Group: netip.MustParseAddr("ff02::1:ff00:1")}
	e.add(four, six)
	for m := range netstate.Of[netstate.MDB](e.observe()) {
		if m.Key() != four.Key() && m.Key() != six.Key() || !m.Owned() {
			e.Errorf("saw %v, want only %v and %v, and weft's", m, four, six)
		}
	}
	e.remove(four)
	e.set(netstate.Link{Name: "vlan992", Bridge: &netstate.BridgeAttrs{MulticastSnooping: new(false)}})
	e.lacks(six)
	e.remove(six)
}

func testLimits(e *env) {
	out := netstate.Limit{Dev: "eth0", Rate: 100_000_000, Burst: 131072}
	in := netstate.Limit{Dev: "eth0", Ingress: true, Rate: 12_345_600, Burst: 65536}
	e.add(out, in)
	for _, old := range []netstate.Limit{out, in} {
		faster := old
		faster.Rate, faster.Burst = 8*old.Rate, 2*old.Burst
		e.do(old, faster)
		e.has(faster)
		if e.observe().Get(old.Key()).Meets(old) {
			e.Errorf("%s is still met", old)
		}
		e.do(faster, old)
		e.has(old)
	}
	e.remove(in, out)
	e.add(in)
	e.remove(in)
}

// testFDBUnfiltered: a bridge that filters no VLANs makes an entry for each that the port has all the same.
func testFDBUnfiltered(e *env) {
	b := e.bridge992(false)
	pvid := b
	pvid.Bridge = &netstate.BridgeAttrs{DefaultPVID: new(uint16(1))}
	e.set(pvid)
	entry := netstate.FDB{MAC: "02:00:00:00:00:99", Dev: "eth0", Sticky: true}
	e.add(entry)
	for f := range netstate.Of[netstate.FDB](e.observe()) {
		if f.Key() != entry.Key() {
			e.Errorf("saw %v, want only %v", f, entry)
		}
	}
	e.remove(entry)
}
