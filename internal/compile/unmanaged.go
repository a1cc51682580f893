// SPDX-License-Identifier: Apache-2.0

package compile

import "weft/internal/spec"

// foreign asks for the little that weft needs of a routed network whose uplinks, rules and routes are somebody else's. The
// settings of the uplink are theirs too, proxy_arp and forwarding above all, with one exception: a guest with IPv6 is
// answered for by an entry of its own, and the device has to look at such entries.
func (b *builder) foreign(who string, n *spec.Network) {
	if dev := b.node.FamilyUplink(n, 6); dev != "" {
		b.sysctl(who, "net/ipv6/conf/"+dev+"/proxy_ndp", "1")
	}
}
