// SPDX-License-Identifier: Apache-2.0

package netstate

import (
	"fmt"
	"net/netip"
	"strings"
)

// Addr is an address of a link (RTM_NEWADDR).
type Addr struct {
	Prefix   netip.Prefix `json:"prefix"` // the address with its prefix length, not masked
	Dev      string       `json:"dev"`
	Protocol uint8        `json:"protocol,omitempty"` // IFA_PROTO
}

// Key returns the address's identity: address, prefix length and device.
func (a Addr) Key() Key { return Key{KindAddr, a.Prefix.String() + " dev " + a.Dev} }

// Owned reports whether the address carries weft's protocol number.
func (a Addr) Owned() bool { return a.Protocol == Protocol }

// Meets reports whether the observed address is the one asked for.
func (a Addr) Meets(want Object) bool { w, ok := want.(Addr); return ok && a.Key() == w.Key() }

// String spells the address as the arguments of `ip address`. The protocol is not in it: iproute2 has no word for it before 6.3.
func (a Addr) String() string { return fmt.Sprintf("%s dev %s", a.Prefix, a.Dev) }

// Table numbers of the kernel's own routing tables (RT_TABLE_*).
const (
	TableDefault uint32 = 253
	TableMain    uint32 = 254
	TableLocal   uint32 = 255
)

// LastMetric is the metric of the unreachable default that closes a table of weft's: the highest that leaves room below
// the VRF documentation's own choice (Documentation/networking/vrf.rst uses the same 4278198272).
const LastMetric uint32 = 4278198272

// Route is an entry of a routing table. In canonical form Dst is masked, "default" is 0.0.0.0/0 or ::/0, Table is never
// 0, an IPv6 Metric is never 0 (the kernel makes 0 into 1024), Type is "unicast" unless something else was meant, and a
// route of a type that goes nowhere has no Dev.
type Route struct {
	Dst      netip.Prefix `json:"dst"`
	Table    uint32       `json:"table"`
	Metric   uint32       `json:"metric,omitempty"`
	Type     string       `json:"type"`         // "unicast", "unreachable", "blackhole", "prohibit", "local", …
	Via      netip.Addr   `json:"via,omitzero"` // the zero Addr for none
	Dev      string       `json:"dev,omitempty"`
	Src      netip.Addr   `json:"src,omitzero"` // preferred source (RTA_PREFSRC)
	OnLink   bool         `json:"onlink,omitempty"`
	MTU      uint32       `json:"mtu,omitempty"`
	Protocol uint8        `json:"protocol,omitempty"`
	NextHops []NextHop    `json:"nexthops,omitempty"` // of a multipath route; then Via and Dev are empty
}

// NextHop is one way of a multipath route.
type NextHop struct {
	Via    netip.Addr `json:"via,omitzero"`
	Dev    string     `json:"dev,omitempty"`
	Weight int        `json:"weight,omitempty"`
	OnLink bool       `json:"onlink,omitempty"`
}

// Canonical returns the route in canonical form.
func (r Route) Canonical() Route {
	r.Dst = r.Dst.Masked()
	if r.Table == 0 {
		r.Table = TableMain
	}
	if r.Type == "" {
		r.Type = "unicast"
	}
	if r.Metric == 0 && r.Dst.Addr().Is6() {
		r.Metric = 1024 // IP6_RT_PRIO_USER
	}
	switch r.Type {
	case "unreachable", "blackhole", "prohibit", "throw":
		r.Dev, r.Via, r.NextHops = "", netip.Addr{}, nil
	}
	return r
}

// Key returns the route's identity, the kernel's FIB key: table, destination and metric.
func (r Route) Key() Key {
	return Key{KindRoute, fmt.Sprintf("%s table %d metric %d", r.dst(), r.Table, r.Metric)}
}

// Owned reports whether the route carries weft's protocol number.
func (r Route) Owned() bool { return r.Protocol == Protocol }

