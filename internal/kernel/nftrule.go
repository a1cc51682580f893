// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"weft/internal/nft"
)

// Registers of the nf_tables virtual machine, 16 bytes each: what nft allocates for a rule of weft's.
const (
	nftReg1       = unix.NFT_REG_1
	nftRegVerdict = unix.NFT_REG_VERDICT
)

// metaKeySDIFNAME is NFT_META_SDIFNAME (nf_tables.h), which the library does not have.
const metaKeySDIFNAME expr.MetaKey = 34

// nftLoads are the expressions that bring a field of nft.Expr's list into register 1.
var nftLoads = map[string]expr.Any{
	"iifgroup":        nftMeta(expr.MetaKeyIIFGROUP),
	"oifgroup":        nftMeta(expr.MetaKeyOIFGROUP),
	"iifname":         nftMeta(expr.MetaKeyIIFNAME),
	"oifname":         nftMeta(expr.MetaKeyOIFNAME),
	"meta sdifname":   nftMeta(metaKeySDIFNAME),
	"ip saddr":        nftPayload(expr.PayloadBaseNetworkHeader, 12, 4),
	"ip daddr":        nftPayload(expr.PayloadBaseNetworkHeader, 16, 4),
	"ip6 saddr":       nftPayload(expr.PayloadBaseNetworkHeader, 8, 16),
	"ip6 daddr":       nftPayload(expr.PayloadBaseNetworkHeader, 24, 16),
	"ether saddr":     nftPayload(expr.PayloadBaseLLHeader, 6, 6),
	"ether daddr":     nftPayload(expr.PayloadBaseLLHeader, 0, 6),
	"ether type":      nftPayload(expr.PayloadBaseLLHeader, 12, 2),
	"arp htype":       nftPayload(expr.PayloadBaseNetworkHeader, 0, 2),
	"arp hlen":        nftPayload(expr.PayloadBaseNetworkHeader, 4, 1),
	"arp plen":        nftPayload(expr.PayloadBaseNetworkHeader, 5, 1),
	"arp operation":   nftPayload(expr.PayloadBaseNetworkHeader, 6, 2),
	"arp saddr ether": nftPayload(expr.PayloadBaseNetworkHeader, 8, 6),
	"arp saddr ip":    nftPayload(expr.PayloadBaseNetworkHeader, 14, 4),
	"arp daddr ip":    nftPayload(expr.PayloadBaseNetworkHeader, 24, 4),
	"@th,64,128":      nftPayload(expr.PayloadBaseTransportHeader, 8, 16),
	"meta pkttype":    nftMeta(expr.MetaKeyPKTTYPE),
	"ip6 hoplimit":    nftPayload(expr.PayloadBaseNetworkHeader, 7, 1),
	"icmpv6 type":     nftPayload(expr.PayloadBaseTransportHeader, 0, 1),
	"meta l4proto":    nftMeta(expr.MetaKeyL4PROTO),
	"udp dport":       nftPayload(expr.PayloadBaseTransportHeader, 2, 2),
	"udp sport":       nftPayload(expr.PayloadBaseTransportHeader, 0, 2),
	"tcp dport":       nftPayload(expr.PayloadBaseTransportHeader, 2, 2),
	"vlan id":         nftPayload(expr.PayloadBaseLLHeader, 14, 2),
	"ct direction":    &expr.Ct{Key: expr.CtKeyDIRECTION, Register: nftReg1},
	"ct state":        &expr.Ct{Key: expr.CtKeySTATE, Register: nftReg1},
	"rt ip nexthop":   &expr.Rt{Register: nftReg1, Key: expr.RtNexthop4},
	"rt ip6 nexthop":  &expr.Rt{Register: nftReg1, Key: expr.RtNexthop6},

	"ether type ip igmp type": nftPayload(expr.PayloadBaseTransportHeader, 0, 1),
}

func nftMeta(key expr.MetaKey) *expr.Meta { return &expr.Meta{Key: key, Register: nftReg1} }

func nftPayload(base expr.PayloadBase, offset, length uint32) *expr.Payload {
	return &expr.Payload{DestRegister: nftReg1, Base: base, Offset: offset, Len: length}
}

