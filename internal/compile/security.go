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

// Port security of bridged networks is one ruleset, too: what it knows of networks and NICs are elements of these sets, and of
// those that the guards of routed networks have under the same names (taps, macs, senders4, senders6).
const (
	setClosed    = "closed"        // groups of devices on bridges that the host has no part in
	setLinkLocal = "link_local"    // the groups that a bridge does not forward
	setTargets   = "targets"       // the guest's IPv6 addresses again, as targets of neighbour discovery
	setAny4      = "any4"          // taps of guests whose IPv4 addresses nobody told
	setAny6      = "any6"          // and IPv6
	setTaken4    = "taken4"        // what those may not use, by the group of their tap: addresses of the other guests here, and protected ones
	setTaken6    = "taken6"        //
	setTakenND   = "taken_targets" // taken6 again

	// here are the guests that have sent to all in the last second, by the group of their taps: a frame of theirs that an uplink
	// brings has been reflected. It is of what happened, not of what is known, so that a guest which has moved away is heard
	// here at once, whoever may have failed to take note.
	here  = "here"
	storm = "storm"

	tooLoud = nft.Expr("update @" + storm + " { iifname limit rate over 1000/second burst 2000 packets }")
)

// The reasons for which only frames of a bridge are dropped.
const (
	dropDHCP      = "drop_dhcp"
	dropFragment  = "drop_fragment"
	dropGroup     = "drop_group"
	dropNeighbour = "drop_neighbour"
	dropPrivate   = "drop_private"
	dropReflected = "drop_reflected"
	dropRouter    = "drop_router"
	dropStorm     = "drop_storm"
	dropType      = "drop_type"
)

// trusts are the reasons that a NIC can be exempt from, by the word of spec.Trusts that does it.
var trusts = map[string][]string{
	"arp":    {dropARP, dropNeighbour},
	"dhcp":   {dropDHCP},
	"ip":     {dropSource},
	"mac":    {dropMAC},
	"router": {dropRouter},
	"storm":  {dropStorm},
	"type":   {dropType},
}

// bridgeDrops are those reasons in words.
var bridgeDrops = map[string]string{
	dropDHCP:      "a guest's answer to somebody's DHCP",
	dropFragment:  "a guest's IPv6 packet whose first fragment does not say what it carries, or of hop limit 255 in fragments",
	dropGroup:     "to a group that bridges keep to themselves (spanning tree, LLDP)",
	dropNeighbour: "neighbour discovery of a guest about an address that is not its own",
	dropPrivate:   "on its way to a guest of another tenant of a private network",
	dropReflected: "a guest's own frame that came back by the uplink",
	dropRouter:    "what only routers say: router advertisements, redirects, VRRP, HSRP, multicast queries, OSPF, PIM, EIGRP, RIP",
	dropStorm:     "more than 1,000 broadcasts and multicasts of a guest in a second",
	dropType:      "neither IP nor ARP: VLAN tags, LLC, and others",
}

// secure asks for port security of a bridged network's taps.
func (b *builder) secure(who string, n *spec.Network) {
	b.put("networks", b.bridgeGuard())
	for i := range 16 {
		b.element("networks", nft.BridgeFamily, setLinkLocal, "", fmt.Sprintf("01:80:c2:00:00:%02x", i))
	}
	tap, uplink := netstate.GroupTap+n.Number(), netstate.GroupUplink+n.Number()
	b.element(who, nft.BridgeFamily, setTaps, "", fmt.Sprint(tap))
	if declared := b.node.Bridges[n.BridgeName()]; n.IsManaged() && (declared == nil || declared.VLANAware) {
		b.element(who, nft.BridgeFamily, setClosed, "", fmt.Sprint(tap))
		if declared == nil {
			b.element(who, nft.BridgeFamily, setClosed, "", fmt.Sprint(uplink))
		}
	}
	for _, a := range n.Protect {
		b.taken(who, n, a)
	}
	if n.Mode == spec.Private {
		b.element(who, nft.BridgeFamily, setPrivate, "", fmt.Sprint(tap))
	}
}

// taken keeps an address from guests of the network whose addresses nobody told.
func (b *builder) taken(who string, n *spec.Network, a netip.Addr) {
	group := fmt.Sprint(netstate.GroupTap + n.Number())
	if a.Is4() {
		b.element(who, nft.BridgeFamily, setTaken4, "", group, a.String())
		return
	}
	b.element(who, nft.BridgeFamily, setTaken6, "", group, a.String())
	b.element(who, nft.BridgeFamily, setTakenND, "", group, nft.Target(a))
}

