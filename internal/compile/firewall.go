// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"fmt"
	"net/netip"
	"slices"

	"weft/internal/netstate"
	"weft/internal/nft"
	"weft/internal/spec"
)

// The firewall says what is forwarded to a guest, in the same words for routed networks (family inet) and for bridged ones (family
// bridge, whose connections nf_conntrack_bridge tracks). Its rules are the groups'; a NIC is an element of the sets of its groups.
//
// Packets of the direction in which a connection was begun are judged every time, and not only the first: what a group no longer allows
// ends at once, what it still allows goes on, and a connection whose beginning another node has seen is judged as it was there.
const (
	setGuarded   = "guarded" // taps that something may not come in to
	groupPrefix  = "group_"  // of the set of a group's taps, and of the chain of its rules
	from4        = "from4_"  // of the set of the addresses of a group's members
	from6        = "from6_"
	dropFirewall = "drop_firewall"
)

// groups returns the groups that there are in the order of their names, none where the file says nothing of any: a rule about
// connections has the host track them.
func (b *builder) groups() []string {
	if b.node.Groups == nil {
		return nil
	}
	return slices.Sorted(slices.Values(append(sorted(b.node.Groups), spec.Protected, spec.Limited)))
}

// sources returns the groups that rules of others name as a source.
func (b *builder) sources() map[string]bool {
	from := map[string]bool{}
	for _, g := range b.node.Groups {
		for _, a := range g.Allow {
			for _, f := range a.From {
				if other := spec.FromGroup(f); other != "" {
					from[other] = true
				}
			}
		}
	}
	return from
}

// firewalled asks for the elements of a NIC.
func (b *builder) firewalled(who string, family nft.Family, nic *spec.NIC) {
	groups := nic.Firewalled()
	if len(groups) > 0 {
		b.element(who, family, setGuarded, "", nft.IfName(nic.Name))
	}
	for _, g := range groups {
		b.element(who, family, groupPrefix+g, "", nft.IfName(nic.Name))
	}
}

// members asks for the addresses of the members of groups that rules name as a source.
func (b *builder) members(nics []spec.NIC) {
	from := b.sources()
	for i := range nics {
		for _, g := range nics[i].Groups {
			if !from[g] {
				continue
			}
			for _, a := range slices.Concat(nics[i].Addresses, nics[i].Sources) {
				set := from6
				if a.Is4() {
					set = from4
				}
				for _, family := range []nft.Family{nft.Inet, nft.BridgeFamily} {
					if b.state.Get(nft.TableKey(family, nft.TableName)) != nil {
						b.element("nic "+nics[i].Name, family, set+g, "", a.String())
					}
				}
			}
		}
	}
}

// raise adds the firewall to a table: its sets and chains, and the way to it. What a link needs to work is not the firewall's to refuse,
// port security judges it.
func (b *builder) raise(t *nft.Table) {
	if zones := b.zones(t.Family); len(zones) > 0 {
		t.Chains = append(t.Chains, nft.Chain{Name: "zones", Type: "filter", Hook: "prerouting", Priority: zonePriority, Policy: "accept", Rules: zones})
	}
	groups := b.groups()
	if len(groups) == 0 {
		return
	}
	t.Sets = append(t.Sets, nft.Set{Name: setGuarded, Key: []string{"ifname"}})
	for g := range b.sources() {
		t.Sets = append(t.Sets, nft.Set{Name: from4 + g, Key: []string{"ipv4_addr"}}, nft.Set{Name: from6 + g, Key: []string{"ipv6_addr"}})
	}
	judge := []nft.Rule{rule("ct direction reply", "accept"), rule("ct state related", "accept")}
	if t.Family == nft.BridgeFamily {
		judge = append(judge, link()...)
	}
	for _, g := range groups {
		t.Sets = append(t.Sets, nft.Set{Name: groupPrefix + g, Key: []string{"ifname"}})
		t.Chains = append(t.Chains, b.group(g)...)
		judge = append(judge, rule(nft.Expr("oifname @"+groupPrefix+g), nft.Expr("jump "+groupPrefix+g)))
	}
	judge = append(judge, rule("jump "+dropFirewall))
	t.Chains = append(t.Chains, verdict(dropFirewall))
	if t.Family == nft.BridgeFamily { // what is no IP goes on
		t.Chains = append(t.Chains, nft.Chain{Name: "firewall_ip", Rules: judge},
			nft.Chain{Name: "from_dhcp", Rules: []nft.Rule{rule("udp sport 67", "accept")}},
			nft.Chain{Name: "from_dhcp6", Rules: []nft.Rule{rule("udp sport 547", "accept")}})
		judge = []nft.Rule{rule("ether type ip", "jump firewall_ip"), rule("ether type ip6", "jump firewall_ip")}
	}
	t.Chains = append(t.Chains, nft.Chain{Name: "firewall", Rules: judge})
}

// toFirewall is the way to the firewall, where there is one.
func (b *builder) toFirewall() []nft.Rule {
	if b.node.Groups == nil {
		return nil
	}
	return []nft.Rule{rule("oifname @"+setGuarded, "jump firewall")}
}

// link is what a guest on a bridge needs to hear: neighbour discovery, routers, who listens to what, and the answers of DHCP, which are
// to all.
func link() []nft.Rule {
	rules := []nft.Rule{rule("meta l4proto igmp", "accept"), rule("udp dport 68", "jump from_dhcp"), rule("udp dport 546", "jump from_dhcp6")}
	for _, typ := range []string{
		"nd-router-solicit", "nd-router-advert", "nd-neighbor-solicit", "nd-neighbor-advert", "nd-redirect",
		"mld-listener-query", "mld-listener-report", "mld-listener-done", "mld2-listener-report",
	} {
		rules = append(rules, rule(nft.Expr("icmpv6 type "+typ), "accept"))
	}
	return rules
}

