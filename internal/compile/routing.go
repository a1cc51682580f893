// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"fmt"
	"net/netip"

	"weft/internal/netstate"
	"weft/internal/spec"
)

// routing asks for the routes, rules and neighbours that the file spells out.
func (b *builder) routing() {
	for i := range b.node.Routes {
		b.staticRoute(fmt.Sprintf("routes[%d]", i), &b.node.Routes[i])
	}
	for i := range b.node.Rules {
		r := &b.node.Rules[i]
		b.put(fmt.Sprintf("rules[%d]", i), netstate.Rule{
			Family: r.FamilyNumber(), Priority: r.Priority, Not: r.Not, From: selector(r.From), To: selector(r.To), IIF: r.IIF, OIF: r.OIF,
			FwMark: r.FwMark, FwMask: r.FwMask, Table: r.Table, Action: r.ActionWord(), Protocol: netstate.Protocol,
		})
	}
	for i, n := range b.node.Neighbours {
		b.put(fmt.Sprintf("neighbours[%d]", i), netstate.Neigh{
			IP: n.IP, Dev: n.Dev, MAC: canonicalMAC(n.MAC), Proxy: n.Proxy, Protocol: netstate.Protocol,
		})
	}
}

// selector returns a rule's prefix in canonical form; the kernel keeps no prefix of length 0.
func selector(p netip.Prefix) netip.Prefix {
	if p.Bits() <= 0 {
		return netip.Prefix{}
	}
	return p.Masked()
}

// staticRoute asks for a route of the file. Where it names no device, the kernel would look one up for the gateway and
// list the route with it, so the same is done here.
func (b *builder) staticRoute(who string, s *spec.Route) {
	r := netstate.Route{
		Dst: s.Destination(), Table: s.TableNumber(), Metric: s.Metric, Type: s.TypeWord(), Via: s.Via, Dev: s.Dev,
		Src: s.Src, OnLink: s.OnLink, MTU: uint32(s.MTU),
	}
	if r.Via.IsValid() && r.Dev == "" {
		r.Dev = b.deviceTo(r.Via, r.Table)
		if r.Dev == "" {
			b.errs = append(b.errs, fmt.Errorf("%s: no address of this file is in one subnet with the gateway %s: name the device (dev)", who, r.Via))
			return
		}
	}
	b.route(who, r)
}

// deviceTo returns the device that a gateway is on, by the longest prefix among the addresses of the file and its routes
// without a gateway, those of the route's own table first.
func (b *builder) deviceTo(gateway netip.Addr, table uint32) string {
	best, dev := -1, ""
	consider := func(p netip.Prefix, on string, t uint32) {
		score := p.Bits()
		if t == table {
			score += 256
		}
		if p.Masked().Contains(gateway) && score > best {
			best, dev = score, on
		}
	}
	for _, a := range b.addrs {
		consider(a.Prefix, a.Dev, b.tableOf(a.Dev))
	}
	for i := range b.node.Routes {
		if r := &b.node.Routes[i]; r.Dev != "" && !r.Via.IsValid() && r.Destination().Bits() > 0 {
			consider(r.Destination(), r.Dev, r.TableNumber())
		}
	}
	return dev
}

// tableOf returns the table that a link's subnets are in: its VRF's, or main.
func (b *builder) tableOf(dev string) uint32 {
	if master, ok := b.links[b.links[dev].MasterName()]; ok && master.VRF != nil {
		return master.VRF.Table
	}
	return netstate.TableMain
}
