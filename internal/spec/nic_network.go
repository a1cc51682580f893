// SPDX-License-Identifier: Apache-2.0

package spec

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// inNetwork compares a NIC with the network that it is plugged into.
func (n *nicChecker) inNetwork(nic *NIC, net *Network) Errors {
	var errs Errors
	fail := func(format string, args ...any) {
		errs = append(errs, Error{Path: "nic " + nic.Name, Msg: fmt.Sprintf(format, args...)})
	}
	for _, why := range n.tagMistakes(nic, net) {
		fail("%s", why)
	}
	if net.Mode != Routed { // the node does not know the VLAN's subnets
		if len(nic.Prefixes) > 0 {
			fail("prefix %s: network %s is bridged, and the node routes nothing there", nic.Prefixes[0], nic.Network)
		}
		for _, why := range net.privateMistakes(nic) {
			fail("%s", why)
		}
		return errs
	}
	if len(nic.MACs)+len(nic.Sources)+len(nic.Trust) > 0 {
		fail("macs, sources and trust are for bridged networks, and %s is routed: its guests send from their own MAC and addresses, and what is routed to them", nic.Network)
	}
	if len(nic.Addresses) == 0 && !nic.Prepared {
		fail("an address is missing; network %s is routed, and leads to a guest by its addresses", nic.Network)
	}
	for _, a := range nic.Addresses {
		if why := n.noAddress(a, nic.Network, net); why != "" {
			fail("address %s", why)
		}
	}
	for _, p := range nic.Prefixes {
		if why := n.noPrefix(p, nic, net); why != "" {
			fail("prefix %s", why)
		}
	}
	return errs
}

// ofFamily returns the network's part for the family of an address, and the family's name.
func (n *Network) ofFamily(a netip.Addr) (*Prefix, string) {
	if a.Is6() {
		return n.IPv6, "IPv6"
	}
	return n.IPv4, "IPv4"
}

// noAddress returns why a guest of the network cannot have the address, or "". A network that only NICs describe may have
// no subnet: its owner knows.
func (n *nicChecker) noAddress(a netip.Addr, network string, net *Network) string {
	f, family := net.ofFamily(a)
	switch {
	case !a.IsValid() || noUnicast(a) != "": // said before
	case f == nil:
		return fmt.Sprintf("%s: network %s has no %s", a, network, family)
	case f.Subnet.IsValid() && !f.Subnet.Contains(a):
		return fmt.Sprintf("%s is not in %s of network %s", a, f.Subnet, network)
	case f.Subnet.IsValid() && noHost(a, f.Subnet) != "":
		return noHost(a, f.Subnet)
	case a == f.Gateway:
		return fmt.Sprintf("%s is the gateway of network %s", a, network)
	case a == f.ARPSource:
		return fmt.Sprintf("%s is the arp_source of network %s: the node asks in its name", a, network)
	case n.own[a] != "":
		return fmt.Sprintf("%s is the node's own, on %s", a, n.own[a])
	}
	return ""
}

// noPrefix returns why the prefix cannot be routed to the NIC's guest, or "". It may be a part of the IPv4 subnet, because
// the node answers ARP for whatever it routes to a guest; neighbour solicitations it answers for single addresses only.
func (n *nicChecker) noPrefix(p netip.Prefix, nic *NIC, net *Network) string {
	f, family := net.ofFamily(p.Addr())
	if badPrefix(p) != "" { // said before
		return ""
	}
	if f == nil {
		return fmt.Sprintf("%s: network %s has no %s", p, nic.Network, family)
	}
	six := p.Addr().Is6()
	if s := f.Subnet; s.IsValid() && s.Overlaps(p) && (six || p.Bits() <= s.Bits()) {
		why := "the network's other machines would be the guest's"
		if six && p.Bits() > s.Bits() {
			why = "the node answers there for single addresses: list them"
		}
		return fmt.Sprintf("%s overlaps %s of network %s; %s", p, s, nic.Network, why)
	}
	for _, taken := range []struct {
		name string
		addr netip.Addr
	}{{"gateway", f.Gateway}, {"arp_source", f.ARPSource}} {
		if taken.addr.IsValid() && p.Contains(taken.addr) {
			return fmt.Sprintf("%s has the %s of network %s in it, %s", p, taken.name, nic.Network, taken.addr)
		}
	}
	for _, own := range slices.SortedFunc(maps.Keys(n.own), netip.Addr.Compare) {
		if p.Contains(own) {
			return fmt.Sprintf("%s has an address of the node's own in it, %s on %s", p, own, n.own[own])
		}
	}
	if !nic.Prepared && !slices.ContainsFunc(nic.Addresses, func(a netip.Addr) bool { return a.Is6() == six }) {
		return fmt.Sprintf("%s: the guest has no %s address to route it by", p, family)
	}
	return ""
}

// badPrefix returns why nothing can be routed to a guest by the prefix, or "".
func badPrefix(p netip.Prefix) string {
	a := p.Addr()
	switch {
	case !p.IsValid():
		return "is none"
	case p != p.Masked():
		return fmt.Sprintf("%s has host bits: it is %s", p, p.Masked())
	case p.Bits() == 0:
		return fmt.Sprintf("%s is everything", p)
	case a.IsMulticast() || a.IsLoopback() || a.IsUnspecified() || a.Is6() && a.IsLinkLocalUnicast() || a.Is4In6():
		return fmt.Sprintf("%s is not one that a network can lead to a guest", p)
	}
	return ""
}

