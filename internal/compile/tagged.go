// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"fmt"

	"weft/internal/netstate"
	"weft/internal/spec"
)

// tagged asks for the networks that a guest has by tags: a VLAN device on its tap for each, which is a port of the network's bridge
// as a tap would be. The kernel takes the tag off before a bridge or a rule sees the frame, so that all that holds for a tap holds
// inside the VLAN, in either form of bridge. A frame with another tag stays with the tap itself, which lets none pass.
func (b *builder) tagged(who string, under *spec.Network, nic *spec.NIC) {
	for _, name := range nic.Tagged {
		n := b.node.Networks[name]
		if n == nil {
			b.errs = append(b.errs, fmt.Errorf("%s: no network %q in the node file", who, name))
			continue
		}
		port := *nic
		port.Name, port.Network, port.Addresses, port.Sources, port.Tagged = nic.TagDevice(n), name, nil, nil, nil
		l := b.tap(n, &port)
		l.Kind, l.Parent = netstate.VLAN, nic.Name
		l.VLAN = &netstate.VLANAttrs{ID: uint16(n.VLAN), Protocol: "802.1Q"}
		l.MTU = min(l.MTU, uint32(b.node.NetworkMTU(under))) // no more than the tap's; 0 is just that
		b.bridgePort(who, n, &port, l)
	}
}
