// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"weft/internal/netstate"
	"weft/internal/nft"
	"weft/internal/plan"
)

const (
	byBoot = 3 // RTPROT_BOOT: what an operator adds by hand
	mark   = netstate.Protocol
)

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }
func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }

// bare is a node that nobody has configured: devices, the kernel's rules, and things that others made.
func bare(t *rapid.T) *netstate.State {
	s := &netstate.State{}
	for i, name := range []string{"eth0", "eth1", "eth2", "tap0", "tap1"} {
		l := netstate.Link{Name: name, Master: new(""), MTU: 1500, MAC: fmt.Sprintf("02:00:00:00:00:%02x", i), Group: new(uint32(0)), Alias: new("")}
		l.Up = new(rapid.Bool().Draw(t, name+" up"))
		if strings.HasPrefix(name, "tap") {
			l.Kind = "tun"
		}
		l.Status = &netstate.LinkStatus{PermMAC: l.MAC}
		s.Put(l)
	}
	for _, family := range []int{4, 6} {
		s.Put(netstate.Rule{Family: family, Table: netstate.TableLocal, Action: "lookup", Protocol: 2},
			netstate.Rule{Family: family, Priority: 32766, Table: netstate.TableMain, Action: "lookup", Protocol: 2})
	}
	s.Put(netstate.Link{Name: "docker0", Kind: netstate.Bridge, Master: new(""), MTU: 1500, MAC: "02:00:00:00:0d:00", Group: new(uint32(0)), Up: new(true), Alias: new("")})
	if l := s.Link("eth2"); l.IsUp() && rapid.Bool().Draw(t, "foreign") {
		s.Put(netstate.Addr{Prefix: prefix("198.51.100.2/24"), Dev: "eth2"},
			netstate.Addr{Prefix: prefix("2001:db8:f::2/64"), Dev: "eth2"},
			netstate.Route{Dst: prefix("0.0.0.0/0"), Via: addr("198.51.100.1"), Dev: "eth2", Table: 254, Type: "unicast", Protocol: byBoot},
			netstate.Neigh{IP: addr("198.51.100.9"), Dev: "eth2", MAC: "02:00:00:00:00:99"},
			netstate.Rule{Family: 4, Priority: 500, From: prefix("198.51.100.0/24"), Table: 500, Action: "lookup", Protocol: byBoot})
	}
	return s
}

// node draws what a node file could ask for.
func node(t *rapid.T, label string) *netstate.State {
	d := drawn{T: t, label: label, want: &netstate.State{}}
	d.bond()
	d.bridge()
	d.routed()
	if d.yes("sysctl") {
		d.want.Put(netstate.Sysctl{Path: "net/ipv4/ip_forward", Value: fmt.Sprint(rapid.IntRange(0, 1).Draw(t, label+"forward"))})
	}
	if d.yes("eth2") && d.want.Link("eth2") == nil {
		d.want.Put(netstate.Link{Name: "eth2", Up: new(true), Group: new(netstate.GroupOwned)})
	}
	return d.want
}

type drawn struct {
	*rapid.T
	label string
	want  *netstate.State
}

func (d *drawn) yes(what string) bool { return rapid.Bool().Draw(d.T, d.label+what) }

func (d *drawn) pick(what string, from ...string) string {
	return rapid.SampledFrom(from).Draw(d.T, d.label+what)
}

func (d *drawn) made(l netstate.Link, group uint32) {
	l.Group, l.Alias, l.Up = &group, new("weft: test"), new(true)
	d.want.Put(l)
}

