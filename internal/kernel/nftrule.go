// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"reflect"
	"slices"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"weft/internal/nft"
)

// Registers of the nf_tables virtual machine, 16 bytes each: what nft allocates for a rule of weft's.
const (
	nftReg1       = unix.NFT_REG_1
	nftReg2       = unix.NFT_REG_2
	nftRegVerdict = unix.NFT_REG_VERDICT
)

// nftLoads are the expressions that bring a field of nft.Expr's list into register 1.
var nftLoads = map[string]expr.Any{
	"iifgroup":      nftMeta(expr.MetaKeyIIFGROUP),
	"oifgroup":      nftMeta(expr.MetaKeyOIFGROUP),
	"iifname":       nftMeta(expr.MetaKeyIIFNAME),
	"oifname":       nftMeta(expr.MetaKeyOIFNAME),
	"ip saddr":      nftPayload(expr.PayloadBaseNetworkHeader, 12, 4),
	"ip daddr":      nftPayload(expr.PayloadBaseNetworkHeader, 16, 4),
	"ip6 saddr":     nftPayload(expr.PayloadBaseNetworkHeader, 8, 16),
	"ip6 daddr":     nftPayload(expr.PayloadBaseNetworkHeader, 24, 16),
	"ether saddr":   nftPayload(expr.PayloadBaseLLHeader, 6, 6),
	"arp operation": nftPayload(expr.PayloadBaseNetworkHeader, 6, 2),
	"arp saddr ip":  nftPayload(expr.PayloadBaseNetworkHeader, 14, 4),
	"icmpv6 type":   nftPayload(expr.PayloadBaseTransportHeader, 0, 1),
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
}

func (d nftDependency) exprs() []expr.Any {
	return []expr.Any{nftMeta(d.key), &expr.Cmp{Op: expr.CmpOpEq, Register: nftReg1, Data: []byte(d.value)}}
}

