// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"weft/internal/netstate"
)

// hooks are the hooks that a base chain of weft's can be at, by family.
var hooks = map[Family][]string{
	Inet: internetHooks, IP: internetHooks, IP6: internetHooks, BridgeFamily: internetHooks,
	ARP: {"input", "output"},
}

var internetHooks = []string{"prerouting", "input", "forward", "output", "postrouting"}

// layers are the layers whose fields rules of a family can look at; fields of the interface always can.
var layers = map[Family][]string{
	Inet:         {"ip", "ip6", "icmpv6", "l4proto", "tcp", "udp", "ether"},
	IP:           {"ip", "l4proto", "tcp", "udp", "ether"},
	IP6:          {"ip6", "icmpv6", "l4proto", "tcp", "udp", "ether"},
	ARP:          {"arp", "ether"},
	BridgeFamily: {"ip", "ip6", "icmpv6", "igmp", "l4proto", "tcp", "udp", "vlan", "ether", "arp", "frag", "th", "frame", "framed arp"},
}

// Has reports whether packets of the family can have the field, one of Expr's list.
func (f Family) Has(field string) bool {
	layer := FieldLayer(field)
	return layer == "" || slices.Contains(layers[f], layer)
}

// Check reports everything in the state that is not a ruleset of weft's: tables and elements that cannot be made as they
// stand, elements of sets that no table declares. All mistakes come joined.
func Check(s *netstate.State) error {
	var errs []error
	for t := range netstate.Of[Table](s) {
		errs = append(errs, t.Check())
	}
	for e := range netstate.Of[Element](s) {
		t, ok := s.Get(e.TableKey()).(Table)
		if !ok {
			errs = append(errs, fmt.Errorf("%s: there is no table %s %s", e, e.Family, e.Table))
			continue
		}
		errs = append(errs, t.CheckElement(e))
	}
	return errors.Join(errs...)
}

// Check reports everything about the table that is not in weft's closed language. All mistakes come joined.
func (t Table) Check() error {
	var errs []error
	add := func(where string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("table %s %s: %s: %w", t.Family, t.Name, where, err))
		}
	}
	if layers[t.Family] == nil {
		add("family", fmt.Errorf("want inet, ip, ip6, arp or bridge"))
	}
	add("name", checkName(t.Name))
	names := make(map[string]bool)
	for _, s := range t.Sets {
		add("set "+s.Name, s.check(names))
	}
	clear(names)
	for _, c := range t.Chains {
		add("chain "+c.Name, c.check(t.Family, names))
		for i, r := range c.Rules {
			add(fmt.Sprintf("chain %s: rule %d", c.Name, i+1), t.checkRule(r))
		}
	}
	return errors.Join(errs...)
}

// once checks a name that must be the only one of its sort in the table.
func once(name string, names map[string]bool) error {
	if names[name] {
		return fmt.Errorf("declared twice")
	}
	names[name] = true
	return checkName(name)
}

func (s Set) check(names map[string]bool) error {
	if err := once(s.Name, names); err != nil {
		return err
	}
	if len(s.Key) == 0 || len(s.Key) > 3 {
		return fmt.Errorf("want a key of one to three types")
	}
	for _, typ := range s.Key {
		if !slices.Contains(setTypes, typ) {
			return fmt.Errorf("unknown type %q", typ)
		}
	}
	if s.Interval && (len(s.Key) != 2 || s.Key[1] != "ipv4_addr" && s.Key[1] != "ipv6_addr") {
		return fmt.Errorf("want a key of two types, the second one of addresses, where prefixes can be elements")
	}
	if s.Dynamic && (s.Interval || s.Data != "") {
		return fmt.Errorf("a dynamic set has neither prefixes nor values")
	}
	if s.Data != "" && s.Data != "verdict" && s.Data != "mark" && !slices.Contains(setTypes, s.Data) {
		return fmt.Errorf("unknown type %q", s.Data)
	}
	return nil
}

func (c Chain) check(family Family, names map[string]bool) error {
	if err := once(c.Name, names); err != nil {
		return err
	}
	if c.Hook == "" {
		if c.Type != "" || c.Priority != 0 || c.Policy != "" {
			return fmt.Errorf("type, priority and policy belong to a base chain, with a hook")
		}
		return nil
	}
	if c.Type != "" && c.Type != "filter" {
		return fmt.Errorf("unknown type %q", c.Type)
	}
	if !slices.Contains(hooks[family], c.Hook) {
		return fmt.Errorf("unknown hook %q", c.Hook)
	}
	if c.Policy != "" && c.Policy != "accept" && c.Policy != "drop" {
		return fmt.Errorf("unknown policy %q", c.Policy)
	}
	return nil
}