func (d *drawn) bond() {
	if !d.yes("bond") {
		return
	}
	b := netstate.BondAttrs{Mode: new(d.pick("mode", "802.3ad", "active-backup")), MIIMon: new(uint32(100))}
	if *b.Mode == "802.3ad" {
		b.LACPRate = new(d.pick("rate", "fast", "slow"))
	} else if d.yes("primary") {
		b.Primary = new("eth0")
	}
	l := netstate.Link{Name: "bond0", Kind: netstate.Bond, Bond: &b, MTU: uint32(rapid.SampledFrom([]int{0, 1400, 9000}).Draw(d.T, d.label+"mtu"))}
	if d.yes("mac") {
		l.MAC = "02:00:00:00:0b:00"
	}
	d.made(l, netstate.GroupOwned)
	d.want.Put(netstate.Link{Name: "eth0", Master: new("bond0"), Up: new(true), Group: new(netstate.GroupOwned)})
	if d.yes("member") {
		d.want.Put(netstate.Link{Name: "eth1", Master: new("bond0"), Up: new(true), Group: new(netstate.GroupOwned)})
	}
	for _, a := range []string{"10.0.0.1/24", "10.0.0.2/24", "fd00::1/64", "fd00::1/128"} {
		if d.yes(a) && (a != "fd00::1/128" || d.want.Get(netstate.Addr{Prefix: prefix("fd00::1/64"), Dev: "bond0"}.Key()) == nil) {
			d.want.Put(netstate.Addr{Prefix: prefix(a), Dev: "bond0", Protocol: mark})
		}
	}
	if d.yes("route") {
		d.want.Put(netstate.Route{Dst: prefix("10.9.0.0/16"), Via: addr(d.pick("gw", "10.0.0.9", "10.0.0.8")), Dev: "bond0", Table: 254, Type: "unicast", Protocol: mark})
	}
}

func (d *drawn) vlan(name string, id uint16, group uint32, master string) {
	parent := "eth1"
	if d.want.Link("bond0") != nil {
		parent = "bond0"
	} else {
		d.want.Put(netstate.Link{Name: "eth1", Up: new(true), Group: new(netstate.GroupOwned)})
	}
	d.made(netstate.Link{Name: name, Kind: netstate.VLAN, Parent: parent, VLAN: &netstate.VLANAttrs{ID: id}, Master: &master}, group)
}

func (d *drawn) bridge() {
	if !d.yes("bridge") {
		return
	}
	aware := d.yes("aware")
	d.made(netstate.Link{Name: "br0", Kind: netstate.Bridge, MAC: "02:00:00:00:0c:00", Master: new(""), MTU: 1400,
		Bridge: &netstate.BridgeAttrs{STP: new(d.yes("stp")), VLANFiltering: &aware, DefaultPVID: new(uint16(0))}}, netstate.GroupOwned)
	d.vlan("vlan992", uint16(rapid.IntRange(992, 993).Draw(d.T, d.label+"id")), netstate.GroupUplink+70992, "br0")
	if d.yes("tap0") {
		d.want.Put(netstate.Link{Name: "tap0", Master: new("br0"), Up: new(true), Group: new(netstate.GroupTap + 70992), MAC: "fe:00:00:00:00:01",
			Port: &netstate.PortAttrs{Learning: new(d.yes("learning"))}},
			netstate.FDB{MAC: "02:00:00:00:01:01", Dev: "tap0"},
			netstate.Sysctl{Path: "net/ipv6/conf/tap0/disable_ipv6", Value: "1"})
		if aware {
			d.want.Put(netstate.BridgeVLAN{Dev: "tap0", VID: uint16(rapid.IntRange(5, 6).Draw(d.T, d.label+"vid")), PVID: true, Untagged: true})
		}
	}
}

