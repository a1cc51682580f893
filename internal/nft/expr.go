// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Expr is one match or statement of a rule in nft's own spelling, out of this closed list:
//
//	expr     = match | fib | rewrite | readdress | zone | mark | priority | limit | note | sighting | "counter" | "accept" | "drop" | "return" | "jump" chain
//	match    = field [ "!=" ] ( value | "@" set )
//	         | ( name | group ) "." field [ "!=" ] "@" set
//	         | ( name | group ) "." prefix [ "." field ] [ "!=" ] "@" set
//	         | "frag frag-off != 0" | "frag frag-off 0"
//	fib      = "fib" ( "saddr . iif" | "daddr . iif" | "daddr" | "daddr . mark . iif" | "daddr . mark" ) "oif" ( "missing" | "exists" )
//	         | "fib daddr type local"
//	rewrite  = "arp saddr ip set" ( "iifgroup" | "oifgroup" | name ) "map" "@" map
//	readdress = "ip6 daddr set" ( "@th,64,128" | "ip6 daddr & ff02::1:ffff:ffff | ff02::1:ff00:0" )
//	zone     = "ct zone set" number of 1 to 65535
//	mark     = "meta mark set" ( a number as 0x and eight digits | name "map" "@" map )
//	priority = "meta priority set" ( "root" | "none" )
//	limit    = "update" "@" set "{" name "limit rate over" number "/second burst" number "packets" "}"
//	note     = "add" "@" set "{" ( name | group ) "." field "}"
//	sighting = "update" "@" set "{" ( name | group ) "." field "timeout 1s" "}"
//	name     = "iifname" | "oifname" | "meta sdifname"
//	group    = "iifgroup" | "oifgroup"
//	prefix   = "ether saddr & " MAC address, the mask
//	field    = group                                     value: the number of a device group
//	         | name                                      value: a name in double quotes, no pattern
//	         | "ip saddr" | "ip daddr"                   value: an address, or a prefix of 1 to 31 bits
//	         | "ip6 saddr" | "ip6 daddr"                 value: an address, or a prefix of 1 to 127 bits
//	         | "ether saddr" | "ether daddr" | "arp saddr ether"   value: a MAC in lower case
//	         | "ether type"                              value: "ip" | "arp" | "ip6" | "8021q" | "8021ad" | another as 0x and four digits
//	         | "meta pkttype"                            value: "broadcast" | "multicast"
//	         | "arp operation"                           value: "request" | "reply"
//	         | "arp htype" | "arp hlen" | "arp plen"     value: a number
//	         | "arp saddr ip" | "arp daddr ip"           value: an IPv4 address
//	         | "@th,64,128"                              the target of a neighbour message; only looked up
//	         | "ip6 hoplimit"                            value: a number
//	         | "ether type ip igmp type"                 value: "membership-query"; nft 1.0.6 writes in front what it depends on
//	         | "icmpv6 type"                             value: a name of icmpv6Types
//	         | "meta l4proto"                            value: a name of protocols, or "255"
//	         | "udp sport" | "udp dport" | "tcp dport"   value: a port, or two with "-" between them, the first and the last
//	         | "vlan id"                                 value: 1 to 4094, of a frame with a tag
//	         | "ct direction"                            value: "original" | "reply"
//	         | "ct state"                                value: "related"
//	         | "rt ip nexthop" | "rt ip6 nexthop"        whom the packet goes to next, at the hook forward; only looked up
//
// A packet in fragments has its transport header in the first one: what is asked of that header, the others do not have, and
// "frag frag-off != 0" are the others. "frag frag-off 0" is the first one.
//
// The two forms of readdress make of a neighbour solicitation's destination its target, and of such an address again the
// group that it is asked for in (solicited-node, RFC 4291 section 2.7.1).
//
// A limit matches the packets of an interface that come faster; what has been seen of each is kept in a dynamic set. A note
// adds an element to such a set, unless it is there already; a sighting adds it for a second from now on. The sdifname is the port that a packet in a VRF came by, where
// iifname is the VRF: at the hooks forward and input.
//
// There is one spelling for each, nft's; Parse refuses every other. What is observed and is not in the list is spelled
// "unknown(…)", which Parse refuses too, so that it never equals anything of weft's.
type Expr string

