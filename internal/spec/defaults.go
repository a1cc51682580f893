// SPDX-License-Identifier: Apache-2.0

package spec

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// IsUp reports whether the link is to be up, which is the default.
func (l *Link) IsUp() bool { return l.Up == nil || *l.Up }

// HasIPv6 reports whether IPv6 is to be on, which is the default. A link that carries a bridged network has none
// whatever this says.
func (l *Link) HasIPv6() bool { return l.IPv6 == nil || *l.IPv6 }

// ModeWord returns the bond's mode in the kernel's word: active-backup unless the file says otherwise.
func (b *Bond) ModeWord() string { return orElse(b.Mode, "active-backup") }

// MIIMonMS returns the MII monitor's interval in milliseconds: 100 unless the file says otherwise or ARP monitoring is
// asked for. A bond without a monitor never notices a dead member.
func (b *Bond) MIIMonMS() uint32 {
	switch {
	case b.MIIMon != nil:
		return *b.MIIMon
	case b.ARPInterval != nil && *b.ARPInterval > 0:
		return 0
	}
	return 100
}

// LACPRateWord returns how often the partner is asked to send LACPDUs: fast (every second) unless the file says slow
// (every 30 seconds). It is "" where the mode is not 802.3ad.
func (b *Bond) LACPRateWord() string {
	if b.ModeWord() != "802.3ad" {
		return ""
	}
	return orElse(b.LACPRate, "fast")
}

// ParentName returns the device below the VLAN device of this name: what the file says, or the part of the name before
// its last dot.
func (v *VLAN) ParentName(name string) string {
	if v.Parent != "" {
		return v.Parent
	}
	parent, _, _ := splitVLAN(name)
	return parent
}

// VID returns the VLAN's number for the VLAN device of this name: what the file says, or the number after the last dot
// of the name. It is 0 where neither tells.
func (v *VLAN) VID(name string) int {
	if v.ID != 0 {
		return v.ID
	}
	_, vid, _ := splitVLAN(name)
	return vid
}

// ProtocolWord returns the tag's EtherType in the kernel's word: 802.1Q unless the file says otherwise.
func (v *VLAN) ProtocolWord() string { return orElse(v.Protocol, "802.1Q") }

// splitVLAN takes a name such as bond0.993 apart.
func splitVLAN(name string) (parent string, vid int, ok bool) {
	i := strings.LastIndexByte(name, '.')
	if i <= 0 {
		return "", 0, false
	}
	n, err := strconv.ParseUint(name[i+1:], 10, 16)
	if err != nil || n < 1 || n > 4094 {
		return "", 0, false
	}
	return name[:i], int(n), true
}

// ForwardDelaySeconds returns the bridge's forward delay: 0 unless the file says otherwise, so that a port forwards at
// once; with spanning tree 15, the kernel's default, because the kernel refuses less than 2 then.
func (b *Bridge) ForwardDelaySeconds() int {
	switch {
	case b.ForwardDelay != nil:
		return *b.ForwardDelay
	case b.STP:
		return 15
	}
	return 0
}

// TableNumber returns the routing table of the route: main unless the file says otherwise.
func (r *Route) TableNumber() uint32 {
	if r.Table == 0 {
		return 254
	}
	return r.Table
}

// TypeWord returns the route's type in iproute2's word: unicast unless the file says otherwise.
func (r *Route) TypeWord() string { return orElse(r.Type, "unicast") }

