// SPDX-License-Identifier: Apache-2.0

package announce

import (
	"net/netip"

	"weft/internal/frame"
	"weft/internal/wire"
)

// Says returns the address that the sender of a frame says it has, if it says so of any: as the sender of an ARP request
// or reply, the target of a neighbour advertisement, the source of a solicitation. An address that this node claims on
// the device on which the frame came is in conflict if the MAC is not that device's, nor another's of this node.
//
// A request for an address says nothing about who has it, and one who only tries whether an address is free has none.
func Says(f frame.Frame) (Holder, bool) {
	var a netip.Addr
	mac := f.Src
	switch m := f.Msg.(type) {
	case frame.ARP:
		a, mac = m.SPA, m.SHA
	case frame.NA:
		a = m.Target
		if m.TLLA != (frame.MAC{}) {
			mac = m.TLLA // the frame may be a proxy's, the entry is for this one
		}
	case frame.NS:
		a = m.Src
	case frame.RS:
		a = m.Src
	case frame.RA:
		a = m.Src
	}
	if !a.IsValid() || a.IsUnspecified() {
		return Holder{}, false
	}
	return Holder{a, mac}, true
}

// Tries returns the address that the sender of a frame is about to take, if it asks whether that is free: by an ARP
// probe, or by a neighbour solicitation from no address (duplicate address detection).
func Tries(f frame.Frame) (Holder, bool) {
	switch m := f.Msg.(type) {
	case frame.ARP:
		if m.Probe() {
			return Holder{m.TPA, m.SHA}, true
		}
	case frame.NS:
		if m.DAD() {
			return Holder{m.Target, f.Src}, true
		}
	}
	return Holder{}, false
}

// Answer returns what the kernel leaves unanswered about an address that it is only a proxy for, where the address is one
// of mine: on a device of this node, in answer to a frame that came in there.
//
// An ARP probe asks whether the address is free: it is not (RFC 5227 section 2.4). The kernel answers no probe as a proxy
// (arp_process in net/ipv4/arp.c). The neighbour solicitation of duplicate address detection it does answer, but not one
// that goes straight to the address, by which a router makes sure now and then of a neighbour that it knows: that one it
// forwards, and it is lost (ip6_forward in net/ipv6/ip6_output.c looks at proxy entries only if proxy_ndp is on for all
// devices, and in a VRF not even then). Without an answer the router forgets the neighbour and asks everybody.
func Answer(f frame.Frame, d wire.Device, mine func(netip.Addr) bool) (frame.Frame, bool) {
	if f.Src == d.MAC {
		return frame.Frame{}, false
	}
	switch m := f.Msg.(type) {
	case frame.ARP:
		if m.Probe() && mine(m.TPA) {
			return frame.Frame{Dst: m.SHA, Src: d.MAC, Msg: frame.ARP{
				Op: frame.OpReply, SHA: d.MAC, SPA: m.TPA, THA: m.SHA, TPA: netip.IPv4Unspecified(),
			}}, true
		}
	case frame.NS:
		if m.Dst == m.Target && !m.DAD() && mine(m.Target) {
			source := d.LinkLocal
			if !source.IsValid() {
				source = m.Target
			}
			return frame.Frame{Dst: f.Src, Src: d.MAC, Msg: frame.NA{
				Src: source, Dst: m.Src, Target: m.Target, TLLA: d.MAC, Solicited: true,
			}}, true
		}
	}
	return frame.Frame{}, false
}
