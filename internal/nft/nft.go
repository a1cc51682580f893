// SPDX-License-Identifier: Apache-2.0

// Package nft models the nftables rulesets that weft makes.
//
// It owns a small, closed language of matches and statements (just what weft's rules need), tables, chains, sets and
// their elements as netstate objects, their canonical text, the equality that tells whether what stands in the kernel
// is what was meant, and the commands of the transaction that makes it so. Text is a fixed point of `nft list`: what it
// prints, nft lists back in the same words.
//
// It never talks to the kernel and never runs nft: package kernel encodes and decodes it.
package nft

import (
	"cmp"
	"reflect"
	"slices"
	"strings"

	"weft/internal/netstate"
)

// TableName is the name of every table of weft's, one per family that has rules. The name is the owner mark.
const TableName = "weft"

// Family is an nftables address family, in nft's words. A table of another family ("netdev") can be observed and
// deleted; weft makes none.
type Family string

// The families that weft makes tables of.
const (
	Inet         Family = "inet"
	IP           Family = "ip"
	IP6          Family = "ip6"
	ARP          Family = "arp"
	BridgeFamily Family = "bridge"
)

// Table is an nftables table: its chains with their rules, and the declarations of its sets and maps. The elements of
// sets are objects of their own (Element), so that attaching a NIC adds elements and touches no rule.
type Table struct {
	Family Family  `json:"family"`
	Name   string  `json:"name"`
	Sets   []Set   `json:"sets,omitempty"`   // in the order of their names
	Chains []Chain `json:"chains,omitempty"` // in the order of their names
	// Dormant is only ever observed: somebody has put the table to sleep, and no rule in it works.
	Dormant bool `json:"dormant,omitempty"`
}

// Set is the declaration of a set, or of a map when Data is not empty.
type Set struct {
	Name string   `json:"name"`
	Key  []string `json:"key"`            // nft data types, concatenated: {"ifname", "ipv4_addr"}; see Encode
	Data string   `json:"data,omitempty"` // a map's data type: "ipv4_addr", "verdict", …
	// Interval says that the last part of a key is a prefix, never one address ("flags interval"); only of two parts.
	Interval bool `json:"interval,omitempty"`
	// Dynamic says that rules add the elements (Expr's limit and note), which last for DynamicTimeout: they are no Elements of weft's.
	Dynamic bool `json:"dynamic,omitempty"`
}

// Chain is a base chain (Hook set) or a chain to jump to.
type Chain struct {
	Name     string `json:"name"`
	Type     string `json:"type,omitempty"` // "filter"
	Hook     string `json:"hook,omitempty"` // "prerouting", "input", "forward", "output", "postrouting"
	Priority int    `json:"priority,omitempty"`
	Policy   string `json:"policy,omitempty"` // of a base chain: "accept" (also when empty) or "drop"
	Rules    []Rule `json:"rules,omitempty"`
}

// Rule is a list of matches and statements, in nft's own spelling, one per entry: {"iifgroup 8700993", "fib saddr . iif
// oif missing", "counter", "drop"}. See Expr for the closed list of what is understood.
type Rule struct {
	Exprs []Expr `json:"exprs"`
}

// Element is one element of a set or map, in nft's own spelling: names of interfaces stand in double quotes (see
// IfName), device groups are numbers, addresses are as net/netip writes them.
type Element struct {
	Family Family   `json:"family"`
	Table  string   `json:"table"`
	Set    string   `json:"set"`
	Parts  []string `json:"key"`             // one value per part of the set's key: {`"tap0"`, "62.217.124.53"}; see Set.Interval
	Value  string   `json:"value,omitempty"` // of a map
}

// Key returns the table's identity, family and name.
func (t Table) Key() netstate.Key { return TableKey(t.Family, t.Name) }

// TableKey returns the key of the table of this family and name.
func TableKey(family Family, name string) netstate.Key {
	return netstate.Key{Kind: netstate.KindTable, ID: string(family) + " " + name}
}

// Owned reports whether the table has weft's name.
func (t Table) Owned() bool { return t.Name == TableName }

// Meets reports whether the observed table is the one asked for: the same sets, chains and rules, in any order of the
// sets and chains, and nothing besides.
func (t Table) Meets(want netstate.Object) bool {
	w, ok := want.(Table)
	return ok && reflect.DeepEqual(t.Canonical(), w.Canonical())
}

// Canonical returns the table with its sets and chains in the order of their names, base chains with their type and
// policy spelled out, and nil for every empty list.
func (t Table) Canonical() Table {
	t.Sets = sorted(t.Sets, func(s Set) string { return s.Name })
	t.Chains = sorted(t.Chains, func(c Chain) string { return c.Name })
	for i, c := range t.Chains {
		if c.Hook != "" {
			t.Chains[i].Type = cmp.Or(c.Type, "filter")
			t.Chains[i].Policy = cmp.Or(c.Policy, "accept")
		}
		if len(c.Rules) == 0 {
			t.Chains[i].Rules = nil
		}
	}
	return t
}

func sorted[T any](list []T, name func(T) string) []T {
	if len(list) == 0 {
		return nil
	}
	return slices.SortedStableFunc(slices.Values(list), func(a, b T) int { return cmp.Compare(name(a), name(b)) })
}

// set returns the declaration of the set of this name, or nil.
func (t Table) set(name string) *Set {
	i := slices.IndexFunc(t.Sets, func(s Set) bool { return s.Name == name })
	if i < 0 {
		return nil
	}
	return &t.Sets[i]
}

// chain returns the chain of this name, or nil.
func (t Table) chain(name string) *Chain {
	i := slices.IndexFunc(t.Chains, func(c Chain) bool { return c.Name == name })
	if i < 0 {
		return nil
	}
	return &t.Chains[i]
}

// TableKey returns the key of the table that the element is in.
func (e Element) TableKey() netstate.Key { return TableKey(e.Family, e.Table) }

// Key returns the element's identity: its set and its key.
func (e Element) Key() netstate.Key {
	return netstate.Key{Kind: netstate.KindElement, ID: e.set() + " " + strings.Join(e.Parts, " . ")}
}

// Owned reports whether the element is in a table of weft's.
func (e Element) Owned() bool { return e.Table == TableName }

// Meets reports whether the observed element is the one asked for, with the same value if it is of a map.
func (e Element) Meets(want netstate.Object) bool {
	w, ok := want.(Element)
	return ok && e.Key() == w.Key() && e.Value == w.Value
}
