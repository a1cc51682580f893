// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"net/netip"
	"slices"

	"weft/internal/frame"
	"weft/internal/netstate"
	"weft/internal/spec"
)

// vrrp6 is the group of IPv6 routers that speak VRRP (RFC 9568 section 5.1.2.2). Snooping never withholds that of IPv4, 224.0.0.18.
var vrrp6 = netip.MustParseAddr("ff02::12")

// listens keeps a bridge that snoops from withholding from a guest what others need it to hear: a guest that has migrated does not say
// again what it listens to, until a querier asks.
func (b *builder) listens(who string, n *spec.Network, nic *spec.NIC) {
	declared := b.node.Bridges[n.BridgeName()]
	if !n.IsManaged() || !n.MulticastSnooping && (declared == nil || !declared.MulticastSnooping) {
		return
	}
	var groups []netip.Addr
	for _, a := range ownAddresses(nic) {
		if a.Is6() {
			groups = append(groups, frame.SolicitedNode(a))
		}
	}
	if slices.Contains(nic.Trust, "router") {
		groups = append(groups, vrrp6)
	}
	slices.SortFunc(groups, netip.Addr.Compare)
	for _, g := range slices.Compact(groups) {
		b.put(who, netstate.MDB{Bridge: n.BridgeName(), Dev: nic.Name, Group: g})
	}
}

// ownAddresses are the addresses that a guest may use: what it was given, and the link-local ones of its MACs.
func ownAddresses(nic *spec.NIC) []netip.Addr {
	own := slices.Concat(nic.Addresses, nic.Sources)
	for _, text := range append([]string{nic.MAC}, nic.MACs...) {
		if m, err := frame.ParseMAC(canonicalMAC(text)); err == nil {
			own = append(own, frame.LinkLocal(m))
		}
	}
	return own
}