// Destination returns the prefix that the route leads to, masked. "default" is 0.0.0.0/0 or ::/0, by the family of the
// gateway, then of the source, then by Family, IPv4 where nothing tells. The zero Prefix means that To is neither
// "default" nor a prefix nor an address, which Parse does not let through.
func (r *Route) Destination() netip.Prefix {
	if r.To == "default" {
		six := r.Family == "inet6" || r.Via.Is6() || r.Src.Is6()
		if six {
			return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		}
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	if p, err := netip.ParsePrefix(r.To); err == nil {
		return p.Masked()
	}
	if a, err := netip.ParseAddr(r.To); err == nil && a.Zone() == "" {
		return netip.PrefixFrom(a, a.BitLen())
	}
	return netip.Prefix{}
}

// FamilyNumber returns 4 or 6: what the file says, or the family of the rule's addresses, or 4.
func (r *Rule) FamilyNumber() int {
	if r.Family == "inet6" || r.From.Addr().Is6() || r.To.Addr().Is6() {
		return 6
	}
	return 4
}

// ActionWord returns what the rule does, in ip-rule's word: lookup unless the file says otherwise.
func (r *Rule) ActionWord() string { return orElse(r.Action, "lookup") }

// TableNumber returns a routed network's table: what the file says, or the VLAN's number. It is 0 for a bridged network.
func (n *Network) TableNumber() uint32 {
	if n.Mode != Routed {
		return 0
	}
	if n.Table != 0 {
		return n.Table
	}
	return uint32(n.VLAN)
}

// PolicyWord returns how a routed network's packets come to its table: what the file says, or vrf, or rules where the
// network is not managed. It is "" for a bridged network.
func (n *Network) PolicyWord() string {
	switch {
	case n.Mode != Routed:
		return ""
	case n.IsManaged():
		return orElse(n.Policy, "vrf")
	}
	return orElse(n.Policy, "rules")
}

// VRFName returns the name of a routed network's VRF: what the file says, or vrf<TABLE>. It is "" where there is none.
func (n *Network) VRFName() string {
	if n.PolicyWord() != "vrf" {
		return ""
	}
	return orElse(n.VRF, fmt.Sprintf("vrf%d", n.TableNumber()))
}

// BridgeName returns the name of a bridged network's bridge: what the file says, or vlan<VLAN>. It is "" for a routed
// network.
func (n *Network) BridgeName() string {
	if !n.OnBridge() {
		return ""
	}
	return orElse(n.Bridge, fmt.Sprintf("vlan%d", n.VLAN))
}

// Number returns the network's number, which its interface groups count from: the table of a routed network (at most
// 65535), 70000 and the VLAN for a bridged one, 75000 and the VLAN for a private one.
func (n *Network) Number() uint32 {
	if n.Mode == Routed {
		return n.TableNumber()
	}
	if n.Mode == Private {
		return 75000 + uint32(n.VLAN)
	}
	return 70000 + uint32(n.VLAN)
}

// VLANAware reports whether the network is a VLAN of a VLAN-aware bridge that the file declares: it then has no VLAN
// device and no bridge of its own.
func (n *Node) VLANAware(net *Network) bool {
	if !net.OnBridge() || net.Bridge == "" {
		return false
	}
	b := n.Bridges[net.Bridge]
	return b != nil && b.VLANAware
}

// vlanOf returns the declared 802.1Q device of this VLAN of this parent; the first by name, if a broken file has two.
func (n *Node) vlanOf(parent string, vid int) (string, bool) {
	is := func(name string, v *VLAN) bool {
		return v != nil && v.ParentName(name) == parent && v.VID(name) == vid && v.ProtocolWord() == "802.1Q"
	}
	implied := fmt.Sprintf("%s.%d", parent, vid)
	if is(implied, n.VLANs[implied]) {
		return implied, true
	}
	best, end := "", implied[len(parent):]
	for name, v := range n.VLANs { // for every network and NIC, so the cheap comparison first
		may := v != nil && (v.ID == vid || v.ID == 0 && strings.HasSuffix(name, end))
		if may && is(name, v) && (best == "" || name < best) {
			best = name
		}
	}
	return best, best != ""
}

// LinkMTU returns the MTU in bytes that the file gives the link of this name, its own, that of the device below it or the
// smallest of a bridge's ports, or 0 where the file does not say. A bond without one has the kernel's default, 1500.
func (n *Node) LinkMTU(name string) int { return n.linkMTU(name, map[string]bool{}) }

// linkMTU asks no link twice: of files that have loops Parse finds that out.
func (n *Node) linkMTU(name string, asked map[string]bool) int {
	l, again := n.linkOf(name), asked[name]
	asked[name] = true
	switch {
	case again:
		return 0
	case l != nil && l.MTU != 0:
		return l.MTU
	case n.Bonds[name] != nil:
		return 1500
	case n.Bridges[name] != nil:
		return n.smallestMTU(n.Bridges[name].Ports, asked)
	case n.VLANs[name] != nil:
		return n.linkMTU(n.VLANs[name].ParentName(name), asked)
	}
	return 0
}

// smallestMTU returns the smallest MTU that the file gives these links, 0 if it gives none.
func (n *Node) smallestMTU(names []string, asked map[string]bool) int {
	least := 0
	for _, name := range names {
		if m := n.linkMTU(name, asked); m != 0 && (least == 0 || m < least) {
			least = m
		}
	}
	return least
}

// NetworkMTU returns the network's MTU in bytes: its own, or the smallest of its uplink devices', or 0 where the file
// does not say.
func (n *Node) NetworkMTU(net *Network) int {
	if net.MTU != 0 {
		return net.MTU
	}
	if n.Bridges[net.BridgeName()] != nil {
		return n.LinkMTU(net.BridgeName())
	}
	var names []string
	for _, u := range n.Uplinks(net) {
		if n.linkOf(u.Dev) == nil {
			u.Dev = u.Parent
		}
		names = append(names, u.Dev)
	}
	return n.smallestMTU(names, map[string]bool{})
}

// linkOf returns what the file says of the link of this name, whatever its kind, or nil.
func (n *Node) linkOf(name string) *Link {
	if l := n.Links[name]; l != nil {
		return l
	}
	if b := n.Bonds[name]; b != nil {
		return &b.Link
	}
	if v := n.VLANs[name]; v != nil {
		return &v.Link
	}
	if b := n.Bridges[name]; b != nil {
		return &b.Link
	}
	if v := n.VRFs[name]; v != nil {
		return &v.Link
	}
	return nil
}

// SysctlPath returns the path below /proc/sys of a setting's name. As in sysctl(8), a name whose first separator is a
// dot has dots and slashes exchanged: "net.ipv4.conf.bond0/993.proxy_arp" is net/ipv4/conf/bond0.993/proxy_arp.
func SysctlPath(name string) string {
	i := strings.IndexAny(name, "./")
	if i < 0 || name[i] == '/' {
		return name
	}
	return strings.NewReplacer(".", "/", "/", ".").Replace(name)
}

func orElse(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}
