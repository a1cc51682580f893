// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// dataType is one of nft's data types: how a value of it is spelled and how it lies in a register.
type dataType struct {
	size   int // bytes
	encode func(string) ([]byte, error)
	decode func([]byte) string
}

// dataTypes are the types that weft's sets, maps and matches use.
var dataTypes = map[string]dataType{
	"devgroup":    {4, encodeGroup, func(b []byte) string { return strconv.FormatUint(uint64(binary.NativeEndian.Uint32(b)), 10) }},
	"mark":        {4, encodeMark, func(b []byte) string { return fmt.Sprintf("0x%08x", binary.NativeEndian.Uint32(b)) }},
	"ifname":      {16, encodeIfName, func(b []byte) string { return IfName(string(bytes.TrimRight(b, "\x00"))) }},
	"ipv4_addr":   {4, encodeIP, decodeIP},
	"ipv6_addr":   {16, encodeIP, decodeIP},
	"ether_addr":  {6, encodeMAC, func(b []byte) string { return net.HardwareAddr(b).String() }},
	"arp_op":      {2, encodeName(arpOps, 2), decodeName(arpOps)},
	"igmp_type":   {1, encodeName(igmpTypes, 1), decodeName(igmpTypes)},
	"icmpv6_type": {1, encodeName(icmpv6Types, 1), decodeName(icmpv6Types)},
	"inet_proto":  {1, encodeName(protocols, 1), decodeName(protocols)},
	"ether_type":  {2, encodeEtherType, decodeEtherType},
	"pkt_type":    {1, encodeName(packetTypes, 1), decodeName(packetTypes)},
	"integer8":    {1, encodeNumber(8), func(b []byte) string { return strconv.Itoa(int(b[0])) }},
	"integer16":   {2, encodePort, func(b []byte) string { return strconv.Itoa(int(binary.BigEndian.Uint16(b))) }},
	ndTarget:      {16, encodeTarget, func(b []byte) string { return fmt.Sprintf("0x%x", new(big.Int).SetBytes(b)) }},
	"vlan_id":     {2, encodeVLAN, func(b []byte) string { return strconv.Itoa(int(binary.BigEndian.Uint16(b))) }},
	"ct_dir":      {1, encodeName(directions, 1), decodeName(directions)},
	"ct_state": {4, encodeState, func(b []byte) string {
		return map[uint32]string{stateRelated: "related"}[binary.NativeEndian.Uint32(b)]
	}},
	"inet_service": {2, encodePort, func(b []byte) string { return strconv.Itoa(int(binary.BigEndian.Uint16(b))) }},
}

// setTypes are the types that a set's key can have; a map's data can also be a verdict or a mark.
var setTypes = []string{"devgroup", "ifname", "ipv4_addr", "ipv6_addr", "ether_addr", ndTarget}

// arpOps are the ARP operations (RFC 826).
var arpOps = map[string]byte{"request": 1, "reply": 2}

// icmpv6Types are the message types of neighbour discovery (RFC 4861 section 4) and of multicast listeners (RFC 2710, RFC 3810).
var icmpv6Types = map[string]byte{
	"nd-router-solicit": 133, "nd-router-advert": 134, "nd-neighbor-solicit": 135, "nd-neighbor-advert": 136, "nd-redirect": 137,
	"mld-listener-query": 130, "mld-listener-report": 131, "mld-listener-done": 132, "mld2-listener-report": 143,
}

// igmpTypes are the messages of IGMP (RFC 3376 section 4) that rules ask for.
var igmpTypes = map[string]byte{"membership-query": 0x11}

// packetTypes are the kernel's (if_packet.h).
var packetTypes = map[string]byte{"broadcast": 1, "multicast": 2}

// etherTypes are the EtherTypes that nft has names for.
var etherTypes = map[string]uint16{"ip": 0x0800, "arp": 0x0806, "ip6": 0x86dd, "8021q": 0x8100, "8021ad": 0x88a8}

// protocols are the transport protocols (IANA's numbers) that rules ask for.
var protocols = map[string]byte{
	"icmp": 1, "igmp": 2, "tcp": 6, "udp": 17, "gre": 47, "esp": 50, "ah": 51, "ipv6-icmp": 58, "eigrp": 88, "ospf": 89, "pim": 103, "vrrp": 112, "sctp": 132, "255": 255,
}

// directions of a packet of a connection (IP_CT_DIR_*).
var directions = map[string]byte{"original": 0, "reply": 1}

