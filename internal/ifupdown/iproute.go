// SPDX-License-Identifier: Apache-2.0

package ifupdown

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"weft/internal/spec"
)

// ip translates a command of iproute2, with its abbreviations: the first of these that begins with what was written.
func (t *translator) ip(e *entry, args []string, up bool) ([]action, string) {
	six := false
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		switch args[0] {
		case "-6":
			six = true
		case "-4":
		case "-f", "-family":
			if len(args) < 2 || args[1] != "inet" && args[1] != "inet6" {
				return nil, "weft does not know this command"
			}
			six = args[1] == "inet6"
			args = args[1:]
		default:
			return nil, "weft does not know the flag " + args[0]
		}
		args = args[1:]
	}
	if len(args) < 2 {
		return nil, "weft does not know this command"
	}
	object := abbreviated(args[0], "address", "route", "rule", "neighbor", "neighbour", "link")
	verb := abbreviated(args[1], "add", "append", "change", "delete", "flush", "replace", "set")
	args = args[2:]
	switch verb {
	case "flush":
		return t.flush(object, args, up)
	case "append", "change", "replace":
		verb = "add"
	}
	undoes := verb == "delete"
	if undoes && up {
		return nil, "it takes something away"
	}
	switch {
	case object == "link" && verb == "set":
		return t.ipLink(args, up)
	case object == "link" && undoes:
		return t.ipLinkDelete(args)
	case object == "link" && verb == "add" && up:
		return t.ipLinkAdd(args)
	case verb != "add" && !undoes:
	case object == "address":
		return t.ipAddress(e, args, !undoes)
	case object == "route":
		return t.ipRoute(e, args, six, !undoes)
	case object == "rule":
		return t.ipRule(e, args, six, !undoes)
	case strings.HasPrefix(object, "neigh"):
		return t.ipNeigh(e, args, !undoes)
	}
	return nil, "weft does not know this command"
}

func abbreviated(s string, words ...string) string {
	for _, w := range words {
		if s != "" && strings.HasPrefix(w, s) {
			return w
		}
	}
	return ""
}

// flush undoes what is on a device or in a table.
func (t *translator) flush(object string, args []string, up bool) ([]action, string) {
	if len(args) == 2 && (args[0] == "dev" && object == "address" || args[0] == "table" && object == "route") && !up {
		return nothing(), ""
	}
	return nil, "it takes something away"
}

// ipLinkAdd is "ip link add link PARENT name NAME type vlan id ID".
func (t *translator) ipLinkAdd(args []string) ([]action, string) {
	w := make(map[string]string)
	for k := 0; k < len(args); k++ {
		switch word := args[k]; {
		case slices.Contains([]string{"link", "name", "dev", "type", "id", "protocol"}, word) && k+1 < len(args):
			if word == "dev" {
				word = "name"
			}
			k++
			w[word] = args[k]
		case w["name"] == "":
			w["name"] = word
		default:
			return nil, "weft does not know " + word + " of an interface"
		}
	}
	id, err := strconv.Atoi(w["id"])
	switch have := t.ifaces[w["name"]]; {
	case w["type"] != "vlan" || w["link"] == "" || w["name"] == "" || err != nil || id < 1 || id > 4094 || !slices.Contains([]string{"", "802.1Q", "802.1q"}, w["protocol"]):
		return nil, "weft makes no such interface from a command"
	case have != nil && have.kind == vlan && have.vlan.ParentName(have.name) == w["link"] && have.vlan.VID(have.name) == id:
		return nothing(), ""
	case have != nil && have.kind != plain:
		return nil, have.name + " is something else in these files"
	}
	return []action{{do: func() {
		i := t.iface(w["name"])
		i.kind = vlan
		i.vlan = &spec.VLAN{Link: *i.link}
		i.link = &i.vlan.Link
		if i.name != fmt.Sprintf("%s.%d", w["link"], id) {
			i.vlan.Parent, i.vlan.ID = w["link"], id
		}
		t.below(w["link"]).used = true
	}}}, ""
}

func (t *translator) ipLinkDelete(args []string) ([]action, string) {
	if len(args) > 1 && args[0] == "dev" {
		args = args[1:]
	}
	if len(args) == 0 || t.ifaces[args[0]] == nil || t.ifaces[args[0]].kind == plain {
		return nil, "weft does not delete this interface"
	}
	return nothing(), ""
}

// ipLink is "ip link set". Up is what weft does with every interface.
func (t *translator) ipLink(args []string, up bool) ([]action, string) {
	if len(args) > 1 && args[0] == "dev" {
		args = args[1:]
	}
	if len(args) < 2 {
		return nil, "weft does not know this command"
	}
	i, all := t.iface(args[0]), nothing()
	for k := 1; k < len(args); k++ {
		word, value := args[k], ""
		if k+1 < len(args) {
			value = args[k+1]
		}
		switch {
		case word == "up" || word == "down" && !up:
			continue
		case word == "nomaster" && !up:
			continue
		case word == "mtu" || word == "address" || word == "master":
			a, why := t.linkAttribute(i, word, value, up)
			if why != "" {
				return nil, why
			}
			all = append(all, a)
			k++
		default:
			return nil, "weft does not set " + word
		}
	}
	return all, ""
}

