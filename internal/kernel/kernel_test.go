// SPDX-License-Identifier: Apache-2.0

package kernel_test

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weft/internal/kernel"
	"weft/internal/netstate"
	"weft/internal/plan"
)

func step(old, new netstate.Object) plan.Op {
	return plan.Op{Phase: plan.PhaseLink, Changes: []plan.Change{{Old: old, New: new}}}
}

func apply(t testing.TB, h *kernel.Host, old, new netstate.Object) {
	t.Helper()
	if err := h.Apply(t.Context(), step(old, new)); err != nil {
		t.Fatal(err)
	}
}

func observe(t testing.TB, h *kernel.Host, want *netstate.State) *netstate.State {
	t.Helper()
	s, err := h.Observe(t.Context(), want)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestLACP reads back the state of two bonds that speak LACP with each other.
func TestLACP(t *testing.T) {
	h, ns := newHost(t)
	other, otherNS := newHost(t)
	batch(t, ns, "link add eth0 type veth peer name eth0 netns "+otherNS+"\nlink add eth1 type veth peer name eth1 netns "+otherNS+"\n")
	for i, h := range []*kernel.Host{h, other} {
		mac := []string{"02:00:00:00:0b:01", "02:00:00:00:0b:02"}[i]
		apply(t, h, nil, netstate.Link{Name: "bond0", Kind: netstate.Bond, MAC: mac, Bond: &netstate.BondAttrs{
			Mode: new("802.3ad"), MIIMon: new(uint32(100)), LACPRate: new("fast")}})
		for _, m := range []string{"eth0", "eth1"} {
			apply(t, h, netstate.Link{Name: m}, netstate.Link{Name: m, Master: new("bond0")})
		}
		apply(t, h, netstate.Link{Name: "bond0"}, netstate.Link{Name: "bond0", Up: new(true)})
	}
	const partner, collecting = "02:00:00:00:0b:02", 0x10
	var bond, eth0, eth1 *netstate.Link
	ready := func() bool {
		s := observe(t, h, nil)
		bond, eth0, eth1 = s.Link("bond0"), s.Link("eth0"), s.Link("eth1")
		b, m0, m1 := bond.Status.Bond, eth0.Status.Member, eth1.Status.Member
		return b.PartnerMAC == partner && b.Ports == 2 && m0.AggregatorID == m1.AggregatorID && m0.ActorState&m1.ActorState&collecting != 0
	}
	until(t, h, ready)
	for _, l := range []*netstate.Link{eth0, eth1} {
		m := l.Status.Member
		if m.MII != "up" || m.State != "active" || m.PartnerMAC != partner || m.PermMAC == "" || m.AggregatorID != bond.Status.Bond.AggregatorID || l.Status.Speed != 10000 {
			t.Errorf("%s: %+v, speed %d", l.Name, m, l.Status.Speed)
		}
	}
	if b := bond.Status.Bond; b.ActorKey == 0 || b.PartnerKey == 0 || !bond.Status.Carrier || bond.Status.OperState != "up" {
		t.Errorf("bond0: %+v %+v", bond.Status, b)
	}
}

// until waits until something is so, looking whenever the namespace changes, and every now and then: the state of LACP
// changes without an event.
func until(t *testing.T, h *kernel.Host, so func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	changed, err := h.Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for !so() {
		select {
		case <-ctx.Done():
			t.Fatal("it did not come about")
		case <-changed:
		case <-tick.C:
		}
	}
}

// TestErrors checks that the kernel's error number and words come through, and which object they are about.
func TestErrors(t *testing.T) {
	h, ns := newHost(t, "eth0")
	batch(t, ns, "link set eth0 up\nroute add 10.0.0.0/8 dev eth0\naddr add 2001:db8::1/128 dev eth0\nlink add dum0 type dummy\n")
	for _, tt := range []struct {
		name     string
		old, new netstate.Object
		errno    unix.Errno
		text     string
	}{
		{"no parent", nil, netstate.Link{Name: "x.5", Kind: netstate.VLAN, Parent: "x", VLAN: &netstate.VLANAttrs{ID: 5}}, unix.ENODEV, `create x.5: find link "x": no such device`},
		{"bad vlan", nil, netstate.Link{Name: "v", Kind: netstate.VLAN, Parent: "eth0", VLAN: &netstate.VLANAttrs{ID: 4095}}, unix.ERANGE, "create v: numerical result out of range: "},
		{"mtu", netstate.Link{Name: "eth0"}, netstate.Link{Name: "eth0", MTU: 70000}, unix.EINVAL, "set eth0: invalid argument: mtu greater than device maximum"},
		{"no gateway", nil, netstate.Route{Dst: prefix("10.9.0.0/16"), Via: prefix("203.0.113.1/32").Addr()}, unix.ENETUNREACH, "create route 10.9.0.0/16 table 0 metric 0: network is unreachable: Nexthop has invalid gateway"},
		{"another route", nil, netstate.Route{Dst: prefix("10.0.0.0/8"), Type: "unreachable", Table: netstate.TableMain, Protocol: netstate.Protocol}, unix.EEXIST, "create route 10.0.0.0/8 table 254 metric 0: file exists"},
		{"another prefix length", nil, netstate.Addr{Prefix: prefix("2001:db8::1/64"), Dev: "eth0"}, unix.EEXIST, "create addr 2001:db8::1/64 dev eth0: file exists"},
		{"another kind", nil, netstate.Link{Name: "dum0", Kind: netstate.Bridge}, unix.EEXIST, "create dum0: file exists"},
		{"no bond mode", nil, netstate.Link{Name: "b", Kind: netstate.Bond, Bond: &netstate.BondAttrs{Mode: new("fastest")}}, unix.EINVAL, `create b: bond mode "fastest"`},
		{"long name", nil, netstate.Link{Name: "abcdefghijklmnop", Kind: netstate.Bridge}, unix.ERANGE, "create abcdefghijklmnop: "},
		{"sysctl value", nil, netstate.Sysctl{Path: "net/ipv4/ip_forward", Value: "x"}, unix.EINVAL, "create sysctl net/ipv4/ip_forward: invalid argument"},
		{"no sysctl", nil, netstate.Sysctl{Path: "net/ipv4/nosuch", Value: "1"}, unix.ENOENT, "create sysctl net/ipv4/nosuch: no such file or directory"},
		{"not a sysctl of the network", nil, netstate.Sysctl{Path: "net/../kernel/hostname", Value: "x"}, unix.EINVAL, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := h.Apply(t.Context(), step(tt.old, tt.new))
			if !errors.Is(err, tt.errno) || !strings.HasPrefix(err.Error(), tt.text) {
				t.Errorf("got %v, want %q (%v)", err, tt.text, tt.errno)
			}
		})
	}
}

