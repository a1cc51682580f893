// SPDX-License-Identifier: Apache-2.0

// Package frame is the codec of the few Ethernet frames by which hosts find each other: ARP, RARP and IPv6 neighbour
// discovery. It owns their shapes and the frames that weft itself says: announcements, probes and answers. It never
// touches a socket, and it never guesses: a frame that the RFCs tell a receiver to discard is an error.
//
// Frames have no VLAN tag: the VLAN device that they are sent on, or heard from, adds and removes it.
package frame

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
)

// The EtherTypes that Parse knows, from linux/if_ether.h.
const (
	EtherTypeARP  = 0x0806
	EtherTypeRARP = 0x8035
	EtherTypeIPv6 = 0x86dd
)

const headerLen = 14

// MAC is an Ethernet address. The zero value stands for none.
type MAC [6]byte

// Broadcast is the Ethernet address of everybody.
var Broadcast = MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// ParseMAC reads an Ethernet address in any of the spellings that net.ParseMAC knows.
func ParseMAC(text string) (MAC, error) {
	hw, err := net.ParseMAC(text)
	if err != nil {
		return MAC{}, err
	}
	if len(hw) != len(MAC{}) {
		return MAC{}, fmt.Errorf("address %s: %d octets, Ethernet has 6", text, len(hw))
	}
	return MAC(hw), nil
}

// String returns the address as six octets with colons.
func (m MAC) String() string { return net.HardwareAddr(m[:]).String() }

// Unicast tells whether the address can be one station's: neither a group's nor none.
func (m MAC) Unicast() bool { return m[0]&1 == 0 && m != MAC{} }

// Message is what a frame says: one of ARP, RARP, NS, NA, RS and RA, and nothing else.
type Message interface {
	etherType() uint16
	// check says why a receiver would have to discard the message.
	check() error
	marshal() ([]byte, error)
}

// Frame is an Ethernet frame.
type Frame struct {
	Dst, Src MAC
	Msg      Message
}

// Marshal returns the frame's octets, without padding and check sequence: the device adds both. A frame that a receiver
// would discard is an error.
func (f Frame) Marshal() ([]byte, error) {
	if f.Msg == nil {
		return nil, errors.New("encode frame: it has no message")
	}
	if err := f.Msg.check(); err != nil {
		return nil, fmt.Errorf("encode %T: %w", f.Msg, err)
	}
	body, err := f.Msg.marshal()
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", f.Msg, err)
	}
	b := make([]byte, 0, headerLen+len(body))
	b = append(b, f.Dst[:]...)
	b = append(b, f.Src[:]...)
	b = binary.BigEndian.AppendUint16(b, f.Msg.etherType())
	return append(b, body...), nil
}

// Parse reads a frame as it comes from the wire, with or without padding.
func Parse(b []byte) (Frame, error) {
	if len(b) < headerLen {
		return Frame{}, fmt.Errorf("parse frame: %d octets", len(b))
	}
	f := Frame{Dst: MAC(b[:6]), Src: MAC(b[6:12])}
	var err error
	switch t := binary.BigEndian.Uint16(b[12:]); t {
	case EtherTypeARP, EtherTypeRARP:
		f.Msg, err = parseARP(t, b[headerLen:])
	case EtherTypeIPv6:
		f.Msg, err = parseND(b[headerLen:])
	default:
		return Frame{}, fmt.Errorf("parse frame: EtherType %#04x", t)
	}
	if err == nil && !f.Src.Unicast() {
		err = fmt.Errorf("source address %s", f.Src)
	}
	if err == nil {
		err = f.Msg.check()
	}
	if err != nil {
		return Frame{}, fmt.Errorf("parse frame from %s: %w", f.Src, err)
	}
	return f, nil
}