// badLine returns why the text is not a short line for people, or "".
func badLine(text string) string {
	if len(text) > 255 || strings.ContainsFunc(text, func(r rune) bool { return !strconv.IsPrint(r) }) {
		return "want one line of at most 255 bytes"
	}
	return ""
}

// given is an address or a prefix that leads to a NIC's guest. Private ones are compared within their network only.
type given struct {
	prefix  netip.Prefix
	network string
	nic     *NIC
}

// overlaps finds prefixes that have another guest's address or prefix in them.
func overlaps(nics []NIC) Errors {
	var all []given
	add := func(nic *NIC, p netip.Prefix) {
		g := given{prefix: p, nic: nic}
		if p.Addr().IsPrivate() {
			g.network = nic.Network
		}
		all = append(all, g)
	}
	any := false
	for i := range nics {
		nic := &nics[i]
		for _, p := range nic.Prefixes {
			if badPrefix(p) == "" {
				add(nic, p)
				any = true
			}
		}
		for _, a := range nic.Addresses {
			if a.IsValid() {
				add(nic, netip.PrefixFrom(a, a.BitLen()))
			}
		}
	}
	if !any {
		return nil
	}
	slices.SortFunc(all, func(a, b given) int {
		return cmp.Or(cmp.Compare(a.network, b.network), a.prefix.Addr().Compare(b.prefix.Addr()), cmp.Compare(a.prefix.Bits(), b.prefix.Bits()))
	})
	var errs Errors
	var around []given // those that hold the one before, the widest first
	for _, g := range all {
		for len(around) > 0 {
			last := around[len(around)-1]
			if last.network == g.network && last.prefix.Contains(g.prefix.Addr()) {
				break
			}
			around = around[:len(around)-1]
		}
		for _, o := range around {
			single := o.prefix.IsSingleIP() || g.prefix.IsSingleIP()
			if o.nic == g.nic && (single || o.prefix == g.prefix) || o.prefix.IsSingleIP() && g.prefix.IsSingleIP() { // equal addresses are found elsewhere
				continue
			}
			errs = append(errs, Error{Path: "nic " + o.nic.Name, Msg: fmt.Sprintf("prefix %s overlaps %s of nic %s", o.prefix, g.prefix, g.nic.Name)})
		}
		around = append(around, g)
	}
	return errs
}

// described checks the networks that only NICs describe as if a node file had them. By says whose each is.
func described(merged *Node, by map[string]string) Errors {
	if len(by) == 0 {
		return nil
	}
	var errs Errors
	for _, name := range sorted(by) {
		net, who := merged.Networks[name], "nic "+by[name]+": network "+name
		if net.IsManaged() {
			errs = append(errs, Error{Path: who, Msg: "managed has to be false: what only a NIC describes is somebody else's to make"})
		}
		if why := badName(name, maxNetName); why != "" {
			errs = append(errs, Error{Path: who, Msg: why})
		}
		errs = append(errs, misfits(reflect.ValueOf(net).Elem(), who)...)
	}
	if len(errs) > 0 {
		return errs
	}
	bare := *merged
	bare.src = nil // no place of the file is that of a NIC's network
	c := &checker{node: &bare}
	c.check()
	for _, e := range c.errs {
		for name, nic := range by {
			if p := at("networks", name).String(); e.Path == p || strings.HasPrefix(e.Path, p+".") {
				e.Path = "nic " + nic + ": network " + name + strings.TrimPrefix(e.Path, p)
				break
			}
		}
		errs = append(errs, e)
	}
	return errs
}

// misfits finds the values of a network, or of one of its families, that a node file could not hold.
func misfits(v reflect.Value, who string) Errors {
	var errs Errors
	for _, f := range fields(v.Type()) {
		value, why := v.FieldByIndex(f.index), ""
		if value.Kind() == reflect.Pointer && !value.IsNil() {
			if value = value.Elem(); value.Kind() == reflect.Struct {
				errs = append(errs, misfits(value, who+"."+f.name)...)
				continue
			}
		}
		switch one := value.Interface().(type) {
		case netip.Prefix:
			if one.IsValid() {
				_, why = parsePrefix(one.String(), f.key.form)
			}
		case netip.Addr:
			if one.IsValid() {
				_, why = parseAddr(one.String())
			}
		case string:
			if one != "" || f.key.required {
				why = setText(one, f.key, reflect.New(f.typ).Elem())
			}
		default:
			if i, ok := asInt(value); ok && i != 0 && (i < f.key.min || i > f.key.max) {
				why = fmt.Sprintf("%d is not within %d to %d", i, f.key.min, f.key.max)
			}
		}
		if why != "" {
			errs = append(errs, Error{Path: who + "." + f.name, Msg: why})
		}
	}
	return errs
}

func asInt(v reflect.Value) (int64, bool) {
	switch {
	case v.CanInt():
		return v.Int(), true
	case v.CanUint():
		return int64(v.Uint()), true
	}
	return 0, false
}