func (t *translator) linkAttribute(i *iface, word, value string, up bool) (action, string) {
	key := "link " + i.name + " " + word
	if !up {
		return action{key: key}, ""
	}
	if i.kind == absent {
		return action{}, "weft makes no such interface"
	}
	switch word {
	case "mtu":
		n, err := strconv.Atoi(value)
		if err != nil || n < 68 || n > 65535 {
			return action{}, "not an MTU"
		}
		return action{key, func() { i.link.MTU = n }}, ""
	case "address":
		trial := &iface{name: i.name, link: &spec.Link{}}
		e := &entry{Option: &Option{Value: value}}
		if t.mac(trial, e); e.why != "" {
			return action{}, e.why
		}
		return action{key, func() { i.link.MAC = trial.link.MAC }}, ""
	}
	m := t.ifaces[value]
	switch {
	case m == nil:
	case m.kind == bridge:
		return action{key, func() { t.port(m, i.name) }}, ""
	case m.kind == vrf:
		return action{key, func() { i.link.VRF = m.name }}, ""
	case m.kind == bond:
		return action{key, func() {
			if i.used = true; !slices.Contains(m.bond.Members, i.name) {
				m.bond.Members = append(m.bond.Members, i.name)
			}
		}}, ""
	}
	return action{}, fmt.Sprintf("%q is no bond, bridge or VRF of these files", value)
}

// ipAddress is "ip address add PREFIX dev DEVICE".
func (t *translator) ipAddress(e *entry, args []string, up bool) ([]action, string) {
	var p netip.Prefix
	var dev, broadcast string
	for k := 0; k < len(args); k++ {
		word, value := args[k], ""
		if k+1 < len(args) {
			value = args[k+1]
		}
		switch word {
		case "dev":
			dev = value
		case "brd", "broadcast":
			broadcast = value
		case "label":
		case "scope":
			if value != "global" {
				return nil, "weft gives addresses global scope"
			}
		default:
			var err error
			if p, err = netip.ParsePrefix(word); err != nil {
				a, ok := parsePrefix(word)
				if p = a; !ok {
					return nil, "weft does not know " + word + " of an address"
				}
			}
			continue
		}
		k++
	}
	if !p.IsValid() || dev == "" {
		return nil, "it names no address or no device"
	}
	if broadcast != "" && broadcast != "+" && (!p.Addr().Is4() || broadcast != lastAddr(p).String()) {
		return nil, "the broadcast address is the last one of the prefix"
	}
	key := fmt.Sprintf("addr %s %s", p, dev)
	if !up {
		return []action{{key: key}}, ""
	}
	i := t.iface(dev)
	if i.kind == absent {
		return nil, "weft makes no such interface"
	}
	return []action{{key, func() {
		if why := t.address(i, p); why != "" {
			e.fail("%s", why)
		}
	}}}, ""
}

// ipRoute is "ip route add [TYPE] PREFIX …".
func (t *translator) ipRoute(e *entry, args []string, six, up bool) ([]action, string) {
	r := &route{entry: e}
	var table string
	if len(args) > 1 && slices.Contains([]string{"unicast", "unreachable", "blackhole", "prohibit"}, args[0]) {
		if args[0] != "unicast" {
			r.Type = args[0]
		}
		args = args[1:]
	}
	for k := 0; k < len(args); k++ {
		if args[k] == "onlink" {
			r.OnLink = true
			continue
		}
		value := ""
		if k+1 < len(args) {
			value = args[k+1]
		}
		took, why := r.word(args[k], value, &table, six)
		if why != "" {
			return nil, why
		}
		k += took
	}
	if r.To == "" {
		return nil, "it names no prefix"
	}
	if table != "" {
		n, ok := t.table(table, r.Dev, e)
		if !ok {
			return nil, "no table " + table + " in rt_tables"
		}
		r.Table = n
	}
	if six && r.To == "default" && !r.Via.IsValid() {
		r.Family = "inet6"
	}
	if r.Table == 254 {
		r.Table = 0
	}
	key := fmt.Sprintf("route %s %s %d", r.family(), r.To, r.Table)
	if !up {
		return []action{{key: key}}, ""
	}
	if r.Type == "" && r.Dev == "" && !r.Via.IsValid() {
		return nil, "it names no device and no gateway"
	}
	return []action{{key, func() { t.routes = append(t.routes, r) }}}, ""
}

