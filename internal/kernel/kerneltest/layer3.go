// SPDX-License-Identifier: Apache-2.0

package kerneltest

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"weft/internal/netstate"
	"weft/internal/nft"
	"weft/internal/plan"
)

var (
	prefix = netip.MustParsePrefix
	addr   = netip.MustParseAddr
	all4   = prefix("0.0.0.0/0")
	all6   = prefix("::/0")
)

func addrOn(dev, p string) netstate.Addr {
	return netstate.Addr{Prefix: prefix(p), Dev: dev, Protocol: netstate.Protocol}
}

func route(r netstate.Route) netstate.Route {
	r.Protocol = netstate.Protocol
	return r.Canonical()
}

func rule(r netstate.Rule) netstate.Rule {
	r.Protocol = netstate.Protocol
	if r.Action == "" {
		r.Action = "lookup"
	}
	return r
}

// up takes links up.
func (e *env) up(names ...string) {
	e.Helper()
	for _, n := range names {
		e.set(netstate.Link{Name: n, Up: new(true)})
	}
}

func testAddrs(e *env) {
	e.up("eth0")
	all := []netstate.Object{
		addrOn("eth0", "192.0.2.1/24"), addrOn("eth0", "192.0.2.1/32"), addrOn("eth0", "198.51.100.7/31"),
		addrOn("eth0", "2001:db8::1/64"), addrOn("eth0", "fe80::1/64"),
	}
	e.add(all...)
	e.remove(all...)
}

func testRoutes(e *env) {
	e.up("eth0", "eth1")
	e.add(addrOn("eth0", "192.0.2.1/24"), addrOn("eth0", "2001:db8::1/64"), addrOn("eth1", "198.51.100.1/24"))
	all := []netstate.Object{
		route(netstate.Route{Dst: prefix("62.217.124.48/29"), Dev: "eth0", Table: 993}),
		route(netstate.Route{Dst: all4, Via: addr("62.217.124.49"), Dev: "eth0", Table: 993, OnLink: true}),
		route(netstate.Route{Dst: all4, Type: "unreachable", Table: 993, Metric: netstate.LastMetric}),
		route(netstate.Route{Dst: prefix("62.217.124.53/32"), Dev: "eth1", Table: 993}),
		route(netstate.Route{Dst: all4, Via: addr("192.0.2.254"), Dev: "eth0"}),
		route(netstate.Route{Dst: all4, Via: addr("192.0.2.254"), Dev: "eth0", Metric: 50, MTU: 1400, Src: addr("192.0.2.1")}),
		route(netstate.Route{Dst: prefix("203.0.113.0/24"), NextHops: []netstate.NextHop{
			{Via: addr("192.0.2.254"), Dev: "eth0", Weight: 1}, {Via: addr("198.51.100.254"), Dev: "eth1", Weight: 3}}}),
		route(netstate.Route{Dst: prefix("10.1.0.0/16"), Type: "blackhole"}),
		route(netstate.Route{Dst: prefix("10.2.0.0/16"), Type: "prohibit", Table: 4242424}),
		route(netstate.Route{Dst: prefix("10.3.0.0/16"), Via: addr("2001:db8::2"), Dev: "eth0"}),
		route(netstate.Route{Dst: prefix("2001:db8:993::/64"), Dev: "eth0", Table: 993}),
		route(netstate.Route{Dst: all6, Via: addr("2001:db8::fe"), Dev: "eth0", Table: 993, OnLink: true}),
		route(netstate.Route{Dst: all6, Type: "unreachable", Table: 993, Metric: netstate.LastMetric}),
		route(netstate.Route{Dst: prefix("2001:db8:993::53/128"), Dev: "eth1", Table: 993}),
		route(netstate.Route{Dst: all6, Via: addr("2001:db8::fe"), Dev: "eth0", Metric: 50, MTU: 1400}),
	}
	e.add(all...)
	e.remove(all...)
}

