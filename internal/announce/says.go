// SPDX-License-Identifier: Apache-2.0

package announce

import (
	"net/netip"

	"weft/internal/frame"
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

// Defence returns the answer, from a device with this MAC, to somebody who asks by an ARP probe whether an address of
// this node's is free: it is not. The kernel leaves these probes unanswered where it only is a proxy for the address; a
// solicitation of duplicate address detection it answers itself.
func Defence(f frame.Frame, mac frame.MAC) (frame.Frame, bool) {
	probe, ok := f.Msg.(frame.ARP)
	if !ok || !probe.Probe() {
		return frame.Frame{}, false
	}
	return frame.Frame{Dst: probe.SHA, Src: mac, Msg: frame.ARP{
		Op: frame.OpReply, SHA: mac, SPA: probe.TPA, THA: probe.SHA, TPA: netip.IPv4Unspecified(),
	}}, true
}
