// SPDX-License-Identifier: Apache-2.0

package spec

import (
	"fmt"
	"net/netip"
	"strings"
)

func (c *checker) checkRoutes() {
	type fib struct {
		dst    netip.Prefix
		table  uint32
		metric uint32
	}
	seen := map[fib]string{}
	for _, name := range c.nets { // what networks put into their tables
		n := c.node.Networks[name]
		for _, f := range []*Prefix{n.IPv4, n.IPv6} {
			if f == nil || n.Mode != Routed || !n.IsManaged() || !f.Subnet.IsValid() {
				continue
			}
			metric := defaultMetric(f.Subnet.Addr())
			seen[fib{f.Subnet, n.TableNumber(), metric}] = "network " + name
			if f.Gateway.IsValid() {
				all := netip.PrefixFrom(f.Subnet.Addr(), 0).Masked()
				seen[fib{all, n.TableNumber(), metric}] = "network " + name
			}
		}
	}
	for i := range c.node.Routes {
		r, p := &c.node.Routes[i], at("routes").index(i)
		if r.To == "" {
			continue
		}
		c.checkRoute(r, p)
		dst := r.Destination()
		k := fib{dst, r.TableNumber(), r.Metric}
		if k.metric == 0 {
			k.metric = defaultMetric(dst.Addr())
		}
		if first, twice := seen[k]; twice {
			c.fail(p, "%s has this destination, table and metric already", first)
		} else {
			seen[k] = c.spell(p)
		}
	}
}

// defaultMetric is what the kernel makes of no metric.
func defaultMetric(a netip.Addr) uint32 {
	if a.Is6() {
		return 1024
	}
	return 0
}

func (c *checker) checkRoute(r *Route, p path) {
	dst := r.Destination()
	family := familyWord(dst.Addr())
	if r.To == "default" && r.Family == "" && !r.Via.IsValid() && !r.Src.IsValid() && !c.unread(p.key("via")) && !c.unread(p.key("family")) {
		c.fail(p, "family is missing; \"default\" alone is of neither")
	}
	if r.Family != "" && r.Family != family {
		c.fail(p.key("family"), "%s, but the route is %s", r.Family, family)
	}
	for _, a := range []struct {
		name string
		addr netip.Addr
	}{{"via", r.Via}, {"src", r.Src}} {
		q := p.key(a.name)
		if !a.addr.IsValid() {
			continue
		}
		if why := noUnicast(a.addr); why != "" {
			c.fail(q, "%s", why)
		} else if familyWord(a.addr) != family {
			c.fail(q, "%s is not of the family of the destination, %s", a.addr, family)
		}
	}
	if r.Table == 255 {
		c.fail(p.key("table"), "table 255 is the kernel's own, of the node's addresses")
	}
	c.checkDev(r.Dev, p.key("dev"))
	switch {
	case c.unread(p.key("type")):
	case r.TypeWord() != "unicast":
		c.checkNowhere(r, p)
	default:
		c.checkHop(r, p)
	}
}

// checkNowhere refuses a way for packets that go nowhere.
func (c *checker) checkNowhere(r *Route, p path) {
	for _, k := range []struct {
		name string
		set  bool
	}{{"via", r.Via.IsValid()}, {"dev", r.Dev != ""}, {"src", r.Src.IsValid()}, {"onlink", r.OnLink}, {"mtu", r.MTU != 0}} {
		if k.set {
			c.fail(p.key(k.name), "has no meaning in a route of type %s", r.Type)
		}
	}
}

// checkHop looks at where a unicast route leads.
func (c *checker) checkHop(r *Route, p path) {
	if c.unread(p.key("via")) || c.unread(p.key("dev")) {
		return
	}
	switch {
	case !r.Via.IsValid() && r.Dev == "":
		c.fail(p, "via or dev is missing: where do packets go?")
	case r.OnLink && (!r.Via.IsValid() || r.Dev == ""):
		c.fail(p.key("onlink"), "needs via and dev")
	case r.Via.IsLinkLocalUnicast() && r.Via.Is6() && r.Dev == "":
		c.fail(p.key("via"), "a link-local gateway needs dev")
	case r.Via.IsValid() && r.Dev == "" && !c.onLink(r.Via):
		c.fail(p.key("via"), "%s is in no subnet of this file's addresses: name the device (dev)", r.Via)
	}
}

