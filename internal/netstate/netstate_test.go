// SPDX-License-Identifier: Apache-2.0

package netstate

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var (
	pfx  = netip.MustParsePrefix
	addr = netip.MustParseAddr
)

// TestText holds keys and spellings: both are what operators read in plans and errors.
func TestText(t *testing.T) {
	for _, test := range []struct {
		o         Object
		key, text string
	}{
		{Link{Name: "bond0.993", Kind: VLAN, Parent: "bond0", VLAN: &VLANAttrs{ID: 993}, Master: new("vrf993"), Up: new(true)},
			"link bond0.993", "bond0.993 link bond0 master vrf993 up type vlan id 993"},
		{Link{Name: "s", Kind: VLAN, Parent: "eth0", VLAN: &VLANAttrs{ID: 7, Protocol: "802.1ad"}, Master: new("")},
			"link s", "s link eth0 nomaster type vlan protocol 802.1ad id 7"},
		{Link{Name: "bond0", Kind: Bond, Alias: new("weft: it's"), Bond: &BondAttrs{Mode: new("active-backup"), MIIMon: new(uint32(100)), Primary: new("eth0")}},
			"link bond0", `bond0 alias 'weft: it'\''s' type bond mode active-backup miimon 100 primary eth0`},
		{Link{Name: "br0", Kind: Bridge, Bridge: &BridgeAttrs{STP: new(false), VLANFiltering: new(true), DefaultPVID: new(uint16(0))}},
			"link br0", "br0 type bridge stp_state 0 vlan_filtering 1 vlan_default_pvid 0"},
		{Addr{Prefix: pfx("10.0.0.11/24"), Dev: "bond0", Protocol: 87}, "addr 10.0.0.11/24 dev bond0", "10.0.0.11/24 dev bond0"},
		{Route{Dst: pfx("0.0.0.0/0"), Via: addr("62.217.124.49"), Dev: "bond0.993", Table: 993, Protocol: 87}.Canonical(),
			"route default table 993 metric 0", "default via 62.217.124.49 dev bond0.993 table 993 proto 87"},
		{Route{Dst: pfx("::/0"), Dev: "lo", Type: "unreachable", Table: 993, Metric: LastMetric}.Canonical(),
			"route ::/0 table 993 metric 4278198272", "unreachable ::/0 table 993 metric 4278198272"},
		{Route{Dst: pfx("2001:db8::53/128"), Dev: "tap0", Table: 993}.Canonical(), "route 2001:db8::53 table 993 metric 1024", "2001:db8::53 dev tap0 table 993 metric 1024"},
		{Route{Dst: pfx("10.3.0.7/16"), Via: addr("2001:db8::2"), Dev: "eth0"}.Canonical(), "route 10.3.0.0/16 table 254 metric 0", "10.3.0.0/16 via inet6 2001:db8::2 dev eth0"},
		{Rule{Family: 4, Priority: 1, L3MDev: true}, "rule inet pref 1 l3mdev", "pref 1 l3mdev"},
		{Rule{Family: 6, Priority: 2, Table: TableLocal, Action: "lookup", Protocol: 87}, "rule inet6 lookup local", "pref 2 lookup local protocol 87"},
		{Rule{Family: 4, Priority: 9, Not: true, From: pfx("10.0.0.0/8"), FwMark: 3, FwMask: 7, Action: "prohibit"},
			"rule inet pref 9 not from 10.0.0.0/8 fwmark 0x3/0x7 prohibit", "pref 9 not from 10.0.0.0/8 fwmark 0x3/0x7 prohibit"},
		{Neigh{IP: addr("10.0.0.1"), Dev: "tap0", MAC: "aa:00:00:94:ed:40"}, "neigh 10.0.0.1 dev tap0", "10.0.0.1 lladdr aa:00:00:94:ed:40 dev tap0 nud permanent"},
		{Neigh{IP: addr("2001:db8::1"), Dev: "tap0", Proxy: true, Protocol: 87}, "neigh proxy 2001:db8::1 dev tap0", "proxy 2001:db8::1 dev tap0 protocol 87"},
		{BridgeVLAN{Dev: "tap0", VID: 992, PVID: true, Untagged: true}, "bridge-vlan tap0 vid 992", "dev tap0 vid 992 pvid untagged"},
		{FDB{MAC: "02:00:00:00:00:01", Dev: "tap0", VLAN: 7}, "fdb 02:00:00:00:00:01 dev tap0 vlan 7", "02:00:00:00:00:01 dev tap0 vlan 7 master static"},
		{Sysctl{Path: "net/ipv4/conf/bond0.993/proxy_arp", Value: "1"}, "sysctl net/ipv4/conf/bond0.993/proxy_arp", "net.ipv4.conf.bond0/993.proxy_arp=1"},
	} {
		if got := test.o.Key().String(); got != test.key {
			t.Errorf("key of %v: %q, want %q", test.o, got, test.key)
		}
		if got := test.o.String(); got != test.text {
			t.Errorf("%s: %q, want %q", test.key, got, test.text)
		}
	}
}