func testRouteReplaced(e *env) {
	e.up("eth0", "eth1")
	for _, p := range []string{"62.217.124.53/32", "2001:db8:993::53/128"} {
		old := route(netstate.Route{Dst: prefix(p), Dev: "eth0", Table: 993})
		moved := route(netstate.Route{Dst: prefix(p), Dev: "eth1", Table: 993})
		e.add(old)
		e.do(old, moved)
		e.do(old, moved)
		e.has(moved)
		e.do(old, nil) // it leads elsewhere by now: not the route that was meant
		e.has(moved)
		if err := e.host.Apply(e.Context(), step(nil, old)); err == nil {
			e.Errorf("another route of the key of %v was added", moved)
		}
		e.remove(moved)
	}
}

func testRules(e *env) {
	var all []netstate.Object
	for _, f := range []int{4, 6} {
		from, to := prefix("10.0.0.0/8"), prefix("10.9.0.0/16")
		if f == 6 {
			from, to = prefix("2001:db8::/32"), prefix("2001:db8:9::/48")
		}
		all = append(all,
			rule(netstate.Rule{Family: f, Priority: 1, L3MDev: true}),
			rule(netstate.Rule{Family: f, Priority: 100, IIF: "tap0", Table: 993}),
			rule(netstate.Rule{Family: f, Priority: 100, OIF: "tap0", Table: 993}),
			rule(netstate.Rule{Family: f, Priority: 101, From: from, To: to, Table: 4242424}),
			rule(netstate.Rule{Family: f, Priority: 102, Not: true, From: from, Table: 5}),
			rule(netstate.Rule{Family: f, Priority: 103, FwMark: 3, Table: 6}),
			rule(netstate.Rule{Family: f, Priority: 103, FwMark: 3, FwMask: 7, Table: 6}),
			rule(netstate.Rule{Family: f, Priority: 104, IIF: "tap0", Action: "unreachable"}),
			rule(netstate.Rule{Family: f, Priority: 105, IIF: "tap0", Action: "blackhole"}),
			rule(netstate.Rule{Family: f, Priority: 106, IIF: "tap0", Action: "prohibit"}),
		)
	}
	e.add(all...)
	e.remove(all...)
}

func testLocalRule(e *env) {
	for _, f := range []int{4, 6} {
		var first netstate.Rule
		for r := range netstate.Of[netstate.Rule](e.observe()) {
			if r.Family == f && r.IsLocal() {
				first = r
			}
		}
		moved := rule(netstate.Rule{Family: f, Priority: 2, Table: netstate.TableLocal})
		e.do(first, moved)
		e.do(first, moved)
		e.has(moved)
		again := moved
		again.Priority = 3
		e.do(moved, again)
		e.has(again)
		e.do(again, nil)
		e.do(again, nil)
		e.has(first)
		if now := e.observe().Get(first.Key()); now.Owned() {
			e.Errorf("%v was put back, and is still weft's", now)
		}
	}
}

func testNeighs(e *env) {
	e.up("eth0")
	var all []netstate.Object
	for _, ip := range []string{"62.217.124.53", "2001:db8:993::53"} {
		all = append(all,
			netstate.Neigh{IP: addr(ip), Dev: "eth0", MAC: "02:00:00:00:00:53", Protocol: netstate.Protocol},
			netstate.Neigh{IP: addr(ip), Dev: "eth0", Proxy: true, Protocol: netstate.Protocol})
	}
	e.add(all...)
	n := all[0].(netstate.Neigh)
	n.MAC = "02:00:00:00:00:54"
	e.do(all[0], n)
	e.has(n)
	e.remove(all...)
}

func testSysctls(e *env) {
	set := func(path string, values ...string) {
		for _, v := range values {
			s := netstate.Sysctl{Path: path, Value: v}
			e.do(e.observe(s).Get(s.Key()), s)
			e.has(s)
		}
	}
	// one file each, and one each that the dumps of links and of neighbour tables tell
	set("net/ipv4/ip_forward", "1", "0")
	set("net/ipv6/conf/all/forwarding", "1")
	for _, k := range []string{"proxy_arp", "rp_filter", "forwarding", "send_redirects", "arp_ignore", "accept_local", "arp_announce"} {
		set("net/ipv4/conf/eth0/"+k, "1", "0")
	}
	for _, k := range []string{"proxy_ndp", "forwarding", "accept_ra", "disable_ipv6", "addr_gen_mode", "keep_addr_on_down", "dad_transmits"} {
		set("net/ipv6/conf/eth0/"+k, "1", "0")
	}
	set("net/ipv4/neigh/eth0/proxy_delay", "0", "80")
	set("net/ipv6/neigh/eth0/proxy_delay", "0", "80")
	set("net/ipv4/neigh/eth0/proxy_qlen", "100")
	e.lacks(netstate.Sysctl{Path: "net/ipv4/conf/eth9/proxy_arp"})
}

