// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"weft/internal/netstate"
	"weft/internal/nft"
)

// Lines spells the operation as lines for a shell that do the same with ip, bridge, sysctl and nft. It is one line, but
// two where the local rule moves, and one a command where an nftables transaction is spelled out. What cannot be spelled
// for a shell is a comment.
func (op Op) Lines() []string {
	lines, err := op.lines()
	if err != nil {
		lines = append(lines, comment(err.Error()))
	}
	for i, l := range lines {
		if !spellable(l) {
			lines[i] = comment("cannot be spelled: " + l)
		}
	}
	return lines
}

func (op Op) lines() ([]string, error) {
	var lines []string
	var ruleset []nft.Change
	for _, c := range op.Changes {
		if k := c.Key().Kind; k == netstate.KindTable || k == netstate.KindElement {
			ruleset = append(ruleset, nft.Change(c))
			continue
		}
		lines = append(lines, c.lines()...)
	}
	if len(ruleset) == 0 {
		return lines, nil
	}
	commands, err := nft.Transaction(ruleset)
	if err != nil {
		return lines, err
	}
	return append(lines, nft.Lines(commands)...), nil
}

// comment makes one line of words that a shell passes over.
func comment(s string) string {
	return "# " + strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
}

// spellable reports whether a shell takes a line for plain words: nothing with a meaning to it stands outside of single
// quotes. Names of interfaces may hold anything.
func spellable(line string) bool {
	quoted := false
	for i, r := range line {
		switch {
		case r == utf8.RuneError || unicode.IsControl(r):
			return false
		case r == '\'' && (quoted || !strings.HasSuffix(line[:i], `\`)):
			quoted = !quoted
		case quoted || r == '\'' || r == ' ' || unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("._:/@=,+%-", r):
		case r == '\\' && strings.HasPrefix(line[i+1:], "'"):
		case r == '#' && i == 0:
			return true // a comment
		default:
			return false
		}
	}
	return !quoted
}

func (c Change) lines() []string {
	o := c.New
	if o == nil {
		o = c.Old
	}
	switch o := o.(type) {
	case netstate.Link:
		return c.linkLines(o)
	case netstate.BridgeVLAN:
		return []string{"bridge vlan " + c.verb("add", "add") + " " + c.bridgeVLAN(o)}
	case netstate.Addr:
		o.Protocol = 0 // iproute2 6.1 has no word for it
		return []string{family(o.Prefix.Addr().Is6()) + "address " + c.verb("add", "replace") + " " + o.String()}
	case netstate.Rule:
		return c.ruleLines(o)
	case netstate.Route:
		return []string{family(o.Dst.Addr().Is6()) + "route " + c.verb("add", "replace") + " " + o.String()}
	case netstate.Neigh:
		return []string{family(o.IP.Is6()) + "neighbour " + c.neighbour(o)}
	case netstate.FDB:
		return []string{"bridge fdb " + c.verb("replace", "replace") + " " + o.String()}
	case netstate.MDB:
		return []string{"bridge mdb " + c.verb("add", "add") + " " + o.String()}
	case netstate.Limit:
		return c.limitLines(o)
	case netstate.Sysctl:
		return []string{"sysctl -w " + o.String()}
	}
	return []string{"# " + o.String()}
}

// verb returns the tool's word for what happens to the object.
func (c Change) verb(add, change string) string {
	switch {
	case c.New == nil:
		return "del"
	case c.Old == nil:
		return add
	}
	return change
}

// limitLines spells a limit. A filter needs a qdisc to hang on, and cannot be changed but only made anew.
func (c Change) limitLines(l netstate.Limit) []string {
	del := fmt.Sprintf("tc filter del dev %s ingress pref %d", l.Dev, netstate.LimitPref)
	switch {
	case c.New == nil && !l.Ingress:
		return []string{"tc qdisc del dev " + l.Dev + " root"}
	case c.New == nil:
		return []string{del} // what it hangs on may have filters of somebody else's
	case !l.Ingress:
		return []string{"tc qdisc replace " + l.String()}
	case c.Old == nil:
		return []string{"tc qdisc replace dev " + l.Dev + " clsact", "tc filter add " + l.String()}
	}
	return []string{del, "tc filter add " + l.String()}
}

func (c Change) bridgeVLAN(v netstate.BridgeVLAN) string {
	if c.New == nil {
		v.PVID, v.Untagged = false, false
	}
	return v.String()
}

// neighbour spells a neighbour command. Deleting wants the key alone.
func (c Change) neighbour(n netstate.Neigh) string {
	if c.New != nil {
		return "replace " + n.String() // there may be one that the kernel learned
	}
	if n.Proxy {
		return fmt.Sprintf("del proxy %s dev %s", n.IP, n.Dev)
	}
	return fmt.Sprintf("del %s dev %s", n.IP, n.Dev)
}

func family(six bool) string {
	if six {
		return "ip -6 "
	}
	return "ip "
}

// ruleLines spells a rule. A rule that moves is added in its new place before it is deleted in the old one.
func (c Change) ruleLines(r netstate.Rule) []string {
	ip := family(r.Family == 6) + "rule "
	if old, ok := c.Old.(netstate.Rule); ok && c.New != nil {
		old.Protocol = 0
		return []string{ip + "add " + r.String(), ip + "del " + old.String()}
	}
	return []string{ip + c.verb("add", "add") + " " + r.String()}
}

func (c Change) linkLines(l netstate.Link) []string {
	switch {
	case c.New == nil:
		return []string{fmt.Sprintf("ip link del dev %s", l.Name)}
	case c.Old == nil:
		return []string{"ip link add " + l.AddArgs()}
	case l.Port != nil:
		return []string{"bridge link set dev " + l.Name + " " + strings.Join(l.Port.Words(), " ")}
	}
	return []string{"ip link set " + l.SetArgs()}
}