// The dependencies that nft makes.
var (
	nftEthernet = nftDependency{expr.MetaKeyIIFTYPE, string(binary.NativeEndian.AppendUint16(nil, unix.ARPHRD_ETHER))}
	nftICMPv6   = nftDependency{expr.MetaKeyL4PROTO, string([]byte{unix.IPPROTO_ICMPV6})}
	nftNetwork  = map[nft.Family]map[string]nftDependency{
		nft.Inet: {
			"ip":  {expr.MetaKeyNFPROTO, string([]byte{unix.NFPROTO_IPV4})},
			"ip6": {expr.MetaKeyNFPROTO, string([]byte{unix.NFPROTO_IPV6})},
		},
		nft.BridgeFamily: {
			"ip":  {expr.MetaKeyPROTOCOL, "\x08\x00"},
			"ip6": {expr.MetaKeyPROTOCOL, "\x86\xdd"},
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
	case layer == "icmpv6":
		layer = "ip6"
		deps = []nftDependency{nftICMPv6}
	}
	if d, ok := nftNetwork[family][layer]; ok {
		deps = append([]nftDependency{d}, deps...)
	}
	return deps
}

// nftAllDependencies lists every dependency that can stand in a rule of this family.
func nftAllDependencies(family nft.Family) []nftDependency {
	all := []nftDependency{nftEthernet, nftICMPv6}
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
	case "accept", "drop", "jump":
		return []expr.Any{encodeNftVerdict(t)}, nil
	case "fib":
		found := native.AppendUint32(nil, uint32(bit(!t.Not)))
		return []expr.Any{nftFib(), &expr.Cmp{Op: expr.CmpOpEq, Register: nftReg1, Data: found}}, nil
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

func nftFib() *expr.Fib {
	return &expr.Fib{Register: nftReg1, FlagSADDR: true, FlagIIF: true, FlagPRESENT: true, ResultOIF: true}
}

func encodeNftVerdict(t nft.Term) *expr.Verdict {
	switch t.Op {
	case "accept":
		return &expr.Verdict{Kind: expr.VerdictAccept}
	case "drop":
		return &expr.Verdict{Kind: expr.VerdictDrop}
	}
	return &expr.Verdict{Kind: expr.VerdictJump, Chain: t.Chain}
}

// encodeNftLookup looks one field, or a name and one more field side by side, up in a set.
func encodeNftLookup(t nft.Term) []expr.Any {
	out := []expr.Any{nftLoads[t.Fields[0]]}
	if len(t.Fields) > 1 {
		switch load := nftLoads[t.Fields[1]].(type) {
		case *expr.Meta:
			second := *load
			second.Register = nftReg2
			out = append(out, &second)
		case *expr.Payload:
			second := *load
			second.DestRegister = nftReg2
			out = append(out, &second)
		}
	}
	return append(out, &expr.Lookup{SourceRegister: nftReg1, SetName: t.Set, Invert: t.Not})
}

// encodeNftCompare compares a field with a value. A prefix that ends at a byte is a shorter field, any other is masked.
func encodeNftCompare(t nft.Term) ([]expr.Any, error) {
	field := t.Fields[0]
	cmp := &expr.Cmp{Op: expr.CmpOpEq, Register: nftReg1}
	if t.Not {
		cmp.Op = expr.CmpOpNeq
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

// nftMask returns a netmask of so many bits in so many bytes.
func nftMask(bits, size int) []byte {
	mask := make([]byte, size)
	for i := range bits {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	return mask
}

// nftRaw is one expression as the kernel lists it.
type nftRaw struct {
	name string
	expr expr.Any // nil for an expression that no rule of weft's has
}

// nftDecoder reads the expressions of one rule.
type nftDecoder struct {
	family nft.Family
	raw    []nftRaw
	seen   []nftDependency
}

// decodeNftRule reads a rule back. What weft could not have written is spelled "unknown(…)", expression by expression,
// which no rule that is asked for equals.
func decodeNftRule(family nft.Family, raw []nftRaw) nft.Rule {
	d := nftDecoder{family: family, raw: raw}
	var rule nft.Rule
	for len(d.raw) > 0 {
		rule.Exprs = append(rule.Exprs, d.next())
	}
	return rule
}

// next takes the next Expr off the rule.
func (d *nftDecoder) next() nft.Expr {
	deps := d.dependencies()
	rest := d.raw[2*len(deps):]
	if t, n := decodeNftTerm(rest); n > 0 {
		var need []nftDependency
		for _, f := range t.Fields {
			for _, dep := range nftDependencies(d.family, f) {
				if !slices.Contains(d.seen, dep) && !slices.Contains(need, dep) {
					need = append(need, dep)
				}
			}
		}
		if e := t.Expr(); slices.Equal(need, deps) && nftParses(e) {
			d.seen = append(d.seen, deps...)
			d.raw = rest[n:]
			return e
		}
	}
	name := d.raw[0].name
	d.raw = d.raw[1:]
	return nft.Expr("unknown(" + name + ")")
}

func nftParses(e nft.Expr) bool {
	_, err := nft.Parse(e)
	return err == nil
}

// dependencies returns the dependencies that come next and are new in the rule.
func (d *nftDecoder) dependencies() []nftDependency {
	var deps []nftDependency
	all := nftAllDependencies(d.family)
	for rest := d.raw; ; rest = rest[2:] {
		i := slices.IndexFunc(all, func(dep nftDependency) bool {
			return !slices.Contains(d.seen, dep) && !slices.Contains(deps, dep) && nftStartsWith(rest, dep.exprs())
		})
		if i < 0 {
			return deps
		}
		deps = append(deps, all[i])
	}
}

func nftStartsWith(raw []nftRaw, exprs []expr.Any) bool {
	if len(raw) < len(exprs) {
		return false
	}
	for i, e := range exprs {
		if !reflect.DeepEqual(raw[i].expr, e) {
			return false
		}
	}
	return true
}

// decodeNftTerm reads the term that the expressions start with and says how many of them it is; 0 for none.
func decodeNftTerm(raw []nftRaw) (nft.Term, int) {
	if len(raw) == 0 {
		return nft.Term{}, 0
	}
	switch e := raw[0].expr.(type) {
	case *expr.Counter:
		return nft.Term{Op: "counter"}, 1
	case *expr.Verdict:
		if op, ok := nftVerdicts[e.Kind]; ok {
			return nft.Term{Op: op, Chain: e.Chain}, 1
		}
	case *expr.Fib:
		for _, not := range []bool{true, false} {
			t := nft.Term{Op: "fib", Not: not}
			if exprs, err := encodeNftTerm(t); err == nil && nftStartsWith(raw, exprs) {
				return t, len(exprs)
			}
		}
	case *expr.Meta, *expr.Payload:
		for field, load := range nftLoads {
			if t, ok := decodeNftField(field, load, raw); ok {
				exprs, err := encodeNftTerm(t)
				if err == nil && nftStartsWith(raw, exprs) {
					return t, len(exprs)
				}
			}
		}
	}
	return nft.Term{}, 0
}

var nftVerdicts = map[expr.VerdictKind]string{expr.VerdictAccept: "accept", expr.VerdictDrop: "drop", expr.VerdictJump: "jump"}

// decodeNftField guesses the term that starts by loading this field. The caller checks the guess by encoding it.
func decodeNftField(field string, load expr.Any, raw []nftRaw) (nft.Term, bool) {
	if len(raw) < 2 || reflect.TypeOf(load) != reflect.TypeOf(raw[0].expr) {
		return nft.Term{}, false
	}
	t := nft.Term{Op: "match", Fields: []string{field}}
	if _, ok := raw[1].expr.(*expr.Lookup); !ok && len(raw) > 2 {
		if lookup, ok := raw[2].expr.(*expr.Lookup); ok {
			for second := range nftLoads {
				two := nft.Term{Op: "match", Fields: []string{field, second}, Set: lookup.SetName, Not: lookup.Invert}
				if nftStartsWith(raw, encodeNftLookup(two)) {
					return two, true
				}
			}
		}
	}
	switch e := raw[1].expr.(type) {
	case *expr.Lookup:
		if t.Set = e.SetName; e.IsDestRegSet {
			t.Op = "rewrite"
		}
		t.Not = e.Invert
		return t, true
	case *expr.Cmp:
		t.Not = e.Op == expr.CmpOpNeq
		return decodeNftValue(t, e.Data, len(e.Data)*8)
	case *expr.Bitwise:
		if len(raw) < 3 {
			return t, false
		}
		cmp, ok := raw[2].expr.(*expr.Cmp)
		if !ok {
			return t, false
		}
		t.Not = cmp.Op == expr.CmpOpNeq
		bits := 0
		for bits < len(e.Mask)*8 && e.Mask[bits/8]&(0x80>>(bits%8)) != 0 {
			bits++
		}
		return decodeNftValue(t, cmp.Data, bits)
	}
	return t, false
}

// decodeNftValue sets the term's value to these bytes, of which so many bits count.
func decodeNftValue(t nft.Term, data []byte, bits int) (nft.Term, bool) {
	typ := nft.FieldType(t.Fields[0])
	size := nft.Size(typ)
	if len(data) > size {
		return t, false
	}
	if bits == size*8 {
		var err error
		t.Value, err = nft.Decode(typ, data)
		return t, err == nil
	}
	addr, ok := netip.AddrFromSlice(append(bytes.Clone(data), make([]byte, size-len(data))...))
	t.Value = netip.PrefixFrom(addr, bits).String()
	return t, ok
}

// encodeNftExprs returns the value of NFTA_RULE_EXPRESSIONS.
func encodeNftExprs(family nft.Family, exprs []expr.Any) ([]byte, error) {
	var m message
	for _, e := range exprs {
		b, err := expr.Marshal(nftFamilies[family], e)
		if err != nil {
			return nil, err
		}
		m.bytes(unix.NFTA_LIST_ELEM|unix.NLA_F_NESTED, b)
	}
	return m, nil
}

// decodeNftExprs reads the value of NFTA_RULE_EXPRESSIONS. It drops nothing: an expression that it cannot read still
// stands in the list, by its name.
func decodeNftExprs(family nft.Family, b []byte) []nftRaw {
	var list []nftRaw
	for _, one := range attrs(b) {
		var raw nftRaw
		var data []byte
		for typ, v := range attrs(one) {
			switch typ {
			case unix.NFTA_EXPR_NAME:
				raw.name = getString(v)
			case unix.NFTA_EXPR_DATA:
				data = v
			}
		}
		raw.expr = decodeNftExpr(family, raw.name, data)
		list = append(list, raw)
	}
	return list
}

func decodeNftExpr(family nft.Family, name string, data []byte) expr.Any {
	var e expr.Any
	switch name {
	case "meta":
		e = &expr.Meta{}
	case "payload":
		e = &expr.Payload{}
	case "cmp":
		e = &expr.Cmp{}
	case "bitwise":
		e = &expr.Bitwise{}
	case "lookup":
		e = &expr.Lookup{}
	case "fib":
		e = &expr.Fib{}
	case "counter":
		return &expr.Counter{} // whatever it counted
	case "immediate":
		return decodeNftImmediate(data)
	default:
		return nil
	}
	if err := expr.Unmarshal(nftFamilies[family], data, e); err != nil {
		return nil
	}
	return e
}

// decodeNftImmediate reads a verdict; nil for anything else that is put into a register.
func decodeNftImmediate(data []byte) expr.Any {
	register, verdict := uint32(nftRegVerdict), []byte(nil)
	for typ, v := range attrs(data) {
		switch typ {
		case unix.NFTA_IMMEDIATE_DREG:
			register = getU32BE(v)
		case unix.NFTA_IMMEDIATE_DATA:
			verdict = v
		}
	}
	v, ok := decodeNftVerdict(verdict)
	if register != nftRegVerdict || !ok {
		return nil
	}
	return &v
}

// decodeNftVerdict reads a nested attribute that holds NFTA_DATA_VERDICT.
func decodeNftVerdict(b []byte) (v expr.Verdict, ok bool) {
	for typ, data := range attrs(b) {
		if typ != unix.NFTA_DATA_VERDICT {
			continue
		}
		for typ, value := range attrs(data) {
			switch typ {
			case unix.NFTA_VERDICT_CODE:
				v.Kind, ok = expr.VerdictKind(int32(getU32BE(value))), true
			case unix.NFTA_VERDICT_CHAIN:
				v.Chain = getString(value)
			}
		}
	}
	return v, ok
}
