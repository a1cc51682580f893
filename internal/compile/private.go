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

// Private networks have all the port security of bridged ones. On top of it a tap receives only what comes from its tenant's MACs;
// that a guest sends from its own MAC is seen to at its tap, on every node.
const (
	setPrivate  = "private"         // groups of the taps of private networks
	setPrefixes = "prefixes"        // what a tap may receive: the prefix of its tenant's MACs
	setWithin4  = "taken_within4"   // what guests whose addresses nobody told may not use, by the tenant: another may have the same
	setWithin6  = "taken_within6"   //
	setWithinND = "targets_within6" // taken_within6 again
)

// privateMask returns the mask of the node's private networks, which is one, "" if there are none.
func privateMask(node *spec.Node) string {
	for _, n := range node.Networks {
		if mask := n.Mask(); mask != "" {
			return mask
		}
	}
	return ""
}

// takenWithin keeps an address from the other guests of its tenant whose addresses nobody told.
func (b *builder) takenWithin(who string, n *spec.Network, prefix string, a netip.Addr) {
	group := fmt.Sprint(netstate.GroupTap + n.Number())
	if a.Is4() {
		b.element(who, nft.BridgeFamily, setWithin4, "", group, prefix, a.String())
		return
	}
	b.element(who, nft.BridgeFamily, setWithin6, "", group, prefix, a.String())
	b.element(who, nft.BridgeFamily, setWithinND, "", group, prefix, nft.Target(a))
}

// keepApart adds to the ruleset for frames what private networks need. It is at the hook postrouting, through which each copy of a
// frame goes that leaves by a port, flooded ones and the host's own too.
func keepApart(t *nft.Table, mask string) {
	source := nft.Expr("ether saddr & " + mask)
	t.Sets = append(t.Sets,
		nft.Set{Name: setPrivate, Key: []string{"devgroup"}},
		nft.Set{Name: setPrefixes, Key: []string{"ifname", "ether_addr"}},
		nft.Set{Name: setWithin4, Key: []string{"devgroup", "ether_addr", "ipv4_addr"}},
		nft.Set{Name: setWithin6, Key: []string{"devgroup", "ether_addr", "ipv6_addr"}},
		nft.Set{Name: setWithinND, Key: []string{"devgroup", "ether_addr", nft.ToTarget}},
	)
	t.Chains = append(t.Chains, verdict(dropPrivate),
		nft.Chain{Name: "to_private", Rules: []nft.Rule{rule("oifname . "+source+" @"+setPrefixes, "accept"), rule("jump " + dropPrivate)}},
		nft.Chain{
			Name: "postrouting", Type: "filter", Hook: "postrouting", Policy: "accept",
			Rules: []nft.Rule{rule("oifgroup @"+setPrivate, "jump to_private")},
		},
	)
	for chain, r := range map[string]nft.Rule{
		"arp_any":       rule("iifgroup . "+source+" . arp saddr ip @"+setWithin4, "jump "+dropARP),
		"arp_probe_any": rule("iifgroup . "+source+" . arp daddr ip @"+setWithin4, "jump "+dropARP),
		"ip_any":        rule("iifgroup . "+source+" . ip saddr @"+setWithin4, "jump "+dropSource),
		"any_target":    rule("iifgroup . "+source+" . @th,64,128 @"+setWithinND, "jump "+dropNeighbour),
		"ip6_any":       rule("iifgroup . "+source+" . ip6 saddr @"+setWithin6, "jump "+dropSource),
	} {
		for i := range t.Chains {
			if t.Chains[i].Name == chain {
				t.Chains[i].Rules = slices.Insert(t.Chains[i].Rules, 0, r)
			}
		}
	}
}
