// SPDX-License-Identifier: Apache-2.0

package ifupdown

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"weft/internal/spec"
)

// route, rule, sysctl and arp are what options and commands ask for one by one, before it shows which of them together
// are a routed network. A claimed one is the network's; what is not claimed goes into the node file as it is.
type route struct {
	spec.Route
	entry   *entry
	gateway bool // of a gateway line: in the interface's VRF, if it has one
	claimed bool
}

type rule struct {
	spec.Rule
	entry   *entry
	table   string // as written
	claimed bool
}

type sysctl struct {
	path, value string // below /proc/sys, with slashes
	entry       *entry // nil where a method implies it
	network     bool   // only a routed network is meant (gnt-networking's ip-forwarding)
	claimed     bool
}

// arp is a source for the ARP requests that the host sends out of a device.
type arp struct {
	dev     string
	source  netip.Addr
	entry   *entry
	claimed bool
}

// sysctl sets a setting once: a line wins over what a method implies, a later line over an earlier one.
func (t *translator) sysctl(path, value string, e *entry) {
	if e != nil {
		e.ok()
	}
	for _, s := range t.sysctls {
		if s.path != path {
			continue
		}
		if e == nil {
			return
		}
		if s.entry != nil && s.entry != e && s.value != value {
			s.entry.fail("overridden by %s", e.Pos)
		}
		s.value, s.entry, s.network = value, e, false
		return
	}
	t.sysctls = append(t.sysctls, &sysctl{path: path, value: value, entry: e})
}

// table returns the number of a routing table. A name that the machine does not have is the VLAN of dev, as people name
// their tables, and is said.
func (t *translator) table(name, dev string, e *entry) (uint32, bool) {
	if n, err := strconv.ParseUint(name, 0, 32); err == nil {
		return uint32(n), n > 0
	}
	if n, ok := t.tables[name]; ok {
		return n, n > 0
	}
	i := t.ifaces[dev]
	if i == nil || i.kind != vlan {
		e.fail("no table %s in rt_tables", name)
		return 0, false
	}
	n := uint32(i.vlan.VID(dev))
	t.tables[name] = n
	t.remark(e.Pos, e.Text, "no table %s in rt_tables: %d, the VLAN's number, is taken", name, n)
	return n, true
}

// routedOptions translates gnt-networking's options (its vmrouter scripts). As there, nothing but ip-proxy-arp, which is
// the vlan package's too, means anything without ip-routing-table.
func (t *translator) routedOptions(i *iface) {
	for _, e := range i.find("ip-proxy-arp") {
		t.switchSetting(i, "ipv4", "proxy_arp", e)
	}
	for _, s := range i.stanzas {
		tables := stanzaOptions(i, s, "ip-routing-table")
		if len(tables) == 0 {
			for _, name := range []string{"ip-routes", "ip-gateway", "ip-forwarding", "ip-proxy-ndp", "arp-ip"} {
				for _, e := range stanzaOptions(i, s, name) {
					e.fail("without effect: the stanza has no ip-routing-table")
				}
			}
			continue
		}
		e := tables[len(tables)-1]
		e.ok()
		if n, ok := t.table(e.Value, i.name, e); ok {
			t.vmrouter(i, s, e, n)
		} else {
			e.fail("not a routing table")
			for _, other := range i.find("ip-routes", "ip-gateway", "ip-forwarding", "ip-proxy-ndp", "arp-ip") {
				if other.stanza == s {
					other.fail("the stanza's ip-routing-table is not known")
				}
			}
		}
	}
}

