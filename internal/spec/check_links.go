// SPDX-License-Identifier: Apache-2.0

package spec

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// declared is a link of the file, of any kind, with its place.
type declared struct {
	name string
	*Link
	at path
}

// links returns every link that the file declares, in order.
func (c *checker) links() []declared {
	if c.all != nil {
		return c.all
	}
	all := []declared{}
	add := func(section, name string, l *Link) { all = append(all, declared{name, l, at(section, name)}) }
	for _, name := range inOrder(c.src, "links", c.node.Links) {
		add("links", name, c.node.Links[name])
	}
	for _, name := range inOrder(c.src, "bonds", c.node.Bonds) {
		add("bonds", name, &c.node.Bonds[name].Link)
	}
	for _, name := range inOrder(c.src, "vlans", c.node.VLANs) {
		add("vlans", name, &c.node.VLANs[name].Link)
	}
	for _, name := range inOrder(c.src, "bridges", c.node.Bridges) {
		add("bridges", name, &c.node.Bridges[name].Link)
	}
	for _, name := range inOrder(c.src, "vrfs", c.node.VRFs) {
		add("vrfs", name, &c.node.VRFs[name].Link)
	}
	c.all = all
	return all
}

func (c *checker) checkVLANs() {
	type tag struct {
		parent, protocol string
		vid              int
	}
	seen := map[tag]path{}
	for _, name := range inOrder(c.src, "vlans", c.node.VLANs) {
		v, p := c.node.VLANs[name], at("vlans", name)
		parent, vid := v.ParentName(name), v.VID(name)
		if n, ok := badVID(name); ok && parent == "" && vid == 0 {
			c.fail(p, "the name says VLAN %s, and that is not within 1 to 4094", n)
			continue
		}
		if parent == "" && !c.unread(p.key("parent")) {
			c.fail(p, "parent is missing; it may be left out only in a name such as bond0.%d", max(vid, 993))
		}
		if vid == 0 && !c.unread(p.key("id")) {
			c.fail(p, "id is missing; it may be left out only in a name such as bond0.993")
		}
		if of, n, ok := splitVLAN(name); ok && of == parent && vid != 0 && n != vid {
			c.fail(p.key("id"), "%d, but the name says %d", vid, n)
		}
		if parent == "" || vid == 0 {
			continue
		}
		t := tag{parent, v.ProtocolWord(), vid}
		if first, twice := seen[t]; twice {
			c.fail(p, "VLAN %d of %s is %s already", vid, parent, c.spell(first))
		} else {
			seen[t] = p
		}
		c.checkParent(name, parent, v.MTU, p)
	}
}

// badVID returns the number that a name such as bond0.4095 ends with, where it is not a VLAN's.
func badVID(name string) (string, bool) {
	i := strings.LastIndexByte(name, '.')
	if i <= 0 {
		return "", false
	}
	_, err := strconv.Atoi(name[i+1:])
	_, _, good := splitVLAN(name)
	return name[i+1:], err == nil && !good
}

// checkParent looks at what a VLAN device stands on.
func (c *checker) checkParent(name, parent string, mtu int, p path) {
	q := p.key("parent")
	switch {
	case parent == name:
		c.fail(q, "%s cannot be its own parent", name)
		return
	case c.node.VRFs[parent] != nil:
		c.fail(q, "%s is a VRF, which carries no VLANs", parent)
	case reserved(parent):
		c.fail(q, "%s carries no VLANs", parent)
	}
	if below := c.node.LinkMTU(parent); below != 0 && mtu > below {
		c.fail(p.key("mtu"), "%d is above the %d of its parent %s", mtu, below, parent)
	}
}

func (c *checker) checkBridges() {
	for _, name := range inOrder(c.src, "bridges", c.node.Bridges) {
		b, p := c.node.Bridges[name], at("bridges", name)
		for i, port := range b.Ports {
			q := p.key("ports").index(i)
			if c.unread(q) {
				continue
			}
			switch {
			case port == name:
				c.fail(q, "%s cannot be a port of itself", name)
				continue
			case c.node.Bridges[port] != nil:
				c.fail(q, "%s is a bridge, and a bridge cannot be a port of another", port)
			case c.node.VRFs[port] != nil:
				c.fail(q, "%s is a VRF, which cannot be a port", port)
			case reserved(port):
				c.fail(q, "%s cannot be a port", port)
			}
			c.give(port, master{what: "a port of " + name, name: name, at: q})
			if m := c.node.LinkMTU(port); m != 0 && b.MTU > m {
				c.fail(p.key("mtu"), "%d is above the %d of its port %s", b.MTU, m, port)
			}
		}
		if b.VLANAware && b.MulticastSnooping {
			c.fail(p.key("mcast_snooping"), "the bridge is VLAN-aware, and a querier in one of its VLANs would have it withhold multicast in all others")
		}
		if d := b.ForwardDelaySeconds(); b.STP && d < 2 {
			c.fail(p.key("forward_delay"), "%d; with spanning tree the kernel takes 2 to 30 seconds", d)
		}
	}
}

