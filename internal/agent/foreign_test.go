// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"net/netip"
	"strings"
	"testing"

	"weft/internal/agent"
	"weft/internal/kernel/kerneltest"
	"weft/internal/netstate"
	"weft/internal/nic"
	"weft/internal/spec"
)

// TestForeign: what somebody else makes may go and come back. The rest of the node is kept meanwhile, and a NIC that
// needs it is refused with who has to make it.
func TestForeign(t *testing.T) {
	node := parse(t, `links: {eth9: {mtu: 1400}}
networks:
  lan: {mode: bridged, managed: false, bridge: br0}
  old: {mode: routed, managed: false, table: 100, uplink: eth8, ipv4: {subnet: 198.51.100.0/24}, ipv6: {subnet: "2001:db8:100::/64"}}
`)
	k := kerneltest.NewFake("eth8", "eth9", "tap0", "tap1", "tap2")
	bridge := netstate.Link{Name: "br0", Kind: netstate.Bridge, MAC: "02:00:00:00:00:03", MTU: 1500, Up: new(true), Master: new(""), Group: new(uint32(0)), Bridge: &netstate.BridgeAttrs{}}
	k.Disturb(func(s *netstate.State) { s.Put(bridge) })
	n := &agent.Node{Spec: node, Store: nic.Store{Dir: t.TempDir()}, Target: k}
	view := func() *agent.View {
		t.Helper()
		v, err := n.View(t.Context())
		if err != nil || v.Conflict != nil {
			t.Fatal(err, v.Conflict)
		}
		return v
	}
	if err := n.Apply(t.Context()); err != nil {
		t.Fatal(err)
	}
	lan := spec.NIC{ID: "u0", Name: "tap0", MAC: "aa:00:00:00:00:01", Network: "lan"}
	old := spec.NIC{ID: "u1", Name: "tap1", MAC: "aa:00:00:00:00:02", Network: "old", Addresses: []netip.Addr{netip.MustParseAddr("2001:db8:100::7")}}
	for _, c := range []spec.NIC{lan, old} {
		if err := n.Plug(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	proxy := netstate.Neigh{IP: old.Addresses[0], Dev: "eth8", Proxy: true}.Key()
	there := view()
	if len(there.Lacking) > 0 || there.Have.Link("tap0").MasterName() != "br0" || there.Have.Get(proxy) == nil {
		t.Fatalf("lacking %v, master %q, proxy %v", there.Lacking, there.Have.Link("tap0").MasterName(), there.Have.Get(proxy))
	}
	uplink := *there.Have.Link("eth8")

	// Both go, and somebody turns a knob of the rest.
	k.Disturb(func(s *netstate.State) {
		tap := *s.Link("tap0")
		tap.Master = new("")
		s.Put(tap)
		for _, dev := range []string{"br0", "eth8"} {
			for _, o := range s.On(dev) {
				s.Delete(o.Key())
			}
			s.Delete(netstate.LinkKey(dev))
		}
		knob := *s.Link("eth9")
		knob.MTU = 1500
		s.Put(knob)
	})
	if err := n.Apply(t.Context()); err != nil {
		t.Fatal(err)
	}
	v := view()
	if v.Lacking["br0"] != "lan" || v.Lacking["eth8"] != "old" || v.Have.Link("eth9").MTU != 1400 || !v.Plan.Empty() {
		t.Errorf("lacking %v, MTU %d, plan %v", v.Lacking, v.Have.Link("eth9").MTU, v.Plan.Ops)
	}
	if v.Have.Link("tap0").IsUp() {
		t.Error("a tap without its bridge is up, in no network")
	}
	for _, c := range []struct {
		spec.NIC
		dev string
	}{{spec.NIC{ID: "u2", Name: "tap2", MAC: "aa:00:00:00:00:03", Network: "lan"}, "br0"}, {spec.NIC{ID: "u2", Name: "tap2", MAC: "aa:00:00:00:00:03", Network: "old", Addresses: []netip.Addr{netip.MustParseAddr("2001:db8:100::8")}}, "eth8"}} {
		err := n.Plug(t.Context(), c.NIC)
		if err == nil || !strings.Contains(err.Error(), "plug in tap2: "+c.dev+" is not on this node, and not weft's to make: network "+c.Network+" has managed: false") {
			t.Errorf("plugged in without %s: %v", c.dev, err)
		}
	}

	// They come back, and so does all that needs them.
	k.Disturb(func(s *netstate.State) { s.Put(bridge, uplink) })
	if err := n.Apply(t.Context()); err != nil {
		t.Fatal(err)
	}
	if v := view(); len(v.Lacking) > 0 || v.Have.Link("tap0").MasterName() != "br0" || !v.Have.Link("tap0").IsUp() || v.Have.Get(proxy) == nil {
		t.Errorf("lacking %v, tap0 %s, proxy %v", v.Lacking, v.Have.Link("tap0"), v.Have.Get(proxy))
	}
}

// TestDescribedNetwork: a NIC brings its network along, and the last of the network takes it away. All that stays is what
// the kernel cannot take back, settings.
func TestDescribedNetwork(t *testing.T) {
	k := kerneltest.NewFake("eth0", "eth8", "tap0", "tap1")
	n := &agent.Node{Spec: parse(t, "links: {eth0: {}}\n"), Store: nic.Store{Dir: t.TempDir()}, Target: k}
	if err := n.Apply(t.Context()); err != nil {
		t.Fatal(err)
	}
	state := func() string {
		t.Helper()
		s, err := k.Observe(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		var lines []string
		for o := range s.All() {
			if o.Key().Kind != netstate.KindSysctl && netstate.DevOf(o) != "tap0" && netstate.DevOf(o) != "tap1" {
				lines = append(lines, o.Key().String()+": "+o.String())
			}
		}
		return strings.Join(lines, "\n")
	}
	bare := state()
	plug := func(id, tap, ip string) spec.NIC {
		return spec.NIC{ID: id, Name: tap, MAC: "aa:00:00:00:00:0" + id, Network: "n100", Addresses: []netip.Addr{netip.MustParseAddr(ip)},
			Net: &spec.Network{Mode: spec.Routed, Managed: new(false), Table: 100, Uplink: "eth8", IPv4: &spec.Prefix{}, IPv6: &spec.Prefix{}}}
	}
	if err := n.Plug(t.Context(), plug("1", "tap0", "198.51.100.1")); err != nil {
		t.Fatal(err)
	}
	one := state()
	for _, want := range []string{"rule inet lookup local: pref 3 lookup local", "blackhole default table 100", "blackhole ::/0 table 100", "pref 2 iif tap0 lookup 100"} {
		if !strings.Contains(one, want) {
			t.Errorf("no %q in\n%s", want, one)
		}
	}
	if strings.Contains(one, "link eth8: eth8 group 87") || strings.Contains(one, "link eth8: eth8 group 88") {
		t.Errorf("somebody else's uplink was taken:\n%s", one)
	}
	if err := n.Plug(t.Context(), plug("2", "tap1", "2001:db8:100::2")); err != nil {
		t.Fatal(err)
	}
	if two := state(); !strings.Contains(two, "proxy 2001:db8:100::2 dev eth8") {
		t.Errorf("nobody answers for the second guest:\n%s", two)
	}
	if v, err := n.View(t.Context()); err != nil || v.Conflict != nil || !v.Plan.Empty() {
		t.Errorf("%v, %v, left: %v", err, v.Conflict, v.Plan.Ops)
	}
	if err := n.Unplug(t.Context(), "2"); err != nil {
		t.Fatal(err)
	}
	if got := state(); got != one {
		t.Errorf("without the second guest\n%s\nwant\n%s", got, one)
	}
	if err := n.Unplug(t.Context(), "1"); err != nil {
		t.Fatal(err)
	}
	if got := state(); got != bare {
		t.Errorf("without guests\n%s\nwant\n%s", got, bare)
	}
}
