// SPDX-License-Identifier: Apache-2.0

package spec

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
)

// IsManaged reports whether the network's bridge, or its table with the rules, routes and uplinks, are weft's to make,
// which is the default.
func (n *Network) IsManaged() bool { return n.Managed == nil || *n.Managed }

// leg is one way of a network to the outside: a VLAN of a device, and the address families that go that way.
type leg struct {
	uplink   string
	vlan     int    // 0 for the native VLAN
	families []int  // of a routed network: 4, 6 or both
	at       string // the key of the network that the way is said under: "ipv4" or "ipv6", "" for the network's own keys
}

// key returns the place of the network at p where this key of the way is said.
func (l leg) key(p path, k string) path {
	if l.at != "" {
		p = p.key(l.at)
	}
	return p.key(k)
}

// legs returns the network's ways to the outside: one, or two where a routed network has IPv4 and IPv6 apart. A network
// that stays on the node has none.
func (n *Network) legs() []leg {
	var legs []leg
	add := func(l leg) {
		if l.uplink == "" {
			return
		}
		for i, o := range legs {
			if o.uplink == l.uplink && o.vlan == l.vlan {
				legs[i].families = append(o.families, l.families...)
				return
			}
		}
		legs = append(legs, l)
	}
	if n.Mode == Routed {
		for _, f := range []struct {
			key    string
			number int
			*Prefix
		}{{"ipv4", 4, n.IPv4}, {"ipv6", 6, n.IPv6}} {
			if f.Prefix == nil {
				continue
			}
			l := leg{uplink: orElse(f.Uplink, n.Uplink), vlan: n.VLAN, families: []int{f.number}}
			if f.VLAN != 0 {
				l.vlan = f.VLAN
			}
			if f.Uplink != "" || f.VLAN != 0 {
				l.at = f.key
			}
			add(l)
		}
	}
	if n.Mode != Routed || n.IPv4 == nil && n.IPv6 == nil {
		add(leg{uplink: n.Uplink, vlan: n.VLAN})
	}
	return legs
}

// Uplink is a device that carries a network's frames to the outside.
type Uplink struct {
	Dev        string // the VLAN device, or Parent itself for its native VLAN
	Parent     string // the device whose VLAN it is
	VLAN       int    // 0 for the native VLAN
	IPv4, IPv6 bool   // the families of a routed network that go this way; neither for a bridged network
}

// Uplinks returns the devices that carry the network's frames to the outside: none for a network that stays on the node
// and for one that is a VLAN of a VLAN-aware bridge, two for a routed network with IPv4 and IPv6 apart, else one.
//
// A VLAN's device is the one that the file declares for it, or else PARENT.VLAN.
func (n *Node) Uplinks(net *Network) []Uplink {
	if n.VLANAware(net) {
		return nil
	}
	var all []Uplink
	for _, l := range net.legs() {
		u := Uplink{Dev: n.deviceOf(l), Parent: l.uplink, VLAN: l.vlan}
		u.IPv4, u.IPv6 = slices.Contains(l.families, 4), slices.Contains(l.families, 6)
		all = append(all, u)
	}
	return all
}

// FamilyUplink returns the device that carries one family (4 or 6) of a routed network, "" if the network has none of it
// or, unmanaged, does not say.
func (n *Node) FamilyUplink(net *Network, family int) string {
	for _, l := range net.legs() {
		if slices.Contains(l.families, family) {
			return n.deviceOf(l)
		}
	}
	return ""
}

func (n *Node) deviceOf(l leg) string {
	if l.vlan == 0 {
		return l.uplink
	}
	if name, ok := n.vlanOf(l.uplink, l.vlan); ok {
		return name
	}
	return fmt.Sprintf("%s.%d", l.uplink, l.vlan)
}

// WithNICs returns the node with the networks that only its NICs describe (NIC.Net), under their names; the node itself
// if there are none. What the node file says of a network comes first. The error, an Errors, names NICs that describe one
// network differently.
func WithNICs(node *Node, nics []NIC) (*Node, error) {
	merged, _, err := merge(node, nics)
	return merged, err
}

// merge does what WithNICs says, and returns as well which NIC described each network first.
func merge(node *Node, nics []NIC) (merged *Node, by map[string]string, err error) {
	merged, by = node, map[string]string{}
	var errs Errors
	for i := range nics {
		nic := &nics[i]
		if nic.Net == nil || node.Networks[nic.Network] != nil {
			continue
		}
		if merged == node {
			merged = &Node{}
			*merged = *node
			if merged.Networks = maps.Clone(node.Networks); merged.Networks == nil {
				merged.Networks = map[string]*Network{}
			}
		}
		switch have := merged.Networks[nic.Network]; {
		case have == nil:
			merged.Networks[nic.Network], by[nic.Network] = nic.Net, nic.Name
		case !reflect.DeepEqual(have, nic.Net):
			errs = append(errs, Error{Path: "nic " + nic.Name, Msg: fmt.Sprintf("network %s is described otherwise by nic %s, and the node file has none of that name", nic.Network, by[nic.Network])})
		}
	}
	if len(errs) > 0 {
		return nil, nil, errs
	}
	return merged, by, nil
}

// Equal reports whether two NICs say the same, what they were before a move included.
func (n *NIC) Equal(o *NIC) bool {
	if n == nil || o == nil {
		return n == o
	}
	if !slices.Equal(n.Addresses, o.Addresses) || !slices.Equal(n.Prefixes, o.Prefixes) || !n.Was.Equal(o.Was) ||
		!slices.Equal(n.MACs, o.MACs) || !slices.Equal(n.Sources, o.Sources) || !slices.Equal(n.Trust, o.Trust) || !slices.Equal(n.Tagged, o.Tagged) || !slices.Equal(n.Groups, o.Groups) {
		return false
	}
	a, b := *n, *o
	a.Addresses, a.Prefixes, a.Was = b.Addresses, b.Prefixes, b.Was // compared; an empty list is as good as none
	a.MACs, a.Sources, a.Trust, a.Tagged, a.Groups = b.MACs, b.Sources, b.Trust, b.Tagged, b.Groups
	return reflect.DeepEqual(a, b)
}

// Foreign returns the devices that networks which are not managed need, bridges and uplinks, and the network of each.
// Somebody else makes them, and they may come and go.
func (n *Node) Foreign() map[string]string {
	all := map[string]string{}
	for name, net := range n.Networks {
		if net.IsManaged() {
			continue
		}
		if br := net.BridgeName(); br != "" {
			all[br] = name
		}
		if vrf := net.VRFName(); vrf != "" {
			all[vrf] = name
		}
		for _, u := range n.Uplinks(net) {
			all[u.Dev] = name
		}
	}
	return all
}