// TestInterruptedMove: a move of the local rule that was interrupted after its first half is finished the next time.
func TestInterruptedMove(t *testing.T) {
	h, ns := newHost(t)
	old := netstate.Rule{Family: 4, Priority: 0, Table: netstate.TableLocal, Action: "lookup", Protocol: 2}
	moved := netstate.Rule{Family: 4, Priority: 2, Table: netstate.TableLocal, Action: "lookup", Protocol: netstate.Protocol}
	run(t, "ip", "-n", ns, "rule", "add", "pref", "2", "lookup", "local", "protocol", "87")
	if got := observe(t, h, nil).Get(old.Key()); got != old {
		t.Errorf("between the halves: %v, want %v", got, old)
	}
	apply(t, h, old, moved)
	if out := run(t, "ip", "-n", ns, "rule"); strings.Count(out, "lookup local") != 1 || !strings.HasPrefix(out, "2:") {
		t.Errorf("after both:\n%s", out)
	}
	run(t, "ip", "-n", ns, "rule", "add", "pref", "0", "lookup", "local", "protocol", "kernel")
	apply(t, h, moved, nil)
	if out := run(t, "ip", "-n", ns, "rule"); strings.Count(out, "lookup local") != 1 || !strings.HasPrefix(out, "0:") {
		t.Errorf("after it was put back:\n%s", out)
	}
}