// Term is an Expr taken apart.
type Term struct {
	Op     string   // "match", "fib", "rewrite", "readdress", "zone", "mark", "priority", "limit", "note", "sighting", "counter", "accept", "drop", "return", "jump"
	Fields []string // match: what is compared; rewrite, mark, limit: what is looked up; note, sighting: what is added
	Not    bool     // match with "!="; fib: "missing"
	Value  string   // match: what the field is compared with, unless it is a set; fib: what is looked up; readdress, zone, mark, priority: what is set; limit: "5/second burst 30"
	Set    string   // match, limit, note, sighting: name of the set; mark, rewrite: name of the map
	Chain  string   // jump: name of the chain
}

// field is something of a packet that can be compared.
type field struct {
	typ   string // nft data type
	layer string // what the packet has to be: "ip", "ip6", "igmp", "icmpv6", "tcp", "vlan", "arp", "ether", "frame", "framed arp", "frag", "th", or "" for any
}

var fields = map[string]field{
	"iifgroup":        {"devgroup", ""},
	"oifgroup":        {"devgroup", ""},
	"iifname":         {"ifname", ""},
	"oifname":         {"ifname", ""},
	"meta sdifname":   {"ifname", ""},
	"ip saddr":        {"ipv4_addr", "ip"},
	"ip daddr":        {"ipv4_addr", "ip"},
	"ip6 saddr":       {"ipv6_addr", "ip6"},
	"ip6 daddr":       {"ipv6_addr", "ip6"},
	"ether saddr":     {"ether_addr", "ether"},
	"ether daddr":     {"ether_addr", "frame"},
	"ether type":      {"ether_type", "frame"},
	"arp operation":   {"arp_op", "arp"},
	"arp htype":       {"integer16", "framed arp"},
	"arp hlen":        {"integer8", "framed arp"},
	"arp plen":        {"integer8", "framed arp"},
	"arp saddr ip":    {"ipv4_addr", "arp"},
	"arp daddr ip":    {"ipv4_addr", "framed arp"},
	"arp saddr ether": {"ether_addr", "framed arp"},
	"meta pkttype":    {"pkt_type", ""},
	ndTarget:          {ndTarget, "th"},
	"frag frag-off":   {"integer16", "frag"},
	"icmpv6 type":     {"icmpv6_type", "icmpv6"},
	"ip6 hoplimit":    {"integer8", "ip6"},

	"ether type ip igmp type": {"igmp_type", "igmp"},
	"meta l4proto":            {"inet_proto", "l4proto"},
	"udp dport":               {"inet_service", "udp"},
	"udp sport":               {"inet_service", "udp"},
	"tcp dport":               {"inet_service", "tcp"},
	"vlan id":                 {"vlan_id", "vlan"},
	"ct direction":            {"ct_dir", ""},
	"ct state":                {"ct_state", ""},
	"rt ip nexthop":           {"ipv4_addr", ""},
	"rt ip6 nexthop":          {"ipv6_addr", ""},
}

// ndTarget is where a neighbour solicitation and advertisement have their target (RFC 4861 section 4.3), for which nft 1.0.6 has
// no word, and the type of it in sets.
const ndTarget = "@th,64,128"

// The forms of frag: a fragment that is not the first of its packet, and one that is.
const (
	notFirst = "frag frag-off != 0"
	first    = "frag frag-off 0"
)

// Lookups are what "fib" looks up.
var lookups = []string{"saddr . iif", "daddr . iif", "daddr", "daddr . mark . iif", "daddr . mark"}

// ToSelf is the fib Value for what is the host's own.
const ToSelf = "daddr type local"

// What the destination of a neighbour solicitation is set to.
const (
	ToTarget = ndTarget
	ToGroup  = "ip6 daddr & ff02::1:ffff:ffff | ff02::1:ff00:0"
)

// FieldType returns the nft data type of a field of the packet, such as "ipv4_addr" for "ip saddr"; "" for an unknown field.
func FieldType(name string) string { return fieldOf(name).typ }