// Meets reports whether the observed route leads where want leads. The protocol does not matter: a foreign route that
// already does the same is left alone. So is one to a gateway that is taken for on the link without being asked: ifupdown's are.
func (r Route) Meets(want Object) bool {
	w, ok := want.(Route)
	if !ok || r.Key() != w.Key() || r.Type != w.Type || r.Via != w.Via || r.Dev != w.Dev || w.OnLink && !r.OnLink || len(r.NextHops) != len(w.NextHops) {
		return false
	}
	for i, h := range w.NextHops {
		if r.NextHops[i] != h {
			return false
		}
	}
	return (!w.Src.IsValid() || r.Src == w.Src) && (w.MTU == 0 || r.MTU == w.MTU)
}

// dst spells the destination as `ip route` does; an IPv6 default is told apart in keys and commands by "::/0".
func (r Route) dst() string {
	if r.Dst.Bits() == 0 && r.Dst.Addr().Is4() {
		return "default"
	}
	if r.Dst.IsSingleIP() {
		return r.Dst.Addr().String()
	}
	return r.Dst.String()
}

// String spells the route as the arguments of `ip route`.
func (r Route) String() string {
	var w words
	if r.Type != "unicast" && r.Type != "" {
		w = append(w, r.Type)
	}
	w = append(w, r.dst())
	hop := func(via netip.Addr, dev string) {
		if via.IsValid() {
			if via.Is6() && r.Dst.Addr().Is4() {
				w = append(w, "via", "inet6", via.String())
			} else {
				w = append(w, "via", via.String())
			}
		}
		if dev != "" {
			w = append(w, "dev", dev)
		}
	}
	if len(r.NextHops) == 0 {
		hop(r.Via, r.Dev)
	}
	if r.Table != TableMain {
		w.add("table", r.Table)
	}
	if r.Protocol != 0 {
		w.add("proto", r.Protocol)
	}
	if r.Src.IsValid() {
		w.add("src", r.Src)
	}
	if r.Metric != 0 {
		w.add("metric", r.Metric)
	}
	if r.MTU != 0 {
		w.add("mtu", r.MTU)
	}
	if r.OnLink {
		w = append(w, "onlink")
	}
	for _, h := range r.NextHops {
		w = append(w, "nexthop")
		hop(h.Via, h.Dev)
		w.add("weight", max(h.Weight, 1))
		if h.OnLink {
			w = append(w, "onlink")
		}
	}
	return strings.Join(w, " ")
}

// Rule is an entry of the routing policy database.
type Rule struct {
	Family   int          `json:"family"` // 4 or 6
	Priority uint32       `json:"priority"`
	Not      bool         `json:"not,omitempty"`
	From     netip.Prefix `json:"from,omitzero"` // the zero Prefix for all
	To       netip.Prefix `json:"to,omitzero"`
	IIF      string       `json:"iif,omitempty"`
	OIF      string       `json:"oif,omitempty"`
	FwMark   uint32       `json:"fwmark,omitempty"`
	FwMask   uint32       `json:"fwmask,omitempty"` // 0 means all ones where FwMark is set
	L3MDev   bool         `json:"l3mdev,omitempty"` // look up the table of the VRF that the packet belongs to
	Table    uint32       `json:"table,omitempty"`
	Action   string       `json:"action"` // "lookup", "unreachable", "blackhole", "prohibit"
	Protocol uint8        `json:"protocol,omitempty"`
}

// IsLocal reports whether the rule is "from all lookup local", of which a family has one: where it stands decides
// whether guests reach the host's own addresses. Its priority is an attribute, not a part of its identity.
func (r Rule) IsLocal() bool {
	return r.Table == TableLocal && !r.L3MDev && r.selectors() == "" && (r.Action == "lookup" || r.Action == "")
}

