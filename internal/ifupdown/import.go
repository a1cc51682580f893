// SPDX-License-Identifier: Apache-2.0

package ifupdown

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"weft/internal/spec"
)

// Note names a line of the input. Without Remark it was not translated, and a person has to decide what becomes of it;
// with Remark it was, and there is something to know about it.
type Note struct {
	Pos
	Reason string
	Text   string // the line as written
	Remark bool
}

// String is FILE:LINE: what there is to say: the line.
func (n Note) String() string {
	if n.Remark {
		return fmt.Sprintf("%s: remark: %s: %s", n.Pos, n.Reason, n.Text)
	}
	return fmt.Sprintf("%s: %s: %s", n.Pos, n.Reason, n.Text)
}

// Import translates a configuration. Tables are the numbers of the routing tables that have names, as ReadTables returns
// them. The notes are in the order of the input's files and lines.
func Import(c *Config, tables map[string]uint32) (*spec.Node, []Note) {
	t := &translator{
		config: c, node: &spec.Node{}, ifaces: make(map[string]*iface), tables: make(map[string]uint32), given: tables,
		applied: make(map[string]bool),
	}
	for name, number := range map[string]uint32{"local": 255, "main": 254, "default": 253, "unspec": 0} {
		t.tables[name] = number
	}
	for name, number := range tables {
		t.tables[name] = number
	}
	t.group()
	t.classify()
	for _, i := range t.order {
		t.device(i)
	}
	for _, i := range t.order {
		t.options(i)
	}
	t.commands()
	t.routedNetworks()
	t.bridgedNetworks()
	t.widen()
	t.emit()
	t.account()
	return t.node, t.sorted()
}

// kind is what ifupdown makes an interface.
type kind int

const (
	plain  kind = iota // it exists already
	bond               //
	vlan               //
	bridge             //
	vrf                //
	absent             // weft cannot make it, or it is no interface
)

// entry is one option of one interface, and what became of it.
type entry struct {
	*Option
	name   string // the option's, with '-' for '_' and one spelling where packages differ
	stanza *Iface
	of     *iface
	done   bool
	why    string // why it was not translated
}

// fail says why the line was not translated. It is then named, whatever else was done with it.
func (e *entry) fail(format string, args ...any) {
	if e.done = false; e.why == "" {
		e.why = fmt.Sprintf(format, args...)
	}
}

// ok marks the line as translated, unless something of it was not.
func (e *entry) ok() { e.done = e.why == "" }

// iface is one interface: all its stanzas and all that commands say of it.
type iface struct {
	name     string
	kind     kind
	declared bool // it has a stanza
	dhcp     bool
	used     bool   // something of the node file names it, so that weft brings it up
	master   *iface // the bond that it is a member of: MTU and MAC are the bond's
	stanzas  []*Iface
	entries  []*entry

	link   *spec.Link // of the kind's own below
	bond   *spec.Bond
	vlan   *spec.VLAN
	bridge *spec.Bridge
	vrf    *spec.VRF

	network *spec.Network // the bridged network that the bridge became
	uplink  bool          // a network's VLAN device
}

type translator struct {
	config  *Config
	node    *spec.Node
	ifaces  map[string]*iface
	order   []*iface
	tables  map[string]uint32 // by name, those that were made up here included
	given   map[string]uint32 // by name, as the machine has them
	loose   []*entry          // options of stanzas that are no interface's
	notes   []Note
	applied map[string]bool // what up lines did, so that the down lines that undo it are known

	routes  []*route
	rules   []*rule
	sysctls []*sysctl
	arps    []*arp
}

func (t *translator) note(p Pos, text, format string, args ...any) {
	t.notes = append(t.notes, Note{Pos: p, Reason: fmt.Sprintf(format, args...), Text: text})
}

func (t *translator) remark(p Pos, text, format string, args ...any) {
	t.notes = append(t.notes, Note{Pos: p, Reason: fmt.Sprintf(format, args...), Text: text, Remark: true})
}

// iface returns the interface of this name, which may be known only from what others say of it.
func (t *translator) iface(name string) *iface {
	if i := t.ifaces[name]; i != nil {
		return i
	}
	i := &iface{name: name, link: &spec.Link{}}
	t.ifaces[name] = i
	t.order = append(t.order, i)
	return i
}

// group gathers the stanzas by interface. eth0:1 is an address of eth0; eth0=work is eth0 with the stanza work.
func (t *translator) group() {
	logical := make(map[string]string)
	for _, s := range t.config.Selections {
		if s.Logical != "" && !strings.Contains(s.Name, "/") {
			logical[s.Logical] = s.Name
		}
	}
	for _, s := range t.config.Ifaces {
		name := s.Name
		if real, ok := logical[name]; ok {
			name = real
		} else if why := t.notAnInterface(s); why != "" {
			if why != "template" {
				t.note(s.Pos, s.Text, "%s", why)
			}
			for k := range s.Options {
				e := &entry{Option: &s.Options[k], stanza: s}
				e.done, e.why = why == "template", "its stanza is not translated"
				t.loose = append(t.loose, e)
			}
			continue
		}
		base, label, _ := strings.Cut(name, ":")
		if label != "" {
			t.remark(s.Pos, s.Text, "the address goes to %s, without a label", base)
		}
		i := t.iface(base)
		i.declared = true
		i.stanzas = append(i.stanzas, s)
		for k := range s.Options {
			e := &entry{Option: &s.Options[k], name: optionName(s.Options[k].Name), stanza: s, of: i}
			if own := overriding(s, k); own != nil {
				e.fail("overridden by %s", own.Pos)
				t.loose = append(t.loose, e)
				continue
			}
			i.entries = append(i.entries, e)
		}
	}
}