// FieldLayer returns what a packet has to be for the field to be in it: "ip", "ip6", "icmpv6", "udp", "tcp", "l4proto" (any of IP), "vlan",
// "arp", "ether", "frag" (a fragment of IPv6), "th" (any with a transport header), "frame" (one that is bridged), "framed arp", or "" for a field that every packet has.
func FieldLayer(name string) string { return fieldOf(name).layer }

// Parse takes an expression apart.
func Parse(e Expr) (Term, error) {
	t, err := parse(string(e))
	if err != nil {
		return Term{}, fmt.Errorf("%q: %w", string(e), err)
	}
	if t.Expr() != e {
		return Term{}, fmt.Errorf("%q: nft spells it %q", string(e), string(t.Expr()))
	}
	return t, nil
}

func parse(s string) (Term, error) {
	switch s {
	case "counter", "accept", "drop", "return":
		return Term{Op: s}, nil
	}
	if name, ok := strings.CutPrefix(s, "jump "); ok {
		return Term{Op: "jump", Chain: name}, checkName(name)
	}
	if rest, ok := strings.CutPrefix(s, "meta mark set "); ok {
		return parseMark(rest)
	}
	if rest, ok := strings.CutPrefix(s, "meta priority set "); ok {
		if _, ok := Priorities[rest]; !ok {
			return Term{}, fmt.Errorf("want root or none")
		}
		return Term{Op: "priority", Value: rest}, nil
	}
	if rest, ok := strings.CutPrefix(s, "fib "); ok {
		if rest == ToSelf {
			return Term{Op: "fib", Value: ToSelf}, nil
		}
		what, found, _ := strings.Cut(rest, " oif ")
		if !slices.Contains(lookups, what) || found != "missing" && found != "exists" {
			return Term{}, fmt.Errorf("want a source or destination, and missing or exists")
		}
		return Term{Op: "fib", Value: what, Not: found == "missing"}, nil
	}
	if rest, ok := strings.CutPrefix(s, "ip6 daddr set "); ok {
		if rest != ToTarget && rest != ToGroup {
			return Term{}, fmt.Errorf("want %q or %q", ToTarget, ToGroup)
		}
		return Term{Op: "readdress", Fields: []string{"ip6 daddr"}, Value: rest}, nil
	}
	if rest, ok := strings.CutPrefix(s, "ct zone set "); ok {
		n, err := strconv.ParseUint(rest, 10, 16)
		if err != nil || n == 0 {
			return Term{}, fmt.Errorf("want a zone of 1 to 65535")
		}
		return Term{Op: "zone", Value: strconv.FormatUint(n, 10)}, nil
	}
	if rest, ok := strings.CutPrefix(s, "update @"); ok {
		if pair, ok := strings.CutSuffix(rest, sightingEnd); ok {
			return parseNote("sighting", pair)
		}
		return parseLimit(rest)
	}
	if rest, ok := strings.CutPrefix(s, "add @"); ok {
		if pair, ok := strings.CutSuffix(rest, " }"); ok {
			return parseNote("note", pair)
		}
	}
	if rest, ok := strings.CutPrefix(s, "arp saddr ip set "); ok {
		by, name, ok := strings.Cut(rest, " map @")
		if !ok || !ofInterface(by) {
			return Term{}, fmt.Errorf("want a field of the interface and a map")
		}
		return Term{Op: "rewrite", Fields: []string{by}, Set: name}, checkName(name)
	}
	return parseMatch(s)
}

func parseMark(s string) (Term, error) {
	by, name, ok := strings.Cut(s, " map @")
	if !ok {
		_, err := Encode("mark", s)
		return Term{Op: "mark", Value: s}, err
	}
	if fields[by].typ != "ifname" {
		return Term{}, fmt.Errorf("want the name of an interface and a map")
	}
	return Term{Op: "mark", Fields: []string{by}, Set: name}, checkName(name)
}

// Judged is how the guards say that they look at what a tap brings or is sent, to the table that stands behind them for the time when they
// are gone (package kernel). Nobody else sees this priority (skb->priority): that table comes next at the same hook and takes it
// back; a mark would be somebody else's to use.
const Judged = Expr("meta priority set root")