// nftDependency is what a packet has to be before a field of it can be looked at: nft puts it before the field once in a
// rule, and does not list it.
type nftDependency struct {
	key   expr.MetaKey
	value string // bytes
	frame bool   // the Ethernet header's EtherType is asked for, and not the key
}

func (d nftDependency) exprs() []expr.Any {
	load := expr.Any(nftMeta(d.key))
	if d.frame {
		load = nftLoads["ether type"]
	}
	return []expr.Any{load, &expr.Cmp{Op: expr.CmpOpEq, Register: nftReg1, Data: []byte(d.value)}}
}

// The dependencies that nft makes.
var (
	nftEthernet = nftDependency{key: expr.MetaKeyIIFTYPE, value: string(binary.NativeEndian.AppendUint16(nil, unix.ARPHRD_ETHER))}
	nftICMPv6   = nftDependency{key: expr.MetaKeyL4PROTO, value: string([]byte{unix.IPPROTO_ICMPV6})}
	nftIGMP     = nftDependency{key: expr.MetaKeyL4PROTO, value: string([]byte{unix.IPPROTO_IGMP})}
	nftTCP      = nftDependency{key: expr.MetaKeyL4PROTO, value: string([]byte{unix.IPPROTO_TCP})}
	nftUDP      = nftDependency{key: expr.MetaKeyL4PROTO, value: string([]byte{unix.IPPROTO_UDP})}
	nftNetwork  = map[nft.Family]map[string]nftDependency{
		nft.Inet: {
			"ip":     {key: expr.MetaKeyNFPROTO, value: string([]byte{unix.NFPROTO_IPV4})},
			"ip6":    {key: expr.MetaKeyNFPROTO, value: string([]byte{unix.NFPROTO_IPV6})},
			"icmpv6": {key: expr.MetaKeyNFPROTO, value: string([]byte{unix.NFPROTO_IPV6})},
		},
		nft.BridgeFamily: { // nft 1.0.6 asks the packet for some fields, and the frame for others
			"ip":         {key: expr.MetaKeyPROTOCOL, value: "\x08\x00"},
			"ip6":        {key: expr.MetaKeyPROTOCOL, value: "\x86\xdd"},
			"arp":        {frame: true, value: "\x08\x06"},
			"framed arp": {frame: true, value: "\x08\x06"},
			"vlan":       {frame: true, value: "\x81\x00"},
			"frag":       {frame: true, value: "\x86\xdd"},
			"igmp":       {frame: true, value: "\x08\x00"},
			"icmpv6":     {frame: true, value: "\x86\xdd"},
		},
	}
)

// nftDependencies returns the dependencies of a field in a table of this family.
func nftDependencies(family nft.Family, field string) []nftDependency {
	var deps []nftDependency
	layer := nft.FieldLayer(field)
	switch {
	case layer == "ether" && family != nft.BridgeFamily:
		return []nftDependency{nftEthernet}
	case layer == "tcp":
		return []nftDependency{nftTCP}
	case layer == "udp":
		return []nftDependency{nftUDP}
	case layer == "igmp":
		deps = []nftDependency{nftIGMP}
	case layer == "icmpv6":
		deps = []nftDependency{nftICMPv6}
	}
	if d, ok := nftNetwork[family][layer]; ok {
		deps = append([]nftDependency{d}, deps...)
	}
	return deps
}

// nftAllDependencies lists every dependency that can stand in a rule of this family.
func nftAllDependencies(family nft.Family) []nftDependency {
	all := []nftDependency{nftEthernet, nftICMPv6, nftIGMP, nftTCP, nftUDP}
	for _, d := range nftNetwork[family] {
		all = append(all, d)
	}
	return all
}

// encodeNftRule returns the kernel's expressions for a rule, the same and in the same order as nft makes them.
func encodeNftRule(family nft.Family, rule nft.Rule) ([]expr.Any, error) {
	var out []expr.Any
	var seen []nftDependency
	for _, e := range rule.Exprs {
		t, err := nft.Parse(e)
		if err != nil {
			return nil, err
		}
		for _, f := range t.Fields {
			for _, d := range nftDependencies(family, f) {
				if !slices.Contains(seen, d) {
					seen = append(seen, d)
					out = append(out, d.exprs()...)
				}
			}
		}
		exprs, err := encodeNftTerm(t)
		if err != nil {
			return nil, err
		}
		out = append(out, exprs...)
	}
	return out, nil
}

