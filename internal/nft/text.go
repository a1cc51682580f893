// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// IfName spells an interface's name as nft does, in double quotes: the form of Element.Parts and of Expr.
func IfName(name string) string { return `"` + name + `"` }

// String spells the table on one line, as `nft add` takes it.
func (t Table) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "table %s %s {", t.Family, t.Name)
	for _, s := range t.Sets {
		fmt.Fprintf(&b, " %s %s %s", s.word(), s.Name, s.body())
	}
	for _, c := range t.Chains {
		fmt.Fprintf(&b, " chain %s {", c.Name)
		if c.Hook != "" {
			fmt.Fprintf(&b, " %s", c.base(t.Family))
		}
		for _, r := range c.Rules {
			fmt.Fprintf(&b, " %s;", r)
		}
		b.WriteString(" }")
	}
	b.WriteString(" }")
	return b.String()
}

// Ruleset spells the table with those of the elements that are its own, in the words and the layout of
// `nft --stateless list table`.
func (t Table) Ruleset(elements []Element) string {
	t = t.Canonical()
	var parts []string
	for _, s := range t.Sets {
		var b strings.Builder
		fmt.Fprintf(&b, "\t%s %s {\n\t\t%s\n", s.word(), s.Name, strings.Join(s.declaration(), "\n\t\t"))
		mine := slices.DeleteFunc(slices.Clone(elements), func(e Element) bool {
			return e.Family != t.Family || e.Table != t.Name || e.Set != s.Name
		})
		s.list(&b, mine)
		parts = append(parts, b.String()+"\t}\n")
	}
	for _, c := range t.Chains {
		var b strings.Builder
		fmt.Fprintf(&b, "\tchain %s {\n", c.Name)
		if c.Hook != "" {
			fmt.Fprintf(&b, "\t\t%s\n", c.base(t.Family))
		}
		for _, r := range c.Rules {
			fmt.Fprintf(&b, "\t\t%s\n", r)
		}
		parts = append(parts, b.String()+"\t}\n")
	}
	return fmt.Sprintf("table %s %s {\n%s}\n", t.Family, t.Name, strings.Join(parts, "\n"))
}

// list writes the elements of the set in nft's order and line breaks.
func (s Set) list(b *strings.Builder, elements []Element) {
	slices.SortFunc(elements, s.compare)
	perLine := 1
	if len(s.Key) == 1 && s.Key[0] == "ipv4_addr" {
		perLine = 2
	}
	for i, e := range elements {
		switch {
		case i == 0:
			b.WriteString("\t\telements = { ")
		case i%perLine == 0:
			b.WriteString(",\n\t\t\t     ")
		default:
			b.WriteString(", ")
		}
		b.WriteString(e.body())
	}
	if len(elements) > 0 {
		b.WriteString(" }\n")
	}
}

func (s Set) word() string {
	if s.Data != "" {
		return "map"
	}
	return "set"
}

func (s Set) types() string {
	t := strings.Join(s.Key, " . ")
	if s.Data != "" {
		t += " : " + s.Data
	}
	return t
}

// What a dynamic set has at most, and for how long after the rule that adds it last matched (a note: first).
const (
	DynamicSize    = 65535
	DynamicTimeout = 10 * time.Second
)

// declaration spells what is between the braces, an entry per line of nft's.
func (s Set) declaration() []string {
	d := []string{"type " + s.types()}
	if slices.Contains(s.Key, ndTarget) { // nft has no name for the type
		d[0] = "typeof " + strings.NewReplacer("ifname", "iifname", "devgroup", "iifgroup", "ether_addr", "ether saddr").Replace(s.types())
	}
	if s.Interval {
		d = append(d, "flags interval")
	}
	if s.Dynamic {
		d = append(d, fmt.Sprintf("size %d", DynamicSize), "flags dynamic,timeout", "timeout 10s")
	}
	return d
}

func (s Set) body() string { return "{ " + strings.Join(s.declaration(), "; ") + "; }" }

// base spells what makes the chain a base chain of a table of this family.
func (c Chain) base(family Family) string {
	return fmt.Sprintf("type %s hook %s priority %s; policy %s;",
		cmp.Or(c.Type, "filter"), c.Hook, priority(family, c.Hook, c.Priority), cmp.Or(c.Policy, "accept"))
}

// String spells the rule as in a chain.
func (r Rule) String() string {
	words := make([]string, len(r.Exprs))
	for i, e := range r.Exprs {
		words[i] = string(e)
	}
	return strings.Join(words, " ")
}

// set spells the set that the element is in: "arp weft arp_source".
func (e Element) set() string { return string(e.Family) + " " + e.Table + " " + e.Set }

// body spells the element as between the braces of a set.
func (e Element) body() string {
	s := strings.Join(e.Parts, " . ")
	if e.Value != "" {
		s += " : " + e.Value
	}
	return s
}

// String spells the element as `nft add` takes it.
func (e Element) String() string { return "element " + e.set() + " { " + e.body() + " }" }

// shellSafe has the characters that a shell leaves alone in the middle of a command.
const shellSafe = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./:@=,+- "

// shell spells a command line that runs nft with this one command.
func shell(command string) string {
	if strings.Trim(command, shellSafe) == "" {
		return "nft " + command
	}
	return "nft '" + strings.ReplaceAll(command, "'", `'\''`) + "'"
}