// overriding returns the stanza's own option that takes the place of an inherited one, if there is one. Lists grow.
func overriding(s *Iface, k int) *Option {
	name := optionName(s.Options[k].Name)
	if k >= s.inherited || isCommand(name) || slices.Contains([]string{"address", "bridge-ports", "bond-slaves", "ip-routes"}, name) {
		return nil
	}
	for n := s.inherited; n < len(s.Options); n++ {
		if optionName(s.Options[n].Name) == name {
			return &s.Options[n]
		}
	}
	return nil
}

// notAnInterface tells why a stanza is not the one of an interface of its name, "template" for one that others inherit
// from and that nothing brings up.
func (t *translator) notAnInterface(s *Iface) string {
	switch {
	case t.config.started(s.Name):
		return ""
	case s.template:
		return "template"
	case slices.Contains(t.config.Mapped, s.Name):
		return "a mapping decides which interface this is"
	}
	for _, sel := range t.config.Selections {
		if sel.Logical == s.Name {
			return "which interface this is, only the machine knows"
		}
	}
	return ""
}

// optionName returns an option's name as hook scripts see it: '-' and '_' are one to them.
func optionName(s string) string {
	s = strings.ReplaceAll(s, "_", "-")
	switch s {
	case "slaves":
		return "bond-slaves"
	case "primary":
		return "bond-primary"
	case "raw-device":
		return "vlan-raw-device"
	case "hw-mac-address":
		return "hwaddress"
	case "bond-num-unsol-na": // the same number in the kernel
		return "bond-num-grat-arp"
	}
	return s
}

// find returns the interface's options of these names.
func (i *iface) find(names ...string) []*entry {
	var found []*entry
	for _, e := range i.entries {
		if slices.Contains(names, e.name) {
			found = append(found, e)
		}
	}
	return found
}

func (i *iface) has(names ...string) bool { return len(i.find(names...)) > 0 }

// last returns the option of this name and marks it as translated, nil if there is none. Where there are several, it
// returns the last and names those that say something else.
func (i *iface) last(name string) *entry {
	all := i.find(name)
	if len(all) == 0 {
		return nil
	}
	e := all[len(all)-1]
	for _, other := range all {
		if other.ok(); other.Value != e.Value {
			other.fail("overridden by %s", e.Pos)
		}
	}
	return e
}

// account names every line of the input of which nothing became anything.
func (t *translator) account() {
	for _, i := range t.order {
		for _, e := range i.entries {
			t.accountFor(e)
		}
	}
	for _, e := range t.loose {
		t.accountFor(e)
	}
	for _, l := range t.config.Lines {
		t.note(l.Pos, l.Text, "%s", l.Reason)
	}
	for _, s := range t.config.Selections {
		if why := t.selection(s); why != "" {
			t.note(s.Pos, s.Text, "%s", why)
		}
	}
	for _, i := range t.order {
		if i.declared && i.name != "lo" && i.kind != absent && !i.used && !t.config.started(i.name) {
			s := i.stanzas[0]
			t.remark(s.Pos, s.Text, "ifupdown does not start it by itself, weft does")
		}
	}
}

func (t *translator) accountFor(e *entry) {
	if e.done || e.why == "" && ignored(e) {
		return
	}
	t.note(e.Pos, e.Text, "%s", cmp.Or(e.why, "nothing in a node file says this"))
}

// selection tells what a person has to know of an auto line or its like, if anything.
func (t *translator) selection(s Selection) string {
	pattern := strings.Contains(s.Name, "/")
	switch {
	case s.Keyword == "rename":
		return "weft does not rename interfaces: a .link file of systemd does"
	case s.Keyword == "no-scripts":
		return "weft runs no hook scripts: what they did for this interface's options is translated all the same"
	case s.Keyword == "no-auto-down":
		return ""
	case pattern && (s.Logical != "" || !strings.HasPrefix(s.Name, "/")):
		return "which interfaces these are, only the machine knows"
	case pattern || s.Name == "lo":
		return ""
	}
	base, _, _ := strings.Cut(s.Name, ":")
	if i := t.ifaces[base]; i == nil || !i.declared {
		return fmt.Sprintf("%s has no stanza", s.Name)
	}
	return ""
}

// sorted returns the notes by file and line, without those said twice: of a stanza that several others inherit.
func (t *translator) sorted() []Note {
	slices.SortStableFunc(t.notes, func(a, b Note) int {
		return cmp.Or(cmp.Compare(slices.Index(t.config.files, a.File), slices.Index(t.config.files, b.File)), cmp.Compare(a.Line, b.Line))
	})
	return slices.CompactFunc(t.notes, func(a, b Note) bool { return a == b })
}