// vmrouter does what gnt-networking's script of that name does for one stanza.
func (t *translator) vmrouter(i *iface, s *Iface, table *entry, n uint32) {
	family := cmp.Or(s.Family, "inet")
	t.rules = append(t.rules, &rule{Rule: spec.Rule{IIF: i.name, Table: n, Family: family}, entry: table, table: table.Value})
	for _, e := range stanzaOptions(i, s, "ip-routes") {
		e.ok()
		for _, word := range strings.Fields(e.Value) {
			p, ok := parsePrefix(word)
			if !ok {
				e.fail("not a prefix: %s", word)
				continue
			}
			to := spec.Route{To: p.String(), Dev: i.name}
			t.routes = append(t.routes, &route{Route: to, entry: e})
			to.Table = n
			t.routes = append(t.routes, &route{Route: to, entry: e})
		}
	}
	for _, e := range stanzaOptions(i, s, "ip-gateway") {
		if a, err := netip.ParseAddr(e.Value); err != nil || a.Zone() != "" {
			e.fail("not an address")
		} else {
			e.ok()
			t.routes = append(t.routes, &route{Route: spec.Route{To: "default", Via: a, Dev: i.name, Table: n}, entry: e})
		}
	}
	for _, e := range stanzaOptions(i, s, "arp-ip") {
		if a, err := netip.ParseAddr(e.Value); err != nil || !a.Is4() {
			e.fail("not an IPv4 address")
		} else {
			e.ok()
			t.arps = append(t.arps, &arp{dev: i.name, source: a, entry: e})
		}
	}
	version := map[string]string{"inet": "ipv4", "inet6": "ipv6"}[family]
	for _, e := range stanzaOptions(i, s, "ip-forwarding") { // whatever the value, the script turns it on
		path := "net/" + version + "/conf/all/forwarding"
		if e.ok(); !slices.ContainsFunc(t.sysctls, func(s *sysctl) bool { return s.path == path }) {
			t.sysctls = append(t.sysctls, &sysctl{path: path, value: "1", entry: e, network: true})
		}
	}
	for _, e := range stanzaOptions(i, s, "ip-proxy-ndp") {
		t.switchSetting(i, "ipv6", "proxy_ndp", e)
	}
}

func (t *translator) switchSetting(i *iface, family, leaf string, e *entry) {
	if e.Value != "0" && e.Value != "1" {
		e.fail("neither 0 nor 1")
		return
	}
	t.setting(i, family, leaf, e.Value, e)
}

// routedNetworks makes a routed network wherever a device's packets are sent to a table of their own, and that table
// holds one subnet on that device: the IP-less setup of gnt-networking. Everything that describes it is claimed.
func (t *translator) routedNetworks() {
	taken := make(map[uint32]bool)
	for _, first := range t.rules {
		dev, n := first.IIF, first.Rule.Table
		if first.claimed || taken[n] || !t.mayRoute(first) {
			continue
		}
		net := &spec.Network{Mode: spec.Routed}
		var rules []*rule
		for _, r := range t.rules {
			if r.IIF == dev && r.Rule.Table == n && t.mayRoute(r) {
				rules = append(rules, r)
			}
		}
		for _, r := range rules {
			p := t.claimPrefix(dev, n, r.Family)
			switch {
			case p == nil:
			case r.Family == "inet6":
				net.IPv6 = p
			default:
				net.IPv4 = p
			}
		}
		if net.IPv4 == nil && net.IPv6 == nil {
			continue
		}
		taken[n] = true
		t.routedNetwork(net, first, rules)
	}
}

// mayRoute reports whether a rule can be the one of a routed network: nothing but "iif DEVICE lookup TABLE", where the
// device is an uplink that has no address of the host.
func (t *translator) mayRoute(r *rule) bool {
	if r.claimed || r.IIF == "" || r.Not || r.From.IsValid() || r.To.IsValid() || r.OIF != "" || r.FwMark != 0 || r.Action != "" {
		return false
	}
	i := t.ifaces[r.IIF]
	if i == nil || i.kind != plain && i.kind != vlan && i.kind != bond || i.dhcp || len(i.link.Addresses) > 0 || i.link.VRF != "" {
		return false
	}
	if i.kind == vlan && i.vlan.Protocol != "" {
		return false
	}
	return r.Rule.Table > 0 && r.Rule.Table <= 65535 && (r.Rule.Table < 253 || r.Rule.Table > 255)
}

