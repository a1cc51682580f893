// SPDX-License-Identifier: Apache-2.0

package spec

import (
	"fmt"
	"net/netip"
	"slices"
)

// channel is what two networks cannot both use: a VLAN of an uplink, or of a VLAN-aware bridge.
type channel struct {
	device string
	vlan   int
}

func (c *checker) checkNetworks() {
	c.checkMasks()
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
		if n.Mode == Routed {
			c.checkRouted(name, n, p, tables)
		} else {
			c.checkBridged(name, n, p, bridges)
		}
		c.checkNetworkMTU(n, p)
		c.checkRates(n, p)
		if c.node.VLANAware(n) {
			c.sameChannel(channels, name, channel{n.Bridge, n.VLAN}, p.key("vlan"))
			continue
		}
		for _, l := range n.legs() {
			q := l.key(p, "vlan")
			if !c.sameChannel(channels, name, channel{l.uplink, l.vlan}, q) && !c.unread(q) && n.IsManaged() {
				c.checkUplink(name, n, l, p)
			}
		}
	}
}

// sameChannel refuses a second network on one VLAN of an uplink.
func (c *checker) sameChannel(channels map[channel]string, name string, ch channel, p path) bool {
	if c.unread(p) {
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
	c.fail(p, "%s is that of network %s already%s", what, first, c.line(at("networks", first)))
	return true
}

func (c *checker) checkRouted(name string, n *Network, p path, tables map[uint32]string) {
	if n.Bridge != "" {
		c.fail(p.key("bridge"), "a routed network has no bridge: guests are reached by their routes")
	}
	if len(n.Protect) > 0 {
		c.fail(p.key("protect"), "a routed network needs none: its guests use their own addresses only")
	}
	if n.MulticastSnooping {
		c.fail(p.key("mcast_snooping"), "a routed network has no bridge to look who listens")
	}
	if n.Isolated {
		c.fail(p.key("isolated"), "the node routes between the guests of a routed network; only a bridge keeps them apart")
	}
	c.checkWays(n, p)
	if n.IPv4 == nil && n.IPv6 == nil && !c.unread(p.key("ipv4")) && !c.unread(p.key("ipv6")) {
		c.fail(p, "ipv4 or ipv6 is missing; a routed network needs a subnet")
	}
	if n.PolicyWord() == "rules" && n.VRF != "" {
		c.fail(p.key("vrf"), "policy is rules%s, and there is no VRF then", map[bool]string{true: " where the network is not managed"}[n.Policy == ""])
	}
	if n.Conntrack && !n.IsManaged() {
		c.fail(p.key("conntrack"), "the uplink is somebody else's, and what comes in by it gets no zone of this network")
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

// checkWays finds the families of a routed network that have no way to the outside. Somebody else's table leads there by
// itself, but IPv6 is answered for on the device.
func (c *checker) checkWays(n *Network, p path) {
	if n.Uplink != "" || c.unread(p.key("uplink")) {
		return
	}
	four := n.IPv4 != nil && n.IPv4.Uplink == "" && !c.unread(p.key("ipv4").key("uplink"))
	six := n.IPv6 != nil && n.IPv6.Uplink == "" && !c.unread(p.key("ipv6").key("uplink"))
	switch {
	case n.IsManaged() && (four || six || n.IPv4 == nil && n.IPv6 == nil):
		c.fail(p, "uplink is missing; a routed network needs one")
	case !n.IsManaged() && six:
		c.fail(p, "uplink is missing; the node answers on it for the guests' IPv6 addresses")
	}
}

func (c *checker) checkBridged(name string, n *Network, p path, bridges map[string]string) {
	for _, k := range []struct {
		name string
		set  bool
	}{
		{"ipv4", n.IPv4 != nil}, {"ipv6", n.IPv6 != nil}, {"table", n.Table != 0}, {"vrf", n.VRF != ""}, {"policy", n.Policy != ""}, {"conntrack", n.Conntrack},
	} {
		if k.set {
			c.fail(p.key(k.name), "a bridged network has no %s: the node does not route for it, guests are on the VLAN itself", k.name)
		}
	}
	for i, a := range n.Protect {
		if why := noUnicast(a); why != "" {
			c.fail(p.key("protect").index(i), "%s", why)
		}
	}
	if n.MulticastSnooping && (!n.IsManaged() || c.node.Bridges[n.BridgeName()] != nil) {
		c.fail(p.key("mcast_snooping"), "the bridge is not the network's own: whoever declares it says so")
	}
	if !n.IsManaged() {
		c.checkForeignBridge(n, p)
		return
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

// checkForeignBridge looks at a bridged network whose bridge somebody else makes.
func (c *checker) checkForeignBridge(n *Network, p path) {
	q := p.key("bridge")
	switch {
	case n.Bridge == "" && !c.unread(q):
		c.fail(p, "bridge is missing; a bridged network that is not managed is a bridge that somebody else makes")
	case c.made(n.Bridge):
		c.fail(q, "%s is %s, and so weft's to make: take managed: false out, or name another", n.Bridge, c.spell(c.devices[n.Bridge]))
	case reserved(n.Bridge):
		c.fail(q, "%s is no bridge", n.Bridge)
	}
	if n.Uplink != "" {
		c.fail(p.key("uplink"), "who makes the bridge gives it its uplink, and the network is not managed")
	}
}

// checkUplink looks at a device that carries the network.
func (c *checker) checkUplink(name string, n *Network, l leg, p path) {
	dev, q := c.node.deviceOf(l), l.key(p, "uplink")
	switch {
	case c.node.VRFs[l.uplink] != nil:
		c.fail(q, "%s is a VRF, which carries no network", l.uplink)
		return
	case reserved(l.uplink):
		c.fail(q, "%s carries no network", l.uplink)
		return
	case l.uplink == n.BridgeName() && n.OnBridge():
		c.fail(q, "%s is the network's own bridge", l.uplink)
		return
	case dev == l.uplink && n.OnBridge() && c.node.Bridges[dev] != nil:
		c.fail(q, "%s is a bridge, and a bridge cannot be a port of another: write bridge: %s instead", dev, dev)
		return
	}
	m := master{net: name, at: q, what: "the uplink of network " + name}
	switch {
	case n.OnBridge():
		m.name = n.BridgeName()
	case n.VRFName() != "":
		m.name = n.VRFName()
	default:
		m.name = "network " + name
	}
	if l.vlan != 0 && c.node.VLANs[dev] != nil {
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
	c.checkUplinkIPv6(name, n, l)
}

// checkUplinkIPv6 compares what a declared uplink says of IPv6 with what its network needs.
func (c *checker) checkUplinkIPv6(name string, n *Network, way leg) {
	dev := c.node.deviceOf(way)
	l := c.node.linkOf(dev)
	if l == nil || l.IPv6 == nil || c.devices[dev] == "" {
		return
	}
	p := c.devices[dev].key("ipv6")
	wants := n.Mode == Routed && slices.Contains(way.families, 6)
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
	below, on := c.node.NetworkMTU(&under), n.Bridge
	if ways := n.legs(); len(ways) > 0 && !c.node.VLANAware(n) {
		on = ways[0].uplink
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
