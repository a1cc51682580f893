// SPDX-License-Identifier: Apache-2.0

package frame

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// The operations of ARP (RFC 826) and RARP (RFC 903).
const (
	OpRequest        = 1
	OpReply          = 2
	OpReverseRequest = 3
	OpReverseReply   = 4
)

// ARP is an address resolution message for IPv4 on Ethernet, RFC 826. The fields have the RFC's abbreviated names: sender
// and target, hardware and protocol address.
type ARP struct {
	Op  uint16 // OpRequest or OpReply
	SHA MAC
	SPA netip.Addr // 0.0.0.0 in a probe
	THA MAC        // nobody looks at a request's
	TPA netip.Addr
}

// RARP is a reverse address resolution message, RFC 903. QEMU sends requests when a guest goes on after a migration, so
// that switches learn where it is; their protocol addresses are 0.0.0.0.
type RARP struct {
	Op       uint16 // OpReverseRequest or OpReverseReply
	SHA, THA MAC
	SPA, TPA netip.Addr
}

// Probe tells whether the message asks if anybody has an address and says nothing of the sender's (RFC 5227 section 1.1).
func (a ARP) Probe() bool {
	return a.Op == OpRequest && a.SPA.IsUnspecified() && !a.TPA.IsUnspecified()
}

// Gratuitous tells whether the message announces the sender's own address, as a request or as a reply.
func (a ARP) Gratuitous() bool { return a.SPA == a.TPA && !a.SPA.IsUnspecified() }

const arpLen = 28

func (ARP) etherType() uint16  { return EtherTypeARP }
func (RARP) etherType() uint16 { return EtherTypeRARP }

func (a ARP) check() error {
	if a.Op != OpRequest && a.Op != OpReply {
		return fmt.Errorf("operation %d", a.Op)
	}
	return checkARP(a.SHA, a.SPA, a.TPA)
}

func (r RARP) check() error {
	if r.Op != OpReverseRequest && r.Op != OpReverseReply {
		return fmt.Errorf("operation %d", r.Op)
	}
	return checkARP(r.SHA, r.SPA, r.TPA)
}

func checkARP(sha MAC, spa, tpa netip.Addr) error {
	switch {
	case !sha.Unicast():
		return fmt.Errorf("sender hardware address %s", sha)
	case !spa.Is4() || !tpa.Is4():
		return fmt.Errorf("protocol addresses %s and %s: not IPv4", spa, tpa)
	case spa.IsMulticast() || spa == broadcast4 || tpa.IsMulticast():
		return fmt.Errorf("protocol addresses %s and %s: not of one host", spa, tpa)
	}
	return nil
}

var broadcast4 = netip.AddrFrom4([4]byte{255, 255, 255, 255})

func (a ARP) marshal() ([]byte, error)  { return appendARP(a.Op, a.SHA, a.SPA, a.THA, a.TPA), nil }
func (r RARP) marshal() ([]byte, error) { return appendARP(r.Op, r.SHA, r.SPA, r.THA, r.TPA), nil }

// The hardware type, Ethernet, and the protocol type, IPv4, with the lengths of their addresses.
var arpTypes = [6]byte{0, 1, 0x08, 0x00, 6, 4}

func appendARP(op uint16, sha MAC, spa netip.Addr, tha MAC, tpa netip.Addr) []byte {
	b := append(make([]byte, 0, arpLen), arpTypes[:]...)
	b = binary.BigEndian.AppendUint16(b, op)
	b = append(append(b, sha[:]...), spa.AsSlice()...)
	return append(append(b, tha[:]...), tpa.AsSlice()...)
}

func parseARP(etherType uint16, b []byte) (Message, error) {
	if len(b) < arpLen {
		return nil, fmt.Errorf("ARP message of %d octets", len(b))
	}
	if [6]byte(b[:6]) != arpTypes {
		return nil, fmt.Errorf("ARP message for hardware and protocol % x: not IPv4 on Ethernet", b[:6])
	}
	op := binary.BigEndian.Uint16(b[6:])
	sha, tha := MAC(b[8:14]), MAC(b[18:24])
	spa, tpa := netip.AddrFrom4([4]byte(b[14:18])), netip.AddrFrom4([4]byte(b[24:28]))
	if etherType == EtherTypeRARP {
		return RARP{Op: op, SHA: sha, SPA: spa, THA: tha, TPA: tpa}, nil
	}
	return ARP{Op: op, SHA: sha, SPA: spa, THA: tha, TPA: tpa}, nil
}

// GratuitousRequest announces an IPv4 address by a broadcast request for it, as RFC 5227 section 2.3 has it. Everybody
// who knows the address takes the new place.
func GratuitousRequest(src MAC, addr netip.Addr) Frame {
	return Frame{Broadcast, src, ARP{Op: OpRequest, SHA: src, SPA: addr, TPA: addr}}
}

// GratuitousReply announces an IPv4 address by a broadcast reply, for those who take no news from a request. The target's
// hardware address is the sender's, as in RFC 5944 section 4.6.
func GratuitousReply(src MAC, addr netip.Addr) Frame {
	return Frame{Broadcast, src, ARP{Op: OpReply, SHA: src, SPA: addr, THA: src, TPA: addr}}
}

// ARPProbe asks whether anybody has an IPv4 address, without touching anybody's table (RFC 5227 section 2.1.1).
func ARPProbe(src MAC, addr netip.Addr) Frame {
	return ARPRequest(src, netip.IPv4Unspecified(), addr)
}

// ARPRequest asks who has the target, in the name of a sender.
func ARPRequest(src MAC, sender, target netip.Addr) Frame {
	return Frame{Broadcast, src, ARP{Op: OpRequest, SHA: src, SPA: sender, TPA: target}}
}