// TestPartialLinks: what is missing of a link, merged into it, is nothing missing; and what was there can be picked out.
func TestPartialLinks(t *testing.T) {
	have := Link{Name: "bond0", Kind: Bond, MTU: 1500, Up: new(false), Master: new(""), Bond: &BondAttrs{Mode: new("802.3ad"), LACPRate: new("slow"), MIIMon: new(uint32(100))}, Status: &LinkStatus{Index: 5}}
	want := Link{Name: "bond0", Kind: Bond, MTU: 1500, Up: new(true), Bond: &BondAttrs{Mode: new("802.3ad"), LACPRate: new("fast")}, Status: &LinkStatus{Index: 9}}
	left, any := Missing(have, want)
	if diff := cmp.Diff(Link{Name: "bond0", Kind: Bond, Up: new(true), Bond: &BondAttrs{LACPRate: new("fast")}}, left); diff != "" || !any {
		t.Errorf("missing (%v):\n%s", any, diff)
	}
	if diff := cmp.Diff(Link{Name: "bond0", Kind: Bond, Up: new(false), Bond: &BondAttrs{LACPRate: new("slow")}}, Pick(have, left)); diff != "" {
		t.Errorf("picked:\n%s", diff)
	}
	now := Merge(have, left)
	if left, any := Missing(now, want); any {
		t.Errorf("still missing after the merge: %v", left)
	}
	if *have.Bond.LACPRate != "slow" || now.Status.Index != 5 {
		t.Error("the merge changed what it started from, or took a status from what was wanted")
	}
	if !now.Meets(want) || have.Meets(want) {
		t.Error("Meets does not say what Missing says")
	}
}

func TestOwned(t *testing.T) {
	for _, test := range []struct {
		o    Object
		want bool
	}{
		{Link{Name: "a"}, false},
		{Link{Name: "a", Group: new(uint32(0))}, false},
		{Link{Name: "a", Group: new(GroupOwned)}, true},
		{Link{Name: "a", Group: new(GroupTap + 993)}, true},
		{Link{Name: "a", Group: new(GroupUplink + 74094)}, true},
		{Link{Name: "a", Group: new(GroupTap - 1)}, false},
		{Link{Name: "a", Group: new(groupEnd)}, false},
		{Route{Dst: pfx("10.0.0.0/8"), Protocol: 3}, false},
		{Route{Dst: pfx("10.0.0.0/8"), Protocol: Protocol}, true},
		{Rule{Protocol: 2}, false},
		{Neigh{IP: addr("10.0.0.1"), Protocol: Protocol}, true},
		{Sysctl{Path: "net/ipv4/ip_forward", Value: "1"}, false},
	} {
		if test.o.Owned() != test.want {
			t.Errorf("%v: owned is %v", test.o, !test.want)
		}
	}
}

// TestIndex: what hangs on a link and what stands on it is found, and is gone once it is deleted or hangs elsewhere.
func TestIndex(t *testing.T) {
	s := &State{}
	s.Put(Link{Name: "bond0", Kind: Bond}, Link{Name: "eth0", Master: new("bond0")}, Link{Name: "bond0.5", Kind: VLAN, Parent: "bond0"})
	a := Addr{Prefix: pfx("10.0.0.1/24"), Dev: "bond0"}
	s.Put(a)
	r := Route{Dst: pfx("10.9.0.0/16"), NextHops: []NextHop{{Dev: "bond0"}, {Dev: "bond0.5"}}}.Canonical()
	names := func() (names []string) {
		for _, l := range s.Above("bond0") {
			names = append(names, l.Name)
		}
		return names
	}
	if diff := cmp.Diff([]string{"bond0.5", "eth0"}, names()); diff != "" {
		t.Error(diff)
	}
	s.Put(r, Sysctl{Path: "net/ipv4/conf/bond0/proxy_arp", Value: "1"}, Link{Name: "eth0", Master: new("")})
	if got := s.On("bond0"); len(got) != 3 {
		t.Errorf("on bond0: %v", got)
	}
	if diff := cmp.Diff([]string{"bond0.5"}, names()); diff != "" {
		t.Error(diff)
	}
	s.Delete(a.Key())
	s.Delete(r.Key())
	if got := s.On("bond0"); len(got) != 1 {
		t.Errorf("on bond0 after the deletion: %v", got)
	}
	if got := s.On("bond0.5"); len(got) != 0 {
		t.Errorf("on bond0.5 after the deletion: %v", got)
	}
}

// TestCloneIsIndependent: a clone does not see what is done to the state later, nor the other way round.
func TestCloneIsIndependent(t *testing.T) {
	s := &State{}
	s.Put(Link{Name: "a"})
	s.On("a") // so that there is an index to share by mistake
	c := s.Clone()
	c.Put(Link{Name: "b"}, Addr{Prefix: pfx("10.0.0.1/24"), Dev: "a"})
	if s.Len() != 1 || c.Len() != 3 || len(s.On("a")) != 0 || len(c.On("a")) != 1 {
		t.Errorf("%d and %d objects, %d and %d on a", s.Len(), c.Len(), len(s.On("a")), len(c.On("a")))
	}
}

// TestRouteOnLink: a gateway that is taken for on the link without being asked is no other way; one that has to be, and is not, is.
func TestRouteOnLink(t *testing.T) {
	plain := Route{Dst: pfx("0.0.0.0/0"), Via: addr("10.0.0.1"), Dev: "bond0", Protocol: Protocol}.Canonical()
	onLink := plain
	onLink.OnLink, onLink.Protocol = true, 3
	if !onLink.Meets(plain) {
		t.Errorf("%s does not do for %s", onLink, plain)
	}
	if plain.Meets(onLink) {
		t.Errorf("%s does for %s", plain, onLink)
	}
}
