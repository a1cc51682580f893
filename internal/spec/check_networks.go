// SPDX-License-Identifier: Apache-2.0

package spec

import (
	"fmt"
	"net/netip"
)

// channel is what two networks cannot both use: a VLAN of an uplink, or of a VLAN-aware bridge.
type channel struct {
	device string
	vlan   int
}

func (c *checker) checkNetworks() {
	channels, tables, bridges := map[channel]string{}, map[uint32]string{}, map[string]string{}
	for _, name := range inOrder(c.src, "vrfs", c.node.VRFs) {
		if t := c.node.VRFs[name].Table; tables[t] == "" {
			tables[t] = "vrfs." + name
		}
	}
	for _, name := range c.nets {
		n, p := c.node.Networks[name], at("networks", name)
		if n.Mode == "" {
			continue // missing or unread, and the rest depends on it
		}
		same := c.sameChannel(channels, name, n, p)
		if n.Mode == Routed {
			c.checkRouted(name, n, p, tables)
		} else {
			c.checkBridged(name, n, p, bridges)
		}
		c.checkNetworkMTU(n, p)
		if !same && !c.unread(p.key("vlan")) {
			c.checkUplink(name, n, p)
		}
	}
}

// sameChannel refuses a second network on one VLAN of an uplink.
func (c *checker) sameChannel(channels map[channel]string, name string, n *Network, p path) bool {
	ch := channel{n.Uplink, n.VLAN}
	if c.node.VLANAware(n) {
		ch.device = n.Bridge
	}
	if ch.device == "" || c.unread(p.key("vlan")) {
		return false
	}
	first, twice := channels[ch]
	if !twice {
		channels[ch] = name
		return false
	}
	what := fmt.Sprintf("VLAN %d of %s", ch.vlan, ch.device)
	if ch.vlan == 0 {
		what = "the native VLAN of " + ch.device
	}
	c.fail(p.key("vlan"), "%s is that of network %s already%s", what, first, c.line(at("networks", first)))
	return true
}

func (c *checker) checkRouted(name string, n *Network, p path, tables map[uint32]string) {
	if n.Bridge != "" {
		c.fail(p.key("bridge"), "a routed network has no bridge: guests are reached by their routes")
	}
	if n.Uplink == "" && !c.unread(p.key("uplink")) {
		c.fail(p, "uplink is missing; a routed network needs one")
	}
	if n.IPv4 == nil && n.IPv6 == nil && !c.unread(p.key("ipv4")) && !c.unread(p.key("ipv6")) {
		c.fail(p, "ipv4 or ipv6 is missing; a routed network needs a subnet")
	}
	if n.Policy == "rules" && n.VRF != "" {
		c.fail(p.key("vrf"), "policy is rules, and there is no VRF then")
	}
	t, q := n.TableNumber(), p.key("table")
	switch {
	case t == 0 && !c.unread(q) && !c.unread(p.key("vlan")):
		c.fail(p, "table is missing; it is the VLAN's number only where there is a VLAN")
	case t >= 253 && t <= 255 && n.Table == 0:
		c.fail(p, "table is missing; the VLAN's number, %d, is that of a table of the kernel's own", t)
	default:
		c.checkTable(t, q)
	}
	if first, twice := tables[t]; twice && t != 0 {
		c.fail(q, "table %d is that of %s already", t, first)
	} else {
		tables[t] = "network " + name
	}
	if n.IPv4 != nil {
		c.checkPrefix(n.IPv4, p.key("ipv4"), true)
	}
	if n.IPv6 != nil {
		c.checkPrefix(n.IPv6, p.key("ipv6"), false)
	}
}

func (c *checker) checkBridged(name string, n *Network, p path, bridges map[string]string) {
	for _, k := range []struct {
		name string
		set  bool
	}{
		{"ipv4", n.IPv4 != nil}, {"ipv6", n.IPv6 != nil}, {"table", n.Table != 0}, {"vrf", n.VRF != ""}, {"policy", n.Policy != ""},
	} {
		if k.set {
			c.fail(p.key(k.name), "a bridged network has no %s: the node does not route for it, guests are on the VLAN itself", k.name)
		}
	}
	if n.Bridge == "" && n.VLAN == 0 && !c.unread(p.key("vlan")) && !c.unread(p.key("bridge")) {
		c.fail(p, "bridge is missing; it is named vlanVLAN only where there is a VLAN")
		return
	}
	if c.node.VLANAware(n) {
		switch {
		case n.VLAN == 0 && !c.unread(p.key("vlan")):
			c.fail(p, "vlan is missing; a network on the VLAN-aware bridge %s is one of its VLANs", n.Bridge)
		case n.Uplink != "":
			c.fail(p.key("uplink"), "the VLAN-aware bridge %s has its trunk ports, and the network no uplink of its own", n.Bridge)
		}
		return
	}
	br := n.BridgeName()
	if first, twice := bridges[br]; twice && c.node.Bridges[br] != nil { // a bridge of its own is claimed by collect
		c.fail(p.key("bridge"), "%s is the bridge of network %s already; for several networks it has to be vlan_aware", br, first)
	}
	bridges[br] = name
}

