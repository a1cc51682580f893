// SPDX-License-Identifier: Apache-2.0

package spec

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// ParseNIC returns a NIC in canonical form from words as a command line or a hypervisor's hook has them. The error, an
// Errors, has every mistake that the words alone show; CheckNICs compares with the node and with the other NICs.
func ParseNIC(id, name, mac, network string, addresses, prefixes []string) (NIC, error) {
	nic := NIC{ID: id, Name: name, MAC: mac, Network: network}
	var errs Errors
	fail := func(format string, args ...any) {
		errs = append(errs, Error{Path: "nic " + name, Msg: fmt.Sprintf(format, args...)})
	}
	for _, text := range addresses {
		a, why := parseAddr(text)
		if why != "" {
			fail("address %s", why)
			continue
		}
		nic.Addresses = append(nic.Addresses, a)
	}
	for _, text := range prefixes {
		p, why := parsePrefix(text, subnetText)
		if why != "" {
			fail("prefix %s", why)
			continue
		}
		nic.Prefixes = append(nic.Prefixes, p)
	}
	if canonical, why := parseMAC(mac); why == "" {
		nic.MAC = canonical
	}
	errs = append(errs, nic.mistakes()...)
	if len(errs) > 0 {
		return NIC{}, errs
	}
	return nic, nil
}

// mistakes returns what is wrong with the NIC alone.
func (n *NIC) mistakes() Errors {
	var errs Errors
	fail := func(format string, args ...any) {
		errs = append(errs, Error{Path: "nic " + n.Name, Msg: fmt.Sprintf(format, args...)})
	}
	if why := badName(n.ID, 64); why != "" {
		fail("id: %s", why)
	}
	if why := badIfName(n.Name); why != "" {
		fail("%s", why)
	} else if reserved(n.Name) {
		fail("%s is a name that the kernel keeps for itself", n.Name)
	}
	if _, why := parseMAC(n.MAC); why != "" {
		fail("mac: %s", why)
	}
	if why := badName(n.Network, maxNetName); why != "" {
		fail("network: %s", why)
	}
	for i, a := range n.Addresses {
		switch why := noUnicast(a); {
		case !a.IsValid():
			fail("address %d is none", i+1)
		case why != "":
			fail("address %s", why)
		case a.IsLinkLocalUnicast() || a.IsLoopback() || a.Is4In6() || a.Zone() != "":
			fail("address %s is not one that a network can lead to a guest", a)
		case slices.Contains(n.Addresses[:i], a):
			fail("address %s is here twice", a)
		}
	}
	for i, p := range n.Prefixes {
		if why := badPrefix(p); why != "" {
			fail("prefix %s", why)
		} else if slices.Contains(n.Prefixes[:i], p) {
			fail("prefix %s is here twice", p)
		}
	}
	errs = append(append(errs, n.securityMistakes()...), n.rateMistakes()...)
	if why := badLine(n.Instance); why != "" {
		fail("instance: %s", why)
	}
	return errs
}

// securityMistakes returns what is wrong with what the NIC says of port security.
func (n *NIC) securityMistakes() Errors {
	var errs Errors
	fail := func(format string, args ...any) {
		errs = append(errs, Error{Path: "nic " + n.Name, Msg: fmt.Sprintf(format, args...)})
	}
	for i, m := range n.MACs {
		switch mac, why := parseMAC(m); {
		case why != "":
			fail("mac: %s", why)
		case mac == n.MAC || slices.Contains(n.MACs[:i], m):
			fail("mac %s is here twice", m)
		}
	}
	for i, a := range n.Sources {
		switch why := noUnicast(a); {
		case !a.IsValid():
			fail("source %d is none", i+1)
		case why != "":
			fail("source %s", why)
		case a.IsLoopback() || a.Is4In6() || a.Zone() != "":
			fail("source %s is not one that a guest can have", a)
		case slices.Contains(n.Sources[:i], a) || slices.Contains(n.Addresses, a):
			fail("source %s is here twice", a)
		}
	}
	for i, w := range n.Trust {
		switch {
		case !slices.Contains(Trusts, w):
			fail("trust %q: want one of %s", w, strings.Join(Trusts, ", "))
		case slices.Contains(n.Trust[:i], w):
			fail("trust %s is here twice", w)
		}
	}
	return errs
}

