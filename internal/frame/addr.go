// SPDX-License-Identifier: Apache-2.0

package frame

import "net/netip"

// AllNodes and AllRouters are the link's multicast groups, RFC 4291 section 2.7.1.
var (
	AllNodes   = netip.MustParseAddr("ff02::1")
	AllRouters = netip.MustParseAddr("ff02::2")
)

// SolicitedNode returns the multicast group in which the holder of an IPv6 address listens for solicitations, RFC 4291
// section 2.7.1.
func SolicitedNode(a netip.Addr) netip.Addr {
	b := a.As16()
	return netip.AddrFrom16([16]byte{0xff, 0x02, 11: 1, 12: 0xff, 13: b[13], 14: b[14], 15: b[15]})
}

// MulticastMAC returns the Ethernet address of an IPv6 multicast group, RFC 2464 section 7.
func MulticastMAC(group netip.Addr) MAC {
	b := group.As16()
	return MAC{0x33, 0x33, b[12], b[13], b[14], b[15]}
}

// EUI64 returns the address that a host with this MAC forms by itself in an IPv6 prefix of 64 bits, RFC 4291 appendix A.
func EUI64(prefix netip.Addr, mac MAC) netip.Addr {
	b := prefix.As16()
	copy(b[8:], []byte{mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]})
	return netip.AddrFrom16(b)
}

// LinkLocal returns the link-local address that the kernel gives by default to a device with this MAC (addr_gen_mode
// eui64).
func LinkLocal(mac MAC) netip.Addr { return EUI64(netip.AddrFrom16([16]byte{0xfe, 0x80}), mac) }

// UnsolicitedNA announces an IPv6 address to everybody on the link, who must take the new place (RFC 4861 section 7.2.6).
// It does not claim to be a router: the address is a guest's. The source is the device's link-local address, as it is of
// the kernel's own proxied answers, or the announced address itself where source is none.
func UnsolicitedNA(src MAC, source, addr netip.Addr) Frame {
	if !source.IsValid() {
		source = addr
	}
	return Frame{MulticastMAC(AllNodes), src, NA{Src: source, Dst: AllNodes, Target: addr, TLLA: src, Override: true}}
}

// DADNS asks whether anybody has an IPv6 address, as a host does before it takes one (RFC 4862 section 5.4.2).
func DADNS(src MAC, addr netip.Addr) Frame {
	group := SolicitedNode(addr)
	return Frame{MulticastMAC(group), src, NS{Src: netip.IPv6Unspecified(), Dst: group, Target: addr}}
}

// Solicit asks who has the target, in the name of a source.
func Solicit(src MAC, source, target netip.Addr) Frame {
	group := SolicitedNode(target)
	return Frame{MulticastMAC(group), src, NS{Src: source, Dst: group, Target: target, SLLA: src}}
}