// stateRelated is the bit of a packet that begins a connection which another one has announced, or tells of an error of another
// (NF_CT_STATE_BIT of IP_CT_RELATED).
const stateRelated = 4

// Encode returns the bytes that stand for a value of this nft data type in a register: in network order, except for
// device groups and marks, which are in the host's. The types: devgroup, mark, ifname, ipv4_addr, ipv6_addr, ether_addr, arp_op,
// igmp_type, icmpv6_type, inet_proto, inet_service, vlan_id, ct_dir, ct_state, ether_type, pkt_type, integer8, integer16 and "@th,64,128", an address as a number. A value that is not in nft's own spelling is an error.
func Encode(typ, value string) ([]byte, error) {
	t, ok := dataTypes[typ]
	if !ok {
		return nil, fmt.Errorf("unknown data type %q", typ)
	}
	b, err := t.encode(value)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", typ, value, err)
	}
	if len(b) != t.size || t.decode(b) != value {
		return nil, fmt.Errorf("%s %s: not spelled as nft spells it", typ, value)
	}
	return b, nil
}

// Decode is the inverse of Encode.
func Decode(typ string, b []byte) (string, error) {
	t, ok := dataTypes[typ]
	if !ok {
		return "", fmt.Errorf("unknown data type %q", typ)
	}
	if len(b) != t.size {
		return "", fmt.Errorf("%s: %d bytes, want %d", typ, len(b), t.size)
	}
	return t.decode(b), nil
}

// TypeOf returns the data type of an element's part or value by its spelling, "" for what is none: every type that sets
// and maps can have is spelled differently.
func TypeOf(value string) string {
	typ := "devgroup"
	switch {
	case strings.HasPrefix(value, `"`):
		typ = "ifname"
	case strings.HasPrefix(value, "0x") && len(value) > 10:
		typ = ndTarget
	case strings.HasPrefix(value, "0x"):
		typ = "mark"
	case len(value) == 17 && strings.Count(value, ":") == 5 && !strings.Contains(value, "::"):
		typ = "ether_addr"
	case strings.Contains(value, ":"):
		typ = "ipv6_addr"
	case strings.Contains(value, "."):
		typ = "ipv4_addr"
	}
	if _, err := Encode(typ, value); err != nil {
		return ""
	}
	return typ
}

// Bounds returns the first and the last of the values that an element's part stands for, encoded: a prefix's, or twice the
// only one's.
func Bounds(part string) (first, last []byte, err error) {
	p, err := parsePrefix(part)
	if err != nil {
		first, err = Encode(TypeOf(part), part)
		return first, first, err
	}
	first, last = p.Addr().AsSlice(), p.Addr().AsSlice()
	for bit := p.Bits(); bit < 8*len(last); bit++ {
		last[bit/8] |= 0x80 >> (bit % 8)
	}
	return first, last, nil
}

// Part is the inverse of Bounds for values of this data type. What is neither one value nor a prefix is spelled
// "unknown(…)".
func Part(typ string, first, last []byte) (string, error) {
	if bytes.Equal(first, last) {
		return Decode(typ, first)
	}
	a, ok := netip.AddrFromSlice(first)
	for bits := range 8 * len(first) {
		p := netip.PrefixFrom(a, bits).String()
		if low, high, err := Bounds(p); ok && err == nil && bytes.Equal(low, first) && bytes.Equal(high, last) {
			return p, nil
		}
	}
	return fmt.Sprintf("unknown(0x%x-0x%x)", first, last), nil
}

// parsePrefix parses a prefix as nft spells it: of at least one bit, and more than one address.
func parsePrefix(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err == nil && (p.Masked().String() != s || p.Bits() == 0 || p.IsSingleIP()) {
		err = fmt.Errorf("not a prefix as nft spells it")
	}
	return p, err
}

// Size returns the length of a value of this data type in bytes, 0 for an unknown type.
func Size(typ string) int { return dataTypes[typ].size }

func encodeGroup(s string) ([]byte, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("not a group number")
	}
	return binary.NativeEndian.AppendUint32(nil, uint32(n)), nil
}

func encodeMark(s string) ([]byte, error) {
	n, err := strconv.ParseUint(s, 0, 32)
	if err != nil {
		return nil, fmt.Errorf("not a mark")
	}
	return binary.NativeEndian.AppendUint32(nil, uint32(n)), nil
}

