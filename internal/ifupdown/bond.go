// SPDX-License-Identifier: Apache-2.0

package ifupdown

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"weft/internal/spec"
)

// words by the numbers that the bonding driver's files also take (Documentation/networking/bonding.rst).
var (
	bondModes       = []string{"balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad", "balance-tlb", "balance-alb"}
	lacpRates       = []string{"slow", "fast"}
	hashPolicies    = []string{"layer2", "layer3+4", "layer2+3", "encap2+3", "encap3+4", "vlan+srcmac"}
	adSelects       = []string{"stable", "bandwidth", "count"}
	failOverMACs    = []string{"none", "active", "follow"}
	primaryReselect = []string{"always", "better", "failure"}
)

// bondSetters translate one option each, by the name without "bond-".
var bondSetters = map[string]func(*spec.Bond, string) error{
	"mode":             func(b *spec.Bond, v string) error { return word(&b.Mode, v, bondModes) },
	"lacp-rate":        func(b *spec.Bond, v string) error { return word(&b.LACPRate, v, lacpRates) },
	"xmit-hash-policy": func(b *spec.Bond, v string) error { return word(&b.XmitHashPolicy, v, hashPolicies) },
	"ad-select":        func(b *spec.Bond, v string) error { return word(&b.ADSelect, v, adSelects) },
	"fail-over-mac":    func(b *spec.Bond, v string) error { return word(&b.FailOverMAC, v, failOverMACs) },
	"primary-reselect": func(b *spec.Bond, v string) error { return word(&b.PrimaryReselect, v, primaryReselect) },
	"miimon":           func(b *spec.Bond, v string) error { return number(&b.MIIMon, v) },
	"updelay":          func(b *spec.Bond, v string) error { return number(&b.UpDelay, v) },
	"downdelay":        func(b *spec.Bond, v string) error { return number(&b.DownDelay, v) },
	"arp-interval":     func(b *spec.Bond, v string) error { return number(&b.ARPInterval, v) },
	"min-links":        func(b *spec.Bond, v string) error { return number(&b.MinLinks, v) },
	"num-grat-arp":     func(b *spec.Bond, v string) error { return number(&b.NumGratARP, v) },
	"arp-ip-target":    targets,
	"primary":          primary,
}

// word sets an option that is one of a list of words, or the number of one.
func word(to *string, v string, words []string) error {
	if n, err := strconv.Atoi(v); err == nil && n >= 0 && n < len(words) {
		v = words[n]
	}
	if !slices.Contains(words, v) {
		return fmt.Errorf("not one of %s", strings.Join(words, ", "))
	}
	*to = v
	return nil
}

func number(to **uint32, v string) error {
	n, err := strconv.ParseUint(v, 10, 32)
	if err != nil {
		return errors.New("not a number")
	}
	*to = new(uint32(n))
	return nil
}

func targets(b *spec.Bond, v string) error {
	b.ARPIPTarget = nil
	for _, f := range strings.FieldsFunc(v, func(c rune) bool { return c == ' ' || c == '\t' || c == ',' }) {
		a, err := netip.ParseAddr(f)
		if err != nil {
			return fmt.Errorf("not an address: %s", f)
		}
		b.ARPIPTarget = append(b.ARPIPTarget, a)
	}
	return nil
}

// primary takes the first of the given interfaces that is a member, as ifenslave does.
func primary(b *spec.Bond, v string) error {
	for _, name := range strings.Fields(v) {
		if slices.Contains(b.Members, name) {
			b.Primary = name
			return nil
		}
	}
	return errors.New("not a member of the bond")
}

// bondOptions translates ifenslave's options, and ifupdown2's, which are the same.
func (t *translator) bondOptions(i *iface) {
	b := i.bond
	t.members(i)
	set := make(map[string]*entry)
	all := i.entries
	for _, name := range b.Members { // a member's stanza may also carry the bond's options
		all = append(all[:len(all):len(all)], t.iface(name).entries...)
	}
	for _, e := range all {
		name, ok := strings.CutPrefix(e.name, "bond-")
		setter := bondSetters[name]
		if !ok || setter == nil {
			continue
		}
		if other := set[name]; other != nil {
			if e.ok(); e.Value != other.Value {
				e.fail("%s says %s", other.Pos, other.Value)
			}
			continue
		}
		e.ok()
		if err := setter(b, e.Value); err != nil {
			e.fail("%v", err)
			continue
		}
		set[name] = e
	}
	t.bondDefaults(i, set)
}

// bondDefaults writes out where the kernel's default is not weft's.
func (t *translator) bondDefaults(i *iface, set map[string]*entry) {
	b := i.bond
	if b.Mode == "" {
		b.Mode = "balance-rr" // the kernel's
	}
	t.meaningless(b, set)
	if b.Mode == "802.3ad" && b.LACPRate == "" {
		b.LACPRate = "slow" // the kernel's
	}
	if b.MIIMon == nil && b.ARPInterval == nil && len(i.stanzas) > 0 {
		s := i.stanzas[0]
		t.remark(s.Pos, s.Text, "it has no bond-miimon: weft looks every 100 ms whether a member is up")
	}
	mii := b.MIIMonMS()
	for name, delay := range map[string]**uint32{"updelay": &b.UpDelay, "downdelay": &b.DownDelay} {
		switch {
		case *delay == nil || **delay == 0:
		case mii == 0:
			t.without(set[name], "without miimon")
			*delay = nil
		case **delay%mii != 0:
			rounded := **delay / mii * mii // as the kernel does
			t.remark(set[name].Pos, set[name].Text, "not a multiple of miimon: %d", rounded)
			*delay = &rounded
		}
	}
}