// checkRule checks the rule's expressions one by one and with one another.
func (t Table) checkRule(r Rule) error {
	if len(r.Exprs) == 0 {
		return fmt.Errorf("empty")
	}
	seen := make(map[string]bool)
	transport, matches := 0, 0
	for i, e := range r.Exprs {
		term, err := Parse(e)
		if err != nil {
			return err
		}
		if err := t.checkTerm(term); err != nil {
			return fmt.Errorf("%q: %w", string(e), err)
		}
		switch term.Op {
		case "accept", "drop", "return", "jump":
			if i < len(r.Exprs)-1 {
				return fmt.Errorf("%q: nothing can follow it", string(e))
			}
		}
		if slices.ContainsFunc(term.Fields, func(f string) bool { return fieldOf(f).layer != "" }) {
			matches++
		}
		if (e == notFirst || e == first) && i > 0 {
			return fmt.Errorf("%q: nft puts what it depends on first, so it has to be first itself", string(e))
		}
		for _, f := range term.Fields {
			layer := fieldOf(f).layer
			switch layer {
			case "icmpv6":
				transport++
				layer = "ip6"
			case "igmp":
				transport++
				layer = "ip"
			case "tcp", "udp", "l4proto":
				transport++
			}
			seen[layer] = true
		}
	}
	if t.Family == BridgeFamily && matches > 1 {
		return fmt.Errorf("%s: match several fields of a frame in several rules: nft has its own way to spell them in one", r)
	}
	if transport > 1 {
		return fmt.Errorf("%s: what one says of the transport protocol the other implies", r)
	}
	if seen["ip"] && seen["ip6"] {
		return fmt.Errorf("%s: no packet is both IPv4 and IPv6", r)
	}
	if t.Family == Inet && seen["ether"] && (seen["ip"] || seen["ip6"] || transport > 0) {
		return fmt.Errorf("%s: match the Ethernet and the IP address in two rules", r)
	}
	return nil
}

// checkTerm checks one expression against the table: its family, sets and chains.
func (t Table) checkTerm(term Term) error {
	for _, f := range term.Fields {
		if !t.Family.Has(f) {
			return fmt.Errorf("%s is not in packets of family %s", f, t.Family)
		}
		if t.Family == ARP && strings.HasPrefix(f, "ct ") {
			return fmt.Errorf("ARP has no connections")
		}
		if f == "meta sdifname" && (t.Family == ARP || t.Family == BridgeFamily) {
			return fmt.Errorf("family %s has no VRF", t.Family)
		}
		if strings.HasPrefix(f, "rt ") && t.Family != Inet {
			return fmt.Errorf("%s is asked for in tables of family inet", f)
		}
	}
	switch term.Op {
	case "readdress":
		if t.Family != Inet && t.Family != IP6 {
			return fmt.Errorf("family %s does not change addresses of IPv6", t.Family)
		}
	case "zone":
		if t.Family == ARP {
			return fmt.Errorf("family %s has no connections", t.Family)
		}
	case "fib":
		if t.Family == ARP || t.Family == BridgeFamily {
			return fmt.Errorf("family %s has no routes", t.Family)
		}
	case "rewrite":
		if t.Family != ARP {
			return fmt.Errorf("family %s has no ARP packets", t.Family)
		}
		return t.checkLookup(term, "ipv4_addr")
	case "jump":
		c := t.chain(term.Chain)
		if c == nil {
			return fmt.Errorf("there is no chain %s", term.Chain)
		}
		if c.Hook != "" {
			return fmt.Errorf("%s is a base chain", term.Chain)
		}
	case "mark":
		if term.Set != "" {
			return t.checkLookup(term, "mark")
		}
	case "limit", "note", "sighting":
		if s := t.set(term.Set); s != nil && !s.Dynamic {
			return fmt.Errorf("set %s is not dynamic", s.Name)
		}
		return t.checkLookup(term, "")
	case "match":
		if term.Set != "" {
			return t.checkLookup(term, "")
		}
	}
	return nil
}

// checkLookup checks that the set or map that the term names is declared with the types that the term needs.
func (t Table) checkLookup(term Term, data string) error {
	s := t.set(term.Set)
	if s == nil {
		return fmt.Errorf("there is no set %s", term.Set)
	}
	var key []string
	for _, f := range term.Fields {
		key = append(key, fieldOf(f).typ)
	}
	if !slices.Equal(s.Key, key) || s.Data != data {
		return fmt.Errorf("%s %s is of type %s", s.word(), s.Name, s.types())
	}
	return nil
}

// CheckElement reports why the element cannot be one of the table's.
func (t Table) CheckElement(e Element) error {
	s := t.set(e.Set)
	if e.TableKey() != t.Key() || s == nil {
		return fmt.Errorf("%s: there is no set %s in table %s %s", e, e.Set, t.Family, t.Name)
	}
	if s.Dynamic {
		return fmt.Errorf("%s: the set's elements are those that rules add", e)
	}
	var key []string
	for i, part := range e.Parts {
		typ := TypeOf(part)
		if s.Interval && i == len(s.Key)-1 {
			p, _ := parsePrefix(part)
			typ = TypeOf(p.Addr().String())
		}
		key = append(key, typ)
	}
	if !slices.Equal(key, s.Key) {
		return fmt.Errorf("%s: the key is not of type %s", e, s.types())
	}
	switch {
	case s.Data != "verdict" && s.Data == TypeOf(e.Value):
		return nil
	case s.Data == "verdict":
		term, err := Parse(Expr(e.Value))
		if err == nil && (term.Op == "accept" || term.Op == "drop" || term.Op == "jump" && t.chain(term.Chain) != nil) {
			return nil
		}
	}
	return fmt.Errorf("%s: the value is not of type %q", e, s.Data)
}
