// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"fmt"
	"slices"
	"strings"

	"weft/internal/netstate"
	"weft/internal/nft"
)

// fault is something that somebody does to an object of weft's, or to many.
type fault struct {
	sort   string // of the object, in the report
	class  string // deleted, altered, down, flapped or flushed
	name   string // what is altered
	key    netstate.Key
	script string
	quiet  bool // the kernel tells nobody of it
	maybe  bool // it may be that nothing is to be repaired
	harm   bool // it takes away what is not weft's, too
}

func (f fault) words() string { return f.sort + " " + f.class + " " + f.name + " " + f.key.ID }

// String is for messages.
func (f fault) String() string { return f.words() }

// firstOf holds for the first fault of each sort, by what sort says; the nodes have them together.
func firstOf(sort func(fault) string) func(fault) bool {
	seen := map[string]bool{}
	return func(f fault) bool {
		had := seen[sort(f)]
		seen[sort(f)] = true
		return !had
	}
}

// faults lists what is done to the objects of what is wanted, but for those of fillers, and then to all of them at once: those which. An
// object to which nothing can be done, or a field of one, that nobody thought of fails the test.
func faults(d *drift, want *netstate.State, which func(fault) bool) (told, quiet []fault) {
	d.Helper()
	for o := range want.All() {
		if isFiller(o.String()) || isFiller(o.Key().ID) || strings.Contains(o.Key().ID, "/neigh/default/gc_") {
			continue // the last are the machine's, and do not show in a namespace
		}
		all := faultsOf(d, want, o)
		if len(all) == 0 {
			d.Errorf("no fault is known for %s %s", o.Key().Kind, o)
		}
		for _, f := range all {
			f.key = o.Key()
			if f.sort == "" {
				f.sort = f.key.Kind.String()
			}
			switch {
			case !which(f):
			case f.quiet:
				quiet = append(quiet, f)
			default:
				told = append(told, f)
			}
		}
	}
	for _, f := range flushes(want) {
		if f.sort == "route" || f.sort == "rule" || which(f) { // the networks' modes differ in these
			told = append(told, f)
		}
	}
	return told, quiet
}

func faultsOf(d *drift, want *netstate.State, o netstate.Object) []fault {
	switch o := o.(type) {
	case netstate.Link:
		return linkFaults(d, want, o)
	case netstate.Sysctl:
		return []fault{{class: "altered", name: sysctlName(o), script: "echo " + otherSetting(o.Value) + " >/proc/sys/" + o.Path}}
	case netstate.BridgeVLAN:
		plain := netstate.BridgeVLAN{Dev: o.Dev, VID: o.VID, Self: o.Self, Untagged: !o.Untagged}
		return []fault{{class: "deleted", script: "bridge vlan del " + o.String()}, {class: "altered", script: "bridge vlan add " + plain.String()}}
	case netstate.Addr:
		return []fault{{class: "deleted", script: "ip address del " + o.String()}}
	case netstate.Rule:
		return ruleFaults(o)
	case netstate.Route:
		return routeFaults(o)
	case netstate.Neigh:
		return neighFaults(o)
	case netstate.FDB:
		gone := netstate.FDB{MAC: o.MAC, Dev: o.Dev, VLAN: o.VLAN}
		return []fault{{class: "deleted", script: "bridge fdb del " + gone.String()}, {class: "altered", script: "bridge fdb replace " + gone.String()}}
	case netstate.MDB:
		return []fault{{class: "deleted", script: "bridge mdb del " + o.String()}}
	case netstate.Limit:
		return limitFaults(o)
	case nft.Table:
		return tableFaults(o)
	case nft.Element:
		return elementFaults(o)
	}
	return nil
}

// sysctlName is the setting without the device that it is of.
func sysctlName(s netstate.Sysctl) string {
	parts := strings.Split(s.Path, "/")
	if s.Dev() != "" {
		parts[3] = "DEV"
	}
	return strings.Join(parts, ".")
}

func otherSetting(value string) string {
	if value == "0" {
		return "1"
	}
	if len(value) > 1 {
		return value + "0"
	}
	return "0"
}

func family(six bool) string {
	if six {
		return "-6"
	}
	return "-4"
}

func ruleFaults(r netstate.Rule) []fault {
	f := family(r.Family == 6)
	all := []fault{{class: "deleted", script: "ip " + f + " rule del " + r.String()}}
	if r.IsLocal() {
		moved := r
		moved.Priority = 9
		all[0].name = "local"
		all = append(all, fault{class: "altered", name: "local", script: "ip " + f + " rule add " + moved.String() + "\nip " + f + " rule del " + r.String()})
	}
	return all
}

func routeFaults(r netstate.Route) []fault {
	ip := "ip " + family(r.Dst.Addr().Is6()) + " route "
	other := netstate.Route{Dst: r.Dst, Table: r.Table, Metric: r.Metric, Type: "unreachable", Protocol: r.Protocol}
	if r.Type == other.Type {
		other.Type = "prohibit"
	}
	return []fault{
		{class: "deleted", name: r.Type, script: ip + "del " + r.String()},
		{class: "altered", name: r.Type, script: ip + "replace " + other.String()},
	}
}

func neighFaults(n netstate.Neigh) []fault {
	if n.Proxy {
		return []fault{{sort: "neigh proxy", class: "deleted", script: fmt.Sprintf("ip neighbour del proxy %s dev %s", n.IP, n.Dev), quiet: true}}
	}
	return []fault{
		{class: "deleted", script: fmt.Sprintf("ip neighbour del %s dev %s", n.IP, n.Dev)},
		{class: "altered", script: fmt.Sprintf("ip neighbour change %s lladdr 02:00:5e:00:00:99 dev %s nud permanent", n.IP, n.Dev)},
	}
}