// meaningless takes out what ifenslave writes and the kernel refuses or does not use in the bond's mode.
func (t *translator) meaningless(b *spec.Bond, set map[string]*entry) {
	in := func(modes ...string) bool { return slices.Contains(modes, b.Mode) }
	for _, o := range []struct {
		name string
		fits bool
		drop func()
	}{
		{"lacp-rate", in("802.3ad"), func() { b.LACPRate = "" }},
		{"ad-select", in("802.3ad"), func() { b.ADSelect = "" }},
		{"min-links", in("802.3ad"), func() { b.MinLinks = nil }},
		{"xmit-hash-policy", in("802.3ad", "balance-xor", "balance-tlb", "balance-alb"), func() { b.XmitHashPolicy = "" }},
		{"primary", in("active-backup", "balance-tlb", "balance-alb"), func() { b.Primary = "" }},
		{"fail-over-mac", in("active-backup"), func() { b.FailOverMAC = "" }},
		{"arp-interval", !in("802.3ad", "balance-tlb", "balance-alb"), func() { b.ARPInterval, b.ARPIPTarget = nil, nil }},
	} {
		if e := set[o.name]; e != nil && !o.fits {
			o.drop()
			t.without(e, "in mode "+b.Mode)
		}
	}
	if e := set["primary-reselect"]; e != nil && b.Primary == "" {
		b.PrimaryReselect = ""
		t.without(e, "without a primary")
	}
	asks := b.ARPInterval != nil && *b.ARPInterval > 0
	if asks && b.MIIMon != nil && *b.MIIMon > 0 {
		t.without(set["arp-interval"], "beside miimon")
		asks = false
	}
	if !asks {
		b.ARPInterval, b.ARPIPTarget = nil, nil
	}
}

func (t *translator) without(e *entry, what string) {
	t.remark(e.Pos, e.Text, "without effect %s: left out", what)
}

// mtuOf returns the MTU that the bond's stanzas give it, or else the kernel's.
func mtuOf(i *iface) int {
	for _, e := range i.find("mtu") {
		if n, err := strconv.Atoi(e.Value); err == nil && e.stanza.Family != "inet6" {
			return n
		}
	}
	return 1500
}

// members gathers a bond's members: those that it names, and those that name it.
func (t *translator) members(i *iface) {
	for _, e := range i.find("bond-slaves") {
		e.ok()
		for _, name := range t.names(e) {
			if !slices.Contains(i.bond.Members, name) {
				i.bond.Members = append(i.bond.Members, name)
			}
		}
	}
	for _, m := range t.order {
		for _, e := range m.find("bond-master") {
			if e.Value != i.name {
				continue
			}
			if e.ok(); !slices.Contains(i.bond.Members, m.name) {
				i.bond.Members = append(i.bond.Members, m.name)
			}
		}
	}
	for _, name := range i.bond.Members {
		m := t.below(name)
		m.used, m.master = true, i
	}
}

// names reads a list of interfaces: none, names, and ifupdown2's glob with its ranges. What only the machine can tell,
// all and regex, fails the line.
func (t *translator) names(e *entry) []string {
	var names []string
	glob := false
	for _, word := range strings.Fields(e.Value) {
		switch word {
		case "none", "noregex":
			glob = false
		case "glob":
			glob = true
		case "all", "regex":
			e.fail("which interfaces these are, only the machine knows: name them")
			return names
		default:
			if !glob {
				names = append(names, word)
				continue
			}
			more, ok := expand(word)
			if !ok {
				e.fail("which interfaces %s are, only the machine knows: name them", word)
			}
			names = append(names, more...)
		}
	}
	return names
}

// maxRange bounds what a glob may stand for: no switch has more ports.
const maxRange = 1024

// expand spells out swp1-3, swp[1-3]s[0-1] and swp1-6.100. A word without a range is itself.
func expand(s string) ([]string, bool) {
	if strings.ContainsAny(s, "*?") {
		return nil, false
	}
	head, from, to, tail, ok := splitRange(s)
	if !ok {
		return []string{s}, !strings.ContainsAny(s, "[]")
	}
	rest, ok := expand(tail)
	if !ok || to < from || (to-from+1)*len(rest) > maxRange {
		return nil, false
	}
	var names []string
	for n := from; n <= to; n++ {
		for _, r := range rest {
			names = append(names, fmt.Sprintf("%s%d%s", head, n, r))
		}
	}
	return names, true
}

// splitRange finds the first N-M, which brackets may stand around.
func splitRange(s string) (head string, from, to int, tail string, ok bool) {
	for i := 0; i < len(s); i++ {
		if s[i] != '-' {
			continue
		}
		a, b := i, i+1
		for a > 0 && isDigit(s[a-1]) {
			a--
		}
		for b < len(s) && isDigit(s[b]) {
			b++
		}
		if a == i || b == i+1 || b-i > 6 || i-a > 5 {
			continue
		}
		from, _ = strconv.Atoi(s[a:i])
		to, _ = strconv.Atoi(s[i+1 : b])
		if a > 0 && s[a-1] == '[' && b < len(s) && s[b] == ']' {
			a, b = a-1, b+1
		}
		return s[:a], from, to, s[b:], true
	}
	return "", 0, 0, "", false
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