func testTables(e *env) {
	table := nft.Table{
		Family: nft.ARP, Name: nft.TableName,
		Sets:   []nft.Set{{Name: "arp_source", Key: []string{"devgroup"}, Data: "ipv4_addr"}},
		Chains: []nft.Chain{{Name: "output", Type: "filter", Hook: "output", Policy: "accept", Rules: []nft.Rule{{Exprs: []nft.Expr{"arp operation request", "arp saddr ip set oifgroup map @arp_source"}}}}},
	}
	element := nft.Element{Family: nft.ARP, Table: nft.TableName, Set: "arp_source", Parts: []string{"8800993"}, Value: "62.217.124.54"}
	both := plan.Op{Phase: plan.PhaseGuard, Changes: []plan.Change{{New: table}, {New: element}}}
	for range 2 {
		if err := e.host.Apply(e.Context(), both); err != nil {
			e.Fatal(err)
		}
		e.has(table, element)
	}
	e.remove(element)
	e.remove(table)
}

func testErrors(e *env) {
	refused := func(old, new netstate.Object) {
		e.Helper()
		before := e.observe()
		if err := e.host.Apply(e.Context(), step(old, new)); err == nil {
			e.Errorf("%v was accepted", new)
		} else {
			e.Log(err)
		}
		e.same(before, e.observe())
	}
	refused(nil, netstate.Link{Name: "nosuch.5", Kind: netstate.VLAN, Parent: "nosuch", Group: &ours, VLAN: &netstate.VLANAttrs{ID: 5}})
	refused(netstate.Link{Name: "nosuch"}, netstate.Link{Name: "nosuch", Up: new(true)})
	refused(netstate.Link{Name: "eth0"}, netstate.Link{Name: "eth0", Master: new("nosuch")})
	refused(nil, addrOn("nosuch", "192.0.2.1/24"))
	refused(nil, route(netstate.Route{Dst: all4, Dev: "nosuch"}))
	refused(nil, netstate.Neigh{IP: addr("192.0.2.1"), Dev: "nosuch", Proxy: true})
	ctx, cancel := context.WithCancel(e.Context())
	cancel()
	if err := e.host.Apply(ctx, step(nil, netstate.Link{Name: "b", Kind: netstate.Bridge})); err == nil {
		e.Error("applied after its context had ended")
	}
}

// patience is how long a sign of a change may take.
const patience = 20 * time.Second

func testWatch(e *env) {
	ctx, cancel := context.WithCancel(e.Context())
	changed, err := e.host.Watch(ctx)
	if err != nil {
		e.Fatal(err)
	}
	limit, stop := context.WithTimeout(e.Context(), patience)
	defer stop()
	for i, o := range []netstate.Object{
		netstate.Link{Name: "eth0", Up: new(true)},
		addrOn("eth0", "192.0.2.1/24"),
		route(netstate.Route{Dst: prefix("62.217.124.48/29"), Dev: "eth0", Table: 993}),
		rule(netstate.Rule{Family: 4, Priority: 1, L3MDev: true}),
		netstate.Neigh{IP: addr("192.0.2.9"), Dev: "eth0", MAC: "02:00:00:00:00:53", Protocol: netstate.Protocol},
		nft.Table{Family: nft.Inet, Name: nft.TableName},
	} {
		select { // what is left of the change before
		case <-changed:
		default:
		}
		var old netstate.Object
		if i == 0 {
			old = netstate.Link{Name: "eth0", Up: new(false)}
		}
		e.do(old, o)
		e.await(limit, changed, fmt.Sprintf("a new %v", o.Key()))
	}
	cancel()
	for {
		select {
		case _, open := <-changed:
			if !open {
				return
			}
		case <-limit.Done():
			e.Fatal("the watch does not end with its context")
		}
	}
}
