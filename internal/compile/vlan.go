// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"weft/internal/netstate"
	"weft/internal/spec"
)

// vlan asks for a VLAN device that the file declares.
func (b *builder) vlan(name string, s *spec.VLAN) {
	who := "vlans." + name
	parent, vid := s.ParentName(name), uint16(s.VID(name))
	l := b.common(who, name, &s.Link)
	l.Kind, l.Parent, l.VLAN = netstate.VLAN, parent, &netstate.VLANAttrs{ID: vid, Protocol: s.ProtocolWord()}
	b.link(who, l)
	b.onTopOf(who, parent, vid)
}

// onTopOf says that a VLAN device stands on parent: it has to be up, and to let the VLAN through if it is a VLAN-aware bridge.
func (b *builder) onTopOf(who, parent string, vid uint16) {
	b.below[parent] = true
	if br := b.node.Bridges[parent]; br != nil && br.VLANAware {
		b.carry(parent, vid)
		b.put(who, netstate.BridgeVLAN{Dev: parent, VID: vid, Self: true})
	}
}

// uplink asks for a device that carries a network's frames to the outside, in the network's group: a VLAN device, or
// for the native VLAN the uplink itself. Attributes that depend on the mode are in l.
func (b *builder) uplink(who, name string, n *spec.Network, u spec.Uplink, l netstate.Link) {
	l.Name = u.Dev
	l.Group = new(netstate.GroupUplink + n.Number())
	b.alias(l.Name, "uplink of "+name)
	if u.VLAN == 0 {
		b.link(who, l)
		return
	}
	l.Kind, l.Parent = netstate.VLAN, u.Parent
	l.VLAN = &netstate.VLANAttrs{ID: uint16(u.VLAN), Protocol: "802.1Q"}
	if b.node.VLANs[l.Name] == nil {
		l.MTU = uint32(b.node.NetworkMTU(n))
	}
	b.link(who, l)
	b.onTopOf(who, u.Parent, uint16(u.VLAN))
}
