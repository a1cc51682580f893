// SPDX-License-Identifier: Apache-2.0

// Package ifupdown turns Debian's /etc/network/interfaces into a node file.
//
// It reads the file as ifupdown 0.8 does (interfaces(5), with the stanzas without a family of ifupdown2), and knows the
// options of ifenslave, bridge-utils, vlan, ifupdown2 and gnt-networking in all their spellings, and the commands that
// people put behind up and down. Every line of the input ends in one of three ways: it is in the node file, it says
// nothing that a node file needs (see ignorable), or it is named in a Note with its file and line. None is dropped.
//
// It never looks at the machine: what it reads comes from a file system and a table of names that the caller gives.
package ifupdown

import (
	"fmt"
	"slices"
)

// Pos is where something was written.
type Pos struct {
	File string // as an absolute path
	Line int    // from 1; the first one of a line that backslashes continue
}

// String is FILE:LINE.
func (p Pos) String() string { return fmt.Sprintf("%s:%d", p.File, p.Line) }

// Option is one line of an iface stanza.
type Option struct {
	Pos
	Name, Value string // post-up is "up" and pre-down is "down", as in ifupdown
	Text        string // the line as written, continuation lines joined
}

// Iface is an iface stanza. There may be several of one name.
type Iface struct {
	Pos
	Name, Family, Method string // Family and Method are empty where ifupdown2's short form has none
	Inherits             string
	Options              []Option // those of the stanza that it inherits from come first
	Text                 string

	template  bool // another stanza inherits from it
	inherited int  // how many of the options are another stanza's
}

// Selection is a name on an auto, allow-CLASS, no-auto-down, no-scripts or rename line.
type Selection struct {
	Pos
	Keyword string
	Name    string // an interface, or a pattern such as /eth*
	Logical string // of eth0=work: the stanza that eth0 is brought up with
	Text    string
}

// Line is a line that only has to be named: one of a mapping, or a source line that leads nowhere.
type Line struct {
	Pos
	Text   string
	Reason string
}

// Config is what an interfaces file and the files that it sources say, in the order in which ifupdown reads them.
type Config struct {
	Ifaces     []*Iface
	Selections []Selection
	Mapped     []string // words of map lines: names of stanzas that are not names of interfaces
	Lines      []Line

	files []string // in the order of reading
}

// started reports whether ifupdown brings the interface up by itself: at boot, when it is plugged in, or with its bond.
func (c *Config) started(name string) bool {
	return slices.ContainsFunc(c.Selections, func(s Selection) bool {
		return (s.Keyword == "auto" || isAllow(s.Keyword)) && selects(s, name)
	})
}