func encodeNftTerm(t nft.Term) ([]expr.Any, error) {
	switch t.Op {
	case "counter":
		return []expr.Any{&expr.Counter{}}, nil
	case "accept", "drop", "return", "jump":
		return []expr.Any{encodeNftVerdict(t)}, nil
	case "mark":
		return encodeNftMark(t)
	case "priority":
		return []expr.Any{
			&expr.Immediate{Register: nftReg1, Data: native.AppendUint32(nil, nft.Priorities[t.Value])},
			&expr.Meta{Key: expr.MetaKeyPRIORITY, Register: nftReg1, SourceRegister: true},
		}, nil
	case "fib":
		if t.Value == nft.ToSelf {
			return []expr.Any{
				&expr.Fib{Register: nftReg1, FlagDADDR: true, ResultADDRTYPE: true},
				&expr.Cmp{Op: expr.CmpOpEq, Register: nftReg1, Data: native.AppendUint32(nil, unix.RTN_LOCAL)},
			}, nil
		}
		found := native.AppendUint32(nil, uint32(bit(!t.Not)))
		return []expr.Any{nftFib(t.Value), &expr.Cmp{Op: expr.CmpOpEq, Register: nftReg1, Data: found}}, nil
	case "readdress":
		return encodeNftReaddress(t.Value), nil
	case "zone":
		n, err := strconv.ParseUint(t.Value, 10, 16)
		if err != nil {
			return nil, err
		}
		return []expr.Any{
			&expr.Immediate{Register: nftReg1, Data: native.AppendUint16(nil, uint16(n))},
			&expr.Ct{Key: expr.CtKeyZONE, Register: nftReg1, SourceRegister: true},
		}, nil
	case "note":
		note := &expr.Dynset{SrcRegKey: nftReg1, SetName: t.Set, Operation: unix.NFT_DYNSET_OP_ADD}
		return append(encodeNftPair(t), note), nil
	case "sighting":
		seen := &expr.Dynset{SrcRegKey: nftReg1, SetName: t.Set, Operation: unix.NFT_DYNSET_OP_UPDATE, Timeout: nft.SightingTimeout}
		return append(encodeNftPair(t), seen), nil
	case "limit":
		rate, burst, err := t.Rate()
		if err != nil {
			return nil, err
		}
		limit := &expr.Limit{Type: expr.LimitTypePkts, Rate: uint64(rate), Over: true, Unit: expr.LimitTimeSecond, Burst: burst}
		seen := &expr.Dynset{SrcRegKey: nftReg1, SetName: t.Set, Operation: unix.NFT_DYNSET_OP_UPDATE, Exprs: []expr.Any{limit}}
		return []expr.Any{nftLoads[t.Fields[0]], seen}, nil
	case "rewrite":
		write := nftPayload(expr.PayloadBaseNetworkHeader, 14, 4)
		write.OperationType, write.DestRegister, write.SourceRegister = expr.PayloadWrite, 0, nftReg1
		lookup := &expr.Lookup{SourceRegister: nftReg1, DestRegister: nftReg1, IsDestRegSet: true, SetName: t.Set}
		return []expr.Any{nftLoads[t.Fields[0]], lookup, write}, nil
	}
	if t.Set != "" {
		return encodeNftLookup(t), nil
	}
	return encodeNftCompare(t)
}

func nftFib(what string) *expr.Fib {
	return &expr.Fib{
		Register: nftReg1, FlagSADDR: what == "saddr . iif", FlagDADDR: what != "saddr . iif",
		FlagMARK: strings.Contains(what, "mark"), FlagIIF: strings.HasSuffix(what, "iif"),
		FlagPRESENT: true, ResultOIF: true,
	}
}

// encodeNftMark sets the packet's mark, to a number or to what a map says.
func encodeNftMark(t nft.Term) ([]expr.Any, error) {
	set := &expr.Meta{Key: expr.MetaKeyMARK, Register: nftReg1, SourceRegister: true}
	if t.Set != "" {
		return []expr.Any{nftLoads[t.Fields[0]], &expr.Lookup{SourceRegister: nftReg1, DestRegister: nftReg1, IsDestRegSet: true, SetName: t.Set}, set}, nil
	}
	b, err := nft.Encode("mark", t.Value)
	return []expr.Any{&expr.Immediate{Register: nftReg1, Data: b}, set}, err
}

