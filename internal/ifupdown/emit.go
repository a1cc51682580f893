// SPDX-License-Identifier: Apache-2.0

package ifupdown

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"weft/internal/spec"
)

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// widen raises the MTU of a device to that of a VLAN on top, and of a bridge's ports to that of the bridge: the vlan
// package and bridge-utils do so when they bring the upper one up.
func (t *translator) widen() {
	for _, i := range t.order {
		if i.kind != bridge || i.link.MTU == 0 || i.network != nil {
			continue
		}
		for _, name := range i.bridge.Ports {
			if p := t.iface(name); p.link.MTU == 0 && p.kind != absent {
				p.link.MTU = i.link.MTU
			}
		}
	}
	for range 3 { // as deep as VLANs stand on each other
		for _, i := range t.order {
			if i.kind == vlan {
				t.raise(i.vlan.ParentName(i.name), i.link.MTU, i)
			}
		}
	}
	for _, name := range sortedKeys(t.node.Networks) {
		if n := t.node.Networks[name]; n.Uplink != "" {
			t.raise(n.Uplink, n.MTU, t.iface(n.BridgeName()))
		}
	}
}

// raise gives the device of this name at least the MTU of one on top.
func (t *translator) raise(name string, mtu int, by *iface) {
	p := t.iface(name)
	if mtu <= max(p.link.MTU, 1500) {
		return
	}
	p.link.MTU = mtu
	if len(by.stanzas) > 0 {
		t.remark(by.stanzas[0].Pos, by.stanzas[0].Text, "%s gets its MTU, %d", name, mtu)
	}
}

// emit writes what was gathered into the node.
func (t *translator) emit() {
	named := t.named()
	for _, i := range t.order {
		t.emitLink(i, named[i.name])
	}
	for _, r := range t.routes {
		if !r.claimed {
			t.emitRoute(r)
		}
	}
	t.emitRules()
	for _, s := range t.sysctls {
		if !s.claimed {
			if t.node.Sysctls == nil {
				t.node.Sysctls = make(map[string]string)
			}
			t.node.Sysctls[sysctlName(s.path)] = s.value
		}
	}
	for _, a := range t.arps {
		if !a.claimed {
			a.entry.fail("only the uplink of a routed network has an ARP source, and these lines describe none on %s", a.dev)
		}
	}
}

// named are the interfaces that a route, a rule, a neighbour or a sysctl of the node names: each has to be in it.
func (t *translator) named() map[string]bool {
	names := make(map[string]bool)
	for _, r := range t.routes {
		names[r.Dev] = names[r.Dev] || !r.claimed
	}
	for _, r := range t.rules {
		names[r.IIF] = names[r.IIF] || !r.claimed
		names[r.OIF] = names[r.OIF] || !r.claimed
	}
	for _, n := range t.node.Neighbours {
		names[n.Dev] = true
	}
	for _, s := range t.sysctls {
		if p := strings.Split(s.path, "/"); len(p) > 4 && !s.claimed && p[3] != "all" && p[3] != "default" {
			names[p[3]] = true
		}
	}
	delete(names, "")
	for name, is := range names {
		if is {
			t.iface(name)
		}
	}
	return names
}

// emitLink puts the interface where its kind goes, unless a network makes it or there is nothing to say of it.
func (t *translator) emitLink(i *iface, named bool) {
	switch i.kind {
	case bond:
		put(&t.node.Bonds, i.name, i.bond)
	case vrf:
		put(&t.node.VRFs, i.name, i.vrf)
	case bridge:
		if i.network == nil {
			put(&t.node.Bridges, i.name, i.bridge)
		}
	case vlan:
		if !i.uplink || i.vlan.ID != 0 || !empty(i.link) {
			put(&t.node.VLANs, i.name, i.vlan)
		}
	case plain:
		if i.name == "lo" || empty(i.link) && (i.used || !named && (!i.declared || i.dhcp)) {
			return
		}
		put(&t.node.Links, i.name, i.link)
	}
}

func empty(l *spec.Link) bool { return reflect.DeepEqual(*l, spec.Link{}) }

func put[T any](m *map[string]*T, name string, v *T) {
	if *m == nil {
		*m = make(map[string]*T)
	}
	(*m)[name] = v
}

// emitRoute puts a route into the node. A gateway line's is in the table of the interface's VRF, and on-link only where
// the gateway is in no subnet of the interface.
func (t *translator) emitRoute(r *route) {
	out := r.Route
	if i := t.ifaces[r.Dev]; r.gateway && i != nil {
		if v := t.ifaces[i.link.VRF]; v != nil && v.vrf != nil {
			out.Table = v.vrf.Table
		}
		near := slices.ContainsFunc(i.link.Addresses, func(p netip.Prefix) bool { return p.Contains(r.Via) })
		out.OnLink = !near && !r.Via.IsLinkLocalUnicast()
	}
	if out.Table == 254 {
		out.Table = 0
	}
	if !slices.Contains(t.node.Routes, out) {
		t.node.Routes = append(t.node.Routes, out)
	}
}

// emitRules puts the rules into the node. One without a preference gets the one that the kernel would give it: one less
// than the smallest so far, from 32765 down.
func (t *translator) emitRules() {
	next := map[string]uint32{"inet": 32766, "inet6": 32766}
	for _, r := range t.rules {
		if r.claimed {
			continue
		}
		family := cmp.Or(r.Family, "inet")
		if r.Priority == 0 {
			next[family]--
			r.Priority = next[family]
			t.remark(r.entry.Pos, r.entry.Text, "the kernel would choose the rule's preference: it got %d", r.Priority)
		} else {
			next[family] = min(next[family], r.Priority)
		}
		out := r.Rule
		if out.From.Addr().Is6() || out.To.Addr().Is6() || family == "inet" {
			out.Family = ""
		}
		t.node.Rules = append(t.node.Rules, out)
	}
}

// sysctlName spells a path below /proc/sys as sysctl(8) does: net.ipv4.conf.bond0/993.proxy_arp.
func sysctlName(path string) string {
	return strings.NewReplacer("/", ".", ".", "/").Replace(path)
}

// parsePrefix reads a prefix as ip(8) prints it, or an address, which stands for itself alone.
func parsePrefix(s string) (netip.Prefix, bool) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.Masked(), true
	}
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(a, a.BitLen()), true
}

// privateVLANs makes the networks that gnt-networking's prv-net-helper makes bridges for: prv1 and on, with the VLANs
// after offset of parent.
func (t *translator) privateVLANs(parent, prefix string, from, to, offset int) {
	for n := from; n <= to; n++ {
		name := fmt.Sprintf("%s%d", prefix, n)
		t.network(name, &spec.Network{Mode: spec.Bridged, Uplink: parent, VLAN: n + offset, Bridge: name})
	}
	t.iface(parent).used = true
}
