// SPDX-License-Identifier: Apache-2.0

package ifupdown

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"weft/internal/spec"
)

// options translates what the interface's stanzas say, commands excepted.
func (t *translator) options(i *iface) {
	if i.kind == absent {
		for _, s := range i.stanzas {
			if s.Method != "" && s.Method != "manual" && s.Method != "static" {
				t.note(s.Pos, s.Text, "weft makes no such interface")
			}
		}
		for _, e := range i.entries {
			if !isCommand(e.name) {
				e.fail("its stanza is not translated")
			}
		}
		return
	}
	switch i.kind {
	case bond:
		t.bondOptions(i)
	case bridge:
		t.bridgeOptions(i)
	}
	for _, s := range i.stanzas {
		t.method(i, s)
		t.addresses(i, s)
		t.mtu(i, s)
	}
	for _, e := range i.find("hwaddress") {
		t.mac(i, e)
	}
	if e := i.last("vrf"); e != nil {
		i.link.VRF = e.Value
		if v := t.ifaces[e.Value]; v == nil || v.kind != vrf {
			e.fail("%s is no VRF of these files", e.Value)
			i.link.VRF = ""
		}
	}
	for _, name := range []string{"description", "alias"} {
		if e := i.last(name); e != nil {
			t.remark(e.Pos, e.Text, "weft writes aliases of its own")
		}
	}
	t.routedOptions(i)
	t.settings(i)
}

// method translates what a stanza's method asks for by itself.
func (t *translator) method(i *iface, s *Iface) {
	six := s.Family == "inet6"
	switch s.Method {
	case "", "static", "manual", "loopback":
		if six && s.Method == "static" && i.name != "lo" {
			t.setting(i, "ipv6", "autoconf", "0", nil)
		}
	case "auto":
		if !six {
			t.note(s.Pos, s.Text, "weft does not know this method")
			return
		}
		t.setting(i, "ipv6", "accept_ra", "2", nil)
		t.setting(i, "ipv6", "autoconf", "1", nil)
	case "dhcp", "bootp", "ipv4ll":
		i.dhcp = true
		t.note(s.Pos, s.Text, "weft has no client for this: give the interface an address, or leave it to ifupdown")
	default:
		t.note(s.Pos, s.Text, "weft does not know this method")
	}
}

// addresses translates the address, netmask, broadcast and gateway lines of one stanza.
func (t *translator) addresses(i *iface, s *Iface) {
	masks := stanzaOptions(i, s, "netmask")
	for n, e := range stanzaOptions(i, s, "address") {
		var mask *entry
		if len(masks) > 0 {
			mask = masks[min(n, len(masks)-1)]
			mask.ok()
		}
		p, why := t.prefix(s, e, mask)
		if why != "" {
			e.fail("%s", why)
			if mask != nil {
				mask.fail("its address is not translated")
			}
			continue
		}
		e.ok()
		if why := t.address(i, p); why != "" {
			e.fail("%s", why)
		}
	}
	for _, e := range stanzaOptions(i, s, "broadcast") {
		if e.Value == "+" || t.isBroadcast(i, e.Value) {
			e.ok()
		} else {
			e.fail("the broadcast address is the last one of the prefix")
		}
	}
	for _, e := range stanzaOptions(i, s, "scope") {
		if e.ok(); e.Value != "global" {
			e.fail("weft gives addresses global scope")
		}
	}
	t.gateways(i, s)
}

// stanzaOptions returns the options of this name of one of the interface's stanzas.
func stanzaOptions(i *iface, s *Iface, name string) []*entry {
	var found []*entry
	for _, e := range i.find(name) {
		if e.stanza == s {
			found = append(found, e)
		}
	}
	return found
}

// address gives the interface an address, once, or tells why not.
func (t *translator) address(i *iface, p netip.Prefix) string {
	if i.name == "lo" {
		if p == netip.MustParsePrefix("127.0.0.1/8") || p == netip.MustParsePrefix("::1/128") {
			return "" // the kernel's own
		}
		return "weft leaves the loopback interface alone: a dummy interface can have the address"
	}
	if !slices.Contains(i.link.Addresses, p) {
		i.link.Addresses = append(i.link.Addresses, p)
	}
	return ""
}

// prefix reads an address with the length that follows it, or that of a netmask line, which wins, or the one of the
// address's class, as ifupdown still has it; ifupdown2's short form means a single address.
func (t *translator) prefix(s *Iface, e, mask *entry) (netip.Prefix, string) {
	text, length, slash := strings.Cut(e.Value, "/")
	a, err := netip.ParseAddr(text)
	if err != nil || a.Zone() != "" {
		return netip.Prefix{}, "not an address"
	}
	if s.Family == "inet" && !a.Is4() || s.Family == "inet6" && a.Is4() {
		return netip.Prefix{}, "an address of the other family"
	}
	if mask != nil && (s.Family != "" || !slash) {
		length, slash = mask.Value, true
	}
	if !slash {
		switch {
		case s.Family == "" || a.Is6():
			return netip.PrefixFrom(a, a.BitLen()), ""
		case a.As4()[0] < 128:
			length = "8"
		case a.As4()[0] < 192:
			length = "16"
		case a.As4()[0] < 224:
			length = "24"
		default:
			length = "32"
		}
		t.remark(e.Pos, e.Text, "no netmask: ifupdown takes the one of the address's class, /%s", length)
	}
	n, ok := maskLength(length, a)
	if !ok {
		return netip.Prefix{}, "not a netmask: " + length
	}
	return netip.PrefixFrom(a, n), ""
}

