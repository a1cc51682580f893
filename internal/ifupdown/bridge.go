// SPDX-License-Identifier: Apache-2.0

package ifupdown

import (
	"fmt"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"

	"weft/internal/spec"
)

// bridgeOptions translates bridge-utils' options, and ifupdown2's, which are the same with more of them.
func (t *translator) bridgeOptions(i *iface) {
	b := i.bridge
	for _, e := range i.find("bridge-ports") {
		e.ok()
		for _, name := range t.names(e) {
			t.port(i, name)
		}
	}
	if e := i.last("bridge-vlan-aware"); e != nil {
		b.VLANAware = yes(e)
	}
	if e := i.last("bridge-stp"); e != nil {
		b.STP = yes(e)
	}
	if e := i.last("bridge-mcsnoop"); e != nil {
		b.MulticastSnooping = yes(e)
	}
	if e := i.last("bridge-mcquerier"); e != nil && b.MulticastSnooping {
		e.ok() // a bridge that snoops asks
	}
	if e := i.last("bridge-ageing"); e != nil {
		b.AgeingTime = seconds(e)
	}
	if e := i.last("bridge-fd"); e != nil {
		b.ForwardDelay = seconds(e)
	} else if b.STP {
		b.ForwardDelay = new(15) // the kernel's
	}
	if e := i.last("bridge-hw"); e != nil {
		if _, err := net.ParseMAC(e.Value); err != nil {
			e.fail("the MAC is that of %s, which only the machine knows: write it as the bridge's mac", e.Value)
		} else {
			t.mac(i, e)
		}
	}
	t.vids(i)
}

// port makes an interface a port of a bridge.
func (t *translator) port(i *iface, name string) {
	p := t.below(name)
	p.used = true
	if !slices.Contains(i.bridge.Ports, name) {
		i.bridge.Ports = append(i.bridge.Ports, name)
	}
}

// yes reads a switch. bridge-utils takes every word but on and yes as off.
func yes(e *entry) bool {
	switch strings.ToLower(e.Value) {
	case "yes", "on", "1", "true":
		return true
	case "no", "off", "0", "false":
	default:
		e.fail("neither on nor off")
	}
	return false
}

// seconds reads a time in seconds, which may have a fraction here and may not in a node file.
func seconds(e *entry) *int {
	f, err := strconv.ParseFloat(e.Value, 64)
	switch {
	case err != nil || f < 0 || f > 1e6 || math.IsNaN(f):
		e.fail("not a number of seconds")
		return nil
	case f != math.Trunc(f):
		e.fail("weft counts whole seconds")
	}
	return new(int(f))
}

// maxVLANs is how many VLANs of a VLAN-aware bridge become networks. Proxmox VE writes 2-4094 for "any", and a network
// for each would say nothing.
const maxVLANs = 64

// vids makes a network of every VLAN that a VLAN-aware bridge is given: weft puts on the trunk ports the VLANs of the
// networks that name the bridge.
func (t *translator) vids(i *iface) {
	for _, e := range i.find("bridge-vids") {
		if !i.bridge.VLANAware {
			e.fail("the bridge is not VLAN-aware")
			continue
		}
		vids, err := vlanList(e.Value)
		switch {
		case err != nil:
			e.fail("%v", err)
		case len(vids) > maxVLANs:
			e.fail("weft lets a VLAN through where a network names the bridge: write the networks in use, as {mode: bridged, bridge: %s, vlan: 100}", i.name)
		default:
			e.ok()
			for _, vid := range vids {
				t.network(fmt.Sprintf("vlan%d", vid), &spec.Network{Mode: spec.Bridged, Bridge: i.name, VLAN: vid})
			}
		}
	}
}

// vlanList reads VLANs and ranges of them, which blanks or commas separate.
func vlanList(s string) ([]int, error) {
	var vids []int
	for _, f := range strings.FieldsFunc(s, func(c rune) bool { return c == ' ' || c == '\t' || c == ',' }) {
		a, b, isRange := strings.Cut(f, "-")
		if !isRange {
			b = a
		}
		from, err1 := strconv.Atoi(a)
		to, err2 := strconv.Atoi(b)
		if err1 != nil || err2 != nil || from < 1 || to > 4094 || from > to {
			return nil, fmt.Errorf("not a VLAN: %s", f)
		}
		for vid := from; vid <= to; vid++ {
			if !slices.Contains(vids, vid) {
				vids = append(vids, vid)
			}
		}
	}
	return vids, nil
}

