// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"weft/internal/netstate"
)

// Change is one Table's or Element's part in a transaction. Old is nil when it comes, New is nil when it goes.
type Change struct {
	Old, New netstate.Object
}

// Command is one command of a transaction: one nft command, or one message to the kernel.
type Command struct {
	Verb     string // "add", "delete", or (chains: their rules go) "flush"
	Object   string // "table", "set", "chain", "rule", "element"
	Family   Family
	Table    string
	Set      Set       // add set; its name only: delete set
	Chain    Chain     // add chain, without its rules; its name only: delete chain, flush chain, add rule
	Rule     Rule      // add rule
	Elements []Element // add element, delete element; all of the set that the first one is in
}

// elementsPerCommand keeps the lines of a plan readable and the messages to the kernel below 64 KiB.
const elementsPerCommand = 32

// String spells the command for nft.
func (c Command) String() string {
	table := string(c.Family) + " " + c.Table
	switch c.Object {
	case "table":
		return c.Verb + " table " + table
	case "set":
		s := fmt.Sprintf("%s %s %s %s", c.Verb, c.Set.word(), table, c.Set.Name)
		if c.Verb == "add" {
			s += " " + c.Set.body()
		}
		return s
	case "chain":
		s := fmt.Sprintf("%s chain %s %s", c.Verb, table, c.Chain.Name)
		if c.Verb == "add" && c.Chain.Hook != "" {
			s += " { " + c.Chain.base(c.Family) + " }"
		}
		return s
	case "rule":
		return fmt.Sprintf("%s rule %s %s %s", c.Verb, table, c.Chain.Name, c.Rule)
	default:
		bodies := make([]string, len(c.Elements))
		for i, e := range c.Elements {
			bodies[i] = e.body()
		}
		return fmt.Sprintf("%s element %s %s { %s }", c.Verb, table, c.Elements[0].Set, strings.Join(bodies, ", "))
	}
}

// lineLength is about how long a line of Lines gets.
const lineLength = 600

// Lines spells the commands, in their order, as lines for a shell, each of which runs nft once. Commands of one sort share a line,
// and rules of one chain: a new table is some hundred commands.
func Lines(commands []Command) []string {
	var lines []string
	var line string
	for i, c := range commands {
		if i > 0 && c.joins(commands[i-1]) && len(line) < lineLength {
			line += "; " + c.String()
			continue
		}
		if i > 0 {
			lines = append(lines, shell(line))
		}
		line = c.String()
	}
	if len(commands) > 0 {
		lines = append(lines, shell(line))
	}
	return lines
}

// joins reports whether the command may share a line with the one before it.
func (c Command) joins(before Command) bool {
	same := c.Verb == before.Verb && c.Object == before.Object && c.Family == before.Family && c.Table == before.Table
	return same && c.Object != "element" && (c.Object != "rule" || c.Chain.Name == before.Chain.Name)
}

// Transaction returns the commands, in order, that make all the changes at once. A table that changes has its rules
// replaced and keeps every set whose declaration stays, with its elements (see Table.Loses).
func Transaction(changes []Change) ([]Command, error) {
	var t transaction
	for _, c := range changes {
		if err := t.take(c); err != nil {
			return nil, err
		}
	}
	for _, c := range t.tables {
		t.lose(c)
	}
	t.elements("delete", t.gone)
	for _, c := range t.tables {
		t.make(c)
	}
	t.elements("add", t.come)
	return t.commands, nil
}

// Loses returns the names of those sets of t that are gone or made anew, hence empty, once t is replaced by next.
func (t Table) Loses(next Table) []string {
	var names []string
	for _, s := range t.Sets {
		if n := next.set(s.Name); n == nil || !reflect.DeepEqual(*n, s) {
			names = append(names, s.Name)
		}
	}
	return names
}

// tableChange is a Change of a table in canonical form; the zero Table for none.
type tableChange struct{ old, new Table }

type transaction struct {
	tables     []tableChange
	gone, come []Element
	commands   []Command
}

