// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"weft/internal/nft"
)

// nftTypeNumbers are the numbers by which nft knows its data types; the kernel only keeps them (nftables' datatype.h).
var nftTypeNumbers = map[string]uint32{"ipv4_addr": 7, "ipv6_addr": 8, "ether_addr": 9, "mark": 19, "devgroup": 35, "ifname": 41, nft.ToTarget: nftInteger}

const nftInteger = 4 // of any length: nft lists a set of it by its typeof

const nftTypeBits = 6 // per part of a concatenation

// nftVerdictType is the data type of a map to verdicts (NFT_DATA_VERDICT).
const nftVerdictType = 0xffffff00

// Attributes of NFTA_SET_USERDATA (libnftnl's udata.h), which nft needs to list a set well.
const (
	udataKeyByteOrder  = 0
	udataDataByteOrder = 1
	udataKeyTypeof     = 3
	byteOrderHost      = 1
	byteOrderBig       = 2
)

// Attributes that golang.org/x/sys/unix does not have (nf_tables.h).
const (
	nftaSetDescConcat  = 2
	nftaSetFieldLen    = 1
	nftaSetElemKeyEnd  = 10
	nftaSetExpr        = 17
	nftaSetExpressions = 18
	nftaHookDevs       = 4
	nftSetConcat       = 0x80 // NFT_SET_CONCAT
	nftElemCatchAll    = 2    // NFT_SET_ELEM_CATCHALL
)

// nftKeyType returns the number and the length in bytes of a set's key.
func nftKeyType(types []string) (number, size uint32) {
	for _, t := range types {
		number = number<<nftTypeBits | nftTypeNumbers[t]
		size += uint32(align4(nft.Size(t)))
	}
	if len(types) == 1 {
		size = uint32(nft.Size(types[0]))
	}
	return number, size
}

// nftTypeNames is the inverse of nftKeyType.
func nftTypeNames(number, size uint32) ([]string, bool) {
	var names []string
	for n := number; n != 0; n >>= nftTypeBits {
		part := n & (1<<nftTypeBits - 1)
		found := false
		for name, known := range nftTypeNumbers {
			if known == part {
				names, found = append(names, name), true
			}
		}
		if !found {
			return nil, false
		}
	}
	slices.Reverse(names)
	_, want := nftKeyType(names)
	return names, len(names) > 0 && size == want
}

func nftByteOrder(typ string) byte {
	switch typ {
	case "devgroup", "ifname", "mark":
		return byteOrderHost
	case "verdict":
		return 0
	}
	return byteOrderBig
}

// encodeNftSet adds the declaration of a set. The id has to differ among the sets of a transaction.
func encodeNftSet(m *message, s nft.Set, id uint32) {
	flags := uint32(0)
	if s.Data != "" {
		flags |= unix.NFT_SET_MAP
	}
	if s.Interval {
		flags |= unix.NFT_SET_INTERVAL | nftSetConcat
	}
	if s.Dynamic {
		flags |= unix.NFT_SET_EVAL | unix.NFT_SET_TIMEOUT
	}
	number, size := nftKeyType(s.Key)
	m.string(unix.NFTA_SET_NAME, s.Name)
	m.u32BE(unix.NFTA_SET_FLAGS, flags)
	m.u32BE(unix.NFTA_SET_KEY_TYPE, number)
	m.u32BE(unix.NFTA_SET_KEY_LEN, size)
	order := byte(0) // of a concatenation
	if len(s.Key) == 1 {
		order = nftByteOrder(s.Key[0])
	}
	udata := binary.NativeEndian.AppendUint32([]byte{udataKeyByteOrder, 4}, uint32(order))
	switch s.Data {
	case "":
	case "verdict":
		m.u32BE(unix.NFTA_SET_DATA_TYPE, nftVerdictType)
		m.u32BE(unix.NFTA_SET_DATA_LEN, 0)
	default:
		m.u32BE(unix.NFTA_SET_DATA_TYPE, nftTypeNumbers[s.Data])
		m.u32BE(unix.NFTA_SET_DATA_LEN, uint32(nft.Size(s.Data)))
	}
	if s.Data != "" {
		udata = binary.NativeEndian.AppendUint32(append(udata, udataDataByteOrder, 4), uint32(nftByteOrder(s.Data)))
	}
	m.u32BE(unix.NFTA_SET_ID, id)
	if s.Interval {
		m.nested(unix.NFTA_SET_DESC, func() { m.nftFields(s.Key) })
	}
	if s.Dynamic {
		m.bytes(unix.NFTA_SET_TIMEOUT, binary.BigEndian.AppendUint64(nil, uint64(nft.DynamicTimeout.Milliseconds())))
		m.nested(unix.NFTA_SET_DESC, func() { m.u32BE(unix.NFTA_SET_DESC_SIZE, nft.DynamicSize) })
	}
	m.bytes(unix.NFTA_SET_USERDATA, append(udata, nftTypeof(s.Key)...))
}

