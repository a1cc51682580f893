// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"fmt"
	"net/netip"
	"slices"

	"weft/internal/netstate"
	"weft/internal/spec"
)

// tapMAC is the MAC of every tap of a routed network, on every node: a guest that moves to another node keeps its
// gateway's MAC. It is gnt-networking's TAP_CONSTANT_MAC, so that guests may move between its nodes and weft's.
const tapMAC = "cc:47:52:4e:45:54"

// plug asks for what each NIC needs in its network.
func (b *builder) plug(nics []spec.NIC) {
	for i := range nics {
		nic := &nics[i]
		who := "nic " + nic.Name
		n := b.node.Networks[nic.Network]
		if n == nil {
			b.errs = append(b.errs, fmt.Errorf("%s: no network %q in the node file", who, nic.Network))
			continue
		}
		b.limit(who, nic.Name, n.NICRates(nic))
		if n.Mode == spec.Routed {
			b.routedNIC(who, n, nic)
			continue
		}
		b.bridgedNIC(who, n, nic)
	}
}

// bridgedNIC makes the tap a port of the network's bridge. What a routed network may have left on it is undone.
func (b *builder) bridgedNIC(who string, n *spec.Network, nic *spec.NIC) {
	b.bridgePort(who, n, nic, b.tap(n, nic))
	b.tagged(who, n, nic)
}

// bridgePort makes a tap, or the device of a VLAN on it, a port of the network's bridge.
func (b *builder) bridgePort(who string, n *spec.Network, nic *spec.NIC, l netstate.Link) {
	l.Master, l.MAC = new(n.BridgeName()), hostMAC(nic.MAC)
	vid := uint16(0)
	if b.node.VLANAware(n) || !n.IsManaged() && n.VLAN != 0 {
		vid = uint16(n.VLAN)
		b.put(who, netstate.BridgeVLAN{Dev: nic.Name, VID: vid, PVID: true, Untagged: true})
	}
	// Where the guest's one MAC is the bridge knows, and it takes no other from the tap. Of one that has not arrived yet it
	// learns: what that sends first, nobody has to take note of.
	known := !nic.Prepared && len(nic.MACs) == 0 && !slices.Contains(nic.Trust, "mac")
	l.Port = &netstate.PortAttrs{Learning: new(!known), Locked: new(known), Flood: new(!known), Isolated: new(n.Isolated)}
	if known {
		b.put(who, netstate.FDB{MAC: canonicalMAC(nic.MAC), Dev: nic.Name, VLAN: vid, Sticky: true})
	}
	b.link(who, l)
	b.secureNIC(who, n, nic)
	b.listens(who, n, nic)
	b.silent(who, nic.Name)
	b.sysctl(who, "net/ipv4/conf/"+nic.Name+"/proxy_arp", "0")
	b.sysctl(who, "net/ipv6/conf/"+nic.Name+"/proxy_ndp", "0")
}

// tap asks for what a tap has in every network. Its group puts it among the links that go up last.
func (b *builder) tap(n *spec.Network, nic *spec.NIC) netstate.Link {
	return netstate.Link{
		Name: nic.Name, Up: new(true), Group: new(netstate.GroupTap + n.Number()), MTU: uint32(b.node.NetworkMTU(n)),
	}
}

// hostMAC returns the MAC of the host's end of a bridged tap: the guest's with fe as the first octet, as libvirt does,
// so that it is never the lowest of a bridge. For a guest that has fe itself it is fa: a bridge with the guest's own
// MAC on the host's side would keep the guest's frames to itself.
func hostMAC(guest string) string {
	mac := canonicalMAC(guest)
	switch {
	case len(mac) < 2:
		return mac
	case mac[:2] == "fe":
		return "fa" + mac[2:]
	}
	return "fe" + mac[2:]
}

// routedNIC makes the tap a port of the network's table: the guest's addresses lead to it, their MAC is known and not
// asked for, and each side hears from the node where the other is.
//
// Of a guest that is only prepared the tap stands, guarded and in its place, and nothing leads to it: the node answers for
// what is routed to another port, so it answers for none of the guest's addresses.
func (b *builder) routedNIC(who string, n *spec.Network, nic *spec.NIC) {
	l := b.tap(n, nic)
	l.MAC = tapMAC
	if vrf := n.VRFName(); vrf != "" {
		l.Master = new(vrf)
	}
	b.rulesFor(who, n, nic.Name)
	b.link(who, l)
	b.port(who, n, nic.Name, n.IPv4 != nil, n.IPv6 != nil)
	b.guardNIC(who, n, nic)
	if n.IPv4 != nil && n.VRFName() != "" {
		b.sysctl(who, "net/ipv4/conf/"+nic.Name+"/rp_filter", "1") // a VRF's port is asked by its own routes
	}
	if n.IPv6 != nil {
		// Nothing but the guest is on the link, so the tap's link-local address need not wait for duplicates of itself.
		b.sysctl(who, "net/ipv6/conf/"+nic.Name+"/accept_dad", "0")
		if gw := n.IPv6.Gateway; gw.IsValid() {
			b.put(who, netstate.Neigh{IP: gw, Dev: nic.Name, Proxy: true, Protocol: netstate.Protocol})
		}
	}
	if !nic.Prepared {
		b.claimed(who, n, nic)
	}
}

// claimed leads the guest's addresses, and the prefixes behind them, to its tap, and answers for the addresses on the
// uplink. ARP needs no entry for that, because proxy_arp answers for whatever is routed elsewhere; IPv6 has nothing like it.
func (b *builder) claimed(who string, n *spec.Network, nic *spec.NIC) {
	first := map[bool]netip.Addr{} // by whether it is IPv6
	for _, a := range nic.Addresses {
		b.route(who, netstate.Route{Dst: netip.PrefixFrom(a, a.BitLen()), Dev: nic.Name, Table: n.TableNumber()})
		b.put(who, netstate.Neigh{IP: a, Dev: nic.Name, MAC: canonicalMAC(nic.MAC), Protocol: netstate.Protocol})
		if dev := b.node.FamilyUplink(n, 6); a.Is6() && dev != "" {
			b.put(who, netstate.Neigh{IP: a, Dev: dev, Proxy: true, Protocol: netstate.Protocol})
		}
		if !first[a.Is6()].IsValid() {
			first[a.Is6()] = a
		}
	}
	for _, p := range nic.Prefixes {
		// onlink: the guest's own route, which makes its address a gateway, may come after this one.
		b.route(who, netstate.Route{Dst: p, Via: first[p.Addr().Is6()], Dev: nic.Name, Table: n.TableNumber(), OnLink: true})
	}
}
