// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"fmt"
	"maps"
	"slices"

	"weft/internal/netstate"
	"weft/internal/nft"
	"weft/internal/spec"
)

// The guards of routed networks are one ruleset that is the same for one NIC and for a thousand. What it knows of networks
// and NICs are elements of these sets.
const (
	setTaps       = "taps"      // groups of taps
	setUplinks    = "uplinks"   // groups of uplink devices
	setRuleTaps   = "rule_taps" // those of networks without a VRF
	setRuleLinks  = "rule_uplinks"
	setMACs       = "macs"     // the MAC that a guest has
	setSenders4   = "senders4" // the addresses that a guest has, where there is no VRF
	setSenders6   = "senders6" // everywhere
	setOnLink4    = "on_link4" // what is on the link of an uplink device, or may be
	setOnLink6    = "on_link6"
	setRuleLink4  = "rule_" + setOnLink4
	setRuleLink6  = "rule_" + setOnLink6
	setARPSenders = "arp_senders" // the addresses that a guest may send ARP from
	setARPAnswers = "arp_answers" // the addresses that the node answers for on an uplink device
	// The prefixes behind a guest: where it may send ARP from, and those of the subnet, which the node answers for.
	setARPSenderPrefixes = "arp_sender_prefixes"
	setARPAnswerPrefixes = "arp_answer_prefixes"
)

// flood is the set of guests that have lately made the host learn neighbours; tooFast is true of those that do it too fast.
// The table of neighbours is one for the whole host. Beyond gc_thresh2 it lets go of what is older than five seconds
// (neigh_forced_gc), so at this rate it takes hundreds of guests to get from there to gc_thresh3, where it is full.
const (
	flood    = "flood"
	tooFast  = nft.Expr("update @" + flood + " { iifname limit rate over 5/second burst 30 packets }")
	fromLink = nft.Expr("ip6 saddr fe80::/10") // of any MAC's making, so there is no end to them
)

// asked4 and asked6 are the neighbours on uplinks that a guest has lately sent something to, and strangers the guests that
// have lately sent to others than these. Who sends to a neighbour has the host ask for it, and a question that nobody
// answers stays in the table for three seconds, whatever gc_thresh says: an IPv6 subnet has no end of them, and a large one of
// IPv4 many. With these numbers a guest can talk to a thousand neighbours at a time and has at most 1,800 questions open, as
// a pair is forgotten after nft.DynamicTimeout, also one in use.
const (
	asked4    = "asked4"
	asked6    = "asked6"
	strangers = "strangers"

	fewAddresses = 12 // bits of a subnet that are no danger to the table
)

// arpSource is the map that says which address the node's own ARP requests come from, by the group of the device that
// they leave by. A group that is not in it leaves the choice to the kernel.
const arpSource = "arp_source"

// marks is the map that has a question on an uplink looked up in the network's table, where neither a VRF nor a group of
// weft's would lead it there: by the device's name, the mark that a rule of the table's own asks for.
const (
	marks  = "marks"
	unmark = nft.Expr("meta mark set 0x00000000")
)

// zonePriority is before connections are tracked (-200).
const zonePriority = -299

// guard asks for the guards of a routed network: who may say what on its taps, what its uplinks may bring, and for whom the
// node answers.
func (b *builder) guard(who string, n *spec.Network) {
	tap, uplink := netstate.GroupTap+n.Number(), netstate.GroupUplink+n.Number()
	b.put("networks", b.inetGuard())
	taps, uplinks := setTaps, setUplinks
	if n.VRFName() == "" {
		taps, uplinks = setRuleTaps, setRuleLinks
	}
	b.element(who, nft.Inet, taps, "", fmt.Sprint(tap))
	b.element(who, nft.Inet, uplinks, "", fmt.Sprint(uplink))
	if dev := b.node.FamilyUplink(n, 6); dev != "" && (n.VRFName() == "" || !n.IsManaged()) {
		b.element(who, nft.Inet, marks, fmt.Sprintf("0x%08x", uplink), nft.IfName(dev))
		b.rule(who, netstate.Rule{Family: 6, Priority: prefIIF, FwMark: uplink, Table: n.TableNumber()})
	}
	for _, f := range b.families(n) {
		b.guardLink(who, n, f)
	}
	if n.IPv4 == nil {
		return
	}
	b.put("networks", arpGuard())
	b.element(who, nft.ARP, setTaps, "", fmt.Sprint(tap))
	b.element(who, nft.ARP, setUplinks, "", fmt.Sprint(uplink))
	// The host has no address in the network, and one of its others would be wrong to ask from.
	if a := n.IPv4.ARPSource; a.IsValid() {
		b.element(who, nft.ARP, arpSource, a.String(), fmt.Sprint(uplink))
	}
	if a := n.IPv4.Gateway; a.IsValid() {
		b.element(who, nft.ARP, arpSource, a.String(), fmt.Sprint(tap))
	}
}

