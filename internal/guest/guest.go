// SPDX-License-Identifier: Apache-2.0

// Package guest speaks with the guests of routed networks about IPv6 on their taps: it is the router that advertises
// itself, and it answers for the neighbours of the guest's prefix, which are all behind that router. It owns these
// answers and their times. It never speaks on an uplink, never routes anything, and decides nothing about who has which
// address; what the kernel answers by itself (its own link-local address, the gateway as a proxy) it leaves to the kernel.
package guest

import (
	"net/netip"
	"slices"

	"weft/internal/frame"
	"weft/internal/wire"
)

// NIC is a guest's interface on a routed network, as the host sees it.
type NIC struct {
	Index    int       // of the tap
	TapMAC   frame.MAC // the host's end: on every node the same, so that the router does not change when the guest moves
	GuestMAC frame.MAC
	Addrs    []netip.Addr   // the guest's, of both families
	Prefixes []netip.Prefix // routed to the guest, of both families
	Subnet   netip.Prefix   // IPv6, of the network; not valid where it has none
	Gateway  netip.Addr     // IPv6; the kernel answers for it on the tap
	MTU      uint32         // octets; 0 says nothing of it to the guest
}

// speaks6 tells whether the guest has IPv6 at all. One that has not must not be told of a router, or it would try.
func (n *NIC) speaks6() bool {
	return n.Subnet.IsValid() && n.Subnet.Addr().Is6() &&
		(slices.ContainsFunc(n.Addrs, netip.Addr.Is6) || slices.ContainsFunc(n.Prefixes, func(p netip.Prefix) bool { return p.Addr().Is6() }))
}

// source is the router's address: the link-local one that the kernel gave the tap.
func (n *NIC) source() netip.Addr { return frame.LinkLocal(n.TapMAC) }

// slaac tells whether the guest finds its own address by itself from the prefix: the node lets it use no other.
func (n *NIC) slaac() bool {
	return n.Subnet.Bits() == 64 && slices.Contains(n.Addrs, frame.EUI64(n.Subnet.Addr(), n.GuestMAC))
}

// own tells whether an address is the guest's.
func (n *NIC) own(a netip.Addr) bool {
	return slices.Contains(n.Addrs, a) || slices.ContainsFunc(n.Prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
}

// neighbour answers a guest's neighbour solicitation, if that is for us to do: the target is an address of the subnet and
// not the guest's own. An answer would tell a guest that tries an address, by duplicate address detection, that somebody
// has it; whether it may have the address is not decided here.
//
// The kernel answers for the gateway where the question goes to a group. One that goes straight to the gateway's
// address, as Linux asks when it makes sure of a neighbour that it knows, the kernel would forward as a packet for
// another host (ip6_forward in net/ipv6/ip6_output.c looks at proxy entries only if proxy_ndp is on for all devices).
func (n *NIC) neighbour(f frame.Frame, q frame.NS) (frame.Frame, bool) {
	asked := q.Target == n.Gateway && q.Dst == q.Target || q.Target != n.Gateway && n.Subnet.Contains(q.Target) && !n.own(q.Target)
	if !asked || q.DAD() || f.Src != n.GuestMAC {
		return frame.Frame{}, false
	}
	return frame.Frame{Dst: f.Src, Src: n.TapMAC, Msg: frame.NA{
		Src: n.source(), Dst: q.Src, Target: q.Target, TLLA: n.TapMAC, Solicited: true,
	}}, true
}

// advertisement is the router advertisement for the guest, to all nodes of its link, which are the guest and us.
func (n *NIC) advertisement() frame.Frame {
	return frame.Frame{Dst: frame.MulticastMAC(frame.AllNodes), Src: n.TapMAC, Msg: frame.RA{
		Src: n.source(), Dst: frame.AllNodes, HopLimit: hopLimit, Lifetime: routerLifetime, SLLA: n.TapMAC, MTU: n.MTU,
		Prefixes: []frame.Prefix{{
			// Not on-link: the guest sends everything to us, also what is for its neighbours.
			Prefix: n.Subnet.Masked(), OnLink: false, Autonomous: n.slaac(), Valid: validLifetime, Preferred: preferredLifetime,
		}},
	}}
}

// solicited is the answer to a router solicitation: to the guest alone where it has an address, as RFC 4861 section 6.2.6
// allows.
func (n *NIC) solicited(f frame.Frame, q frame.RS) frame.Frame {
	answer := n.advertisement()
	if !q.Src.IsUnspecified() {
		ra, _ := answer.Msg.(frame.RA)
		ra.Dst = q.Src
		answer.Dst, answer.Msg = f.Src, ra
	}
	return answer
}

// Life returns the MAC of a guest that a frame from a tap shows to run, and the address that it says it has, the zero Addr
// for none: QEMU's RARP when a guest goes on after a migration, gratuitous or any other ARP, neighbour and router
// solicitations and advertisements. Only what the guest itself made counts: Ethernet source and ARP sender are one. The
// caller compares the MAC with that of the NIC whose tap it came from.
func Life(e wire.Event) (mac frame.MAC, a netip.Addr, ok bool) {
	mac = e.Frame.Src
	switch m := e.Frame.Msg.(type) {
	case frame.ARP:
		ok, a = m.SHA == mac, m.SPA
	case frame.RARP:
		ok = m.SHA == mac && m.Op == frame.OpReverseRequest
	case frame.NS:
		if ok, a = true, m.Src; m.DAD() {
			a = m.Target
		}
	case frame.NA:
		ok, a = true, m.Target
	case frame.RS:
		ok, a = true, m.Src
	}
	if !ok {
		return frame.MAC{}, netip.Addr{}, false
	}
	if a.IsValid() && a.IsUnspecified() {
		a = netip.Addr{}
	}
	return mac, a, true
}

// Knock returns the question by which a guest shows that it lives, if it does: who has its own address. The question
// comes from the tap, in the name of the gateway or, where that is not valid, of nobody (IPv4) or of the tap (IPv6).
func Knock(tap, guest frame.MAC, gateway, a netip.Addr) frame.Frame {
	if a.Is4() {
		if !gateway.Is4() {
			gateway = netip.IPv4Unspecified()
		}
		f := frame.ARPRequest(tap, gateway, a)
		f.Dst = guest
		return f
	}
	f := frame.Solicit(tap, frame.LinkLocal(tap), a)
	f.Dst = guest
	return f
}