// nftTypeof is the typeof of a set with targets of neighbour discovery, by which nft lists it: the expressions that bring
// its key (nftables' expression.h and its udata of meta and payload), attributes of a byte for the type and one for the length.
func nftTypeof(types []string) []byte {
	if !slices.Contains(types, nft.ToTarget) {
		return nil
	}
	number := func(typ byte, n uint32) []byte { return binary.NativeEndian.AppendUint32([]byte{typ, 4}, n) }
	nest := func(typ byte, parts ...[]byte) []byte {
		b := slices.Concat(parts...)
		return append([]byte{typ, byte(len(b))}, b...)
	}
	const exprPayload, exprMeta, exprConcat = 7, 9, 13
	const protoEther, etherSource = 17, 2 // nftables' proto.h
	var parts [][]byte
	for i, t := range types {
		load := nest(1, number(0, 0), number(1, 0), number(2, 3), number(3, 64), number(4, 128))
		kind := uint32(exprPayload)
		switch t {
		case "ifname":
			kind, load = exprMeta, nest(1, number(0, unix.NFT_META_IIFNAME))
		case "devgroup":
			kind, load = exprMeta, nest(1, number(0, unix.NFT_META_IIFGROUP))
		case "ether_addr":
			load = nest(1, number(0, protoEther), number(1, etherSource), number(2, unix.NFT_PAYLOAD_LL_HEADER), number(3, 48), number(4, 48))
		}
		parts = append(parts, nest(byte(i), number(0, kind), load))
	}
	return nest(udataKeyTypeof, number(0, exprConcat), nest(1, parts...))
}

// nftFields adds the lengths of the parts of a key, each of which can be an interval.
func (m *message) nftFields(types []string) {
	m.nested(nftaSetDescConcat, func() {
		for _, t := range types {
			m.nested(unix.NFTA_LIST_ELEM, func() { m.u32BE(nftaSetFieldLen, uint32(nft.Size(t))) })
		}
	})
}

// decodeNftSet reads a set's declaration. A set that weft could not have declared has a key of type "unknown(…)".
func decodeNftSet(body []byte) (table string, s nft.Set, anonymous bool) {
	var flags, keyType, keyLen, dataType, dataLen, most uint32
	var timeout time.Duration
	var odd []string
	for typ, v := range attrs(body) {
		switch typ {
		case unix.NFTA_SET_TABLE:
			table = getString(v)
		case unix.NFTA_SET_NAME:
			s.Name = getString(v)
		case unix.NFTA_SET_FLAGS:
			flags = getU32BE(v)
		case unix.NFTA_SET_KEY_TYPE:
			keyType = getU32BE(v)
		case unix.NFTA_SET_KEY_LEN:
			keyLen = getU32BE(v)
		case unix.NFTA_SET_DATA_TYPE:
			dataType = getU32BE(v)
		case unix.NFTA_SET_DATA_LEN:
			dataLen = getU32BE(v)
		case unix.NFTA_SET_DESC:
			for typ, v := range attrs(v) {
				if typ == unix.NFTA_SET_DESC_SIZE {
					most = getU32BE(v)
				}
			}
		case unix.NFTA_SET_TIMEOUT:
			if len(v) == 8 {
				timeout = time.Duration(binary.BigEndian.Uint64(v)) * time.Millisecond
			}
		case nftaSetExpr, nftaSetExpressions:
			odd = append(odd, "expressions")
		}
	}
	if s.Dynamic = flags&unix.NFT_SET_EVAL != 0; s.Dynamic {
		if flags&unix.NFT_SET_TIMEOUT == 0 || most != nft.DynamicSize || timeout != nft.DynamicTimeout {
			odd = append(odd, fmt.Sprintf("size %d, timeout %v", most, timeout))
		}
		flags &^= unix.NFT_SET_EVAL | unix.NFT_SET_TIMEOUT
	} else if most != 0 {
		odd = append(odd, "size")
	}
	if extra := flags &^ (unix.NFT_SET_MAP | unix.NFT_SET_INTERVAL | nftSetConcat | unix.NFT_SET_ANONYMOUS); extra != 0 {
		odd = append(odd, fmt.Sprintf("flags 0x%x", extra))
	}
	names, ok := nftTypeNames(keyType, keyLen)
	if s.Key = names; !ok {
		odd = append(odd, fmt.Sprintf("type %d", keyType))
	}
	if s.Interval = flags&unix.NFT_SET_INTERVAL != 0; s.Interval && len(names) < 2 {
		odd = append(odd, "interval")
	}
	if flags&unix.NFT_SET_MAP != 0 {
		data, ok := nftTypeNames(dataType, dataLen)
		switch {
		case dataType == nftVerdictType:
			s.Data = "verdict"
		case ok && len(data) == 1:
			s.Data = data[0]
		default:
			s.Data = fmt.Sprintf("unknown(%d)", dataType)
			odd = append(odd, "data type")
		}
	}
	if flags&unix.NFT_SET_OBJECT != 0 {
		s.Data = "unknown(object)"
	}
	if len(odd) > 0 {
		s.Key = []string{"unknown(" + strings.Join(odd, ", ") + ")"}
	}
	return table, s, flags&unix.NFT_SET_ANONYMOUS != 0
}