// GuardPriority is that of the guards' chains at the hook prerouting.
const GuardPriority = -310

// Priorities are what it is set to, in tc's words: nft 1.0.6 does not read the numbers that it lists.
var Priorities = map[string]uint32{"root": 0xffffffff, "none": 0}

func parseLimit(s string) (Term, error) {
	name, rest, _ := strings.Cut(s, " { ")
	by, rest, ok := strings.Cut(rest, " limit rate over ")
	value, end := strings.CutSuffix(rest, " packets }")
	if !ok || !end || fields[by].typ != "ifname" {
		return Term{}, fmt.Errorf("want a set, the name of an interface, and a rate")
	}
	t := Term{Op: "limit", Fields: []string{by}, Set: name, Value: value}
	if _, _, err := t.Rate(); err != nil {
		return Term{}, err
	}
	return t, checkName(name)
}

// sightingEnd is how a sighting ends, for SightingTimeout.
const sightingEnd = " timeout 1s }"

// SightingTimeout is how long a sighting lasts.
const SightingTimeout = time.Second

func parseNote(op, s string) (Term, error) {
	name, by, _ := strings.Cut(s, " { ")
	t := Term{Op: op, Fields: strings.Split(by, " . "), Set: name}
	if len(t.Fields) != 2 {
		return Term{}, fmt.Errorf("want a set and two fields")
	}
	return t, t.checkSet()
}

// Rate returns the packets per second that a limit lets pass, and how many at once.
func (t Term) Rate() (perSecond, burst uint32, err error) {
	rate, at, ok := strings.Cut(t.Value, "/second burst ")
	n, err1 := strconv.ParseUint(rate, 10, 31)
	m, err2 := strconv.ParseUint(at, 10, 31)
	if !ok || err1 != nil || err2 != nil || n == 0 || m == 0 || Limit(uint32(n), uint32(m)) != t.Value {
		return 0, 0, fmt.Errorf("want a rate such as 5/second burst 30")
	}
	return uint32(n), uint32(m), nil
}

// Limit spells the Value of a limit.
func Limit(perSecond, burst uint32) string {
	return fmt.Sprintf("%d/second burst %d", perSecond, burst)
}

func parseMatch(s string) (Term, error) {
	t := Term{Op: "match"}
	for {
		name, rest := cutField(s)
		if name == "" {
			return Term{}, fmt.Errorf("not in the closed list of matches and statements")
		}
		t.Fields = append(t.Fields, name)
		next, more := strings.CutPrefix(rest, ". ")
		if !more {
			s = rest
			break
		}
		s = next
	}
	s, t.Not = strings.CutPrefix(s, "!= ")
	if name, ok := strings.CutPrefix(s, "@"); ok {
		t.Set = name
		return t, t.checkSet()
	}
	t.Value = s
	if base, _ := CutMask(t.Fields[0]); base != t.Fields[0] {
		return Term{}, fmt.Errorf("a prefix of a MAC is only looked up, beside an interface")
	}
	if len(t.Fields) > 1 {
		return Term{}, fmt.Errorf("several fields can only be looked up in a set")
	}
	if t.Fields[0] == ndTarget || strings.HasPrefix(t.Fields[0], "rt ") {
		return Term{}, fmt.Errorf("%s is only looked up", t.Fields[0])
	}
	if _, _, ok := CutRange(t.Value); ok && t.Not {
		return Term{}, fmt.Errorf("a range is not to be missed")
	}
	if t.Fields[0] == "ct state" && t.Not {
		return Term{}, fmt.Errorf("want related")
	}
	if t.Fields[0] == "frag frag-off" && t.Value != "0" {
		return Term{}, fmt.Errorf("want %q or %q", notFirst, first)
	}
	return t, checkValue(fields[t.Fields[0]].typ, s)
}

