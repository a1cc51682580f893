// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"net/netip"

	"weft/internal/netstate"
	"weft/internal/spec"
)

// Where the rules stand. Packets of a routed network are looked up in its table before the table of the host's own
// addresses, or guests would reach those. Every rule of anybody else stays behind the local rule, as it always was.
const (
	prefL3MDev    = 1
	prefLinkLocal = 1
	prefIIF       = 2
)

// prefLocal returns where the local rule goes: behind the last of weft's.
func (b *builder) prefLocal() uint32 {
	for _, n := range b.node.Networks {
		if n.PolicyWord() == "rules" {
			return prefIIF + 1
		}
	}
	return prefL3MDev + 1
}

// networks asks for every network of the file.
func (b *builder) networks() {
	routed := false
	for _, name := range sorted(b.node.Networks) {
		n := b.node.Networks[name]
		if n.Mode == spec.Routed {
			b.routed(name, n)
			routed = true
			continue
		}
		b.bridged(name, n)
	}
	if routed {
		for _, family := range []int{4, 6} {
			b.rule("networks", netstate.Rule{Family: family, Priority: b.prefLocal(), Table: netstate.TableLocal})
		}
	}
}

// family is one address family of a routed network: what its prefix is, and which device leads to the rest of it.
type family struct {
	*spec.Prefix
	number int
	uplink string
}

// families returns the families that a routed network has.
func (b *builder) families(n *spec.Network) []family {
	var fs []family
	if n.IPv4 != nil {
		fs = append(fs, family{n.IPv4, 4, b.node.FamilyUplink(n, 4)})
	}
	if n.IPv6 != nil {
		fs = append(fs, family{n.IPv6, 6, b.node.FamilyUplink(n, 6)})
	}
	return fs
}

// routed asks for a routed network: a table that holds its prefixes, its gateways and an end, and its uplink devices in
// it. The host has no address in the network.
func (b *builder) routed(name string, n *spec.Network) {
	who := "networks." + name
	b.forwarding(who, n)
	b.guard(who, n)
	b.closed(who, n)
	b.onLink(n)
	if !n.IsManaged() {
		b.foreign(who, n)
		return
	}
	var port netstate.Link
	if vrf := n.VRFName(); vrf != "" {
		b.alias(vrf, "network "+name)
		b.link(who, netstate.Link{Name: vrf, Kind: netstate.VRF, Up: new(true), VRF: &netstate.VRFAttrs{Table: n.TableNumber()}})
		port.Master = new(vrf)
	}
	for _, u := range b.node.Uplinks(n) {
		b.uplink(who, name, n, u, port)
		b.port(who, n, u.Dev, u.IPv4, u.IPv6)
		b.rulesFor(who, n, u.Dev)
	}
	b.table(who, n)
}

// rulesFor leads the packets that come in by dev to the network's table: one rule for all VRFs, or one of the device's own.
func (b *builder) rulesFor(who string, n *spec.Network, dev string) {
	for _, family := range []int{4, 6} {
		if n.VRFName() != "" {
			b.rule("networks", netstate.Rule{Family: family, Priority: prefL3MDev, L3MDev: true})
			continue
		}
		b.rule(who, netstate.Rule{Family: family, Priority: prefIIF, IIF: dev, Table: n.TableNumber()})
	}
}

// onLink keeps what is sent on the link to the node itself, neighbour solicitations above all, from matching the network's
// default route, for which a rule stands before that of the host's own addresses. A VRF has these in its own table.
func (b *builder) onLink(n *spec.Network) {
	if n.VRFName() != "" || n.IPv6 == nil {
		return
	}
	for _, to := range []string{"ff00::/8", "fe80::/10"} {
		b.rule("networks", netstate.Rule{Family: 6, Priority: prefLinkLocal, To: netip.MustParsePrefix(to), Table: netstate.TableLocal})
	}
}

func (b *builder) rule(who string, r netstate.Rule) {
	r.Action, r.Protocol = "lookup", netstate.Protocol
	b.put(who, r)
}

// table fills the network's routing table with what is on the uplinks.
func (b *builder) table(who string, n *spec.Network) {
	t := n.TableNumber()
	for _, f := range b.families(n) {
		b.route(who, netstate.Route{Dst: f.Subnet, Dev: f.uplink, Table: t})
		if f.Gateway.IsValid() {
			// With rules the gateway would be looked for in the main table, which does not know it.
			b.route(who, netstate.Route{Dst: everything(f.number), Via: f.Gateway, Dev: f.uplink, Table: t, OnLink: n.VRFName() == ""})
		}
	}
}

// closed ends the network's routing table with a default that leads nowhere, in both families, also in one that the
// network does not have: when the uplink is down, a lookup must not go on to the host's own table. A table that is
// somebody else's gets it too: it is what keeps guests' packets, and answers for the whole subnet, out of the host's own
// network after an `ifdown bond0; ifup bond0`, and whatever default the owner has there comes before it.
//
// A VRF tells the guest that there is no way, from its own table. With rules nothing leads the node's message there but
// the host's own way out, with the guest's packet in it: it is not sent.
func (b *builder) closed(who string, n *spec.Network) {
	end := "unreachable"
	if n.VRFName() == "" {
		end = "blackhole"
	}
	for _, family := range []int{4, 6} {
		b.route(who, netstate.Route{Dst: everything(family), Type: end, Table: n.TableNumber(), Metric: netstate.LastMetric})
	}
}

// everything is the destination of a default route.
func everything(family int) netip.Prefix {
	if family == 6 {
		return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
}

func (b *builder) route(who string, r netstate.Route) {
	r.Protocol = netstate.Protocol
	b.put(who, r.Canonical())
}