func (d *drawn) routed() {
	if !d.yes("routed") {
		return
	}
	table := uint32(rapid.IntRange(993, 994).Draw(d.T, d.label+"table"))
	d.made(netstate.Link{Name: "vrf993", Kind: netstate.VRF, Master: new(""), VRF: &netstate.VRFAttrs{Table: table}}, netstate.GroupOwned)
	d.vlan("up993", 993+uint16(table), netstate.GroupUplink+table, "vrf993")
	d.want.Put(
		netstate.Rule{Family: 4, Priority: 1, L3MDev: true, Action: "lookup", Protocol: mark},
		netstate.Rule{Family: 4, Priority: 2, Table: netstate.TableLocal, Action: "lookup", Protocol: mark},
		netstate.Route{Dst: prefix("62.217.124.48/29"), Dev: "up993", Table: table, Type: "unicast", Protocol: mark},
		netstate.Route{Dst: prefix("0.0.0.0/0"), Via: addr("62.217.124.49"), Dev: "up993", Table: table, Type: "unicast", Protocol: mark},
		netstate.Route{Dst: prefix("0.0.0.0/0"), Table: table, Type: "unreachable", Metric: netstate.LastMetric, Protocol: mark},
		netstate.Sysctl{Path: "net/ipv4/conf/up993/proxy_arp", Value: "1"},
		arpTable(d.pick("proto", "counter", "accept")),
		nft.Element{Family: nft.ARP, Table: "weft", Set: "arp_source", Parts: []string{fmt.Sprint(netstate.GroupUplink + table)}, Value: "62.217.124.54"},
	)
	for _, tap := range []string{"tap0", "tap1"} {
		if d.want.Link(tap) != nil || !d.yes(tap+" routed") {
			continue
		}
		ip := "62.217.124.5" + tap[3:]
		d.want.Put(netstate.Link{Name: tap, Master: new("vrf993"), Up: new(true), Group: new(netstate.GroupTap + table)},
			netstate.Route{Dst: prefix(ip + "/32"), Dev: tap, Table: table, Type: "unicast", Protocol: mark},
			netstate.Neigh{IP: addr(ip), Dev: tap, MAC: "02:00:00:00:01:0" + tap[3:], Protocol: mark},
			netstate.Neigh{IP: addr("2001:db8:993::5" + tap[3:]), Dev: "up993", Proxy: true, Protocol: mark},
			netstate.Sysctl{Path: "net/ipv6/conf/" + tap + "/disable_ipv6", Value: "0"})
	}
}

// arpTable is the table of the routed networks; last is how its rule ends.
func arpTable(last string) nft.Table {
	rule := nft.Rule{Exprs: []nft.Expr{"arp operation request", "arp saddr ip set oifgroup map @arp_source", nft.Expr(last)}}
	return nft.Table{Family: nft.ARP, Name: "weft",
		Sets:   []nft.Set{{Name: "arp_source", Key: []string{"devgroup"}, Data: "ipv4_addr"}},
		Chains: []nft.Chain{{Name: "output", Type: "filter", Hook: "output", Policy: "accept", Rules: []nft.Rule{rule}}}}
}

// reached draws a node as weft left it, and then somebody came along.
func reached(t *rapid.T) *netstate.State {
	s := bare(t)
	p, err := plan.Diff(node(t, "before "), s, plan.Owned)
	if err != nil {
		t.Fatalf("before: %v", err)
	}
	run(t, s, p)
	for range rapid.IntRange(0, 3).Draw(t, "disturbances") {
		var links []string
		for l := range netstate.Of[netstate.Link](s) {
			links = append(links, l.Name)
		}
		name := rapid.SampledFrom(links).Draw(t, "whom")
		part := netstate.Link{Name: name, Up: new(false)}
		if s.Link(name).Made() && rapid.Bool().Draw(t, "delete") {
			disturb(t, s, plan.Change{Old: *s.Link(name)})
			continue
		}
		if rapid.Bool().Draw(t, "free") {
			part = netstate.Link{Name: name, Master: new("")}
		}
		disturb(t, s, plan.Change{Old: netstate.Pick(*s.Link(name), part), New: part})
	}
	return s
}

func disturb(t *rapid.T, s *netstate.State, c plan.Change) {
	if err := plan.Simulate(s, plan.Op{Changes: []plan.Change{c}}); err != nil {
		t.Fatalf("disturb: %v", err)
	}
}

// run simulates a plan.
func run(t *rapid.T, s *netstate.State, p plan.Plan) {
	for _, op := range p.Ops {
		if err := plan.Simulate(s, op); err != nil {
			t.Fatalf("%v: %v", op, err)
		}
	}
}

func script(p plan.Plan) string {
	var b strings.Builder
	if err := p.WriteText(&b, false); err != nil {
		return err.Error()
	}
	return b.String()
}