// onLink reports whether the gateway is in a subnet of the node's, or has a route without a gateway.
func (c *checker) onLink(gateway netip.Addr) bool {
	for _, l := range c.links() {
		for _, a := range l.Addresses {
			if a.IsValid() && a.Contains(gateway) {
				return true
			}
		}
	}
	for i := range c.node.Routes {
		r := &c.node.Routes[i]
		if d := r.Destination(); r.Dev != "" && !r.Via.IsValid() && d.Bits() > 0 && d.Contains(gateway) {
			return true
		}
	}
	return false
}

func (c *checker) checkRules() {
	seen := map[string]path{}
	for i := range c.node.Rules {
		r, p := &c.node.Rules[i], at("rules").index(i)
		if c.unread(p) {
			continue
		}
		c.checkRule(r, p)
		k := fmt.Sprint(r.Priority, r.FamilyNumber(), r.Not, r.From, r.To, r.IIF, r.OIF, r.FwMark, r.FwMask, r.Table, r.ActionWord())
		if first, twice := seen[k]; twice {
			c.fail(p, "%s says the same already", c.spell(first))
		} else {
			seen[k] = p
		}
	}
}

func (c *checker) checkRule(r *Rule, p path) {
	family := "inet"
	if r.FamilyNumber() == 6 {
		family = "inet6"
	}
	for _, a := range []struct {
		name   string
		prefix netip.Prefix
	}{{"from", r.From}, {"to", r.To}} {
		if a.prefix.IsValid() && (familyWord(a.prefix.Addr()) != family || r.Family != "" && r.Family != family) {
			c.fail(p.key(a.name), "%s is not of the rule's family", a.prefix)
		}
	}
	lookup := r.ActionWord() == "lookup"
	switch {
	case lookup && r.Table == 0 && !c.unread(p.key("table")) && !c.unread(p.key("action")):
		c.fail(p, "table is missing; which is to be looked up?")
	case !lookup && r.Table != 0:
		c.fail(p.key("table"), "has no meaning with action %s", r.Action)
	}
	if r.FwMask != 0 && r.FwMark&^r.FwMask != 0 {
		c.fail(p.key("fwmark"), "%#x has bits outside of fwmask %#x, and never matches", r.FwMark, r.FwMask)
	}
	all := !r.From.IsValid() && !r.To.IsValid() && r.IIF == "" && r.OIF == "" && r.FwMark == 0 && r.FwMask == 0
	if r.Not && all {
		c.fail(p.key("not"), "there is no selector to negate")
	}
	if r.Table == 255 && all && !r.Not {
		c.fail(p.key("table"), "the rule that looks up the table of the node's own addresses is weft's to place")
	}
	for _, d := range []struct{ name, dev string }{{"iif", r.IIF}, {"oif", r.OIF}} {
		if d.dev != "lo" {
			c.checkDev(d.dev, p.key(d.name))
		}
	}
}

func (c *checker) checkNeighbours() {
	seen := map[string]path{}
	for i := range c.node.Neighbours {
		n, p := &c.node.Neighbours[i], at("neighbours").index(i)
		if c.unread(p) {
			continue
		}
		c.checkDev(n.Dev, p.key("dev"))
		if n.IP.IsValid() {
			if why := noUnicast(n.IP); why != "" {
				c.fail(p.key("ip"), "%s", why)
			}
		}
		switch {
		case n.Proxy && n.MAC != "":
			c.fail(p.key("mac"), "has no meaning with proxy: the node answers with its own")
		case !n.Proxy && n.MAC == "" && !c.unread(p.key("mac")):
			c.fail(p, "mac is missing; or proxy, for an address that the node answers for")
		}
		if !n.IP.IsValid() || n.Dev == "" {
			continue
		}
		k := fmt.Sprint(n.IP, n.Dev, n.Proxy)
		if first, twice := seen[k]; twice {
			c.fail(p, "%s on %s is %s already", n.IP, n.Dev, c.spell(first))
		} else {
			seen[k] = p
		}
	}
}

func (c *checker) checkSysctls() {
	needed := c.neededSysctls()
	seen := map[string]string{}
	for _, name := range inOrder(c.src, "sysctls", c.node.Sysctls) {
		p, file := at("sysctls", name), SysctlPath(name)
		if c.unread(p) {
			continue
		}
		if first, twice := seen[file]; twice {
			c.fail(p, "is the same setting as %s", first)
			continue
		}
		seen[file] = name
		if why := badSysctl(file); why != "" {
			c.fail(p, "%s", why)
			continue
		}
		if dev := sysctlDev(file); dev != "" && dev != "lo" && !c.known(dev) {
			c.fail(p, "%s is nowhere else in this file; a device that exists already is described under links, {} is enough", dev)
		}
		if n, ok := needed[file]; ok && n.value != strings.TrimSpace(c.node.Sysctls[name]) {
			c.fail(p, "%s, but %s needs it to be %s", c.node.Sysctls[name], n.who, n.value)
		}
	}
}

