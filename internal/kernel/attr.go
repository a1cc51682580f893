// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"encoding/binary"
	"iter"
	"net"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// native is the byte order of netlink's numbers.
var native = binary.NativeEndian

// attrs yields the attributes of a message or of a nested attribute: type without flags, and value. A malformed rest
// ends the list, as in the kernel's own nla_for_each_attr.
func attrs(b []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= unix.SizeofRtAttr {
			n := int(native.Uint16(b))
			if n < unix.SizeofRtAttr || n > len(b) {
				return
			}
			if !yield(native.Uint16(b[2:])&attrTypeMask, b[unix.SizeofRtAttr:n]) {
				return
			}
			b = b[min(align4(n), len(b)):]
		}
	}
}

const attrTypeMask = 0x3fff // NLA_TYPE_MASK

func align4(n int) int { return (n + 3) &^ 3 }

// The decoders return the zero value for a value of the wrong length: an attribute that changed its type is not
// something that weft knows.

func getU8(b []byte) uint8 {
	if len(b) < 1 {
		return 0
	}
	return b[0]
}

func getU16(b []byte) uint16 {
	if len(b) < 2 {
		return 0
	}
	return native.Uint16(b)
}

func getU16BE(b []byte) uint16 {
	if len(b) < 2 {
		return 0
	}
	return binary.BigEndian.Uint16(b)
}

func getU32(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return native.Uint32(b)
}

func getU64(b []byte) uint64 {
	if len(b) < 8 {
		return 0
	}
	return native.Uint64(b)
}

func getString(b []byte) string {
	for i, c := range b {
		if c == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}

// getMAC spells a hardware address; "" for one that is not of Ethernet's length.
func getMAC(b []byte) string {
	if len(b) != 6 {
		return ""
	}
	const digits = "0123456789abcdef"
	var s [17]byte
	for i, c := range b {
		if i > 0 {
			s[3*i-1] = ':'
		}
		s[3*i], s[3*i+1] = digits[c>>4], digits[c&15]
	}
	return string(s[:])
}

func getAddr(b []byte) netip.Addr {
	a, _ := netip.AddrFromSlice(b)
	return a
}

// message builds the body of a netlink request.
type message []byte

// newMessage starts a message with the family header of size n (struct ifinfomsg, rtmsg, …) given as bytes.
func newMessage[T any](header *T) *message {
	m := message(append([]byte(nil), unsafe.Slice((*byte)(unsafe.Pointer(header)), unsafe.Sizeof(*header))...))
	return &m
}

func (m *message) bytes(typ uint16, v []byte) {
	*m = native.AppendUint16(*m, uint16(unix.SizeofRtAttr+len(v)))
	*m = native.AppendUint16(*m, typ)
	*m = append(*m, v...)
	*m = append(*m, make([]byte, align4(len(v))-len(v))...)
}

func (m *message) u8(typ uint16, v uint8)     { m.bytes(typ, []byte{v}) }
func (m *message) u16(typ uint16, v uint16)   { m.bytes(typ, native.AppendUint16(nil, v)) }
func (m *message) u16BE(typ uint16, v uint16) { m.bytes(typ, binary.BigEndian.AppendUint16(nil, v)) }
func (m *message) u32(typ uint16, v uint32)   { m.bytes(typ, native.AppendUint32(nil, v)) }

func (m *message) string(typ uint16, v string) { m.bytes(typ, append([]byte(v), 0)) }

func (m *message) addr(typ uint16, a netip.Addr) { m.bytes(typ, a.AsSlice()) }

// mac adds a hardware address in text form; what is not one is left to the kernel to refuse.
func (m *message) mac(typ uint16, s string) {
	hw, err := net.ParseMAC(s)
	if err != nil {
		hw = []byte(s)
	}
	m.bytes(typ, hw)
}

// nested adds an attribute that holds attributes.
func (m *message) nested(typ uint16, fill func()) {
	start := len(*m)
	*m = append(*m, 0, 0, 0, 0)
	fill()
	native.PutUint16((*m)[start:], uint16(len(*m)-start))
	native.PutUint16((*m)[start+2:], typ|unix.NLA_F_NESTED)
}

func (m *message) optU32(typ uint16, v *uint32) {
	if v != nil {
		m.u32(typ, *v)
	}
}

func (m *message) optBool(typ uint16, v *bool) {
	if v != nil {
		m.u8(typ, bit(*v))
	}
}

func bit(b bool) uint8 {
	if b {
		return 1
	}
	return 0
}