// encodeNftReaddress writes the destination of a neighbour solicitation anew. The flag lets the kernel mend the checksum of
// the packet's payload, which the address is part of.
func encodeNftReaddress(to string) []expr.Any {
	write := nftPayload(expr.PayloadBaseNetworkHeader, 24, 16)
	write.OperationType, write.DestRegister, write.SourceRegister = expr.PayloadWrite, 0, nftReg1
	write.CsumFlags = unix.NFT_PAYLOAD_L4CSUM_PSEUDOHDR
	if to == nft.ToTarget {
		return []expr.Any{nftPayload(expr.PayloadBaseTransportHeader, 8, 16), write}
	}
	low := append(make([]byte, 13), 0xff, 0xff, 0xff)
	group := netip.MustParseAddr("ff02::1:ff00:0").AsSlice()
	return []expr.Any{nftLoads["ip6 daddr"], &expr.Bitwise{SourceRegister: nftReg1, DestRegister: nftReg1, Len: 16, Mask: low, Xor: group}, write}
}

func encodeNftVerdict(t nft.Term) *expr.Verdict {
	switch t.Op {
	case "accept":
		return &expr.Verdict{Kind: expr.VerdictAccept}
	case "drop":
		return &expr.Verdict{Kind: expr.VerdictDrop}
	case "return":
		return &expr.Verdict{Kind: expr.VerdictReturn}
	}
	return &expr.Verdict{Kind: expr.VerdictJump, Chain: t.Chain}
}

// encodeNftLookup looks one field, or a name and one more field side by side, up in a set.
func encodeNftLookup(t nft.Term) []expr.Any {
	return append(encodeNftPair(t), &expr.Lookup{SourceRegister: nftReg1, SetName: t.Set, Invert: t.Not})
}

// encodeNftPair loads the one field or several, side by side in the 4-byte registers: a name takes four of them, a group one.
func encodeNftPair(t nft.Term) []expr.Any {
	var out []expr.Any
	words := 0
	for _, f := range t.Fields {
		base, mask := nft.CutMask(f)
		register := uint32(nftReg1 + words/4)
		if words%4 != 0 {
			register = uint32(unix.NFT_REG32_00 + words)
		}
		switch load := nftLoads[base].(type) {
		case *expr.Meta:
			one := *load
			one.Register = register
			out = append(out, &one)
		case *expr.Payload:
			one := *load
			one.DestRegister = register
			out = append(out, &one)
		case *expr.Rt:
			one := *load
			one.Register = register
			out = append(out, &one)
		}
		if mask != nil {
			out = append(out, &expr.Bitwise{SourceRegister: register, DestRegister: register, Len: uint32(len(mask)), Mask: mask, Xor: make([]byte, len(mask))})
		}
		words += align4(nft.Size(nft.FieldType(f))) / 4
	}
	return out
}

// encodeNftCompare compares a field with a value. A prefix that ends at a byte is a shorter field, any other is masked.
func encodeNftCompare(t nft.Term) ([]expr.Any, error) {
	field := t.Fields[0]
	cmp := &expr.Cmp{Op: expr.CmpOpEq, Register: nftReg1}
	if t.Not {
		cmp.Op = expr.CmpOpNeq
	}
	switch field {
	case "frag frag-off":
		cmp.Data = []byte{0, 0}
		return append(slices.Clone(nftFragOff), cmp), nil
	case "vlan id", "ct state":
		return encodeNftBits(field, t)
	}
	if first, last, ok := nft.CutRange(t.Value); ok {
		from, to := &expr.Cmp{Op: expr.CmpOpGte, Register: nftReg1}, &expr.Cmp{Op: expr.CmpOpLte, Register: nftReg1}
		var err, err2 error
		from.Data, err = nft.Encode(nft.FieldType(field), first)
		to.Data, err2 = nft.Encode(nft.FieldType(field), last)
		return []expr.Any{nftLoads[field], from, to}, errors.Join(err, err2)
	}
	p, err := netip.ParsePrefix(t.Value)
	if err != nil {
		if cmp.Data, err = nft.Encode(nft.FieldType(field), t.Value); err != nil {
			return nil, err
		}
		return []expr.Any{nftLoads[field], cmp}, nil
	}
	cmp.Data = p.Addr().AsSlice()
	whole, ok := nftLoads[field].(*expr.Payload)
	if !ok {
		return nil, fmt.Errorf("%s: no prefix can be compared with it", field)
	}
	load := *whole
	if p.Bits()%8 == 0 {
		load.Len = uint32(p.Bits() / 8)
		cmp.Data = cmp.Data[:load.Len]
		return []expr.Any{&load, cmp}, nil
	}
	size := len(cmp.Data)
	mask := &expr.Bitwise{SourceRegister: nftReg1, DestRegister: nftReg1, Len: load.Len, Mask: nftMask(p.Bits(), size), Xor: make([]byte, size)}
	return []expr.Any{&load, mask, cmp}, nil
}