// guardLink has the guests' questions for neighbours on an uplink limited: those in a large subnet, and where the table is
// somebody else's, which may lead anywhere on the link, all of them.
func (b *builder) guardLink(who string, n *spec.Network, f family) {
	if f.uplink == "" {
		return
	}
	set, everywhere := setOnLink4, []string{"0.0.0.0/1", "128.0.0.0/1"}
	if f.number == 6 {
		set, everywhere = setOnLink6, []string{"::/1", "8000::/1"}
	}
	if n.VRFName() == "" {
		set = "rule_" + set
	}
	var to []string
	switch {
	case !n.IsManaged():
		to = everywhere
	case f.Subnet.Addr().BitLen()-f.Subnet.Bits() > fewAddresses:
		to = []string{f.Subnet.String()}
	}
	for _, p := range to {
		b.element(who, nft.Inet, set, "", nft.IfName(f.uplink), p)
	}
}

// guardNIC asks for the elements of a NIC. One that is only prepared may say nothing of addresses yet.
func (b *builder) guardNIC(who string, n *spec.Network, nic *spec.NIC) {
	name := nft.IfName(nic.Name)
	b.element(who, nft.Inet, setMACs, "", name, canonicalMAC(nic.MAC))
	b.firewalled(who, nft.Inet, nic)
	if nic.Prepared {
		return
	}
	for _, a := range nic.Addresses {
		switch {
		case a.Is6():
			b.element(who, nft.Inet, setSenders6, "", name, a.String())
		case n.VRFName() == "":
			b.element(who, nft.Inet, setSenders4, "", name, a.String())
		}
		if a.Is4() {
			b.speaks(who, n, nic, setARPSenders, setARPAnswers, a.String())
		}
	}
	for _, p := range nic.Prefixes {
		if n.VRFName() == "" {
			b.errs = append(b.errs, fmt.Errorf("%s: prefix %s: network %s has no VRF, and without one the senders behind a guest cannot be told from spoofed ones", who, p, nic.Network))
		}
		switch {
		case p.IsSingleIP() && p.Addr().Is4():
			b.speaks(who, n, nic, setARPSenders, setARPAnswers, p.Addr().String())
		case p.Addr().Is4():
			b.speaks(who, n, nic, setARPSenderPrefixes, setARPAnswerPrefixes, p.String())
		}
	}
}

// speaks lets the guest send ARP from these addresses, and the node answer for them.
func (b *builder) speaks(who string, n *spec.Network, nic *spec.NIC, senders, answers, addrs string) {
	b.element(who, nft.ARP, senders, "", nft.IfName(nic.Name), addrs)
	if dev := b.node.FamilyUplink(n, 4); dev != "" && n.IsManaged() {
		b.element(who, nft.ARP, answers, "", nft.IfName(dev), addrs)
	}
}

func (b *builder) element(who string, family nft.Family, set, value string, key ...string) {
	b.put(who, nft.Element{Family: family, Table: nft.TableName, Set: set, Parts: key, Value: value})
}

// rule is a rule of these expressions.
func rule(exprs ...nft.Expr) nft.Rule { return nft.Rule{Exprs: exprs} }

// verdict is a chain that counts and drops what is sent to it: its name is the reason, and tells in nft list what it counted.
func verdict(name string) nft.Chain {
	return nft.Chain{Name: name, Rules: []nft.Rule{rule("counter", "drop")}}
}

// The reasons for which packets are dropped.
const (
	dropAnswer  = "drop_answer"
	dropARP     = "drop_arp"
	dropFlood   = "drop_flood"
	dropHairpin = "drop_hairpin"
	dropHost    = "drop_host"
	dropMAC     = "drop_mac"
	dropProxy   = "drop_proxy"
	dropSource  = "drop_source"
)

// Drops returns the reasons for which guards drop packets, in words, by the chain that counts them.
func Drops() map[string]string {
	all := map[string]string{
		dropAnswer:   "ARP of the node for an address that is no guest's here",
		dropARP:      "ARP of a guest from an address that is not its own",
		dropFirewall: "no group of the guest's allows it to come in",
		dropFlood:    "a guest had the host learn neighbours too fast",
		dropHairpin:  "from the VLAN and bound for the VLAN: a router's stale cache",
		dropHost:     "what a guest has no business to tell the host",
		dropMAC:      "not the guest's MAC",
		dropProxy:    "a question for a neighbour that is not a guest here",
		dropSource:   "not the guest's address, or from an uplink one of a guest here",
	}
	maps.Copy(all, bridgeDrops)
	return all
}

