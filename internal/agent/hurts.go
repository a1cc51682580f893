// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"weft/internal/foreign"
	"weft/internal/netstate"
	"weft/internal/spec"
)

// Hurt is something of others that hurts the node's networks. weft leaves it as it is and says so.
type Hurt struct {
	Name   string `json:"name"`         // what sort of thing: "forward-policy-drop"
	Object string `json:"object"`       // the very thing
	Why    string `json:"why"`          // what it does to the networks
	By     string `json:"by,omitempty"` // who did it, or who does such things, as far as that is known
}

// compare orders hurts by name, then by object.
func (h Hurt) compare(o Hurt) int {
	return cmp.Or(strings.Compare(h.Name, o.Name), strings.Compare(h.Object, o.Object))
}

// The names of hurts. Metrics and alert rules ask for them.
const (
	hurtBridge     = "bridge-policy-drop"
	hurtARP        = "arp-policy-drop"
	hurtCalls      = "br-netfilter"
	hurtNetworkd   = "networkd"
	hurtNM         = "networkmanager"
	hurtRoute      = "route-shadowed"
	hurtRule       = "rule-early"
	hurtForwarding = "forwarding-off"
	hurtFlushed    = "ruleset-flushed"
	hurtUnread     = "legacy-iptables"
)

// hurtNames are all of them. Chains of the hooks of IP packets and devices are named for their hooks.
var hurtNames = []string{
	"prerouting-policy-drop", "forward-policy-drop", "postrouting-policy-drop", "ingress-policy-drop", "egress-policy-drop",
	hurtBridge, hurtARP, hurtCalls, hurtNetworkd, hurtNM, hurtRoute, hurtRule, hurtForwarding, hurtFlushed, hurtUnread,
}

// surveying is a Target that knows what others have set up beside weft's.
type surveying interface {
	Foreign(ctx context.Context) (foreign.Facts, error)
}

// Hurts says what of others hurts the networks of a node that was looked at.
func (n *Node) Hurts(ctx context.Context, v *View) ([]Hurt, error) {
	node, err := spec.WithNICs(n.Spec, v.NICs)
	if err != nil {
		return nil, err
	}
	var facts foreign.Facts
	if t, ok := n.Target.(surveying); ok {
		if facts, err = t.Foreign(ctx); err != nil {
			return nil, fmt.Errorf("look for what hurts: %w", err)
		}
	}
	return hurtsOf(node, v, facts), nil
}

// hurtsOf judges what there is, in the order of names and objects.
func hurtsOf(node *spec.Node, v *View, f foreign.Facts) []Hurt {
	b := bearingOf(node, v, f)
	var all []Hurt
	for _, c := range f.Chains {
		if h, ok := b.chain(c); ok {
			all = append(all, h)
		}
	}
	if b.bridged {
		for _, call := range f.Calls {
			all = append(all, Hurt{hurtCalls, call + " = 1",
				"what crosses a bridge goes through the host's own filter and NAT rules, which may drop it or change its addresses", "Docker and Kubernetes do that"})
		}
	}
	if b.routed[4] || b.routed[6] {
		for _, what := range f.Unread {
			all = append(all, Hurt{Name: hurtUnread, Object: what, Why: "it is in force and could not be read: a FORWARD policy of DROP there would drop what guests send and receive"})
		}
	}
	all = slices.Concat(all, b.managers(f.Managers), b.shadows(), b.early(), b.missing())
	slices.SortFunc(all, func(x, y Hurt) int {
		return cmp.Or(strings.Compare(x.Name, y.Name), strings.Compare(x.Object, y.Object))
	})
	return all
}

// bearing is what of a node something foreign can bear on.
type bearing struct {
	node    *spec.Node
	v       *View
	routed  map[int]bool // the families that routed networks have
	bridged bool         // there are bridged networks
	calls   map[int]bool // the families whose filters br_netfilter hands frames to
	began   bool         // weft has set up something here before

	want, have few
}

// few is what of a state matters here, in the order of keys: a state has tens of thousands of other objects.
type few struct {
	links  []netstate.Link
	addrs  []netstate.Addr
	rules  []netstate.Rule
	routes []netstate.Route
	tables []netstate.Object
}

func fewOf(s *netstate.State) (f few) {
	for o := range s.Kinds(netstate.KindLink, netstate.KindAddr, netstate.KindRule, netstate.KindRoute, netstate.KindTable) {
		switch o := o.(type) {
		case netstate.Link:
			f.links = append(f.links, o)
		case netstate.Addr:
			f.addrs = append(f.addrs, o)
		case netstate.Rule:
			f.rules = append(f.rules, o)
		case netstate.Route:
			f.routes = append(f.routes, o)
		default:
			f.tables = append(f.tables, o)
		}
	}
	return f
}

func bearingOf(node *spec.Node, v *View, f foreign.Facts) bearing {
	b := bearing{node: node, v: v, routed: map[int]bool{}, calls: map[int]bool{}, want: fewOf(v.Want), have: fewOf(v.Have)}
	for _, n := range node.Networks {
		b.bridged = b.bridged || n.OnBridge()
		if n.Mode == spec.Routed {
			b.routed[4], b.routed[6] = b.routed[4] || n.IPv4 != nil, b.routed[6] || n.IPv6 != nil
		}
	}
	for _, call := range f.Calls {
		switch {
		case strings.HasSuffix(call, "-iptables"):
			b.calls[4] = true
		case strings.HasSuffix(call, "-ip6tables"):
			b.calls[6] = true
		}
	}
	b.began = slices.ContainsFunc(b.have.links, netstate.Link.Owned)
	return b
}