// secureNIC asks for the elements of a NIC. A guest may speak as soon as it runs, which on the target of a migration nobody has to
// notice first, so one that is only prepared has the same.
func (b *builder) secureNIC(who string, n *spec.Network, nic *spec.NIC) {
	name := nft.IfName(nic.Name)
	four, six := false, false
	for _, a := range slices.Concat(nic.Addresses, nic.Sources) {
		four, six = four || a.Is4(), six || a.Is6()
	}
	for _, text := range append([]string{nic.MAC}, nic.MACs...) {
		b.element(who, nft.BridgeFamily, setMACs, "", name, canonicalMAC(text))
	}
	b.firewalled(who, nft.BridgeFamily, nic)
	if n.Mode == spec.Private {
		b.element(who, nft.BridgeFamily, setPrefixes, "", name, n.MACPrefix(nic.MAC))
	}
	for _, a := range ownAddresses(nic) {
		if n.Mode == spec.Private {
			b.takenWithin(who, n, n.MACPrefix(nic.MAC), a)
		} else {
			b.taken(who, n, a)
		}
		if a.Is4() {
			b.element(who, nft.BridgeFamily, setSenders4, "", name, a.String())
			continue
		}
		b.element(who, nft.BridgeFamily, setSenders6, "", name, a.String())
		b.element(who, nft.BridgeFamily, setTargets, "", name, nft.Target(a))
	}
	if !four {
		b.element(who, nft.BridgeFamily, setAny4, "", name)
	}
	if !six {
		b.element(who, nft.BridgeFamily, setAny6, "", name)
	}
	for _, word := range nic.Trust {
		for _, reason := range trusts[word] {
			b.element(who, nft.BridgeFamily, trusted(reason), "", name)
		}
	}
}

// trusted is the set of the taps that are exempt from being dropped for a reason.
func trusted(reason string) string { return "trust" + reason[len("drop"):] }

// bridgeGuard is the ruleset for frames. Whatever looks at a header matches what may pass and drops the rest, because a header that
// is not there matches nothing; what a forbidding rule cannot see, in the later fragments, nobody reads without the first.
func (b *builder) bridgeGuard() nft.Table {
	pair := func(name, first, second string) nft.Set { return nft.Set{Name: name, Key: []string{first, second}} }
	t := nft.Table{
		Family: nft.BridgeFamily, Name: nft.TableName,
		Sets: []nft.Set{
			{Name: here, Key: []string{"devgroup", "ether_addr"}, Dynamic: true},
			{Name: storm, Key: []string{"ifname"}, Dynamic: true},
			{Name: setAny4, Key: []string{"ifname"}}, {Name: setAny6, Key: []string{"ifname"}},
			{Name: setClosed, Key: []string{"devgroup"}}, {Name: setTaps, Key: []string{"devgroup"}},
			{Name: setLinkLocal, Key: []string{"ether_addr"}},
			pair(setMACs, "ifname", "ether_addr"),
			pair(setSenders4, "ifname", "ipv4_addr"), pair(setSenders6, "ifname", "ipv6_addr"), pair(setTargets, "ifname", nft.ToTarget),
			pair(setTaken4, "devgroup", "ipv4_addr"), pair(setTaken6, "devgroup", "ipv6_addr"), pair(setTakenND, "devgroup", nft.ToTarget),
		},
		Chains: []nft.Chain{
			verdict(dropFragment), verdict(dropGroup), verdict(dropReflected),
			{ // before the kernel learns where a frame came from, and before anybody's rules at the usual priorities
				Name: "prerouting", Type: "filter", Hook: "prerouting", Priority: nft.GuardPriority, Policy: "accept",
				Rules: []nft.Rule{rule("iifgroup @"+setTaps, "jump from_tap")},
			},
			// What a bridge does not forward comes here, too, and would be the tap's own.
			{Name: "input", Type: "filter", Hook: "input", Policy: "accept", Rules: []nft.Rule{rule("iifgroup @"+setClosed, "drop")}},
			{Name: "forward", Type: "filter", Hook: "forward", Policy: "accept", Rules: slices.Concat([]nft.Rule{
				rule("oifgroup @"+setTaps, nft.Judged), rule("iifgroup @"+setTaps, "jump from_guest"), rule("oifgroup . ether saddr @"+here, "jump "+dropReflected),
			}, b.toFirewall())},
			{Name: "from_guest", Rules: append(b.toFirewall(), rule("accept"))},
			{Name: "from_tap", Rules: []nft.Rule{
				rule(nft.Judged),
				rule("iifname . ether saddr != @"+setMACs, "jump "+dropMAC),
				rule("ether daddr @"+setLinkLocal, "jump "+dropGroup),
				rule("meta pkttype broadcast", "jump to_all"),
				rule("meta pkttype multicast", "jump to_all"),
				rule("ether type ip6", "jump ip6_from_tap"),
				rule("ether type ip", "jump ip_from_tap"),
				rule("ether type arp", "jump arp_from_tap"),
				rule(rarp, "accept"),
				rule("jump " + dropType),
				rule("accept"),
			}},
			{Name: "to_all", Rules: []nft.Rule{
				rule("update @" + here + " { iifgroup . ether saddr timeout 1s }"), rule(tooLoud, "jump "+dropStorm),
				rule("meta l4proto ospf", "jump "+dropRouter), rule("meta l4proto pim", "jump "+dropRouter), rule("meta l4proto eigrp", "jump "+dropRouter),
				rule("udp dport 520", "jump "+dropRouter), rule("udp dport 521", "jump "+dropRouter), // RIP, RIPng
			}},
		},
	}
	for _, reasons := range trusts {
		for _, reason := range reasons {
			t.Sets = append(t.Sets, nft.Set{Name: trusted(reason), Key: []string{"ifname"}})
			t.Chains = append(t.Chains, nft.Chain{Name: reason, Rules: []nft.Rule{rule("iifname @"+nft.Expr(trusted(reason)), "return"), rule("counter", "drop")}})
		}
	}
	t.Chains = append(t.Chains, frameARP()...)
	t.Chains = append(t.Chains, frameIP()...)
	t.Chains = append(t.Chains, frameIP6()...)
	if mask := privateMask(b.node); mask != "" {
		keepApart(&t, mask)
	}
	b.raise(&t)
	return t.Canonical()
}

