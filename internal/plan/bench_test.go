// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"fmt"
	"net/netip"
	"testing"

	"weft/internal/netstate"
	"weft/internal/plan"
)

// large is a node with n bridged VLANs and n routed NICs.
func large(n int) *netstate.State {
	s := &netstate.State{}
	up := new(true)
	s.Put(netstate.Link{Name: "bond0", Kind: netstate.Bond, MTU: 9000, Up: up, Group: new(netstate.GroupOwned), Alias: new("weft: bond"), Bond: &netstate.BondAttrs{Mode: new("802.3ad")}},
		netstate.Link{Name: "vrf993", Kind: netstate.VRF, Up: up, Group: new(netstate.GroupOwned), VRF: &netstate.VRFAttrs{Table: 993}, Master: new("")},
		netstate.Link{Name: "bond0.993", Kind: netstate.VLAN, Parent: "bond0", MTU: 1500, Up: up, Group: new(netstate.GroupUplink + 993), Master: new("vrf993"), VLAN: &netstate.VLANAttrs{ID: 4000}})
	for i := range n {
		bridge, vlan, tap := fmt.Sprintf("vlan%d", i), fmt.Sprintf("bond0.%d", i), fmt.Sprintf("tap%d", i)
		s.Put(netstate.Link{Name: bridge, Kind: netstate.Bridge, MTU: 1500, MAC: "02:00:00:00:00:01", Up: up, Group: new(netstate.GroupOwned), Alias: new("weft: bridge"),
			Bridge: &netstate.BridgeAttrs{STP: new(false), ForwardDelay: new(uint32(0)), MulticastSnooping: new(false), VLANFiltering: new(false)}},
			netstate.Link{Name: vlan, Kind: netstate.VLAN, Parent: "bond0", MTU: 1500, Up: up, Group: new(netstate.GroupUplink + 70000), Master: &bridge, Alias: new("weft: uplink"), VLAN: &netstate.VLANAttrs{ID: uint16(i + 1)}},
			netstate.Link{Name: tap, MAC: "cc:47:52:4e:45:54", Up: up, Group: new(netstate.GroupTap + 993), Master: new("vrf993")})
		for _, name := range []string{bridge, vlan} {
			s.Put(netstate.Sysctl{Path: "net/ipv6/conf/" + name + "/disable_ipv6", Value: "1"}, netstate.Sysctl{Path: "net/ipv4/conf/" + name + "/proxy_arp", Value: "0"})
		}
		for _, key := range []string{"ipv4/conf/%s/proxy_arp", "ipv4/conf/%s/send_redirects", "ipv4/neigh/%s/proxy_delay", "ipv6/conf/%s/proxy_ndp", "ipv6/conf/%s/accept_ra", "ipv6/conf/%s/autoconf", "ipv6/conf/%s/disable_ipv6"} {
			s.Put(netstate.Sysctl{Path: "net/" + fmt.Sprintf(key, tap), Value: "1"})
		}
		v4 := netip.AddrFrom4([4]byte{10, 9, byte(i >> 8), byte(i)})
		v6 := netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 14: byte(i >> 8), 15: byte(i)})
		for _, ip := range []netip.Addr{v4, v6} {
			s.Put(netstate.Route{Dst: netip.PrefixFrom(ip, ip.BitLen()), Dev: tap, Table: 993, Type: "unicast", Protocol: mark}.Canonical(),
				netstate.Neigh{IP: ip, Dev: tap, MAC: "02:00:00:00:00:01", Protocol: mark})
		}
		s.Put(netstate.Neigh{IP: v6, Dev: "bond0.993", Proxy: true, Protocol: mark})
	}
	return s
}

func BenchmarkDiffConverged(b *testing.B) {
	want, have := large(1000), large(1000)
	b.ReportMetric(float64(want.Len()), "objects")
	b.ReportAllocs()
	for b.Loop() {
		if p, err := plan.Diff(want, have, plan.Owned); err != nil || !p.Empty() {
			b.Fatalf("%v, %v", p, err)
		}
	}
}

// BenchmarkDiffOneTap is the plan for one tap that went down.
func BenchmarkDiffOneTap(b *testing.B) {
	want, have := large(1000), large(1000)
	op := plan.Op{Changes: []plan.Change{{Old: netstate.Link{Name: "tap7", Up: new(true)}, New: netstate.Link{Name: "tap7", Up: new(false)}}}}
	if err := plan.Simulate(have, op); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if p, err := plan.Diff(want, have, plan.Owned); err != nil || len(p.Ops) != 5 {
			b.Fatalf("%v, %v", p, err)
		}
	}
}

// BenchmarkDiffFromNothing is the plan of a node that has nothing yet.
func BenchmarkDiffFromNothing(b *testing.B) {
	want, have := large(1000), &netstate.State{}
	for l := range netstate.Of[netstate.Link](want) {
		if !l.Made() {
			have.Put(netstate.Link{Name: l.Name, Group: new(uint32(0)), Up: new(false), Master: new(""), MTU: 1500, MAC: "02:00:00:00:00:00"})
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := plan.Diff(want, have, plan.Owned); err != nil {
			b.Fatal(err)
		}
	}
}