// chain judges a base chain with a policy of drop. What its rules accept is not known: it is said with that.
func (b bearing) chain(c foreign.Chain) (h Hurt, hurts bool) {
	h = Hurt{Name: c.Hook + "-policy-drop", Object: c.String(), By: c.By}
	dropped := func(what string) string { return what + ", unless a rule there accepts it, is dropped" }
	switch {
	case c.Family == "bridge":
		h.Name = hurtBridge
		if c.Hook == "input" || c.Hook == "output" {
			h.Why = dropped("what the host itself receives and sends by a bridge")
			return h, b.speaksByBridge()
		}
		h.Why = dropped("what guests of bridged networks send and receive")
		return h, b.bridged
	case c.Family == "arp":
		h.Name, h.Why = hurtARP, dropped("ARP between the node and guests or routers")
		return h, b.routed[4] && (c.Hook == "input" || c.Hook == "output")
	case len(c.Devices) > 0:
		h.Why = dropped("what passes these devices")
		return h, slices.ContainsFunc(c.Devices, func(dev string) bool { return b.v.Want.Link(dev) != nil })
	case !slices.Contains(hurtNames, h.Name):
		return h, false
	}
	families := map[string][]int{"ip": {4}, "ip6": {6}, "inet": {4, 6}}[c.Family]
	routed := slices.ContainsFunc(families, func(f int) bool { return b.routed[f] })
	called := b.bridged && slices.ContainsFunc(families, func(f int) bool { return b.calls[f] })
	switch {
	case routed && called:
		h.Why = dropped("what guests of routed networks and, by br_netfilter, of bridged ones send and receive")
	case called:
		h.Why = dropped("what guests of bridged networks send and receive, which br_netfilter hands to it")
	default:
		h.Why = dropped("what guests of routed networks send and receive")
	}
	return h, routed || called
}

// speaksByBridge reports whether the host has an address on a bridge, or on what stands on one, or a routed network leaves by one.
func (b bearing) speaksByBridge() bool {
	over := func(dev string) bool {
		for depth := 0; dev != "" && depth < 8; depth++ {
			l := b.v.Have.Link(dev)
			if l == nil {
				return false
			}
			if l.Kind == netstate.Bridge {
				return true
			}
			dev = l.Parent
		}
		return false
	}
	for _, a := range b.want.addrs {
		if over(a.Dev) {
			return true
		}
	}
	for _, n := range b.node.Networks {
		if n.Mode == spec.Routed && slices.ContainsFunc(b.node.Uplinks(n), func(u spec.Uplink) bool { return over(u.Dev) }) {
			return true
		}
	}
	return false
}

// managers names the links of weft's that a program takes for its own.
func (b bearing) managers(all []foreign.Manager) (hurts []Hurt) {
	if len(all) == 0 {
		return nil
	}
	names := map[int]string{}
	for _, l := range b.have.links {
		if l.Status != nil && b.v.Want.Link(l.Name) != nil {
			names[l.Status.Index] = l.Name
		}
	}
	for _, m := range all {
		dev := names[m.Index]
		if dev == "" {
			continue
		}
		h := Hurt{Object: fmt.Sprintf("link %s (%s)", dev, m.Says), By: fmt.Sprintf("%s (process %d)", m.Program, m.Process)}
		switch m.Program {
		case "systemd-networkd":
			h.Name, h.Why = hurtNetworkd, "it sets up the link by a file of its own, and takes away addresses and routes that are not in that: have no file match it, or one with Unmanaged=yes"
		default:
			h.Name, h.Why = hurtNM, "it sets up the link by connections of its own, with addresses and routes: name it in unmanaged-devices of NetworkManager.conf"
		}
		hurts = append(hurts, h)
	}
	return hurts
}

// early names the rules that are not weft's and stand before that of the host's own addresses, though weft moved it only a
// little. The kernel puts a rule there that comes without a preference once there is a rule before `lookup local`
// (fib_default_rule_pref): traffic to the host itself can then leave by that rule's table, and guests' by another than their network's.
func (b bearing) early() (hurts []Hurt) {
	local := map[int]uint32{}
	for _, r := range b.want.rules {
		if r.IsLocal() {
			local[r.Family] = r.Priority
		}
	}
	for _, r := range b.have.rules {
		if !r.Owned() && !r.IsLocal() && r.Priority < local[r.Family] && b.v.Want.Get(r.Key()) == nil {
			hurts = append(hurts, Hurt{Name: hurtRule, Object: fmt.Sprintf("IPv%d rule %s", r.Family, r), Why: "stands before the host's own addresses; give it a preference (pref 1000)"})
		}
	}
	return hurts
}

// forwardings are the settings without which nothing of a family is forwarded.
var forwardings = []string{"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"}

// missing names what of weft's others took away, where it was not mended yet.
func (b bearing) missing() (hurts []Hurt) {
	if !b.began {
		return nil
	}
	for _, path := range forwardings {
		want, have := b.v.Want.Get(netstate.SysctlKey(path)), b.v.Have.Get(netstate.SysctlKey(path))
		if want != nil && have != nil && !have.Meets(want) {
			hurts = append(hurts, takenAway(have))
		}
	}
	for _, want := range b.want.tables {
		if b.v.Have.Get(want.Key()) == nil {
			hurts = append(hurts, takenAway(want))
		}
	}
	return hurts
}

// takenAway says what it means that a setting has this value, or that this table is not there.
func takenAway(o netstate.Object) Hurt {
	if o.Key().Kind == netstate.KindSysctl {
		return Hurt{Name: hurtForwarding, Object: "sysctl " + o.String(), Why: "nothing is forwarded to guests and from them"}
	}
	return Hurt{Name: hurtFlushed, Object: o.Key().String(), Why: "guests may send whatever they like, unless an agent holds their taps closed"}
}