// word reads one word of a route, and the one after it if it took it.
func (r *route) word(word, value string, table *string, six bool) (took int, why string) {
	var err error
	switch word {
	case "via":
		r.Via, err = netip.ParseAddr(value)
	case "src":
		r.Src, err = netip.ParseAddr(value)
	case "dev":
		r.Dev = value
	case "table":
		*table = value
	case "proto", "protocol": // it is weft's now
	case "metric", "priority", "preference":
		var n uint64
		n, err = strconv.ParseUint(value, 0, 32)
		r.Metric = uint32(n)
	case "mtu":
		r.MTU, err = strconv.Atoi(value)
	case "scope":
		if value != "link" && value != "global" {
			return 0, "weft does not know the scope " + value
		}
	case "to":
		return 1, r.prefix(value)
	default:
		if r.To != "" {
			return 0, "weft does not know " + word + " of a route"
		}
		return 0, r.prefix(word)
	}
	if err != nil {
		return 0, fmt.Sprintf("weft does not understand %s %s", word, value)
	}
	return 1, ""
}

func (r *route) prefix(s string) string {
	if s == "default" || s == "0/0" {
		r.To = "default"
		return ""
	}
	p, ok := parsePrefix(s)
	if !ok {
		return "not a prefix: " + s
	}
	if r.To = p.String(); p.Bits() == 0 {
		r.To = "default"
		if p.Addr().Is6() {
			r.Family = "inet6"
		}
	}
	return ""
}

// ipRule is "ip rule add …".
func (t *translator) ipRule(e *entry, args []string, six, up bool) ([]action, string) {
	r := &rule{entry: e}
	if six {
		r.Family = "inet6"
	}
	for k := 0; k < len(args); k++ {
		value := ""
		if k+1 < len(args) {
			value = args[k+1]
		}
		took, why := r.word(args[k], value)
		if why != "" {
			return nil, why
		}
		k += took
	}
	if r.From.Addr().Is6() || r.To.Addr().Is6() {
		r.Family = "inet6"
	}
	if r.table != "" {
		n, ok := t.table(r.table, r.IIF, e)
		if !ok {
			return nil, "no table " + r.table + " in rt_tables"
		}
		r.Rule.Table = n
	} else if r.Action == "" && up {
		return nil, "it names no table"
	}
	selector := fmt.Sprintf("rule %s %v %s %s %s %s %d/%d", r.Family, r.Not, r.From, r.To, r.IIF, r.OIF, r.FwMark, r.FwMask)
	if !up {
		return []action{{key: selector}}, ""
	}
	return []action{{selector, func() { t.rules = append(t.rules, r) }}}, ""
}

// word reads one word of a rule, and the one after it if it took it.
func (r *rule) word(word, value string) (took int, why string) {
	ok := true
	switch word {
	case "not":
		r.Not = true
		return 0, ""
	case "unreachable", "blackhole", "prohibit":
		r.Action = word
		return 0, ""
	case "from":
		if value != "all" {
			r.From, ok = parsePrefix(value)
		}
	case "to":
		if value != "all" {
			r.To, ok = parsePrefix(value)
		}
	case "iif", "dev":
		r.IIF = value
	case "oif":
		r.OIF = value
	case "table", "lookup":
		r.table = value
	case "pref", "priority", "preference", "order":
		r.Priority, ok = uint32Of(value)
	case "fwmark":
		mark, mask, masked := strings.Cut(value, "/")
		if r.FwMark, ok = uint32Of(mark); ok && masked {
			r.FwMask, ok = uint32Of(mask)
		}
	default:
		return 0, "weft does not know " + word + " of a rule"
	}
	if !ok || value == "" {
		return 0, fmt.Sprintf("weft does not understand %s %s", word, value)
	}
	return 1, ""
}

func uint32Of(s string) (uint32, bool) {
	n, err := strconv.ParseUint(s, 0, 32)
	return uint32(n), err == nil
}

// ipNeigh is "ip neighbour add [proxy] ADDRESS dev DEVICE [lladdr MAC]".
func (t *translator) ipNeigh(e *entry, args []string, up bool) ([]action, string) {
	var n spec.Neighbour
	for k := 0; k < len(args); k++ {
		value := ""
		if k+1 < len(args) {
			value = args[k+1]
		}
		switch word := args[k]; word {
		case "proxy":
			n.Proxy = true
			continue
		case "dev":
			n.Dev = value
		case "lladdr":
			n.MAC = value
		case "nud":
			if value != "permanent" {
				return nil, "weft makes only permanent neighbours"
			}
		default:
			a, err := netip.ParseAddr(word)
			if err != nil || n.IP.IsValid() {
				return nil, "weft does not know " + word + " of a neighbour"
			}
			n.IP = a
			continue
		}
		k++
	}
	if !n.IP.IsValid() || n.Dev == "" || up && n.Proxy == (n.MAC != "") {
		return nil, "it is neither a proxy nor a permanent neighbour"
	}
	key := fmt.Sprintf("neigh %s %s %v", n.IP, n.Dev, n.Proxy)
	if !up {
		return []action{{key: key}}, ""
	}
	return []action{{key, func() { t.node.Neighbours = append(t.node.Neighbours, n) }}}, ""
}