func (c *checker) checkVRFs() {
	tables := map[uint32]path{}
	for _, name := range inOrder(c.src, "vrfs", c.node.VRFs) {
		v, p := c.node.VRFs[name], at("vrfs", name)
		q := p.key("table")
		c.checkTable(v.Table, q)
		if first, twice := tables[v.Table]; twice && v.Table != 0 {
			c.fail(q, "table %d is that of %s already", v.Table, c.spell(first))
		}
		tables[v.Table] = p
		if v.VRF != "" {
			c.fail(p.key("vrf"), "a VRF cannot be a port of another")
		}
	}
	for _, l := range c.links() {
		if l.VRF == "" || c.node.VRFs[l.name] != nil {
			continue
		}
		q := l.at.key("vrf")
		if !c.isVRF(l.VRF) {
			c.fail(q, "no VRF %s in this file", l.VRF)
			continue
		}
		c.give(l.name, master{what: "a port of " + l.VRF, name: l.VRF, at: q})
	}
}

// checkTable refuses the tables that belong to the kernel.
func (c *checker) checkTable(table uint32, p path) {
	if table >= 253 && table <= 255 {
		c.fail(p, "table %d is the kernel's own (253 default, 254 main, 255 local)", table)
	}
}

// isVRF reports whether the file declares the VRF, or a network makes it.
func (c *checker) isVRF(name string) bool { return c.node.VRFs[name] != nil || c.vrfs[name] }

// checkPorts refuses on ports and members what only a link that stands alone can have.
func (c *checker) checkPorts() {
	for _, l := range c.links() {
		c.checkMTU(l)
		m, taken := c.masters[l.name]
		bridged := taken && !m.bond && !c.isVRF(m.name)
		if len(l.Addresses) == 0 || !taken || !m.bond && !bridged && m.net == "" {
			continue
		}
		why := "give them to " + m.name
		if m.net != "" {
			why = "the node has no address of its own in network " + m.net
		}
		c.fail(l.at.key("addresses"), "%s is %s, and has no addresses: %s", l.name, m.what, why)
	}
}

// checkMTU compares a declared link's MTU with what IPv6 needs.
func (c *checker) checkMTU(l declared) {
	mtu := c.node.LinkMTU(l.name)
	if mtu == 0 || mtu >= 1280 {
		return
	}
	if i := slices.IndexFunc(l.Addresses, func(a netip.Prefix) bool { return a.Addr().Is6() }); i >= 0 {
		c.fail(l.at.key("mtu"), "%d is too little for IPv6 (%s), which needs 1280", mtu, l.Addresses[i])
	}
}

func (c *checker) checkAddresses() {
	type where struct {
		vrf  string
		addr netip.Addr
	}
	seen, gateways := map[where]path{}, c.gateways()
	for _, l := range c.links() {
		vrf := ""
		if m, ok := c.masters[l.name]; ok && c.isVRF(m.name) {
			vrf = m.name
		} else if c.node.VRFs[l.name] != nil {
			vrf = l.name
		}
		for i, prefix := range l.Addresses {
			p := l.at.key("addresses").index(i)
			if c.unread(p) {
				continue
			}
			a := prefix.Addr()
			if why := noUnicast(a); why != "" {
				c.fail(p, "%s", why)
			} else if why := noHost(a, prefix); why != "" {
				c.fail(p, "%s", why)
			}
			if a.Is6() && !l.HasIPv6() {
				c.fail(p, "%s is an IPv6 address, and ipv6 is false here", a)
			}
			if first, twice := seen[where{vrf, a}]; twice {
				c.fail(p, "%s is an address of %s already", a, c.spell(first))
				continue
			}
			seen[where{vrf, a}] = l.at
			if network, taken := gateways[a]; taken {
				c.fail(p, "%s is the gateway of network %s", a, network)
			}
		}
	}
}

// gateways returns the networks' gateways, which are other machines, and the network of each.
func (c *checker) gateways() map[netip.Addr]string {
	all := map[netip.Addr]string{}
	for _, name := range c.nets {
		n := c.node.Networks[name]
		for _, f := range []*Prefix{n.IPv4, n.IPv6} {
			if f != nil && f.Gateway.IsValid() && !f.Gateway.IsLinkLocalUnicast() {
				all[f.Gateway] = name
			}
		}
	}
	return all
}

// describe says what a declared bond, bridge or VRF is, for messages.
func (c *checker) describe(name string) string {
	switch {
	case c.node.Bonds[name] != nil:
		return "a bond"
	case c.node.Bridges[name] != nil:
		return "a bridge"
	}
	return "a VRF"
}