// need is the value that a setting has to have, and for whom.
type need struct{ value, who string }

// neededSysctls are the settings that follow from the rest of the file: one that says otherwise contradicts it.
func (c *checker) neededSysctls() map[string]need {
	needs := map[string]need{}
	for _, l := range c.links() {
		if l.IPv6 != nil {
			value := "1"
			if *l.IPv6 {
				value = "0"
			}
			needs["net/ipv6/conf/"+l.name+"/disable_ipv6"] = need{value, l.at.key("ipv6").String()}
		}
	}
	for _, name := range c.nets {
		n, who := c.node.Networks[name], "network "+name
		switch {
		case n.Mode == Routed && n.IsManaged():
			for _, u := range c.node.Uplinks(n) {
				needsOfRouted(needs, n, u, who)
			}
		case n.Mode == Routed:
			if dev := c.node.FamilyUplink(n, 6); dev != "" {
				needs["net/ipv6/conf/"+dev+"/proxy_ndp"] = need{"1", who}
			}
		case n.IsManaged():
			for _, u := range c.node.Uplinks(n) {
				needs["net/ipv6/conf/"+u.Dev+"/disable_ipv6"] = need{"1", who}
			}
			if br := n.BridgeName(); c.node.Bridges[br] == nil {
				needs["net/ipv6/conf/"+br+"/disable_ipv6"] = need{"1", who}
			}
		}
	}
	return needs
}

// needsOfRouted adds the settings without which a routed network does not work on this uplink.
func needsOfRouted(needs map[string]need, n *Network, u Uplink, who string) {
	on := func(value string, files ...string) {
		for _, file := range files {
			needs["net/"+file] = need{value, who}
		}
	}
	v4, v6 := "ipv4/conf/"+u.Dev+"/", "ipv6/conf/"+u.Dev+"/"
	if u.IPv4 {
		on("1", "ipv4/ip_forward", "ipv4/conf/all/forwarding", v4+"forwarding", v4+"proxy_arp")
		on("0", "ipv4/conf/all/send_redirects", "ipv4/conf/all/rp_filter", v4+"send_redirects", "ipv4/neigh/"+u.Dev+"/proxy_delay")
	} else {
		on("0", v4+"forwarding", v4+"proxy_arp")
	}
	if u.IPv4 && n.PolicyWord() == "rules" {
		on("0", v4+"rp_filter")
	}
	if u.IPv6 {
		on("1", "ipv6/conf/all/forwarding", "ipv6/conf/all/proxy_ndp", v6+"forwarding", v6+"proxy_ndp")
		on("0", v6+"disable_ipv6", v6+"accept_ra", v6+"autoconf", "ipv6/neigh/"+u.Dev+"/proxy_delay")
	} else {
		on("1", v6+"disable_ipv6")
	}
}

// badSysctl returns why weft does not set this, or "".
func badSysctl(file string) string {
	parts := strings.Split(file, "/")
	if parts[0] != "net" || len(parts) < 3 {
		return "weft sets what is below net., such as net.ipv4.ip_forward"
	}
	for _, part := range parts {
		if part == "" || part == "." || part == ".." || strings.ContainsFunc(part, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return "not the name of a setting"
		}
	}
	if isPerDev(parts) && len(parts) > 5 {
		return fmt.Sprintf("a dot in an interface's name is written as a slash: %s.%s.%s.%s.%s",
			parts[0], parts[1], parts[2], strings.Join(parts[3:len(parts)-1], "/"), parts[len(parts)-1])
	}
	return ""
}

func isPerDev(parts []string) bool {
	return len(parts) >= 4 && (parts[1] == "ipv4" || parts[1] == "ipv6") && (parts[2] == "conf" || parts[2] == "neigh")
}

// sysctlDev returns the interface that a setting is of, or "".
func sysctlDev(file string) string {
	parts := strings.Split(file, "/")
	if !isPerDev(parts) || parts[3] == "all" || parts[3] == "default" {
		return ""
	}
	return parts[3]
}
