// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"weft/internal/netstate"
	"weft/internal/spec"
)

// settings asks for the sysctls that the file spells out, and for those that keep a link of the host from doing what only
// a port of a routed network may.
func (b *builder) settings() {
	for _, name := range sorted(b.node.Sysctls) {
		b.sysctl("sysctls."+name, spec.SysctlPath(name), b.node.Sysctls[name])
	}
	for _, name := range b.hostLinks() {
		// A link that was a routed network's uplink, or that was made on a host where conf.default says so, would
		// answer ARP for everything that the host can reach.
		if path := "net/ipv4/conf/" + name + "/proxy_arp"; b.state.Get(netstate.SysctlKey(path)) == nil {
			b.sysctl("links", path, "0")
		}
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