// checkUplink looks at the device that carries the network.
func (c *checker) checkUplink(name string, n *Network, p path) {
	dev, q := c.node.UplinkDevice(n), p.key("uplink")
	if dev == "" {
		return
	}
	switch {
	case c.node.VRFs[n.Uplink] != nil:
		c.fail(q, "%s is a VRF, which carries no network", n.Uplink)
		return
	case reserved(n.Uplink):
		c.fail(q, "%s carries no network", n.Uplink)
		return
	case n.Uplink == n.BridgeName() && n.Mode == Bridged:
		c.fail(q, "%s is the network's own bridge", n.Uplink)
		return
	case dev == n.Uplink && n.Mode == Bridged && c.node.Bridges[dev] != nil:
		c.fail(q, "%s is a bridge, and a bridge cannot be a port of another: write bridge: %s instead", dev, dev)
		return
	}
	m := master{net: name, at: q}
	switch {
	case n.Mode == Bridged:
		m.name, m.what = n.BridgeName(), "the uplink of network "+name
	case n.VRFName() != "":
		m.name, m.what = n.VRFName(), "the uplink of network "+name
	default:
		m.name, m.what = "network "+name, "the uplink of network "+name
	}
	if n.VLAN != 0 && c.node.VLANs[dev] != nil {
		m.at = at("vlans", dev)
		if first, taken := c.masters[dev]; taken {
			m.at = first.at
			if first.name != m.name {
				c.fail(q, "its VLAN device %s is already %s%s", dev, first.what, c.line(first.at))
				return
			}
		}
	}
	c.give(dev, m)
	c.checkUplinkIPv6(name, n, dev)
}

// checkUplinkIPv6 compares what a declared uplink says of IPv6 with what its network needs.
func (c *checker) checkUplinkIPv6(name string, n *Network, dev string) {
	l := c.node.linkOf(dev)
	if l == nil || l.IPv6 == nil || c.devices[dev] == "" {
		return
	}
	p := c.devices[dev].key("ipv6")
	wants := n.Mode == Routed && n.IPv6 != nil
	switch {
	case wants && !*l.IPv6:
		c.fail(p, "network %s on %s has IPv6", name, dev)
	case !wants && *l.IPv6:
		c.fail(p, "network %s on %s has no IPv6 on the node", name, dev)
	}
}

func (c *checker) checkNetworkMTU(n *Network, p path) {
	under := *n
	under.MTU = 0
	below, on := c.node.NetworkMTU(&under), n.Uplink
	if c.node.VLANAware(n) {
		on = n.Bridge
	}
	if n.MTU != 0 && below != 0 && n.MTU > below {
		c.fail(p.key("mtu"), "%d is above the %d of %s, which the network is on", n.MTU, below, on)
	}
	if b := c.node.Bridges[n.Bridge]; b != nil && !b.VLANAware && b.MTU != 0 && n.MTU > b.MTU {
		c.fail(p.key("mtu"), "%d is above the %d of its bridge %s", n.MTU, b.MTU, n.Bridge)
	}
	if mtu := c.node.NetworkMTU(n); n.IPv6 != nil && mtu != 0 && mtu < 1280 {
		c.fail(p.key("mtu"), "%d is too little for IPv6, which needs 1280", mtu)
	}
}

// checkPrefix looks at one family of a routed network.
func (c *checker) checkPrefix(f *Prefix, p path, v4 bool) {
	if !f.Subnet.IsValid() {
		return
	}
	q := p.key("subnet")
	switch {
	case f.Subnet.Addr().Is4() != v4:
		c.fail(q, "%s is of the other address family", f.Subnet)
		return
	case f.Subnet.Bits() == 0:
		c.fail(q, "%s is everything", f.Subnet)
		return
	case f.Subnet.Addr().IsMulticast() || f.Subnet.Addr().IsLinkLocalUnicast() && !v4:
		c.fail(q, "%s is no subnet for guests", f.Subnet)
	}
	if f.Gateway.IsValid() && (v4 || !f.Gateway.IsLinkLocalUnicast()) {
		c.checkInSubnet(f.Gateway, f.Subnet, p.key("gateway"))
	}
	if !f.ARPSource.IsValid() {
		return
	}
	q = p.key("arp_source")
	if !v4 {
		c.fail(q, "IPv6 has no ARP")
		return
	}
	if c.checkInSubnet(f.ARPSource, f.Subnet, q) && f.ARPSource == f.Gateway {
		c.fail(q, "%s is the gateway's address; the node would take its place on the VLAN", f.ARPSource)
	}
}

// checkInSubnet refuses an address that no machine of the subnet can have.
func (c *checker) checkInSubnet(a netip.Addr, subnet netip.Prefix, p path) bool {
	if !subnet.Contains(a) {
		c.fail(p, "%s is not in %s", a, subnet)
		return false
	}
	if why := noHost(a, subnet); why != "" {
		c.fail(p, "%s", why)
		return false
	}
	return true
}