// encodeIfName takes a name as dev_valid_name of the kernel allows it, but none that nft would read as a pattern.
func encodeIfName(s string) ([]byte, error) {
	name, ok := strings.CutPrefix(s, `"`)
	name, ok2 := strings.CutSuffix(name, `"`)
	if !ok || !ok2 || name == "" || len(name) > 15 || strings.ContainsAny(name, "\"\\*/: \t\n\v\f\r\x00") {
		return nil, fmt.Errorf("not the quoted name of an interface")
	}
	return append([]byte(name), make([]byte, 16-len(name))...), nil
}

func encodePort(s string) ([]byte, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("not a port")
	}
	return binary.BigEndian.AppendUint16(nil, uint16(n)), nil
}

func encodeVLAN(s string) ([]byte, error) {
	n, err := strconv.ParseUint(s, 10, 12)
	if err != nil || n == 0 || n == 4095 {
		return nil, fmt.Errorf("want 1 to 4094")
	}
	return binary.BigEndian.AppendUint16(nil, uint16(n)), nil
}

func encodeState(s string) ([]byte, error) {
	if s != "related" {
		return nil, fmt.Errorf("want related")
	}
	return binary.NativeEndian.AppendUint32(nil, stateRelated), nil
}

func encodeNumber(bits int) func(string) ([]byte, error) {
	return func(s string) ([]byte, error) {
		n, err := strconv.ParseUint(s, 10, bits)
		if err != nil {
			return nil, fmt.Errorf("not a number of %d bits", bits)
		}
		return binary.BigEndian.AppendUint64(nil, n)[8-bits/8:], nil
	}
}

func encodeEtherType(s string) ([]byte, error) {
	n, ok := etherTypes[s]
	if !ok {
		v, err := strconv.ParseUint(s, 0, 16)
		if err != nil {
			return nil, fmt.Errorf("not an EtherType")
		}
		n = uint16(v)
	}
	return binary.BigEndian.AppendUint16(nil, n), nil
}

func decodeEtherType(b []byte) string {
	n := binary.BigEndian.Uint16(b)
	for name, known := range etherTypes {
		if n == known {
			return name
		}
	}
	return fmt.Sprintf("0x%04x", n)
}

// Target spells an address as the key of a set of targets of neighbour discovery.
func Target(a netip.Addr) string {
	b := a.As16()
	return dataTypes[ndTarget].decode(b[:])
}

func encodeTarget(s string) ([]byte, error) {
	n, ok := new(big.Int).SetString(s, 0)
	if !ok || n.Sign() < 0 || n.BitLen() > 128 {
		return nil, fmt.Errorf("not a number of 128 bits")
	}
	return n.FillBytes(make([]byte, 16)), nil
}

func encodeIP(s string) ([]byte, error) {
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		return nil, fmt.Errorf("not an address")
	}
	return a.AsSlice(), nil
}

func decodeIP(b []byte) string {
	a, _ := netip.AddrFromSlice(b)
	return a.String()
}

func encodeMAC(s string) ([]byte, error) {
	m, err := net.ParseMAC(s)
	if err != nil {
		return nil, fmt.Errorf("not a MAC")
	}
	return m, nil
}

func encodeName(names map[string]byte, size int) func(string) ([]byte, error) {
	return func(s string) ([]byte, error) {
		n, ok := names[s]
		if !ok {
			return nil, fmt.Errorf("not a known name")
		}
		return append(make([]byte, size-1), n), nil
	}
}

func decodeName(names map[string]byte) func([]byte) string {
	return func(b []byte) string {
		for name, n := range names {
			if n == b[len(b)-1] && !slices.ContainsFunc(b[:len(b)-1], func(c byte) bool { return c != 0 }) {
				return name
			}
		}
		return fmt.Sprintf("0x%x", b)
	}
}

// compare orders elements as nft lists them: by the key's bytes as one number, each part of which is in the byte order of its
// type. Those of an interval set it leaves as they came.
func (s Set) compare(a, b Element) int {
	return bytes.Compare(s.sortKey(a), s.sortKey(b))
}

func (s Set) sortKey(e Element) []byte {
	var key []byte
	for i, typ := range s.Key {
		if i >= len(e.Parts) {
			break
		}
		b, _, err := Bounds(e.Parts[i])
		if err != nil {
			b = []byte(e.Parts[i])
		}
		if !s.Interval && (typ == "devgroup" || typ == "ifname") && binary.NativeEndian.Uint16([]byte{1, 0}) == 1 {
			slices.Reverse(b)
		}
		key = append(key, b...)
	}
	return key
}