// claimPrefix finds the one subnet on the device in the table, the gateway in it and the ARP source, and claims them. It
// returns nil, and claims nothing, where there is no subnet, or where there are several.
func (t *translator) claimPrefix(dev string, table uint32, family string) *spec.Prefix {
	var subnet, gateway, host *route
	for _, r := range t.routes {
		near := r.Dev == "" && r.Route.Table == table && r.Via.IsValid() // the kernel finds the device
		if r.Dev != dev && !near || r.claimed || r.Type != "" || (r.family() == "inet6") != (family == "inet6") {
			continue
		}
		switch {
		case r.Route.Table == table && r.To == "default" && r.Via.IsValid() && gateway == nil:
			gateway = r
		case r.Route.Table == table && r.To != "default" && !r.Via.IsValid() && subnet == nil:
			subnet = r
		case r.Route.Table == table:
			return nil
		}
	}
	if subnet == nil {
		return nil
	}
	p := &spec.Prefix{Subnet: subnet.Destination()}
	if gateway != nil {
		if !p.Subnet.Contains(gateway.Via) && !gateway.Via.IsLinkLocalUnicast() {
			return nil
		}
		p.Gateway, gateway.claimed = gateway.Via, true
	}
	subnet.claimed = true
	for _, r := range t.routes {
		if r.Dev == dev && r.Route.Table == 0 && r.Destination() == p.Subnet && !r.Via.IsValid() {
			host, r.claimed = r, true
		}
	}
	if host != nil {
		t.remark(host.entry.Pos, host.entry.Text, "the host itself gets no route to %s, and does not reach the guests", p.Subnet)
	}
	for _, a := range t.arps {
		if a.dev == dev && p.Subnet.Contains(a.source) && !a.claimed {
			p.ARPSource, a.claimed = a.source, true
		}
	}
	return p
}

func (r *route) family() string {
	if r.Destination().Addr().Is6() {
		return "inet6"
	}
	return "inet"
}

// routedNetwork adds the network with its uplink and table, and claims the sysctls that it brings along.
func (t *translator) routedNetwork(n *spec.Network, first *rule, rules []*rule) {
	dev := t.iface(first.IIF)
	for _, r := range rules {
		r.claimed = true
	}
	n.Uplink = dev.name
	if dev.kind == vlan {
		n.Uplink, n.VLAN = dev.vlan.ParentName(dev.name), dev.vlan.VID(dev.name)
		dev.uplink = true
	}
	if table := first.Rule.Table; table != uint32(n.VLAN) {
		n.Table = table
	}
	dev.used = true
	for _, s := range t.sysctls {
		switch s.path {
		case "net/ipv4/conf/" + dev.name + "/proxy_arp", "net/ipv4/conf/" + dev.name + "/forwarding",
			"net/ipv6/conf/" + dev.name + "/proxy_ndp", "net/ipv6/conf/" + dev.name + "/forwarding":
			s.claimed = s.value == "1"
		case "net/ipv4/conf/all/forwarding":
			s.claimed = s.claimed || s.network && n.IPv4 != nil
		case "net/ipv6/conf/all/forwarding":
			s.claimed = s.claimed || s.network && n.IPv6 != nil
		}
	}
	t.network(t.networkName(first, n), n)
}

// networkName is the table's name, as the rule has it or else as the machine has it, or that of the VLAN or the uplink.
func (t *translator) networkName(first *rule, n *spec.Network) string {
	if _, err := strconv.ParseUint(first.table, 0, 32); err != nil && first.table != "" {
		return first.table
	}
	for _, name := range sortedKeys(t.given) {
		if t.given[name] == first.Rule.Table {
			return name
		}
	}
	if n.VLAN != 0 {
		return fmt.Sprintf("vlan%d", n.VLAN)
	}
	return n.Uplink
}