func (t *transaction) take(c Change) error {
	for _, o := range []netstate.Object{c.Old, c.New} {
		switch o.(type) {
		case nil, Table, Element:
		default:
			return fmt.Errorf("%s is no part of an nftables transaction", o.Key())
		}
	}
	old, wasTable := c.Old.(Table)
	next, isTable := c.New.(Table)
	if wasTable || isTable {
		t.tables = append(t.tables, tableChange{old.Canonical(), next.Canonical()})
		return nil
	}
	if e, ok := c.Old.(Element); ok {
		t.gone = append(t.gone, e)
	}
	if e, ok := c.New.(Element); ok {
		t.come = append(t.come, e)
	}
	return nil
}

func (t *transaction) add(table Table, verb, object string, c Command) {
	c.Verb, c.Object, c.Family, c.Table = verb, object, table.Family, table.Name
	t.commands = append(t.commands, c)
}

// lose starts the change of a table: rules go first, because they hold on to chains and sets.
func (t *transaction) lose(c tableChange) {
	if c.old.Name == "" {
		return
	}
	lost := c.old.Loses(c.new)
	t.gone = slices.DeleteFunc(t.gone, func(e Element) bool {
		return e.TableKey() == c.old.Key() && (c.new.Name == "" || slices.Contains(lost, e.Set))
	})
	if c.new.Name == "" {
		return
	}
	for _, chain := range c.old.Chains {
		if len(chain.Rules) > 0 && !c.keeps(chain, lost) {
			t.add(c.old, "flush", "chain", Command{Chain: Chain{Name: chain.Name}})
		}
	}
}

// keeps reports whether the chain stays as it is, rules included: nothing that they refer to is made anew.
func (c tableChange) keeps(chain Chain, lost []string) bool {
	n := c.new.chain(chain.Name)
	if n == nil || !reflect.DeepEqual(*n, chain) {
		return false
	}
	for _, r := range chain.Rules {
		for _, e := range r.Exprs {
			term, err := Parse(e)
			if err != nil || term.Set != "" && slices.Contains(lost, term.Set) {
				return false
			}
		}
	}
	return true
}

// make finishes the change of a table: what is not wanted goes, what is wanted comes.
// Sets go before chains: elements of a map can refer to chains.
func (t *transaction) make(c tableChange) {
	if c.new.Name == "" {
		t.add(c.old, "delete", "table", Command{})
		return
	}
	lost := c.old.Loses(c.new)
	if c.old.Name == "" || c.old.Dormant {
		t.add(c.new, "add", "table", Command{}) // also wakes a dormant one
	}
	for _, name := range lost {
		t.add(c.old, "delete", "set", Command{Set: *c.old.set(name)})
	}
	for _, chain := range c.old.Chains {
		if !c.stands(chain) {
			t.add(c.old, "delete", "chain", Command{Chain: Chain{Name: chain.Name}})
		}
	}
	for _, s := range c.new.Sets {
		if c.old.set(s.Name) == nil || slices.Contains(lost, s.Name) {
			t.add(c.new, "add", "set", Command{Set: s})
		}
	}
	for _, chain := range c.new.Chains {
		if old := c.old.chain(chain.Name); old == nil || !c.stands(*old) || old.Policy != chain.Policy {
			bare := chain
			bare.Rules = nil
			t.add(c.new, "add", "chain", Command{Chain: bare})
		}
	}
	for _, chain := range c.new.Chains {
		if old := c.old.chain(chain.Name); old != nil && c.keeps(*old, lost) {
			continue
		}
		for _, r := range chain.Rules {
			t.add(c.new, "add", "rule", Command{Chain: Chain{Name: chain.Name}, Rule: r})
		}
	}
}

// stands reports whether a chain of the old table need not be deleted: it can become the new one of its name.
func (c tableChange) stands(old Chain) bool {
	n := c.new.chain(old.Name)
	return n != nil && n.Type == old.Type && n.Hook == old.Hook && n.Priority == old.Priority
}

// elements adds the commands for these elements, some at a time, sets in the order of their first element.
func (t *transaction) elements(verb string, elements []Element) {
	var order []string
	bySet := make(map[string][]Element)
	for _, e := range elements {
		if _, ok := bySet[e.set()]; !ok {
			order = append(order, e.set())
		}
		bySet[e.set()] = append(bySet[e.set()], e)
	}
	for _, set := range order {
		for part := range slices.Chunk(bySet[set], elementsPerCommand) {
			table := Table{Family: part[0].Family, Name: part[0].Table}
			t.add(table, verb, "element", Command{Elements: part})
		}
	}
}