// network adds a network, under another name if there is one of this name, and returns the name that it got.
func (t *translator) network(name string, n *spec.Network) string {
	if t.node.Networks == nil {
		t.node.Networks = make(map[string]*spec.Network)
	}
	free := name
	for k := 2; t.node.Networks[free] != nil; k++ {
		free = fmt.Sprintf("%s-%d", name, k)
	}
	t.node.Networks[free] = n
	return free
}

// bridgedNetworks makes a bridged network of every bridge that is one: no address of the host, at most one port, no
// spanning tree. The bridge, and a VLAN device that is nothing but its port, are the network's then.
func (t *translator) bridgedNetworks() {
	taken := make(map[string]bool)
	for _, n := range t.node.Networks {
		taken[fmt.Sprintf("%s %d", n.Uplink, n.VLAN)] = true
	}
	for _, i := range t.order {
		if i.kind != bridge || i.bridge.VLANAware {
			continue
		}
		n, why := t.bridgedNetwork(i)
		if key := ""; why == "" {
			if key = fmt.Sprintf("%s %d", n.Uplink, n.VLAN); n.Uplink != "" && taken[key] {
				why = "another network has its VLAN"
			}
			taken[key] = true
		}
		if why != "" {
			if i.declared {
				t.remark(i.stanzas[0].Pos, i.stanzas[0].Text, "%s: it stays a bridge, and no network that a VM can be plugged into", why)
			}
			continue
		}
		i.network = n
		t.network(i.name, n)
		t.ownedByNetwork(i)
	}
}

// bridgedNetwork returns the network that a bridge is, or why it is none.
func (t *translator) bridgedNetwork(i *iface) (*spec.Network, string) {
	b := i.bridge
	n := &spec.Network{Mode: spec.Bridged, MTU: b.MTU, Bridge: i.name, MulticastSnooping: b.MulticastSnooping}
	switch {
	case len(b.Addresses) > 0:
		return nil, "it has an address of the host"
	case i.dhcp:
		return nil, "the host gets an address on it"
	case b.STP:
		return nil, "it speaks the spanning tree protocol"
	case len(b.Ports) > 1:
		return nil, "it has more than one port"
	case b.VRF != "" || i.used || t.routed(i.name):
		return nil, "the host uses it"
	case b.AgeingTime != nil && *b.AgeingTime != 300:
		return nil, "it has an ageing time of its own"
	case len(b.Ports) == 0:
		return n, ""
	}
	p := t.iface(b.Ports[0])
	switch {
	case len(p.link.Addresses) > 0 || p.dhcp || t.routed(p.name):
		return nil, "the host uses its port " + p.name
	case p.kind == bridge || p.kind == vrf || p.kind == absent:
		return nil, "its port " + p.name + " is no uplink"
	case p.kind != vlan:
		n.Uplink = p.name
		return n, ""
	case p.vlan.Protocol != "":
		return nil, "its port has two VLAN tags"
	}
	n.Uplink, n.VLAN = p.vlan.ParentName(p.name), p.vlan.VID(p.name)
	if i.name == fmt.Sprintf("vlan%d", n.VLAN) {
		n.Bridge = ""
	}
	return n, ""
}

// ownedByNetwork leaves to the network what weft makes for it, and says what of the bridge it does not.
func (t *translator) ownedByNetwork(i *iface) {
	for _, name := range i.bridge.Ports {
		t.iface(name).uplink = true
	}
	if i.link.MAC != "" {
		for _, e := range i.entries {
			if e.name == "bridge-hw" || e.name == "hwaddress" || isCommand(e.name) && strings.Contains(e.Value, " address ") {
				e.fail("weft gives the bridge of a network its MAC")
			}
		}
	}
}

// routed reports whether a route or a rule of the host names the interface.
func (t *translator) routed(name string) bool {
	return slices.ContainsFunc(t.routes, func(r *route) bool { return r.Dev == name && !r.claimed }) ||
		slices.ContainsFunc(t.rules, func(r *rule) bool { return (r.IIF == name || r.OIF == name) && !r.claimed })
}