// inetGuard is the ruleset for IP. A packet in a VRF comes twice; its second time it comes by the VRF, whose group is neither.
func (b *builder) inetGuard() nft.Table {
	t := nft.Table{
		Family: nft.Inet, Name: nft.TableName,
		Sets: []nft.Set{
			{Name: asked4, Key: []string{"ifname", "ipv4_addr"}, Dynamic: true},
			{Name: asked6, Key: []string{"ifname", "ipv6_addr"}, Dynamic: true},
			{Name: flood, Key: []string{"ifname"}, Dynamic: true},
			{Name: strangers, Key: []string{"ifname"}, Dynamic: true},
			{Name: setOnLink4, Key: []string{"ifname", "ipv4_addr"}, Interval: true},
			{Name: setOnLink6, Key: []string{"ifname", "ipv6_addr"}, Interval: true},
			{Name: setRuleLink4, Key: []string{"ifname", "ipv4_addr"}, Interval: true},
			{Name: setRuleLink6, Key: []string{"ifname", "ipv6_addr"}, Interval: true},
			{Name: setMACs, Key: []string{"ifname", "ether_addr"}},
			{Name: marks, Key: []string{"ifname"}, Data: "mark"},
			{Name: setRuleTaps, Key: []string{"devgroup"}},
			{Name: setRuleLinks, Key: []string{"devgroup"}},
			{Name: setSenders4, Key: []string{"ifname", "ipv4_addr"}},
			{Name: setSenders6, Key: []string{"ifname", "ipv6_addr"}},
			{Name: setTaps, Key: []string{"devgroup"}},
			{Name: setUplinks, Key: []string{"devgroup"}},
		},
		Chains: []nft.Chain{
			verdict(dropFlood), verdict(dropHairpin), verdict(dropHost), verdict(dropMAC), verdict(dropProxy), verdict(dropSource),
			fromTap("from_tap", rule("fib saddr . iif oif missing", "jump "+dropSource),
				rule("icmpv6 type nd-neighbor-solicit", "jump asks"), rule("icmpv6 type nd-router-solicit", "jump asks"), rule("jump host_from_tap")),
			// Whoever asks is a neighbour, also a sender in a prefix behind the guest. Those of its own addresses are permanent.
			{Name: "asks", Rules: []nft.Rule{rule("iifname . ip6 saddr @"+setSenders6, "jump host_from_tap"), rule(tooFast, "jump "+dropFlood)}},
			// A lookup for a packet that came by a certain device does not see the rules about devices.
			fromTap("from_rule_tap", rule("iifname . ip saddr @"+setSenders4, "jump host_from_tap"),
				rule("iifname . ip6 saddr @"+setSenders6, "jump host_from_tap"), rule("jump "+dropSource)),
			hostFromTap(), fromUplink(), solicitations(), solicitationsOfGroups(), solicitationsPass(), solicitationsPassGroup(),
			{
				Name: "prerouting", Type: "filter", Hook: "prerouting", Priority: nft.GuardPriority, Policy: "accept",
				Rules: []nft.Rule{
					rule("iifgroup @"+setTaps, "jump from_tap"),
					rule("iifgroup @"+setRuleTaps, "jump from_rule_tap"),
					rule("iifgroup @"+setUplinks, "jump from_uplink"),
					rule("icmpv6 type nd-neighbor-solicit", "meta mark set iifname map @"+marks, "jump solicitations"),
				},
			},
			{
				Name: "forward", Type: "filter", Hook: "forward", Policy: "accept",
				Rules: slices.Concat([]nft.Rule{
					rule("oifgroup @"+setTaps, nft.Judged), rule("oifgroup @"+setRuleTaps, nft.Judged),
					rule("iifgroup @"+setRuleLinks, "oifgroup @"+setRuleLinks, "jump "+dropHairpin),
					rule("ip6 daddr fe80::/10", "jump to_link"),
				}, b.toFirewall(), []nft.Rule{
					rule("oifname . ip6 daddr @"+setOnLink6, "jump to_neighbour_from_vrf"),
					rule("oifname . ip daddr @"+setOnLink4, "jump to_neighbour_from_vrf"),
					rule("iifgroup @"+setRuleTaps, "oifname . ip6 daddr @"+setRuleLink6, "jump to_neighbour_from_rule_tap"),
					rule("iifgroup @"+setRuleTaps, "oifname . ip daddr @"+setRuleLink4, "jump to_neighbour_from_rule_tap"),
				}),
			},
			// The kernel sends on what is for a link-local address that is not its own, out where it came in, and asks for it there.
			{Name: "to_link", Rules: []nft.Rule{
				rule("oifgroup @"+setTaps, "jump "+dropHost), rule("oifgroup @"+setRuleTaps, "jump "+dropHost),
				rule("oifgroup @"+setUplinks, "jump "+dropHairpin), rule("oifgroup @"+setRuleLinks, "jump "+dropHairpin),
			}},
			toNeighbour("to_neighbour_from_rule_tap", "iifname"),
			toNeighbour("to_neighbour_from_vrf", "meta sdifname"),
		},
	}
	b.raise(&t)
	return t.Canonical()
}

