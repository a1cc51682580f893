// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"fmt"

	"weft/internal/netstate"
	"weft/internal/spec"
)

// gcThresh is how many neighbour entries the machine keeps of each family (neigh/default/gc_thresh1 to 3): below the
// first it clears none away, above the last it takes none. The kernel's own 128, 512 and 1024 are fewer than a node has
// guests. The table is one for the whole machine, so that one network that fills it would cut off the others; the entries of
// guests are permanent and count for nothing, which leaves all this to the neighbours on the uplinks: about 10 MB at most.
// Questions that are open cannot be cleared away; the guards limit how many of them each guest causes (see asked6).
var gcThresh = [3]string{"8192", "16384", "32768"}

// forwarding turns on what the whole node needs for the network's families.
func (b *builder) forwarding(who string, n *spec.Network) {
	if n.IPv4 != nil {
		b.sysctl(who, "net/ipv4/ip_forward", "1")
		b.sysctl(who, "net/ipv4/conf/all/send_redirects", "0") // a device sends them if it or "all" says so
		// The greater of this and the device's own counts: with 2 here a tap's 1 would not be strict, and with 1 or 2 no
		// network could do with rules. What a link of the host's had from "all" it needs of its own.
		b.sysctl(who, "net/ipv4/conf/all/rp_filter", "0")
	}
	if n.IPv6 != nil {
		b.sysctl(who, "net/ipv6/conf/all/forwarding", "1")
		// A router that knows a guest asks it directly whether it is still there (RFC 4861 section 7.3.3). That packet is
		// on its way to the guest, and ip6_forward looks at the proxy entries only if "all" says so.
		b.sysctl(who, "net/ipv6/conf/all/proxy_ndp", "1")
	}
}

// port sets up a device as a port of a routed network, on either side, for the families that it carries: it answers for
// what is routed elsewhere, at once, and says nothing that a router with addresses would. A family that it does not carry
// stops at it.
func (b *builder) port(who string, n *spec.Network, dev string, four, six bool) {
	v4, v6 := "net/ipv4/conf/"+dev+"/", "net/ipv6/conf/"+dev+"/"
	if four {
		b.sysctl(who, v4+"forwarding", "1")
		b.sysctl(who, v4+"proxy_arp", "1")
		b.sysctl(who, "net/ipv4/neigh/"+dev+"/proxy_delay", "0")
		b.sysctl(who, v4+"send_redirects", "0")
		b.sysctl(who, v4+"accept_redirects", "0")
		b.sysctl(who, v4+"accept_source_route", "0")
		b.sysctl(who, v4+"arp_ignore", "1") // the host's own addresses are on other devices, and nobody's to know here
	} else {
		b.sysctl(who, v4+"forwarding", "0")
		b.sysctl(who, v4+"proxy_arp", "0")
	}
	if n.VRFName() == "" && four {
		b.sysctl(who, v4+"rp_filter", "0") // the reverse lookup does not see the rules by incoming interface
	}
	if !six {
		b.sysctl(who, v6+"disable_ipv6", "1")
		return
	}
	b.sysctl(who, v6+"disable_ipv6", "0") // the proxy answers from the link-local address
	b.sysctl(who, v6+"forwarding", "1")   // it answers on devices that forward, and these take no redirects
	b.sysctl(who, v6+"accept_ra", "0")
	b.sysctl(who, v6+"autoconf", "0")
	b.sysctl(who, v6+"proxy_ndp", "1")
	b.sysctl(who, "net/ipv6/neigh/"+dev+"/proxy_delay", "0")
}

// settings asks for the sysctls that the file spells out, and for those that keep a link of the host from doing what only
// a port of a routed network may.
func (b *builder) settings() {
	for _, name := range sorted(b.node.Sysctls) {
		b.sysctl("sysctls."+name, spec.SysctlPath(name), b.node.Sysctls[name])
	}
	for _, name := range b.hostLinks() {
		// A link that was a routed network's uplink, or that was made on a host where conf.default says so, would
		// answer ARP for everything that the host can reach.
		b.unlessSet("links", "net/ipv4/conf/"+name+"/proxy_arp", "0")
	}
	for _, n := range b.node.Networks {
		if n.Mode != spec.Routed {
			continue
		}
		for i, value := range gcThresh {
			for _, family := range []string{"ipv4", "ipv6"} {
				b.unlessSet("networks", fmt.Sprintf("net/%s/neigh/default/gc_thresh%d", family, i+1), value)
			}
		}
	}
}

// unlessSet asks for a setting that the file may have its own mind about.
func (b *builder) unlessSet(who, path, value string) {
	if b.state.Get(netstate.SysctlKey(path)) == nil {
		b.sysctl(who, path, value)
	}
}

// hostLinks returns the links on which the host itself speaks IP: they have an address, and are no port of anything.
func (b *builder) hostLinks() []string {
	names := make(map[string]bool)
	for _, a := range b.addrs {
		if l := b.links[a.Dev]; l.Kind != netstate.VRF && l.MasterName() == "" {
			names[a.Dev] = true
		}
	}
	return sorted(names)
}