func limitFaults(l netstate.Limit) []fault {
	other := l
	other.Rate, other.Burst = l.Rate/2, l.Burst/2
	if l.Ingress {
		return []fault{
			{sort: "limit in", class: "deleted", script: "tc filter del dev " + l.Dev + " ingress pref 87"},
			{sort: "limit in", class: "altered", script: "tc filter del dev " + l.Dev + " ingress pref 87\ntc filter add " + other.String()},
		}
	}
	return []fault{
		{sort: "limit out", class: "deleted", script: "tc qdisc del dev " + l.Dev + " root"},
		{sort: "limit out", class: "altered", script: "tc qdisc change " + other.String()},
	}
}

func tableFaults(t nft.Table) []fault {
	name := string(t.Family) + " " + t.Name
	var hooked, jumped string
	for _, c := range t.Chains {
		if len(c.Rules) > 0 && c.Hook != "" {
			hooked = c.Name
		}
		if len(c.Rules) > 0 && c.Hook == "" {
			jumped = c.Name
		}
	}
	all := []fault{
		{class: "deleted", script: "nft delete table " + name},
		{class: "altered", name: "dormant", script: "nft 'add table " + name + " { flags dormant; }'"},
		{class: "altered", name: "a chain more", script: "nft add chain " + name + " theirs"},
		{class: "altered", name: "a rule more", script: "nft insert rule " + name + " " + hooked + " accept"},
		{class: "altered", name: "rules gone", script: "nft flush chain " + name + " " + hooked},
	}
	if jumped != "" {
		all = append(all, fault{class: "altered", name: "a chain's rules gone", script: "nft flush chain " + name + " " + jumped})
	}
	return all
}

func elementFaults(e nft.Element) []fault {
	set := fmt.Sprintf("element %s %s %s", e.Family, e.Table, e.Set)
	key := strings.Join(e.Parts, " . ")
	name := "of a set"
	if e.Value != "" {
		name = "of a map"
	}
	all := []fault{{class: "deleted", name: name, script: "nft '" + strings.Replace("delete "+e.String(), "'", `'\''`, -1) + "'"}}
	if e.Value == "" {
		return all
	}
	other := map[bool]string{true: "192.0.2.222", false: "drop"}[strings.Count(e.Value, ".") == 3]
	if _, verdict := map[string]bool{"drop": true, "accept": true}[e.Value]; !verdict && other == "drop" && !strings.HasPrefix(e.Value, "jump ") && !strings.HasPrefix(e.Value, "goto ") {
		other = "9" // a number: a mark, a zone
	}
	return append(all, fault{class: "altered", name: name, script: fmt.Sprintf("nft 'delete %s { %s : %s }; add %s { %s : %s }'", set, key, e.Value, set, key, other)})
}

// flushes are what takes away a whole module of state at once.
func flushes(want *netstate.State) (all []fault) {
	flush := func(sort, name, script string) {
		all = append(all, fault{sort: sort, class: "flushed", name: name, script: script})
	}
	tables, neighs, addrs, vlans, fdbs := map[uint32]bool{}, map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string]bool{}
	var mdb, limits, links []string
	for o := range want.All() {
		switch o := o.(type) {
		case netstate.Route:
			tables[o.Table] = true
		case netstate.Neigh:
			if !o.Proxy {
				neighs[o.Dev] = true
			}
		case netstate.Addr:
			addrs[o.Dev] = true
		case netstate.BridgeVLAN:
			vlans[o.Dev] = true
		case netstate.FDB:
			fdbs[o.Dev] = true
		case netstate.MDB:
			mdb = append(mdb, "bridge mdb del "+o.String())
		case netstate.Limit:
			limits = append(limits, fmt.Sprintf("tc qdisc del dev %s %s", o.Dev, map[bool]string{true: "clsact", false: "root"}[o.Ingress]))
		case netstate.Link:
			if o.Made() && o.Kind != netstate.VLAN { // those go with what is below them
				links = append(links, "ip link del "+o.Name)
			}
		}
	}
	for _, t := range sortedKeys(tables) {
		from := fmt.Sprint("table ", t)
		if t == netstate.TableMain {
			from += " proto 87" // the rest is not weft's
		}
		flush("route", "a table", "ip -4 route flush "+from+" || true\nip -6 route flush "+from+" || true")
		all[len(all)-1].harm = true
	}
	flush("rule", "all", "ip -4 rule flush protocol 87\nip -6 rule flush protocol 87")
	flush("table", "the ruleset", "nft flush ruleset")
	all[len(all)-1].harm = true
	each := func(sort, name, format string, devs map[string]bool) {
		var lines []string
		for _, dev := range sortedKeys(devs) {
			lines = append(lines, fmt.Sprintf(format, dev))
		}
		if len(lines) > 0 {
			flush(sort, name, strings.Join(lines, "\n"))
		}
	}
	each("neigh", "permanent", "ip neighbour flush dev %s nud permanent", neighs)
	each("addr", "devices", "ip address flush dev %s", addrs)
	each("bridge-vlan", "ports", "bridge vlan del dev %s vid 2-4094", vlans)
	each("fdb", "ports", "bridge fdb flush dev %s master static", fdbs)
	if len(mdb) > 0 {
		flush("mdb", "all", strings.Join(mdb, "\n"))
	}
	if len(limits) > 0 {
		flush("limit", "all", strings.Join(limits, "\n"))
	}
	flush("link", "all made", strings.Join(links, "\n"))
	return all
}

func sortedKeys[K interface{ ~string | ~uint32 }](m map[K]bool) (keys []K) {
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
