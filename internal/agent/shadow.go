// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"fmt"
	"net/netip"

	"weft/internal/netstate"
	"weft/internal/spec"
)

// way is a family of a routing table.
type way struct {
	table uint32
	four  bool
}

func wayOfRoute(r netstate.Route) way { return way{r.Table, r.Dst.Addr().Is4()} }

// shadows names the routes of others that take packets away from routes of weft's: in the tables of the networks, and in the host's
// own from the routes of the file. A route that is narrower than a default is nobody's shadow: who adds it wants it so.
func (b bearing) shadows() (hurts []Hurt) {
	ours := map[way][]netstate.Route{}
	for _, r := range b.want.routes {
		ours[wayOfRoute(r)] = append(ours[wayOfRoute(r)], r)
	}
	if len(ours) == 0 {
		return nil
	}
	theirs := map[uint32]bool{} // the tables that others fill
	for _, n := range b.node.Networks {
		if n.Mode == spec.Routed && !n.IsManaged() {
			theirs[n.TableNumber()] = true
		}
	}
	connected := map[string]bool{} // by the file's own addresses
	for _, a := range b.want.addrs {
		connected[a.Dev+" "+a.Prefix.Masked().String()] = true
	}
	for _, r := range b.have.routes {
		if r.Owned() || b.v.Want.Get(r.Key()) != nil || isHosts(r) || connected[r.Dev+" "+r.Dst.String()] {
			continue
		}
		if ours, shadowed := shadowed(r, ours[wayOfRoute(r)], theirs[r.Table]); shadowed {
			hurts = append(hurts, Hurt{
				Name: hurtRoute, Object: "route " + r.String(), By: protocols[r.Protocol],
				Why: fmt.Sprintf("takes packets for %s away from route %s", r.Dst, ours),
			})
		}
	}
	return hurts
}

// isHosts reports whether a route is to the host itself, as the kernel makes with each address.
func isHosts(r netstate.Route) bool {
	return r.Type == "local" || r.Type == "broadcast" || r.Type == "anycast" || r.Type == "multicast"
}

// protocols says who makes routes of a protocol (rtnetlink.h, RTPROT_*).
var protocols = map[uint8]string{9: "a router's advertisement", 11: "FRR", 12: "BIRD", 16: "a DHCP client"}

// global6 is all of IPv6 that is routed today: a default by another name.
var global6 = netip.MustParsePrefix("2000::/3")

// shadowed returns the route of ours that packets for r.Dst would take but for r, if they lead elsewhere. The default of theirs in a
// table that they fill comes before the end of weft's, as it should.
func shadowed(r netstate.Route, ours []netstate.Route, theirs bool) (best netstate.Route, yes bool) {
	for _, o := range ours {
		if !o.Dst.Contains(r.Dst.Addr()) || o.Dst.Bits() > r.Dst.Bits() {
			continue
		}
		if !yes || o.Dst.Bits() > best.Dst.Bits() || o.Dst == best.Dst && o.Metric < best.Metric {
			best, yes = o, true
		}
	}
	same := best.Dst == r.Dst
	switch {
	case !yes, leadsAlike(r, best), same && r.Metric >= best.Metric:
		return best, false
	case best.Type != "unicast" && theirs:
		return best, false
	case !same && best.Dst.Bits() == 0:
		return best, r.Dst.Bits() <= 1 || r.Dst == global6
	}
	return best, true
}

// leadsAlike reports whether two routes lead to the same place.
func leadsAlike(a, b netstate.Route) bool {
	a.Dst, a.Metric, a.Src, a.MTU = b.Dst, b.Metric, b.Src, b.MTU
	return a.Meets(b)
}