// cutField returns the field that s starts with and what follows it and a space.
func cutField(s string) (name, rest string) {
	rest = s
	for field := range fields {
		if after, ok := strings.CutPrefix(s, field+" "); ok && len(field) > len(name) { // one of them starts as another does
			name, rest = field, after
		}
	}
	if end := len(maskedField + macText); name == "ether saddr" && len(s) > end && s[end] == ' ' && masked(s[:end]) {
		return s[:end], s[end+1:]
	}
	return name, rest
}

func (t Term) checkSet() error {
	for i, f := range t.Fields {
		if !slices.Contains(setTypes, fieldOf(f).typ) {
			return fmt.Errorf("%s is not looked up in sets", f)
		}
		if i > 2 || i == 2 && !masked(t.Fields[1]) || i < 2 && len(t.Fields) > 1 && (i == 0) != ofInterface(f) || i != 1 && masked(f) || i == 2 && ofInterface(f) {
			return fmt.Errorf("want the name or group of an interface and one more field, or a MAC's prefix and one more")
		}
	}
	return checkName(t.Set)
}

// ofInterface reports whether the field is an interface's, its name or its group.
func ofInterface(f string) bool { return fields[f].typ == "ifname" || fields[f].typ == "devgroup" }

// CutRange takes a range of ports apart.
func CutRange(value string) (first, last string, ok bool) {
	first, last, ok = strings.Cut(value, "-")
	a, err := strconv.ParseUint(first, 10, 16)
	b, err2 := strconv.ParseUint(last, 10, 16)
	return first, last, ok && err == nil && err2 == nil && a < b
}

// checkValue checks a value to compare with: addresses can be prefixes, ports ranges.
func checkValue(typ, value string) error {
	if first, last, ok := CutRange(value); typ == "inet_service" && ok {
		_, err := Encode(typ, first)
		_, err2 := Encode(typ, last)
		return errors.Join(err, err2)
	}
	if typ != "ipv4_addr" && typ != "ipv6_addr" || !strings.Contains(value, "/") {
		_, err := Encode(typ, value)
		return err
	}
	p, err := parsePrefix(value)
	if err != nil || p.Addr().Is4() != (typ == "ipv4_addr") {
		return fmt.Errorf("%s: not a prefix of type %s as nft spells it", value, typ)
	}
	return nil
}

// Expr spells the term.
func (t Term) Expr() Expr {
	switch t.Op {
	case "jump":
		return Expr("jump " + t.Chain)
	case "mark":
		if t.Set != "" {
			return Expr("meta mark set " + strings.Join(t.Fields, " . ") + " map @" + t.Set)
		}
		return Expr("meta mark set " + t.Value)
	case "fib":
		if t.Value == ToSelf {
			return Expr("fib " + ToSelf)
		}
		if t.Not {
			return Expr("fib " + t.Value + " oif missing")
		}
		return Expr("fib " + t.Value + " oif exists")
	case "priority":
		return Expr("meta priority set " + t.Value)
	case "readdress":
		return Expr("ip6 daddr set " + t.Value)
	case "limit":
		return Expr("update @" + t.Set + " { " + t.Fields[0] + " limit rate over " + t.Value + " packets }")
	case "note":
		return Expr("add @" + t.Set + " { " + strings.Join(t.Fields, " . ") + " }")
	case "sighting":
		return Expr("update @" + t.Set + " { " + strings.Join(t.Fields, " . ") + sightingEnd)
	case "zone":
		return Expr("ct zone set " + t.Value)
	case "rewrite":
		return Expr("arp saddr ip set " + strings.Join(t.Fields, " . ") + " map @" + t.Set)
	case "match":
		s := strings.Join(t.Fields, " . ")
		if t.Not {
			s += " !="
		}
		if t.Set != "" {
			return Expr(s + " @" + t.Set)
		}
		return Expr(s + " " + t.Value)
	}
	return Expr(t.Op)
}

// checkName checks the name of a table, chain or set.
func checkName(name string) error {
	for i, c := range name {
		if c >= 'a' && c <= 'z' || c == '_' || i > 0 && c >= '0' && c <= '9' {
			continue
		}
		return fmt.Errorf("%q: names are lower case letters, digits and _", name)
	}
	if name == "" || len(name) > 64 {
		return fmt.Errorf("%q: not a name", name)
	}
	return nil
}