// encodeNftElements adds the list of elements. The value of a map's element is left out where only the key counts.
func encodeNftElements(m *message, elements []nft.Element, values bool) error {
	m.string(unix.NFTA_SET_ELEM_LIST_SET, elements[0].Set)
	var err error
	m.nested(unix.NFTA_SET_ELEM_LIST_ELEMENTS, func() {
		for _, e := range elements {
			m.nested(unix.NFTA_LIST_ELEM, func() {
				if fail := encodeNftElement(m, e, values); fail != nil && err == nil {
					err = fmt.Errorf("%s: %w", e, fail)
				}
			})
		}
	})
	return err
}

func encodeNftElement(m *message, e nft.Element, values bool) error {
	if slices.Equal(e.Parts, []string{"*"}) {
		m.u32BE(unix.NFTA_SET_ELEM_FLAGS, nftElemCatchAll)
		return nil
	}
	var key, end []byte
	for _, part := range e.Parts {
		first, last, err := nft.Bounds(part)
		if err != nil {
			return err
		}
		key, end = append(key, first...), append(end, last...)
		if len(e.Parts) > 1 {
			pad := make([]byte, align4(len(key))-len(key))
			key, end = append(key, pad...), append(end, pad...)
		}
	}
	m.nested(unix.NFTA_SET_ELEM_KEY, func() { m.bytes(unix.NFTA_DATA_VALUE, key) })
	if !bytes.Equal(key, end) {
		m.nested(nftaSetElemKeyEnd, func() { m.bytes(unix.NFTA_DATA_VALUE, end) })
	}
	if e.Value == "" || !values {
		return nil
	}
	if t, err := nft.Parse(nft.Expr(e.Value)); err == nil {
		v := encodeNftVerdict(t)
		m.nested(unix.NFTA_SET_ELEM_DATA, func() {
			m.nested(unix.NFTA_DATA_VERDICT, func() {
				m.u32BE(unix.NFTA_VERDICT_CODE, uint32(v.Kind))
				if v.Chain != "" {
					m.string(unix.NFTA_VERDICT_CHAIN, v.Chain)
				}
			})
		})
		return nil
	}
	b, err := nft.Encode(nft.TypeOf(e.Value), e.Value)
	if err != nil {
		return err
	}
	m.nested(unix.NFTA_SET_ELEM_DATA, func() { m.bytes(unix.NFTA_DATA_VALUE, b) })
	return nil
}

// decodeNftElements reads one message of a dump of a set's elements.
func decodeNftElements(body []byte, in nft.Element, set nft.Set) ([]nft.Element, error) {
	var list []nft.Element
	for typ, v := range attrs(body) {
		if typ != unix.NFTA_SET_ELEM_LIST_ELEMENTS {
			continue
		}
		for _, one := range attrs(v) {
			e := in
			if err := decodeNftElement(&e, one, set); err != nil {
				return nil, err
			}
			list = append(list, e)
		}
	}
	return list, nil
}

func decodeNftElement(e *nft.Element, b []byte, set nft.Set) error {
	var key, end []byte
	for typ, v := range attrs(b) {
		switch typ {
		case unix.NFTA_SET_ELEM_FLAGS:
			if getU32BE(v)&nftElemCatchAll != 0 {
				e.Parts = []string{"*"}
			}
		case unix.NFTA_SET_ELEM_KEY:
			key = nftData(v)
		case nftaSetElemKeyEnd:
			end = nftData(v)
		case unix.NFTA_SET_ELEM_DATA:
			if verdict, ok := decodeNftVerdict(v); ok {
				op, known := nftVerdicts[verdict.Kind]
				if !known {
					op = fmt.Sprintf("unknown(verdict %d)", verdict.Kind)
				}
				e.Value = string(nft.Term{Op: op, Chain: verdict.Chain}.Expr())
				continue
			}
			value, err := nft.Decode(set.Data, nftData(v))
			if err != nil {
				return fmt.Errorf("value in map %s: %w", set.Name, err)
			}
			e.Value = value
		}
	}
	if len(e.Parts) > 0 {
		return nil // it stands for every key
	}
	return decodeNftKey(e, key, end, set)
}

// decodeNftKey reads an element's key, which in a set of intervals can have an end.
func decodeNftKey(e *nft.Element, key, end []byte, set nft.Set) error {
	if len(end) != len(key) {
		end = key
	}
	for _, typ := range set.Key {
		size := nft.Size(typ)
		if len(key) < size {
			return fmt.Errorf("element of %d bytes in set %s", len(key), set.Name)
		}
		part, err := nft.Part(typ, key[:size], end[:size])
		if err != nil {
			return err
		}
		e.Parts = append(e.Parts, part)
		next := min(align4(size), len(key))
		key, end = key[next:], end[next:]
	}
	return nil
}

// nftData returns the value of a nested NFTA_DATA_VALUE.
func nftData(b []byte) []byte {
	for typ, v := range attrs(b) {
		if typ == unix.NFTA_DATA_VALUE {
			return v
		}
	}
	return nil
}
