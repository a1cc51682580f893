// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"bytes"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"sync"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"weft/internal/nft"
)

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

// nftMemory remembers what rules decode to, by their bytes: a ruleset is read whole at each look, and is nearly always what it was at
// the last one. Guessing and checking what its bytes mean is most of the work of a look.
type nftMemory struct {
	mu    sync.Mutex
	rules map[string]nft.Rule // by family and bytes
}

var nftRules nftMemory

// nftMemoryMost is how many rules are remembered: a node of weft's has some two hundred, and rules that others add may be anything.
const nftMemoryMost = 2000

func (m *nftMemory) decode(family nft.Family, exprs []byte) nft.Rule {
	if bytes.Contains(exprs, []byte("counter\x00")) { // its bytes change with each packet
		return decodeNftRule(family, decodeNftExprs(family, exprs))
	}
	key := string(family) + " " + string(exprs)
	m.mu.Lock()
	defer m.mu.Unlock()
	rule, known := m.rules[key]
	if !known {
		if m.rules == nil || len(m.rules) >= nftMemoryMost {
			m.rules = map[string]nft.Rule{}
		}
		rule = decodeNftRule(family, decodeNftExprs(family, exprs))
		m.rules[key] = rule
	}
	return nft.Rule{Exprs: slices.Clone(rule.Exprs)}
}

// next takes the next Expr off the rule. What looks like a dependency may be a match of its own ("meta l4proto").
func (d *nftDecoder) next() nft.Expr {
	for deps := d.dependencies(); ; deps = deps[:len(deps)-1] {
		if e, ok := d.after(deps); ok {
			return e
		}
		if len(deps) == 0 {
			break
		}
	}
	name := d.raw[0].name
	d.raw = d.raw[1:]
	return nft.Expr("unknown(" + name + ")")
}

// after takes the Expr that comes after these dependencies, if it needs just these.
func (d *nftDecoder) after(deps []nftDependency) (nft.Expr, bool) {
	rest := d.raw[2*len(deps):]
	t, n := decodeNftTerm(rest, func(t nft.Term) bool { return slices.Equal(d.needs(t), deps) && nftParses(d.family, t) })
	if n == 0 {
		return "", false
	}
	d.seen = append(d.seen, deps...)
	d.raw = rest[n:]
	return t.Expr(), true
}

// needs returns the dependencies of the term that the rule has not had yet.
func (d *nftDecoder) needs(t nft.Term) []nftDependency {
	var need []nftDependency
	for _, f := range t.Fields {
		for _, dep := range nftDependencies(d.family, f) {
			if !slices.Contains(d.seen, dep) && !slices.Contains(need, dep) {
				need = append(need, dep)
			}
		}
	}
	return need
}

