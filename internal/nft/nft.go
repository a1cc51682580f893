// SPDX-License-Identifier: Apache-2.0

// Package nft models the nftables rulesets that weft makes.
//
// It owns a small, closed language of matches and statements (just what weft's rules need), tables, chains, sets and
// their elements as netstate objects, their canonical text, and the equality that tells whether what stands in the
// kernel is what was meant. Text is a fixed point of `nft list`: what it prints, nft lists back in the same words.
//
// It never talks to the kernel and never runs nft: package kernel encodes and decodes it.
package nft

import (
	"weft/internal/netstate"
)

// TableName is the name of every table of weft's, one per family that has rules. The name is the owner mark.
const TableName = "weft"

// Family is an nftables address family: "inet", "arp", "bridge", "netdev", "ip", "ip6".
type Family string

// The families.
const (
	Inet         Family = "inet"
	ARP          Family = "arp"
	BridgeFamily Family = "bridge"
	Netdev       Family = "netdev"
)

// Table is an nftables table: its chains with their rules, and the declarations of its sets and maps. The elements of
// sets are objects of their own (Element), so that attaching a NIC adds elements and touches no rule.
type Table struct {
	Family Family  `json:"family"`
	Name   string  `json:"name"`
	Sets   []Set   `json:"sets,omitempty"`   // in the order of their names
	Chains []Chain `json:"chains,omitempty"` // in the order of their names
}

// Set is the declaration of a set, or of a map when Data is not empty.
type Set struct {
	Name string   `json:"name"`
	Key  []string `json:"key"`            // nft data types, concatenated: {"ifname", "ipv4_addr"}
	Data string   `json:"data,omitempty"` // a map's data type: "ipv4_addr", "verdict", …
}

// Chain is a base chain (Hook set) or a chain to jump to.
type Chain struct {
	Name     string `json:"name"`
	Type     string `json:"type,omitempty"` // "filter", "route", "nat"
	Hook     string `json:"hook,omitempty"` // "prerouting", "input", "forward", "output", "postrouting", "ingress"
	Priority int    `json:"priority,omitempty"`
	Policy   string `json:"policy,omitempty"` // "accept" or "drop"
	Rules    []Rule `json:"rules,omitempty"`
}

// Rule is a list of matches and statements, in nft's own spelling, one per entry: {"iifgroup 8700993", "fib saddr . iif
// oif missing", "counter", "drop"}. See Expr for the closed list of what is understood.
type Rule struct {
	Exprs []Expr `json:"exprs"`
}

// Key returns the table's identity, family and name.
func (t Table) Key() netstate.Key {
	return netstate.Key{Kind: netstate.KindTable, ID: string(t.Family) + " " + t.Name}
}

// Owned reports whether the table has weft's name.
func (t Table) Owned() bool { return t.Name == TableName }

// Element is one element of a set or map, in nft's own spelling.
type Element struct {
	Family Family   `json:"family"`
	Table  string   `json:"table"`
	Set    string   `json:"set"`
	Key    []string `json:"key"`             // one value per part of the set's key: {"tap0", "62.217.124.53"}
	Value  string   `json:"value,omitempty"` // of a map
}
