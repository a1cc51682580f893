// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"fmt"

	"weft/internal/netstate"
	"weft/internal/spec"
)

// nativeVID is the VLAN that stands for untagged frames inside a VLAN-aware bridge of which the host itself is a part.
const nativeVID = 1

// bridge asks for a bridge that the file declares, and its ports.
func (b *builder) bridge(name string, s *spec.Bridge) {
	who := "bridges." + name
	l := b.common(who, name, &s.Link)
	l.Kind, l.Bridge = netstate.Bridge, bridgeAttrs(s)
	if l.MAC == "" {
		l.MAC = localMAC(b.node.Node, name)
	}
	l.MTU = uint32(b.node.LinkMTU(name))
	b.link(who, l)
	if len(s.Addresses) == 0 && s.IPv6 == nil {
		b.sysctl(who, "net/ipv6/conf/"+name+"/disable_ipv6", "1")
	}
	for _, port := range s.Ports {
		b.link(who, netstate.Link{Name: port, Master: new(name)})
	}
}

// bridgeAttrs translates a bridge's options. Seconds become the kernel's hundredths.
func bridgeAttrs(s *spec.Bridge) *netstate.BridgeAttrs {
	a := &netstate.BridgeAttrs{STP: new(s.STP), VLANFiltering: new(s.VLANAware), MulticastSnooping: new(s.MulticastSnooping)}
	if s.MulticastSnooping { // without a querier nobody would be heard to listen for long
		a.MulticastQuerier = new(true)
	}
	if !s.STP || s.ForwardDelay != nil { // with STP the kernel refuses a delay below 2 s
		a.ForwardDelay = new(uint32(100 * s.ForwardDelaySeconds()))
	}
	if s.VLANAware {
		a.DefaultPVID = new(uint16(0))
	}
	if s.AgeingTime != nil {
		a.AgeingTime = new(uint32(100 * *s.AgeingTime))
	}
	return a
}

// bridged asks for a bridged network: a bridge of its own with the uplink's VLAN device as a port, or a VLAN of a
// VLAN-aware bridge. The host has no address and no IPv6 on either device: a guest cannot reach it that way.
//
// Of a network that is not managed there is nothing to ask for but its taps, and port security for them.
func (b *builder) bridged(name string, n *spec.Network) {
	who, br := "networks."+name, n.BridgeName()
	b.secure(who, n)
	if !n.IsManaged() {
		return
	}
	if b.node.VLANAware(n) {
		if n.VLAN == 0 {
			b.errs = append(b.errs, fmt.Errorf("%s: a network on the VLAN-aware bridge %s needs a vlan", who, br))
			return
		}
		b.carry(br, uint16(n.VLAN))
		return
	}
	if b.node.Bridges[br] == nil {
		b.alias(br, "bridge of "+name)
		b.link(who, netstate.Link{
			Name: br, Kind: netstate.Bridge, Bridge: bridgeAttrs(&spec.Bridge{MulticastSnooping: n.MulticastSnooping}),
			MAC: localMAC(b.node.Node, br), MTU: uint32(b.node.NetworkMTU(n)),
		})
		b.sysctl(who, "net/ipv6/conf/"+br+"/disable_ipv6", "1")
		// The host answers on every device for all its addresses: no route leads back through this one, so that a strict
		// check of the source drops what a guest sends to them.
		b.sysctl(who, "net/ipv4/conf/"+br+"/rp_filter", "1")
	}
	for _, u := range b.node.Uplinks(n) {
		b.uplink(who, name, n, u, netstate.Link{Master: new(br)})
		if u.VLAN == 0 || b.node.VLANs[u.Dev] != nil { // what outlives the network, and would never answer ARP again
			b.sysctl(who, "net/ipv6/conf/"+u.Dev+"/disable_ipv6", "1")
			continue
		}
		b.silent(who, u.Dev)
	}
}

// silent has the host itself take nothing from a port of a bridge. A frame to 01:80:c2:00:00:0e is the port's own, and no chain of a
// bridge sees it: the port would answer ARP for all addresses of the host (probes of nobody's, too, which rp_filter lets pass).
func (b *builder) silent(who, port string) {
	b.sysctl(who, "net/ipv6/conf/"+port+"/disable_ipv6", "1")
	b.sysctl(who, "net/ipv4/conf/"+port+"/arp_ignore", "8")
	b.sysctl(who, "net/ipv4/conf/"+port+"/rp_filter", "1")
}

// carry says that a VLAN-aware bridge carries this VLAN on its trunk ports.
func (b *builder) carry(bridge string, vid uint16) {
	if b.vids[bridge] == nil {
		b.vids[bridge] = make(map[uint16]bool)
	}
	b.vids[bridge][vid] = true
}

// trunks puts the VLANs of VLAN-aware bridges on their ports, tagged. Untagged frames belong to the bridge only where
// the host has a part in them: where the bridge itself has addresses, is in a VRF or is a network's native uplink.
func (b *builder) trunks() {
	for _, name := range sorted(b.node.Bridges) {
		br := b.node.Bridges[name]
		if !br.VLANAware {
			continue
		}
		who := "bridges." + name
		for vid := range b.vids[name] {
			for _, port := range br.Ports {
				b.put(who, netstate.BridgeVLAN{Dev: port, VID: vid})
			}
		}
		if len(br.Addresses) == 0 && b.links[name].MasterName() == "" {
			continue
		}
		b.put(who, netstate.BridgeVLAN{Dev: name, VID: nativeVID, PVID: true, Untagged: true, Self: true})
		for _, port := range br.Ports {
			b.put(who, netstate.BridgeVLAN{Dev: port, VID: nativeVID, PVID: true, Untagged: true})
		}
	}
}