func nftParses(family nft.Family, t nft.Term) bool {
	_, err := nft.Parse(t.Expr())
	return err == nil && !slices.ContainsFunc(t.Fields, func(f string) bool { return !family.Has(f) })
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

// nftStartsAs reports whether the expressions start with those of the term.
func nftStartsAs(raw []nftRaw, t nft.Term) bool {
	exprs, err := encodeNftTerm(t)
	return err == nil && nftStartsWith(raw, exprs)
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

// decodeNftTerm reads the term that the expressions start with, out of those that fit (the same bytes of a packet are one
// field of ARP and another of IPv6), and says how many of them it is; 0 for none.
func decodeNftTerm(raw []nftRaw, fits func(nft.Term) bool) (nft.Term, int) {
	for _, t := range nftTerms(raw) {
		if exprs, err := encodeNftTerm(t); err == nil && nftStartsWith(raw, exprs) && fits(t) {
			return t, len(exprs)
		}
	}
	return nft.Term{}, 0
}

// nftTerms guesses the terms that the expressions may start with. The caller checks the guesses by encoding them.
func nftTerms(raw []nftRaw) (terms []nft.Term) {
	if len(raw) == 0 {
		return nil
	}
	switch e := raw[0].expr.(type) {
	case *expr.Counter:
		terms = append(terms, nft.Term{Op: "counter"})
	case *expr.Verdict:
		terms = append(terms, nft.Term{Op: nftVerdicts[e.Kind], Chain: e.Chain})
	case *expr.Fib:
		terms = append(terms, nft.Term{Op: "fib", Value: nft.ToSelf})
		for _, what := range []string{"saddr . iif", "daddr . iif", "daddr", "daddr . mark . iif", "daddr . mark"} {
			terms = append(terms, nft.Term{Op: "fib", Value: what, Not: true}, nft.Term{Op: "fib", Value: what})
		}
	case *expr.Immediate:
		switch len(e.Data) {
		case 4:
			terms = append(terms, nft.Term{Op: "mark", Value: fmt.Sprintf("0x%08x", native.Uint32(e.Data))},
				nft.Term{Op: "priority", Value: "root"}, nft.Term{Op: "priority", Value: "none"})
		case 2:
			terms = append(terms, nft.Term{Op: "zone", Value: strconv.Itoa(int(native.Uint16(e.Data)))})
		}
	case *expr.Exthdr:
		t := nft.Term{Op: "match", Fields: []string{"frag frag-off"}, Value: "0"}
		terms = append(terms, t)
		t.Not = true
		terms = append(terms, t)
	case *expr.Meta, *expr.Payload, *expr.Rt, *expr.Ct:
		for _, to := range []string{nft.ToTarget, nft.ToGroup} {
			terms = append(terms, nft.Term{Op: "readdress", Fields: []string{"ip6 daddr"}, Value: to})
		}
		for field, load := range nftLoads {
			if t, ok := decodeNftField(field, load, raw); ok {
				terms = append(terms, t)
			}
		}
	}
	return terms
}

var nftVerdicts = map[expr.VerdictKind]string{expr.VerdictAccept: "accept", expr.VerdictDrop: "drop", expr.VerdictReturn: "return", expr.VerdictJump: "jump"}

// decodeNftField guesses the term that starts by loading this field. The caller checks the guess by encoding it.
func decodeNftField(field string, load expr.Any, raw []nftRaw) (nft.Term, bool) {
	if len(raw) < 2 || reflect.TypeOf(load) != reflect.TypeOf(raw[0].expr) {
		return nft.Term{}, false
	}
	t := nft.Term{Op: "match", Fields: []string{field}}
	if _, ok := raw[1].expr.(*expr.Lookup); !ok && len(raw) > 2 {
		if two, ok := decodeNftPair(field, raw); ok {
			return two, true
		}
	}
	switch e := raw[1].expr.(type) {
	case *expr.Lookup:
		if t.Set = e.SetName; e.IsDestRegSet {
			t.Op = "rewrite"
			if mark := (nft.Term{Op: "mark", Fields: t.Fields, Set: t.Set}); nftStartsAs(raw, mark) {
				return mark, true
			}
		}
		t.Not = e.Invert
		return t, true
	case *expr.Dynset:
		if len(e.Exprs) != 1 {
			return t, false
		}
		limit, ok := e.Exprs[0].(*expr.Limit)
		if !ok {
			return t, false
		}
		t.Op, t.Set, t.Value = "limit", e.SetName, nft.Limit(uint32(limit.Rate), limit.Burst)
		return t, true
	case *expr.Cmp:
		if last, ok := raw[min(2, len(raw)-1)].expr.(*expr.Cmp); ok && e.Op == expr.CmpOpGte {
			from, err := nft.Decode(nft.FieldType(field), e.Data)
			to, err2 := nft.Decode(nft.FieldType(field), last.Data)
			t.Value = from + "-" + to
			return t, err == nil && err2 == nil
		}
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
		if field == "ct state" {
			var err error
			t.Value, err = nft.Decode(nft.FieldType(field), e.Mask)
			return t, err == nil
		}
		t.Not = cmp.Op == expr.CmpOpNeq
		if field == "vlan id" {
			return decodeNftValue(t, cmp.Data, 8*len(cmp.Data))
		}
		bits := 0
		for bits < len(e.Mask)*8 && e.Mask[bits/8]&(0x80>>(bits%8)) != 0 {
			bits++
		}
		return decodeNftValue(t, cmp.Data, bits)
	}
	return t, false
}

// decodeNftPair guesses the term that loads this field and one or two more, and looks them up or adds them.
func decodeNftPair(field string, raw []nftRaw) (nft.Term, bool) {
	if mask, ok := raw[2].expr.(*expr.Bitwise); ok {
		return decodeNftPrefix(field, mask.Mask, raw[3:], raw)
	}
	two := nft.Term{Fields: []string{field, ""}}
	switch e := raw[2].expr.(type) {
	case *expr.Lookup:
		two.Op, two.Set, two.Not = "match", e.SetName, e.Invert
	case *expr.Dynset:
		two.Op, two.Set = "note", e.SetName
		if e.Operation == unix.NFT_DYNSET_OP_UPDATE {
			two.Op = "sighting"
		}
	default:
		return two, false
	}
	for two.Fields[1] = range nftLoads {
		if nftStartsAs(raw, two) {
			return two, true
		}
	}
	return two, false
}

// decodeNftPrefix guesses the term that looks up this field, so much of a MAC, and maybe one more.
func decodeNftPrefix(field string, mask []byte, rest, raw []nftRaw) (nft.Term, bool) {
	text, err := nft.Decode("ether_addr", mask)
	t := nft.Term{Op: "match", Fields: []string{field, "ether saddr & " + text}}
	if err != nil || len(rest) == 0 {
		return t, false
	}
	if e, ok := rest[0].expr.(*expr.Lookup); ok {
		t.Set, t.Not = e.SetName, e.Invert
		return t, nftStartsAs(raw, t)
	}
	if len(rest) < 2 {
		return t, false
	}
	e, ok := rest[1].expr.(*expr.Lookup)
	if !ok {
		return t, false
	}
	t.Set, t.Not = e.SetName, e.Invert
	for third := range nftLoads {
		with := t
		with.Fields = append(slices.Clone(t.Fields), third)
		if nftStartsAs(raw, with) {
			return with, true
		}
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

// decodeNftExprs reads the value of NFTA_RULE_EXPRESSIONS. It drops nothing: an expression that it cannot read still
// stands in the list, by its name.
func decodeNftExprs(family nft.Family, b []byte) []nftRaw {
	var list []nftRaw
	for _, one := range attrs(b) {
		name, data := nftExprAttrs(one)
		list = append(list, nftRaw{name, decodeNftExpr(family, name, data)})
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
		return decodeNftImmediate(family, data)
	case "ct":
		e = &expr.Ct{}
	case "dynset":
		e = &expr.Dynset{}
	case "exthdr":
		e = &expr.Exthdr{}
	case "rt":
		return decodeNftRt(data)
	default:
		return nil
	}
	if err := expr.Unmarshal(nftFamilies[family], data, e); err != nil {
		return nil
	}
	return e
}

// decodeNftRt reads what is asked of a packet's route, which the library only writes.
func decodeNftRt(data []byte) expr.Any {
	e := &expr.Rt{}
	for typ, v := range attrs(data) {
		switch typ {
		case unix.NFTA_RT_DREG:
			e.Register = getU32BE(v)
		case unix.NFTA_RT_KEY:
			e.Key = expr.RtKey(getU32BE(v))
		}
	}
	return e
}

// decodeNftImmediate reads a verdict, or a value that is put into a register.
func decodeNftImmediate(family nft.Family, data []byte) expr.Any {
	register, verdict := uint32(nftRegVerdict), []byte(nil)
	for typ, v := range attrs(data) {
		switch typ {
		case unix.NFTA_IMMEDIATE_DREG:
			register = getU32BE(v)
		case unix.NFTA_IMMEDIATE_DATA:
			verdict = v
		}
	}
	if register != nftRegVerdict {
		e := &expr.Immediate{}
		if err := expr.Unmarshal(nftFamilies[family], data, e); err != nil {
			return nil
		}
		return e
	}
	v, ok := decodeNftVerdict(verdict)
	if !ok {
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