// group returns the chains of a group's rules: one, and another for each rule that asks where a packet is from.
func (b *builder) group(name string) []nft.Chain {
	g, _ := b.node.Group(name)
	own := nft.Chain{Name: groupPrefix + name}
	if g == nil { // the NIC's check has said so
		return []nft.Chain{own}
	}
	var all []nft.Chain
	for i, a := range g.Allow {
		if len(a.From) == 0 {
			own.Rules = append(own.Rules, allowed(a)...)
			continue
		}
		more := nft.Chain{Name: fmt.Sprintf("allow_%s_%d", name, i+1), Rules: allowed(a)}
		for _, e := range b.from(a) {
			own.Rules = append(own.Rules, rule(e, nft.Expr("jump "+more.Name)))
		}
		all = append(all, more)
	}
	return append(all, own)
}

// from spells the sources of a rule.
func (b *builder) from(a spec.Allow) []nft.Expr {
	var all []nft.Expr
	for _, f := range a.From {
		name := spec.FromGroup(f)
		if name == "" {
			all = append(all, source(spec.FromPrefix(f))...)
			continue
		}
		all = append(all, nft.Expr("ip saddr @"+from4+name), nft.Expr("ip6 saddr @"+from6+name))
		for _, p := range b.node.Groups[name].Members {
			all = append(all, source(p)...)
		}
	}
	return all
}

// source spells a source prefix as nft does, which has none of no bits.
func source(p netip.Prefix) []nft.Expr {
	field := "ip saddr "
	if p.Addr().Is6() {
		field = "ip6 saddr "
	}
	switch {
	case p.Bits() == 0 && p.Addr().Is4():
		return []nft.Expr{"ip saddr 0.0.0.0/1", "ip saddr 128.0.0.0/1"}
	case p.Bits() == 0:
		return []nft.Expr{"ip6 saddr ::/1", "ip6 saddr 8000::/1"}
	case p.IsSingleIP():
		return []nft.Expr{nft.Expr(field + p.Addr().String())}
	}
	return []nft.Expr{nft.Expr(field + p.Masked().String())}
}

// allowed returns the rules that let the protocol and ports of a rule in.
func allowed(a spec.Allow) []nft.Rule {
	switch {
	case a.Proto == "icmp":
		return []nft.Rule{rule("meta l4proto icmp", "accept"), rule("meta l4proto ipv6-icmp", "accept")}
	case len(a.Ports) == 0:
		return []nft.Rule{rule(nft.Expr("meta l4proto "+a.Proto), "accept")}
	}
	var rules []nft.Rule
	for _, port := range a.Ports {
		rules = append(rules, rule(nft.Expr(a.Proto+" dport "+port), "accept"))
	}
	return rules
}

// zonePrivate is where the zones of private networks begin, as spec.FirstBridgedZone for bridged ones: the VLAN's number is added. A routed
// network has its table's number.
const zonePrivate = spec.FirstBridgedZone + 0x1000

// zone returns the zone of a network's connections, 0 for that of the host. What somebody else's uplink brings gets none, so that network's
// have none either; nor have those of networks with one number, whose taps are one group.
func (b *builder) zone(n *spec.Network) uint32 {
	for _, other := range b.node.Networks {
		if other != n && other.Number() == n.Number() {
			return 0
		}
	}
	switch {
	case !n.IsManaged():
		return 0
	case n.Mode == spec.Bridged:
		return spec.FirstBridgedZone + uint32(n.VLAN)
	case n.Mode == spec.Private:
		return zonePrivate + uint32(n.VLAN)
	}
	return n.TableNumber()
}

// zones are the rules that give the connections of networks a zone each. There are none where nobody asks for them: a rule
// about connections has the whole host track them.
func (b *builder) zones(family nft.Family) []nft.Rule {
	var rules []nft.Rule
	for _, name := range sorted(b.node.Networks) {
		n := b.node.Networks[name]
		if n.OnBridge() != (family == nft.BridgeFamily) || !n.Conntrack && b.node.Groups == nil {
			continue
		}
		zone := b.zone(n)
		if zone == 0 {
			continue
		}
		set := nft.Expr(fmt.Sprintf("ct zone set %d", zone))
		for _, from := range b.ports(n) {
			rules = append(rules, nft.Rule{Exprs: append(from, set)})
		}
	}
	return rules
}

// ports tells what comes in to a network: by its taps, by its uplink, and by the ports of a bridge that the file declares.
func (b *builder) ports(n *spec.Network) [][]nft.Expr {
	group := func(g uint32) []nft.Expr { return []nft.Expr{nft.Expr(fmt.Sprintf("iifgroup %d", g+n.Number()))} }
	all := [][]nft.Expr{group(netstate.GroupTap)}
	if !b.node.VLANAware(n) {
		all = append(all, group(netstate.GroupUplink))
	}
	if declared := b.node.Bridges[n.BridgeName()]; n.OnBridge() && declared != nil {
		for _, port := range declared.Ports {
			from := []nft.Expr{nft.Expr("iifname " + nft.IfName(port))}
			if declared.VLANAware {
				from = append(from, nft.Expr(fmt.Sprintf("vlan id %d", n.VLAN)))
			}
			all = append(all, from)
		}
	}
	return all
}