// rarp is what QEMU sends in the name of a guest that has just arrived.
const rarp = nft.Expr("ether type 0x8035")

// frameARP is what a guest may say by ARP: of its MAC and its addresses.
func frameARP() []nft.Chain {
	return []nft.Chain{
		{Name: "arp_from_tap", Rules: []nft.Rule{
			rule("arp htype != 1", "jump "+dropARP),
			rule("arp hlen != 6", "jump "+dropARP),
			rule("arp plen != 4", "jump "+dropARP),
			rule("iifname . arp saddr ether @"+setMACs, "jump arp_sender"),
			rule("jump " + dropARP),
			rule("accept"),
		}},
		{Name: "arp_sender", Rules: []nft.Rule{
			rule("arp saddr ip 0.0.0.0", "jump arp_probe"), // RFC 5227 section 2.1: two that probe for one address both give up
			rule("iifname . arp saddr ip @"+setSenders4, "accept"),
			rule("iifname @"+setAny4, "jump arp_any"),
		}},
		{Name: "arp_probe", Rules: []nft.Rule{
			rule("iifname . arp daddr ip @"+setSenders4, "accept"),
			rule("iifname @"+setAny4, "jump arp_probe_any"),
			rule("jump " + dropARP),
		}},
		{Name: "arp_any", Rules: []nft.Rule{rule("iifgroup . arp saddr ip @"+setTaken4, "jump "+dropARP), rule("accept")}},
		{Name: "arp_probe_any", Rules: []nft.Rule{rule("iifgroup . arp daddr ip @"+setTaken4, "jump "+dropARP), rule("accept")}},
	}
}

// frameIP is what a guest may send by IPv4.
func frameIP() []nft.Chain {
	return []nft.Chain{
		{Name: "ip_from_tap", Rules: []nft.Rule{
			rule("udp dport 68", "jump "+dropDHCP),
			rule("udp dport 1985", "jump "+dropRouter), // HSRP, RFC 2281
			rule("meta l4proto vrrp", "jump "+dropRouter),
			rule("ether type ip igmp type membership-query", "jump "+dropRouter),
			rule("iifname . ip saddr @"+setSenders4, "accept"),
			rule("ip saddr 0.0.0.0", "jump ip_nobody"),
			rule("iifname @"+setAny4, "jump ip_any"),
			rule("jump " + dropSource),
			rule("accept"),
		}},
		{Name: "ip_nobody", Rules: []nft.Rule{
			rule("ip daddr 255.255.255.255", "jump ip_nobody_broadcast"),
			rule("meta l4proto igmp", "accept"),
			rule("jump " + dropSource),
			rule("accept"),
		}},
		{Name: "ip_nobody_broadcast", Rules: []nft.Rule{rule("udp dport 67", "accept")}},
		{Name: "ip_any", Rules: []nft.Rule{rule("iifgroup . ip saddr @"+setTaken4, "jump "+dropSource), rule("accept")}},
	}
}

