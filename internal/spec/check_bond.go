// SPDX-License-Identifier: Apache-2.0

package spec

import "strings"

func (c *checker) checkBonds() {
	for _, name := range inOrder(c.src, "bonds", c.node.Bonds) {
		b, p := c.node.Bonds[name], at("bonds", name)
		for i, member := range b.Members {
			q := p.key("members").index(i)
			if c.unread(q) {
				continue
			}
			switch {
			case member == name:
				c.fail(q, "%s cannot be a member of itself", name)
				continue
			case c.node.Bonds[member] != nil || c.node.Bridges[member] != nil || c.node.VRFs[member] != nil:
				c.fail(q, "%s is %s, which cannot be a member", member, c.describe(member))
			case reserved(member):
				c.fail(q, "%s cannot be a member", member)
			}
			c.give(member, master{what: "a member of " + name, name: name, bond: true, at: q})
		}
		if c.unread(p.key("mode")) {
			continue // nothing to compare the options with
		}
		c.checkOptions(b, p)
		c.checkMonitor(b, p)
		c.checkPrimary(b, p)
	}
}

// checkOptions refuses what has no meaning in the bond's mode.
func (c *checker) checkOptions(b *Bond, p path) {
	for _, o := range []struct {
		name  string
		set   bool
		modes string
	}{
		{"lacp_rate", b.LACPRate != "", "802.3ad"},
		{"ad_select", b.ADSelect != "", "802.3ad"},
		{"min_links", b.MinLinks != nil, "802.3ad"},
		{"xmit_hash_policy", b.XmitHashPolicy != "", "802.3ad, balance-xor, balance-tlb, balance-alb"},
		{"primary", b.Primary != "", "active-backup, balance-tlb, balance-alb"},
		{"fail_over_mac", b.FailOverMAC != "", "active-backup"},
		{"arp_interval", b.ARPInterval != nil && *b.ARPInterval > 0, "active-backup, balance-rr, balance-xor, broadcast"},
	} {
		if o.set && !contains(strings.Split(o.modes, ", "), b.ModeWord()) {
			c.fail(p.key(o.name), "has no meaning in mode %s; it is for %s", b.ModeWord(), o.modes)
		}
	}
}

// checkMonitor looks at how the bond finds out that a member is dead.
func (c *checker) checkMonitor(b *Bond, p path) {
	arp := b.ARPInterval != nil && *b.ARPInterval > 0
	mii := b.MIIMonMS()
	switch {
	case arp && mii > 0:
		c.fail(p.key("arp_interval"), "a bond has one monitor, and this one has miimon as well")
	case arp && len(b.ARPIPTarget) == 0 && !c.unread(p.key("arp_ip_target")):
		c.fail(p.key("arp_interval"), "needs arp_ip_target, the addresses to ask")
	case !arp && len(b.ARPIPTarget) > 0 && !c.unread(p.key("arp_interval")):
		c.fail(p.key("arp_ip_target"), "needs arp_interval, how often to ask")
	}
	if len(b.ARPIPTarget) > 16 {
		c.fail(p.key("arp_ip_target"), "%d addresses; the kernel takes 16", len(b.ARPIPTarget))
	}
	for i, a := range b.ARPIPTarget {
		if q := p.key("arp_ip_target").index(i); !c.unread(q) && !a.Is4() {
			c.fail(q, "%s is not an IPv4 address", a)
		}
	}
	for _, d := range []struct {
		name  string
		delay *uint32
	}{{"updelay", b.UpDelay}, {"downdelay", b.DownDelay}} {
		if d.delay == nil || *d.delay == 0 || c.unread(p.key("miimon")) {
			continue
		}
		switch {
		case mii == 0:
			c.fail(p.key(d.name), "has no meaning without miimon")
		case *d.delay%mii != 0:
			c.fail(p.key(d.name), "%d is not a multiple of miimon, %d: the kernel would make it %d", *d.delay, mii, *d.delay/mii*mii)
		}
	}
}

func (c *checker) checkPrimary(b *Bond, p path) {
	if b.Primary != "" && !contains(b.Members, b.Primary) && !c.unread(p.key("members")) {
		c.fail(p.key("primary"), "%s is not a member", b.Primary)
	}
	if b.PrimaryReselect != "" && b.Primary == "" && !c.unread(p.key("primary")) {
		c.fail(p.key("primary_reselect"), "has no meaning without primary")
	}
}

// checkMembers refuses on members of bonds what only the bond can have: it takes every frame.
func (c *checker) checkMembers() {
	for _, name := range inOrder(c.src, "vlans", c.node.VLANs) {
		p := at("vlans", name)
		c.refuseMember(c.node.VLANs[name].ParentName(name), p.key("parent"), "a VLAN device on it gets no frames")
	}
	for _, name := range c.nets {
		for _, l := range c.node.Networks[name].legs() {
			if l.vlan != 0 { // its native VLAN has been given away twice then
				c.refuseMember(l.uplink, l.key(at("networks", name), "uplink"), "a network on it gets no frames")
			}
		}
	}
	for _, name := range inOrder(c.src, "links", c.node.Links) {
		l, p := c.node.Links[name], at("links", name)
		m, ok := c.masters[name]
		if !ok || !m.bond {
			continue
		}
		b := c.node.Bonds[m.name]
		if mtu := c.node.LinkMTU(m.name); l.MTU != 0 && l.MTU != mtu {
			c.fail(p.key("mtu"), "%d, but %s is %s and has its MTU, %d", l.MTU, name, m.what, mtu)
		}
		if l.MAC != "" && (b.FailOverMAC == "" || b.FailOverMAC == "none") {
			c.fail(p.key("mac"), "%s is %s and has its MAC", name, m.what)
		}
		if !l.IsUp() {
			c.fail(p.key("up"), "%s is %s and up: take it out of the members to have it down", name, m.what)
		}
	}
}

func (c *checker) refuseMember(name string, p path, why string) {
	if m, ok := c.masters[name]; ok && m.bond {
		c.fail(p, "%s is %s: %s", name, m.what, why)
	}
}