// fromTap is what a guest may send: from its MAC and its addresses, and without an address what it takes to get one. The
// addresses of a network with a VRF are in its routing table, which the packets of the VRF are asked by.
func fromTap(name string, sender ...nft.Rule) nft.Chain {
	return nft.Chain{Name: name, Rules: append([]nft.Rule{
		rule(nft.Judged),
		rule("iifname . ether saddr != @"+setMACs, "jump "+dropMAC),
		rule("ip saddr 0.0.0.0", "ip daddr 255.255.255.255", "udp dport 67", "accept"),
		rule("ip6 saddr ::", "meta l4proto != ipv6-icmp", "jump "+dropSource),
		rule("ip6 saddr ::", "jump host_from_tap"),
		rule(fromLink, "ip6 daddr != fe80::/10", "ip6 daddr != ff00::/8", "jump "+dropSource),
		rule(fromLink, tooFast, "jump "+dropFlood),
		rule(fromLink, "jump host_from_tap"),
	}, sender...)}
}

// hostFromTap is what a guest may tell the host itself, on the link: neighbour discovery and what else ICMPv6 has between
// neighbours, but nothing that only routers say; and DHCP.
func hostFromTap() nft.Chain {
	return nft.Chain{Name: "host_from_tap", Rules: []nft.Rule{
		rule("icmpv6 type nd-router-advert", "jump "+dropHost),
		rule("icmpv6 type nd-redirect", "jump "+dropHost),
		rule("ip6 daddr ff00::/8", "meta l4proto ipv6-icmp", "accept"),
		rule("ip6 daddr ff00::/8", "udp dport 547", "accept"),
		rule("ip6 daddr ff00::/8", "jump "+dropHost),
		rule("ip6 saddr ::", "jump "+dropSource),
		// What does not say what it is, in a first fragment that ends before it would, is no ICMPv6 and not passed for it.
		rule("ip6 daddr fe80::/10", "meta l4proto ipv6-icmp", "accept"),
		rule("ip6 daddr fe80::/10", "jump "+dropHost),
		rule("ip daddr 255.255.255.255", "udp dport 67", "accept"),
		rule("ip daddr 255.255.255.255", "jump "+dropHost),
		rule("ip daddr 224.0.0.0/4", "jump "+dropHost),
		rule("accept"),
	}}
}

// toNeighbour limits how many neighbours the host has to ask for because a guest sends to them. The tap is named by its field.
// Whom the host asks for is the next hop, which for all that a gateway leads to is one.
func toNeighbour(name, tap string) nft.Chain {
	pair4, pair6 := tap+" . rt ip nexthop", tap+" . rt ip6 nexthop"
	return nft.Chain{Name: name, Rules: []nft.Rule{
		rule(nft.Expr(pair6+" @"+asked6), "accept"),
		rule(nft.Expr(pair4+" @"+asked4), "accept"),
		rule(nft.Expr("update @"+strangers+" { "+tap+" limit rate over 100/second burst 500 packets }"), "jump "+dropFlood),
		rule(nft.Expr("add @" + asked6 + " { " + pair6 + " }")),
		rule(nft.Expr("add @" + asked4 + " { " + pair4 + " }")),
		rule("accept"),
	}}
}

// fromUplink is what may come from a VLAN: nothing in the name of a guest that is here, and nothing that would go out again
// where it came from. What is said on the link passes, questions for guests by a gate of their own.
func fromUplink() nft.Chain {
	return nft.Chain{Name: "from_uplink", Rules: []nft.Rule{
		rule("icmpv6 type nd-neighbor-solicit", "jump solicitations"),
		rule("ip6 daddr fe80::/10", "accept"),
		rule("ip6 daddr ff00::/8", "accept"),
		// What is to all on the VLAN, such as routers' VRRP, is not for the node, which has no address there. It would go by the default.
		rule("ip daddr 224.0.0.0/4", "drop"),
		rule("ip daddr 255.255.255.255", "drop"),
		rule("fib saddr . iif oif missing", "jump "+dropSource),
		rule("fib daddr . iif oif exists", "jump "+dropHairpin),
	}}
}