// Key returns the rule's identity: family, priority, selectors and action.
func (r Rule) Key() Key {
	f := "inet"
	if r.Family == 6 {
		f = "inet6"
	}
	if r.IsLocal() {
		return Key{KindRule, f + " lookup local"}
	}
	return Key{KindRule, fmt.Sprintf("%s pref %d%s %s", f, r.Priority, r.selectors(), r.verdict())}
}

// Owned reports whether the rule carries weft's protocol number.
func (r Rule) Owned() bool { return r.Protocol == Protocol }

// Meets reports whether the observed rule is the one asked for, and stands where it was asked for.
func (r Rule) Meets(want Object) bool {
	w, ok := want.(Rule)
	return ok && r.Key() == w.Key() && r.Priority == w.Priority
}

func (r Rule) selectors() string {
	var w words
	if r.Not {
		w = append(w, "not")
	}
	if r.From.IsValid() {
		w.add("from", r.From)
	}
	if r.To.IsValid() {
		w.add("to", r.To)
	}
	if r.FwMark != 0 || r.FwMask != 0 {
		m := fmt.Sprintf("%#x", r.FwMark)
		if r.FwMask != 0 && r.FwMask != 0xffffffff {
			m += fmt.Sprintf("/%#x", r.FwMask)
		}
		w.add("fwmark", m)
	}
	if r.IIF != "" {
		w.add("iif", r.IIF)
	}
	if r.OIF != "" {
		w.add("oif", r.OIF)
	}
	if len(w) == 0 {
		return ""
	}
	return " " + strings.Join(w, " ")
}

func (r Rule) verdict() string {
	switch {
	case r.L3MDev:
		return "l3mdev"
	case r.Action == "lookup" || r.Action == "":
		return "lookup " + TableName(r.Table)
	}
	return r.Action
}

// String spells the rule as the arguments of `ip rule`; the family is not in it.
func (r Rule) String() string {
	s := fmt.Sprintf("pref %d%s %s", r.Priority, r.selectors(), r.verdict())
	if r.Protocol != 0 {
		s += fmt.Sprintf(" protocol %d", r.Protocol)
	}
	return s
}

// TableName spells a table number as iproute2 does without rt_tables entries: the kernel's own tables by name.
func TableName(t uint32) string {
	switch t {
	case TableLocal:
		return "local"
	case TableMain:
		return "main"
	case TableDefault:
		return "default"
	}
	return fmt.Sprint(t)
}

// Neigh is a permanent neighbour entry or a proxy entry. Entries that the kernel learned are not weft's vocabulary.
type Neigh struct {
	IP       netip.Addr `json:"ip"`
	Dev      string     `json:"dev"`
	MAC      string     `json:"mac,omitempty"`   // of a permanent entry
	Proxy    bool       `json:"proxy,omitempty"` // the node answers for IP on Dev
	Protocol uint8      `json:"protocol,omitempty"`
}

// Key returns the entry's identity: whether it is a proxy, the address and the device.
func (n Neigh) Key() Key {
	if n.Proxy {
		return Key{KindNeigh, fmt.Sprintf("proxy %s dev %s", n.IP, n.Dev)}
	}
	return Key{KindNeigh, fmt.Sprintf("%s dev %s", n.IP, n.Dev)}
}

// Owned reports whether the entry carries weft's protocol number.
func (n Neigh) Owned() bool { return n.Protocol == Protocol }

// Meets reports whether the observed entry says what want says.
func (n Neigh) Meets(want Object) bool {
	w, ok := want.(Neigh)
	return ok && n.Key() == w.Key() && n.MAC == w.MAC
}

// String spells the entry as the arguments of `ip neighbour`.
func (n Neigh) String() string {
	var w words
	if n.Proxy {
		w = append(w, "proxy", n.IP.String())
	} else {
		w = append(w, n.IP.String(), "lladdr", n.MAC)
	}
	w.add("dev", n.Dev)
	if !n.Proxy {
		w.add("nud", "permanent")
	}
	if n.Protocol != 0 {
		w.add("protocol", n.Protocol)
	}
	return strings.Join(w, " ")
}