// frameIP6 is what a guest may send by IPv6. What its headers hide, behind others and in fragments, is looked for where it has to be.
func frameIP6() []nft.Chain {
	return []nft.Chain{
		// Neighbour discovery comes over no hop and never in fragments (RFC 6980). Where these overlap, the first does not tell what a
		// host takes from them that does not hold to RFC 5722.
		{Name: "ip6_no_hop", Rules: []nft.Rule{
			rule("frag frag-off 0", "jump "+dropFragment),
			rule("frag frag-off != 0", "jump "+dropFragment),
		}},
		{Name: "ip6_from_tap", Rules: []nft.Rule{
			rule("ip6 hoplimit 255", "jump ip6_no_hop"),
			rule("frag frag-off != 0", "jump ip6_source"),
			rule("meta l4proto ipv6-icmp", "jump icmp6_from_tap"),
			rule("meta l4proto udp", "jump udp6_from_tap"),
			rule("meta l4proto vrrp", "jump "+dropRouter),
			rule("meta l4proto != 255", "jump ip6_source"),
			rule("jump " + dropFragment),
		}},
		{Name: "udp6_from_tap", Rules: []nft.Rule{
			rule("udp dport 546", "jump "+dropDHCP),
			rule("udp dport 2029", "jump "+dropRouter), // HSRP
			rule("udp dport != 0", "jump ip6_source"),
			rule("jump " + dropFragment),
		}},
		{Name: "icmp6_from_tap", Rules: []nft.Rule{
			rule("icmpv6 type nd-router-advert", "jump "+dropRouter),
			rule("icmpv6 type nd-redirect", "jump "+dropRouter),
			rule("icmpv6 type mld-listener-query", "jump "+dropRouter),
			rule("icmpv6 type nd-neighbor-solicit", "jump solicit_from_tap"),
			rule("icmpv6 type nd-neighbor-advert", "jump advert_from_tap"),
			rule("icmpv6 type != nd-neighbor-advert", "jump ip6_source"),
			rule("jump " + dropFragment),
		}},
		// Without a source it asks whether it may have the address (RFC 4862 section 5.4.3), and who asks the same gives up.
		{Name: "solicit_from_tap", Rules: []nft.Rule{rule("ip6 saddr ::", "jump own_target"), rule("jump ip6_source")}},
		{Name: "advert_from_tap", Rules: []nft.Rule{rule("jump own_target")}},
		{Name: "own_target", Rules: []nft.Rule{
			rule("iifname . @th,64,128 @"+setTargets, "jump ip6_source"),
			rule("iifname @"+setAny6, "jump any_target"),
			rule("jump " + dropNeighbour),
			rule("jump ip6_source"),
		}},
		{Name: "any_target", Rules: []nft.Rule{rule("iifgroup . @th,64,128 @"+setTakenND, "jump "+dropNeighbour), rule("jump ip6_source")}},
		{Name: "ip6_source", Rules: []nft.Rule{
			rule("iifname . ip6 saddr @"+setSenders6, "accept"),
			rule("ip6 saddr ::", "jump ip6_nobody"),
			rule("iifname @"+setAny6, "jump ip6_any"),
			rule("jump " + dropSource),
			rule("accept"),
		}},
		{Name: "ip6_nobody", Rules: []nft.Rule{
			rule("icmpv6 type nd-neighbor-solicit", "accept"), // its target has been looked at
			rule("icmpv6 type nd-router-solicit", "accept"),
			rule("icmpv6 type mld-listener-report", "accept"),
			rule("icmpv6 type mld-listener-done", "accept"),
			rule("icmpv6 type mld2-listener-report", "accept"),
			rule("jump " + dropSource),
			rule("accept"),
		}},
		{Name: "ip6_any", Rules: []nft.Rule{rule("iifgroup . ip6 saddr @"+setTaken6, "jump "+dropSource), rule("accept")}},
	}
}