func TestPlanLeadsThere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		have, want := reached(t), node(t, "want ")
		p, err := plan.Diff(want, have, plan.Owned)
		if err != nil {
			t.Fatal(err)
		}
		checkOrder(t, have, want, p)
		after := have.Clone()
		run(t, after, p)
		again, err := plan.Diff(want, after, plan.Owned)
		if err != nil {
			t.Fatal(err)
		}
		if !again.Empty() {
			t.Fatalf("plan:\n%s\nleaves:\n%s", script(p), script(again))
		}
		for o := range after.All() {
			if o.Owned() && want.Get(o.Key()) == nil {
				t.Errorf("left: %v", o)
			}
		}
	})
}

// checkOrder follows a plan step by step: phases in order, taps last, nothing of others goes.
func checkOrder(t *rapid.T, have, want *netstate.State, p plan.Plan) {
	s := have.Clone()
	last := plan.PhaseGuard
	for _, op := range p.Ops {
		if op.Phase < last {
			t.Errorf("phase %d after %d: %v", op.Phase, last, op)
		}
		last = op.Phase
		for _, c := range op.Changes {
			if foreign(c, s, want) {
				t.Errorf("takes away what is not weft's: %v", op)
			}
		}
		was := s.Clone()
		run(t, s, plan.Plan{Ops: []plan.Op{op}})
		for _, tap := range []string{"tap0", "tap1"} {
			if want.Link(tap) == nil {
				continue
			}
			if s.Link(tap).IsUp() && !was.Link(tap).IsUp() && op.Phase != plan.PhaseTap {
				t.Errorf("%s goes up in phase %d: %v", tap, op.Phase, op)
			}
			if s.Link(tap).IsUp() && s.Link(tap).MasterName() != was.Link(tap).MasterName() && *want.Link(tap).Master == s.Link(tap).MasterName() {
				t.Errorf("%s changes networks while it is up: %v", tap, op)
			}
		}
	}
}

// foreign reports whether the change takes away, or changes unasked, what is not weft's.
func foreign(c plan.Change, s, want *netstate.State) bool {
	have := s.Get(c.Key())
	if have == nil || have.Owned() || want.Get(c.Key()) != nil {
		return false
	}
	switch have.(type) {
	case nft.Table, nft.Element, netstate.Sysctl:
		return false
	}
	return true
}

func TestInverseLeadsBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		before, want := reached(t), node(t, "want ")
		p, err := plan.Diff(want, before, plan.Owned)
		if err != nil {
			t.Fatal(err)
		}
		back, err := p.Inverse(before)
		if err != nil {
			t.Fatalf("inverse of\n%s: %v", script(p), err)
		}
		s := before.Clone()
		run(t, s, p)
		run(t, s, back)
		for o := range before.All() {
			if l, ok := o.(netstate.Link); ok && l.MAC == "" { // a bond that had no members had a random one
				continue
			}
			if _, ok := o.(netstate.Sysctl); ok && s.Link(netstate.DevOf(o)) == nil {
				continue
			}
			if h := s.Get(o.Key()); h == nil || !h.Meets(o) {
				t.Errorf("plan:\n%s\nback:\n%s\nwas: %v\nis:  %v", script(p), script(back), o, h)
			}
		}
		for o := range s.All() {
			if o.Owned() && before.Get(o.Key()) == nil {
				t.Errorf("plan:\n%s\nback:\n%s\nleft: %v", script(p), script(back), o)
			}
		}
	})
}

func TestSavedPlanIsTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, err := plan.Diff(node(t, "want "), reached(t), plan.Owned)
		if err != nil {
			t.Fatal(err)
		}
		data, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		var q plan.Plan
		if err := json.Unmarshal(data, &q); err != nil {
			t.Fatalf("%v in %s", err, data)
		}
		if script(p) != script(q) || p.Fingerprint != q.Fingerprint {
			t.Fatalf("was:\n%s\nis:\n%s", script(p), script(q))
		}
		again, err := json.Marshal(q)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(data, again) {
			t.Fatalf("was:\n%s\nis:\n%s", data, again)
		}
	})
}