// encodeNftBits compares the bits of a field that count: a tag's number (without its priority), or a state, of which one bit is set.
func encodeNftBits(field string, t nft.Term) ([]expr.Any, error) {
	value, err := nft.Encode(nft.FieldType(field), t.Value)
	if err != nil {
		return nil, err
	}
	bits := &expr.Bitwise{SourceRegister: nftReg1, DestRegister: nftReg1, Len: uint32(len(value)), Xor: make([]byte, len(value))}
	cmp := &expr.Cmp{Op: expr.CmpOpEq, Register: nftReg1, Data: value}
	switch {
	case field == "ct state":
		bits.Mask, cmp.Op, cmp.Data = value, expr.CmpOpNeq, make([]byte, len(value))
	case t.Not:
		bits.Mask, cmp.Op = []byte{0x0f, 0xff}, expr.CmpOpNeq
	default:
		bits.Mask = []byte{0x0f, 0xff}
	}
	return []expr.Any{nftLoads[field], bits, cmp}, nil
}

// nftFragOff loads the offset of a fragment of IPv6, the upper 13 bits of two bytes (RFC 8200 section 4.5).
var nftFragOff = []expr.Any{
	&expr.Exthdr{DestRegister: nftReg1, Type: unix.IPPROTO_FRAGMENT, Offset: 2, Len: 2, Op: expr.ExthdrOpIpv6},
	&expr.Bitwise{SourceRegister: nftReg1, DestRegister: nftReg1, Len: 2, Mask: []byte{0xff, 0xf8}, Xor: []byte{0, 0}},
}

// nftMask returns a netmask of so many bits in so many bytes.
func nftMask(bits, size int) []byte {
	mask := make([]byte, size)
	for i := range bits {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	return mask
}

// encodeNftExprs returns the value of NFTA_RULE_EXPRESSIONS.
func encodeNftExprs(family nft.Family, exprs []expr.Any) ([]byte, error) {
	var m message
	for _, e := range exprs {
		if w, ok := e.(*expr.Payload); ok && w.CsumFlags != 0 {
			m.nested(unix.NFTA_LIST_ELEM, func() { m.payloadWrite(w) })
			continue
		}
		b, err := expr.Marshal(nftFamilies[family], e)
		if err != nil {
			return nil, err
		}
		m.bytes(unix.NFTA_LIST_ELEM|unix.NLA_F_NESTED, b)
	}
	return m, nil
}

// payloadWrite adds the writing of a header that has no checksum of its own, and is part of one (IPv6's pseudo header). The
// library leaves the flags out where there is no checksum.
func (m *message) payloadWrite(w *expr.Payload) {
	m.string(unix.NFTA_EXPR_NAME, "payload")
	m.nested(unix.NFTA_EXPR_DATA, func() {
		m.u32BE(unix.NFTA_PAYLOAD_SREG, w.SourceRegister)
		m.u32BE(unix.NFTA_PAYLOAD_BASE, uint32(w.Base))
		m.u32BE(unix.NFTA_PAYLOAD_OFFSET, w.Offset)
		m.u32BE(unix.NFTA_PAYLOAD_LEN, w.Len)
		m.u32BE(unix.NFTA_PAYLOAD_CSUM_TYPE, unix.NFT_PAYLOAD_CSUM_NONE)
		m.u32BE(unix.NFTA_PAYLOAD_CSUM_FLAGS, w.CsumFlags)
	})
}
