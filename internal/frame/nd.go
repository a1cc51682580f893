// SPDX-License-Identifier: Apache-2.0

package frame

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/mdlayher/ndp"
)

// NS is a neighbour solicitation, RFC 4861 section 4.3.
type NS struct {
	Src, Dst netip.Addr // of the IPv6 header; Src is :: while the sender tries whether it may have Target
	Target   netip.Addr
	SLLA     MAC // the option; zero where there is none
}

// DAD tells whether the sender only asks whether anybody has the address that it wants (RFC 4862 section 5.4).
func (n NS) DAD() bool { return n.Src.IsUnspecified() }

// NA is a neighbour advertisement, RFC 4861 section 4.4.
type NA struct {
	Src, Dst                    netip.Addr
	Target                      netip.Addr
	TLLA                        MAC // the option; zero where there is none
	Router, Solicited, Override bool
}

// RS is a router solicitation, RFC 4861 section 4.1.
type RS struct {
	Src, Dst netip.Addr
	SLLA     MAC // the option; zero where there is none
}

// RA is a router advertisement, RFC 4861 section 4.2. Options other than these are not kept.
type RA struct {
	Src, Dst       netip.Addr
	HopLimit       uint8 // for the packets of the guest; 0 says nothing of it
	Managed, Other bool
	Lifetime       time.Duration // as a default router, in whole seconds; 0 for none
	SLLA           MAC           // the option; zero where there is none
	MTU            uint32        // the option, octets; 0 where there is none
	Prefixes       []Prefix
}

// Prefix is a prefix information option, RFC 4861 section 4.6.2.
type Prefix struct {
	Prefix             netip.Prefix
	OnLink, Autonomous bool
	Valid, Preferred   time.Duration // in whole seconds
}

const (
	ipv6Len   = 40
	icmpv6    = 58
	hopLimit  = 255 // says that no router has forwarded the packet
	minICMPv6 = 8
)

func (NS) etherType() uint16 { return EtherTypeIPv6 }
func (NA) etherType() uint16 { return EtherTypeIPv6 }
func (RS) etherType() uint16 { return EtherTypeIPv6 }
func (RA) etherType() uint16 { return EtherTypeIPv6 }

// check has the rules of RFC 4861 section 7.1.1.
func (n NS) check() error {
	if err := checkEnds(n.Src, n.Dst); err != nil {
		return err
	}
	switch {
	case !unicast6(n.Target):
		return fmt.Errorf("neighbour solicitation for %s", n.Target)
	case n.DAD() && n.Dst != SolicitedNode(n.Target):
		return fmt.Errorf("neighbour solicitation from :: to %s", n.Dst)
	case n.DAD() && n.SLLA != MAC{}:
		return errors.New("neighbour solicitation from :: with a source link-layer address")
	}
	return nil
}

// check has the rules of RFC 4861 section 7.1.2.
func (n NA) check() error {
	if err := checkEnds(n.Src, n.Dst); err != nil {
		return err
	}
	switch {
	case !unicast6(n.Target):
		return fmt.Errorf("neighbour advertisement for %s", n.Target)
	case n.Src.IsUnspecified():
		return errors.New("neighbour advertisement from no address")
	case n.Solicited && n.Dst.IsMulticast():
		return fmt.Errorf("solicited neighbour advertisement to %s", n.Dst)
	}
	return nil
}

// check has the rules of RFC 4861 section 6.1.1.
func (r RS) check() error {
	if r.Src.IsUnspecified() && r.SLLA != (MAC{}) {
		return errors.New("router solicitation from :: with a source link-layer address")
	}
	return checkEnds(r.Src, r.Dst)
}

// check has the rules of RFC 4861 section 6.1.2.
func (r RA) check() error {
	if !r.Src.IsLinkLocalUnicast() {
		return fmt.Errorf("router advertisement from %s", r.Src)
	}
	return checkEnds(r.Src, r.Dst)
}

func checkEnds(src, dst netip.Addr) error {
	if !is6(src) || !is6(dst) {
		return fmt.Errorf("addresses %s and %s: not IPv6", src, dst)
	}
	if src.IsMulticast() || dst.IsUnspecified() {
		return fmt.Errorf("packet from %s to %s", src, dst)
	}
	return nil
}

func is6(a netip.Addr) bool { return a.Is6() && !a.Is4In6() && a.Zone() == "" }

func unicast6(a netip.Addr) bool { return is6(a) && !a.IsMulticast() && !a.IsUnspecified() }

func (n NS) marshal() ([]byte, error) {
	return marshalND(n.Src, n.Dst, &ndp.NeighborSolicitation{TargetAddress: n.Target, Options: linkLayer(ndp.Source, n.SLLA)})
}

func (n NA) marshal() ([]byte, error) {
	return marshalND(n.Src, n.Dst, &ndp.NeighborAdvertisement{
		Router: n.Router, Solicited: n.Solicited, Override: n.Override, TargetAddress: n.Target, Options: linkLayer(ndp.Target, n.TLLA),
	})
}

func (r RS) marshal() ([]byte, error) {
	return marshalND(r.Src, r.Dst, &ndp.RouterSolicitation{Options: linkLayer(ndp.Source, r.SLLA)})
}