// TestForeignRoutes: what weft has no words for is left out, and does not hide what it has words for.
func TestForeignRoutes(t *testing.T) {
	h, ns := newHost(t, "eth0")
	batch(t, ns, "link set eth0 up\nroute add 10.0.0.0/8 tos 8 dev eth0\nroute add 10.0.0.0/8 dev eth0 metric 7\n"+
		"rule add pref 9 iif eth0 ipproto tcp dport 80 lookup 9\nrule add pref 10 lookup main suppress_prefixlength 0\nrule add pref 11 uidrange 5-6 lookup 9\n")
	s := observe(t, h, nil)
	var routes []string
	for r := range netstate.Of[netstate.Route](s) {
		routes = append(routes, r.String())
	}
	if len(routes) != 1 || routes[0] != "10.0.0.0/8 dev eth0 proto 3 metric 7" {
		t.Errorf("routes: %q", routes)
	}
	for r := range netstate.Of[netstate.Rule](s) {
		if r.Priority > 0 && r.Priority < 1000 {
			t.Errorf("rule: %v", r)
		}
	}
}

// TestOpen checks that a path that is no namespace is refused.
func TestOpen(t *testing.T) {
	for _, p := range []string{"/run/netns/nosuch", "/dev/null"} {
		if h, err := kernel.Open(p); err == nil || h != nil || !strings.Contains(err.Error(), p) {
			t.Errorf("%s: %v", p, err)
		}
	}
}

// TestMachineSettings: a namespace has no limits of the neighbour tables of its own, and nothing to do for them; a setting
// that exists nowhere is another matter.
func TestMachineSettings(t *testing.T) {
	h, _ := newHost(t)
	limit, no := netstate.Sysctl{Path: "net/ipv4/neigh/default/gc_thresh3", Value: "32768"}, netstate.Sysctl{Path: "net/ipv4/neigh/default/nosuch", Value: "1"}
	want := &netstate.State{}
	want.Put(limit, no)
	s := observe(t, h, want)
	if got := s.Get(limit.Key()); got != limit {
		t.Errorf("the limit is seen as %v", got)
	}
	if got := s.Get(no.Key()); got != nil {
		t.Errorf("there is %v", got)
	}
}

// TestWatchSettings: what somebody writes into a setting is told once it was looked at, also into that of a later link of the name.
func TestWatchSettings(t *testing.T) {
	h, ns := newHost(t, "eth0")
	changed, err := h.Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := &netstate.State{}
	want.Put(netstate.Sysctl{Path: "net/ipv4/conf/eth0/arp_ignore", Value: "0"}, netstate.Sysctl{Path: "net/ipv4/conf/all/arp_ignore", Value: "0"})
	for _, dev := range []string{"eth0", "all", "eth0"} {
		observe(t, h, want)
		for silent := false; !silent; {
			select {
			case <-changed:
			case <-time.After(500 * time.Millisecond):
				silent = true
			}
		}
		out, err := exec.Command("ip", "netns", "exec", ns, "sh", "-c", "echo 1 >/proc/sys/net/ipv4/conf/"+dev+"/arp_ignore").CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		select {
		case <-changed:
		case <-time.After(time.Minute):
			t.Errorf("nothing is told of %s", dev)
		}
		batch(t, ns, "link del eth0\nlink add eth0 type veth peer name late\n")
	}
}

// TestFlushedVRF: a port of a VRF whose table was flushed has IPv6 turned on and lacks what the kernel had there for it. That counts as off,
// and turning it on makes it anew.
func TestFlushedVRF(t *testing.T) {
	h, ns := newHost(t, "eth0")
	batch(t, ns, "link add v77 type vrf table 77\nlink set v77 up\nlink set eth0 master v77\nlink set eth0 up\n")
	on := netstate.Sysctl{Path: "net/ipv6/conf/eth0/disable_ipv6", Value: "0"}
	want := &netstate.State{}
	want.Put(on)
	table := func(what string) string {
		out, err := exec.Command("ip", "-n", ns, "-6", "route", what, "table", "77").CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
	for !strings.Contains(table("show"), "local fe80::") { // a moment after it was set up
	}
	if got := observe(t, h, want).Get(on.Key()); got != on {
		t.Errorf("before: %v", got)
	}
	before := strings.Count(table("show"), "dev eth0")
	table("flush")
	if got := observe(t, h, want).Get(on.Key()); got != nil {
		t.Errorf("flushed: %v", got)
	}
	apply(t, h, nil, on)
	if got := observe(t, h, want).Get(on.Key()); got != on {
		t.Errorf("afterwards: %v", got)
	}
	for strings.Count(table("show"), "dev eth0") < before { // the link-local address is asked for first
	}
}