// CheckNICs returns an Errors with everything that is wrong with the NICs, alone, among themselves and with the
// networks of the node, or nil.
//
// No two NICs of a node have one ID, tap or MAC. An address is given once; a private one (RFC 1918, RFC 4193) once in
// each network, because networks of different tenants may have the same. In a private network it is once for each tenant.
func CheckNICs(node *Node, nics []NIC) error {
	node, by, err := merge(node, nics)
	if err != nil {
		return err
	}
	errs := described(node, by)
	c := &checker{node: node, nets: inOrder(node.src, "networks", node.Networks)}
	c.collect()
	for name, b := range node.Bonds {
		for _, member := range b.Members {
			c.devices[member] = at("bonds", name, "members")
		}
	}
	for name, b := range node.Bridges {
		for _, port := range b.Ports {
			c.devices[port] = at("bridges", name, "ports")
		}
	}
	n := &nicChecker{checker: c, ids: map[string]string{}, names: map[string]string{}, macs: map[string]string{}, ips: map[tenantIP]string{}, own: c.owners()}
	for i := range nics {
		nic := &nics[i]
		mistakes := append(nic.mistakes(), n.among(nic)...)
		for _, why := range n.groupMistakes(nic) {
			mistakes = append(mistakes, Error{Path: "nic " + nic.Name, Msg: why})
		}
		if net := node.Networks[nic.Network]; net != nil {
			mistakes = append(mistakes, n.inNetwork(nic, net)...)
		} else {
			mistakes = append(mistakes, Error{Path: "nic " + nic.Name, Msg: fmt.Sprintf("no network %q in the node file%s", nic.Network, n.meant(nic.Network))})
		}
		errs = append(errs, mistakes...)
	}
	if errs = append(errs, overlaps(nics)...); len(errs) == 0 {
		return nil
	}
	return errs
}

// nicChecker compares NICs with each other and with the node.
type nicChecker struct {
	*checker
	ids, names, macs map[string]string // whose each is
	ips              map[tenantIP]string
	own              map[netip.Addr]string // the node's
}

// tenantIP is an address, and for a private one the network that it is in.
type tenantIP struct {
	ip      netip.Addr
	network string
}

func (n *nicChecker) meant(network string) string { return meant(network, n.nets) }

// among compares a NIC with those before it.
func (n *nicChecker) among(nic *NIC) Errors {
	var errs Errors
	fail := func(format string, args ...any) {
		errs = append(errs, Error{Path: "nic " + nic.Name, Msg: fmt.Sprintf(format, args...)})
	}
	mac, why := parseMAC(nic.MAC)
	for _, one := range []struct {
		seen        map[string]string
		what, value string
		unread      bool
	}{{n.ids, "id", nic.ID, nic.ID == ""}, {n.names, "tap", nic.Name, nic.Name == ""}, {n.macs, "mac", mac, why != ""}} {
		if one.unread {
			continue
		}
		if other, twice := one.seen[one.value]; twice {
			fail("%s %s is that of nic %s already", one.what, one.value, other)
			continue
		}
		one.seen[one.value] = nic.Name
	}
	for _, a := range nic.Addresses {
		k := tenantIP{ip: a}
		if a.IsPrivate() {
			k.network = nic.Network
		}
		if net := n.node.Networks[nic.Network]; net != nil && net.Mode == Private {
			k.network = nic.Network + " " + net.MACPrefix(nic.MAC)
		}
		if other, twice := n.ips[k]; twice && other != nic.Name {
			fail("address %s is that of nic %s already", a, other)
			continue
		}
		n.ips[k] = nic.Name
	}
	if p, ok := n.devices[nic.Name]; ok {
		fail("%s is no tap: it is %s of the node file", nic.Name, p)
	}
	return errs
}

// owners returns the declared link of every address that the node has in the main table.
func (c *checker) owners() map[netip.Addr]string {
	all := map[netip.Addr]string{}
	for _, l := range c.links() {
		for _, p := range l.Addresses {
			if l.VRF == "" {
				all[p.Addr()] = l.name
			}
		}
	}
	return all
}