func (r RA) marshal() ([]byte, error) {
	options := linkLayer(ndp.Source, r.SLLA)
	if r.MTU != 0 {
		options = append(options, ndp.NewMTU(r.MTU))
	}
	for _, p := range r.Prefixes {
		options = append(options, &ndp.PrefixInformation{
			PrefixLength: uint8(p.Prefix.Bits()), Prefix: p.Prefix.Addr(), OnLink: p.OnLink, AutonomousAddressConfiguration: p.Autonomous,
			ValidLifetime: p.Valid, PreferredLifetime: p.Preferred,
		})
	}
	return marshalND(r.Src, r.Dst, &ndp.RouterAdvertisement{
		CurrentHopLimit: r.HopLimit, ManagedConfiguration: r.Managed, OtherConfiguration: r.Other, RouterLifetime: r.Lifetime, Options: options,
	})
}

func linkLayer(d ndp.Direction, mac MAC) []ndp.Option {
	if mac == (MAC{}) {
		return nil
	}
	return []ndp.Option{&ndp.LinkLayerAddress{Direction: d, Addr: mac[:]}}
}

// marshalND returns the IPv6 packet with the message.
func marshalND(src, dst netip.Addr, m ndp.Message) ([]byte, error) {
	body, err := ndp.MarshalMessageChecksum(m, src, dst)
	if err != nil {
		return nil, err
	}
	b := append(make([]byte, 0, ipv6Len+len(body)), 0x60, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(len(body)))
	b = append(b, icmpv6, hopLimit)
	b = append(append(b, src.AsSlice()...), dst.AsSlice()...)
	return append(b, body...), nil
}

func parseND(b []byte) (Message, error) {
	if len(b) < ipv6Len+minICMPv6 || b[0]>>4 != 6 {
		return nil, fmt.Errorf("IPv6 packet of %d octets", len(b))
	}
	src, dst := netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
	size := int(binary.BigEndian.Uint16(b[4:]))
	switch {
	case b[6] != icmpv6:
		return nil, fmt.Errorf("IPv6 packet with next header %d", b[6])
	case b[7] != hopLimit:
		return nil, fmt.Errorf("ICMPv6 with hop limit %d: a router has forwarded it", b[7])
	case size < minICMPv6 || size > len(b)-ipv6Len:
		return nil, fmt.Errorf("ICMPv6 of %d octets in a packet of %d", size, len(b))
	}
	body := b[ipv6Len : ipv6Len+size]
	if body[1] != 0 {
		return nil, fmt.Errorf("ICMPv6 type %d code %d", body[0], body[1])
	}
	if sum(b[8:40], body) != 0xffff {
		return nil, errors.New("ICMPv6 checksum")
	}
	m, err := ndp.ParseMessage(body)
	if err != nil {
		return nil, err
	}
	switch m := m.(type) {
	case *ndp.NeighborSolicitation:
		return NS{Src: src, Dst: dst, Target: m.TargetAddress, SLLA: findLinkLayer(ndp.Source, m.Options)}, nil
	case *ndp.NeighborAdvertisement:
		return NA{
			Src: src, Dst: dst, Target: m.TargetAddress, TLLA: findLinkLayer(ndp.Target, m.Options),
			Router: m.Router, Solicited: m.Solicited, Override: m.Override,
		}, nil
	case *ndp.RouterSolicitation:
		return RS{Src: src, Dst: dst, SLLA: findLinkLayer(ndp.Source, m.Options)}, nil
	case *ndp.RouterAdvertisement:
		return newRA(src, dst, m), nil
	}
	return nil, fmt.Errorf("ICMPv6 type %d", body[0])
}

func newRA(src, dst netip.Addr, m *ndp.RouterAdvertisement) RA {
	r := RA{
		Src: src, Dst: dst, HopLimit: m.CurrentHopLimit, Managed: m.ManagedConfiguration, Other: m.OtherConfiguration,
		Lifetime: m.RouterLifetime, SLLA: findLinkLayer(ndp.Source, m.Options),
	}
	for _, o := range m.Options {
		switch o := o.(type) {
		case *ndp.MTU:
			r.MTU = o.MTU
		case *ndp.PrefixInformation:
			if p := netip.PrefixFrom(o.Prefix, int(o.PrefixLength)); p.IsValid() {
				r.Prefixes = append(r.Prefixes, Prefix{p, o.OnLink, o.AutonomousAddressConfiguration, o.ValidLifetime, o.PreferredLifetime})
			}
		}
	}
	return r
}

func findLinkLayer(d ndp.Direction, options []ndp.Option) MAC {
	for _, o := range options {
		if l, ok := o.(*ndp.LinkLayerAddress); ok && l.Direction == d && len(l.Addr) == len(MAC{}) {
			return MAC(l.Addr)
		}
	}
	return MAC{}
}

// sum is the one's complement sum of the pseudo-header (RFC 8200 section 8.1; ends are the two addresses) and the body,
// which includes the checksum: 0xffff where that is right.
func sum(ends, body []byte) uint16 {
	s := uint32(len(body)) + icmpv6
	for _, b := range [][]byte{ends, body} {
		for i := 0; i+1 < len(b); i += 2 {
			s += uint32(binary.BigEndian.Uint16(b[i:]))
		}
		if len(b)%2 == 1 {
			s += uint32(b[len(b)-1]) << 8
		}
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}