// maskLength reads a prefix length, or a dotted netmask.
func maskLength(s string, a netip.Addr) (int, bool) {
	if n, err := strconv.Atoi(s); err == nil {
		return n, n >= 0 && n <= a.BitLen()
	}
	m, err := netip.ParseAddr(s)
	if err != nil || !m.Is4() || !a.Is4() {
		return 0, false
	}
	four := m.As4()
	ones, bits := net.IPMask(four[:]).Size()
	return ones, bits == 32
}

func (t *translator) isBroadcast(i *iface, s string) bool {
	b, err := netip.ParseAddr(s)
	if err != nil {
		return false
	}
	for _, p := range i.link.Addresses {
		if p.Addr().Is4() && lastAddr(p) == b {
			return true
		}
	}
	return false
}

// lastAddr returns the broadcast address of an IPv4 prefix.
func lastAddr(p netip.Prefix) netip.Addr {
	four := p.Addr().As4()
	for bit := p.Bits(); bit < 32; bit++ {
		four[bit/8] |= 0x80 >> (bit % 8)
	}
	return netip.AddrFrom4(four)
}

// gateways translates gateway lines: ifupdown adds the default route as on-link, which says something only where the
// gateway is in none of the interface's subnets.
func (t *translator) gateways(i *iface, s *Iface) {
	var metric uint32
	metrics := stanzaOptions(i, s, "metric")
	gateways := stanzaOptions(i, s, "gateway")
	for _, e := range metrics {
		n, err := strconv.ParseUint(e.Value, 10, 32)
		switch {
		case err != nil:
			e.fail("not a number")
		case len(gateways) > 0:
			metric = uint32(n)
			e.ok()
		}
	}
	for _, e := range gateways {
		for _, word := range strings.Fields(e.Value) {
			a, err := netip.ParseAddr(word)
			if err != nil || a.Zone() != "" {
				e.fail("not an address: %s", word)
				continue
			}
			e.ok()
			if a.Is6() && s.Family == "inet6" {
				t.setting(i, "ipv6", "accept_ra", "0", nil)
			}
			t.routes = append(t.routes, &route{Route: spec.Route{To: "default", Via: a, Dev: i.name, Metric: metric}, entry: e, gateway: true})
		}
	}
}

// mtu translates an mtu line. That of an inet6 stanza is the interface's only where it is larger; else it is IPv6's own.
func (t *translator) mtu(i *iface, s *Iface) {
	for _, e := range stanzaOptions(i, s, "mtu") {
		n, err := strconv.Atoi(e.Value)
		if err != nil || n < 68 || n > 65535 {
			e.fail("not an MTU")
			continue
		}
		if e.ok(); i.name == "lo" {
			e.fail("weft leaves the loopback interface alone")
			continue
		}
		known := i.link.MTU
		switch {
		case i.master != nil:
			if bonds := mtuOf(i.master); n != bonds {
				e.fail("a member has the MTU of its bond, %d", bonds)
			}
		case s.Family != "inet6" && known != 0 && known != n:
			e.fail("another stanza of %s says %d", i.name, known)
		case s.Family != "inet6", n > max(known, 1500):
			i.link.MTU = n
		case n < max(known, 1500):
			t.setting(i, "ipv6", "mtu", e.Value, nil)
		}
	}
}

// mac translates hwaddress: a MAC, with or without the word ether before it.
func (t *translator) mac(i *iface, e *entry) {
	value := strings.TrimSpace(strings.TrimPrefix(e.Value, "ether "))
	mac, err := net.ParseMAC(value)
	switch {
	case i.master != nil:
		e.fail("a member has the MAC of its bond")
	case value == "random":
		e.fail("weft gives no random MAC")
	case err != nil || len(mac) != 6:
		e.fail("not a MAC")
	case i.link.MAC != "" && i.link.MAC != mac.String():
		e.fail("another line gives %s the MAC %s", i.name, i.link.MAC)
	default:
		i.link.MAC = mac.String()
		e.ok()
	}
}

// sysctlOptions are the options that are sysctls of the interface.
var sysctlOptions = []struct{ option, family, leaf string }{
	{"accept-ra", "ipv6", "accept_ra"}, {"autoconf", "ipv6", "autoconf"}, {"privext", "ipv6", "use_tempaddr"},
	{"ip-rp-filter", "ipv4", "rp_filter"}, {"arp-accept", "ipv4", "arp_accept"},
	{"ip-forward", "ipv4", "forwarding"}, {"ip6-forward", "ipv6", "forwarding"},
}

func (t *translator) settings(i *iface) {
	for _, o := range sysctlOptions {
		e := i.last(o.option)
		if e == nil {
			continue
		}
		value := e.Value
		switch value {
		case "yes", "on":
			value = "1"
		case "no", "off":
			value = "0"
		}
		if _, err := strconv.Atoi(value); err != nil {
			e.fail("not a number")
			continue
		}
		t.setting(i, o.family, o.leaf, value, e)
	}
}

// setting sets a sysctl of the interface. What a line says wins over what a method implies (e is nil).
func (t *translator) setting(i *iface, family, leaf, value string, e *entry) {
	t.sysctl(fmt.Sprintf("net/%s/conf/%s/%s", family, i.name, leaf), value, e)
}
