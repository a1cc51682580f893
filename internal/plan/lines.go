// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"strings"

	"weft/internal/netstate"
	"weft/internal/nft"
)

// Lines spells the operation as lines for a shell that do the same with ip, bridge, sysctl and nft. It is one line, but
// two where the local rule moves, and one a command where an nftables transaction is spelled out.
func (op Op) Lines() []string {
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
		return lines
	}
	commands, err := nft.Transaction(ruleset)
	if err != nil {
		return append(lines, "# "+strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	for _, c := range commands {
		lines = append(lines, c.Line())
	}
	return lines
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

func (c Change) bridgeVLAN(v netstate.BridgeVLAN) string {
	if c.New == nil {
		v.PVID, v.Untagged = false, false
	}
	return v.String()
}

// neighbour spells a neighbour command. Deleting wants the key alone.
func (c Change) neighbour(n netstate.Neigh) string {
	if c.New != nil {
		return c.verb("replace", "replace") + " " + n.String() // there may be one that the kernel learned
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
