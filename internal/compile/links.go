// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"crypto/sha256"
	"fmt"
	"strings"

	"weft/internal/netstate"
	"weft/internal/spec"
)

// declared asks for the links that the file declares.
func (b *builder) declared() {
	for _, name := range sorted(b.node.VRFs) {
		v := b.node.VRFs[name]
		l := b.common("vrfs."+name, name, &v.Link)
		l.Kind, l.VRF = netstate.VRF, &netstate.VRFAttrs{Table: v.Table}
		b.link("vrfs."+name, l)
	}
	for _, name := range sorted(b.node.Links) {
		b.link("links."+name, b.common("links."+name, name, b.node.Links[name]))
	}
	for _, name := range sorted(b.node.Bonds) {
		b.bond(name, b.node.Bonds[name])
	}
	for _, name := range sorted(b.node.VLANs) {
		b.vlan(name, b.node.VLANs[name])
	}
	for _, name := range sorted(b.node.Bridges) {
		b.bridge(name, b.node.Bridges[name])
	}
}

// common asks for what every kind of link can have: addresses, and IPv6 on or off. It returns the rest.
func (b *builder) common(who, name string, s *spec.Link) netstate.Link {
	l := netstate.Link{Name: name, MTU: uint32(b.node.LinkMTU(name)), MAC: canonicalMAC(s.MAC), Up: new(s.IsUp())}
	if s.VRF != "" {
		l.Master = new(s.VRF)
	}
	six := false
	for _, p := range s.Addresses {
		a := netstate.Addr{Prefix: p, Dev: name, Protocol: netstate.Protocol}
		b.put(who, a)
		b.addrs = append(b.addrs, a)
		six = six || p.Addr().Is6()
	}
	switch {
	case s.IPv6 != nil && !*s.IPv6:
		b.sysctl(who, "net/ipv6/conf/"+name+"/disable_ipv6", "1")
	case s.IPv6 != nil || six:
		b.sysctl(who, "net/ipv6/conf/"+name+"/disable_ipv6", "0")
	}
	return l
}

// canonicalMAC returns a MAC as netstate spells it, in lower case; package spec takes it with colons only.
func canonicalMAC(s string) string { return strings.ToLower(s) }

// localMAC returns a locally administered MAC for a link of this node: the same at every start, so that a bridge keeps
// its MAC whatever ports come and go.
func localMAC(node, link string) string {
	h := sha256.Sum256([]byte(node + "\x00" + link))
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", h[0]&^3|2, h[1], h[2], h[3], h[4], h[5])
}
