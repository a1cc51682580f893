// SPDX-License-Identifier: Apache-2.0

package spec

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Group is what may come in to the guests that are in it: whatever one of its rules allows, and the answers to what the guest has begun.
type Group struct {
	Allow   []Allow        `yaml:"allow,omitempty" json:"allow,omitempty"`
	Members []netip.Prefix `yaml:"members,omitempty" json:"members,omitempty"` // further addresses of the group: of its guests elsewhere
}

// Allow is one rule of a group.
type Allow struct {
	Proto string   `yaml:"proto" json:"proto"`                     // one of Protocols
	Ports []string `yaml:"ports,omitempty" json:"ports,omitempty"` // of tcp and udp: ports and ranges; all, if there are none
	From  []string `yaml:"from,omitempty" json:"from,omitempty"`   // prefixes, addresses, and "group:NAME"; anybody, if there are none
}

// Protocols are what a rule of a group can allow; icmp is ICMP and ICMPv6.
var Protocols = []string{"tcp", "udp", "icmp", "sctp", "gre", "esp", "ah", "vrrp"}

// The groups that are there without a node file's word, gnt-networking's firewall profiles.
const (
	Unprotected = "unprotected" // everything comes in
	Protected   = "protected"   // answers, and ICMP
	Limited     = "limited"     // and TCP to 22 and 3389
)

var profiles = map[string]*Group{
	Unprotected: nil,
	Protected:   {Allow: []Allow{{Proto: "icmp"}}},
	Limited:     {Allow: []Allow{{Proto: "icmp"}, {Proto: "tcp", Ports: []string{"22", "3389"}}}},
}

// Group returns the group of this name, the node file's or a profile, and whether there is one. Unprotected is nil.
func (n *Node) Group(name string) (*Group, bool) {
	if g := n.Groups[name]; g != nil {
		return g, true
	}
	g, ok := profiles[name]
	return g, ok
}

// Firewalled returns the groups that say what comes in to the NIC, in the order of their names; nil where everything does.
func (n *NIC) Firewalled() []string {
	if slices.Contains(n.Groups, Unprotected) {
		return nil
	}
	groups := slices.Clone(n.Groups)
	slices.Sort(groups)
	return groups
}

const (
	maxGroupName = 32
	fromGroup    = "group:"
)

// FromGroup returns the name of the group that a From names, or "".
func FromGroup(from string) string {
	if name, ok := strings.CutPrefix(from, fromGroup); ok {
		return name
	}
	return ""
}

// FromPrefix returns the prefix that a From is; the zero one for a group.
func FromPrefix(from string) netip.Prefix {
	if a, why := parseAddr(from); why == "" {
		return netip.PrefixFrom(a, a.BitLen())
	}
	p, _ := parsePrefix(from, subnetText)
	return p
}

// badGroup returns why the text is not the name of a group, or "": it is a name in nftables as well.
func badGroup(name string) string {
	ok := name != "" && len(name) <= maxGroupName && name[0] >= 'a' && name[0] <= 'z'
	for _, r := range name {
		ok = ok && (r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '_')
	}
	if !ok {
		return fmt.Sprintf("%s is not the name of a group: a lower case letter, and up to %d more, digits and _", clipped(strconv.Quote(name)), maxGroupName-1)
	}
	return ""
}

// badPorts returns why the text is neither a port nor a range of ports, or "".
func badPorts(text string) string {
	first, last, isRange := strings.Cut(text, "-")
	a, err := strconv.ParseUint(first, 10, 16)
	b, err2 := a, error(nil)
	if isRange {
		b, err2 = strconv.ParseUint(last, 10, 16)
	}
	switch {
	case err != nil || err2 != nil || a == 0 || strconv.FormatUint(a, 10) != first || isRange && strconv.FormatUint(b, 10) != last:
		return clipped(strconv.Quote(text)) + " is neither a port, 1 to 65535, nor a range such as 8000-8100"
	case isRange && a >= b:
		return text + ": the first port of a range is below the last"
	}
	return ""
}

// badFrom returns why the text is not a source, or "".
func badFrom(text string) string {
	if name, ok := strings.CutPrefix(text, fromGroup); ok {
		return badGroup(name)
	}
	why := badDest(text)
	if why == "" && text == "default" || why != "" && !strings.Contains(text, "/") {
		return clipped(strconv.Quote(text)) + " is not a prefix, an address or group:NAME"
	}
	return why
}

// FirstBridgedZone is where the numbers of the zones begin that connections of bridged networks have: those of routed ones are below.
const FirstBridgedZone = 0xe000

// checkGroups finds tables whose numbers are zones of bridged networks, rules that no packet could be asked, and groups that are not there.
func (c *checker) checkGroups() {
	for _, name := range c.nets {
		n, p := c.node.Networks[name], at("networks", name)
		if t := n.TableNumber(); c.node.Groups != nil && n.Mode == Routed && t >= FirstBridgedZone {
			c.fail(p.key("table"), "%d; with groups want one below %d: the connections of bridged networks have the others for their zones", t, FirstBridgedZone)
		}
	}
	for _, name := range inOrder(c.src, "groups", c.node.Groups) {
		g, p := c.node.Groups[name], at("groups", name)
		if _, taken := profiles[name]; taken {
			c.fail(p, "%s is a profile that is always there", name)
		}
		for i, a := range g.Allow {
			q := p.key("allow").index(i)
			if len(a.Ports) > 0 && a.Proto != "tcp" && a.Proto != "udp" && !c.unread(q.key("proto")) {
				c.fail(q.key("ports"), "%s has no ports", a.Proto)
			}
			for j, from := range a.From {
				other := FromGroup(from)
				if q := q.key("from").index(j); other != "" && c.node.Groups[other] == nil && !c.unread(q) {
					c.fail(q, "there is no group %s%s", other, meant(other, sorted(c.node.Groups)))
				}
			}
		}
	}
}

// meant suggests the name that was meant, after a message.
func meant(word string, names []string) string {
	if m := closest(word, names); m != "" {
		return fmt.Sprintf(" (did you mean %q?)", m)
	}
	return ""
}

// groupMistakes returns what is wrong with the groups that the NIC is in.
func (n *nicChecker) groupMistakes(nic *NIC) []string {
	var all []string
	if len(nic.Groups) > 0 && n.node.Groups == nil {
		return []string{fmt.Sprintf("group %s: the node file has no groups, and no firewall without them; groups: {} is for the profiles alone", nic.Groups[0])}
	}
	for i, name := range nic.Groups {
		_, there := n.node.Group(name)
		switch {
		case slices.Contains(nic.Groups[:i], name):
			all = append(all, fmt.Sprintf("group %s is here twice", name))
		case !there:
			all = append(all, fmt.Sprintf("no group %q in the node file%s", name, meant(name, append(sorted(n.node.Groups), sorted(profiles)...))))
		}
	}
	return all
}