// solicitations is the gate that makes the kernel's neighbour proxy look at the routes, as its ARP proxy does by itself: a
// question passes only if its target is routed to another port, that is to a guest which is here, or is the host itself.
// Without it an entry for a guest that is gone answers until somebody removes it, also while no agent does.
//
// Routes are looked up for the packet's destination, so that becomes the target for the time of the lookup, and where it
// takes a mark to look in the network's table, the packet has it for as long.
func solicitations() nft.Chain {
	return nft.Chain{Name: "solicitations", Rules: append([]nft.Rule{
		rule("ip6 daddr ff02::1:ff00:0/104", "jump solicitations_of_groups"),
	}, gate("solicitations_pass")...)}
}

func solicitationsOfGroups() nft.Chain {
	return nft.Chain{Name: "solicitations_of_groups", Rules: append([]nft.Rule{rule("ip6 daddr set " + nft.ToTarget)}, gate("solicitations_pass_group")...)}
}

func gate(pass string) []nft.Rule {
	return []nft.Rule{
		rule("ip6 daddr fe80::/10", nft.Expr("jump "+pass)), // of the node itself
		rule("fib "+nft.ToSelf, nft.Expr("jump "+pass)),
		rule("fib daddr . mark . iif oif exists", "jump "+dropProxy),
		rule("fib daddr . mark oif missing", "jump "+dropProxy),
		rule(nft.Expr("jump " + pass)),
	}
}

func solicitationsPass() nft.Chain {
	return nft.Chain{Name: "solicitations_pass", Rules: []nft.Rule{rule(unmark), rule("accept")}}
}

func solicitationsPassGroup() nft.Chain {
	return nft.Chain{Name: "solicitations_pass_group", Rules: []nft.Rule{rule("ip6 daddr set " + nft.ToGroup), rule("jump solicitations_pass")}}
}

// arpGuard is the ruleset for ARP: who the node asks as, for whom it answers, and which guests may speak as whom. A guest
// that could claim other addresses would fill the neighbour table, which all guests and the host share.
func arpGuard() nft.Table {
	return nft.Table{
		Family: nft.ARP, Name: nft.TableName,
		Sets: []nft.Set{
			{Name: setARPAnswers, Key: []string{"ifname", "ipv4_addr"}},
			{Name: setARPAnswerPrefixes, Key: []string{"ifname", "ipv4_addr"}, Interval: true},
			{Name: flood, Key: []string{"ifname"}, Dynamic: true},
			{Name: setARPSenderPrefixes, Key: []string{"ifname", "ipv4_addr"}, Interval: true},
			{Name: setARPSenders, Key: []string{"ifname", "ipv4_addr"}},
			{Name: arpSource, Key: []string{"devgroup"}, Data: "ipv4_addr"},
			{Name: setTaps, Key: []string{"devgroup"}},
			{Name: setUplinks, Key: []string{"devgroup"}},
		},
		Chains: []nft.Chain{
			verdict(dropAnswer), verdict(dropARP), verdict(dropFlood),
			{Name: "from_tap", Rules: []nft.Rule{
				rule(nft.Judged),
				rule("arp saddr ip 0.0.0.0", "accept"), // a probe (RFC 5227)
				rule("iifname . arp saddr ip @"+setARPSenders, "accept"),
				rule("iifname . arp saddr ip @"+setARPSenderPrefixes, "jump from_prefix"),
				rule("jump " + dropARP),
			}},
			{Name: "from_prefix", Rules: []nft.Rule{rule(tooFast, "jump "+dropFlood), rule("accept")}},
			{Name: "input", Type: "filter", Hook: "input", Policy: "accept", Rules: []nft.Rule{rule("iifgroup @"+setTaps, "jump from_tap")}},
			{Name: "output", Type: "filter", Hook: "output", Policy: "accept", Rules: []nft.Rule{
				rule("oifgroup @"+setUplinks, "arp operation reply", "jump to_uplink"),
				rule("arp operation request", "arp saddr ip set oifgroup map @"+arpSource),
			}},
			{Name: "to_uplink", Rules: []nft.Rule{
				rule("oifname . arp saddr ip @"+setARPAnswers, "accept"),
				rule("oifname . arp saddr ip @"+setARPAnswerPrefixes, "accept"),
				rule("jump " + dropAnswer),
			}},
		},
	}.Canonical()
}
