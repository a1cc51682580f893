// SPDX-License-Identifier: Apache-2.0

package spec

import (
	"fmt"
	"slices"
)

// TagDevice returns the name of the device by which a guest has a network tagged: TAP.VLAN.
func (n *NIC) TagDevice(net *Network) string { return fmt.Sprintf("%s.%d", n.Name, net.VLAN) }

// tagMistakes returns what is wrong with the networks that the guest is to have tagged.
func (n *nicChecker) tagMistakes(nic *NIC, net *Network) []string {
	var all []string
	fail := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	if len(nic.Tagged) > 0 && !net.OnBridge() {
		fail("tagged %s: network %s is routed, and its guests are on no VLAN", nic.Tagged[0], nic.Network)
		return all
	}
	vlans := map[int]string{net.VLAN: nic.Network}
	for i, name := range nic.Tagged {
		t := n.node.Networks[name]
		switch {
		case t == nil:
			fail("tagged: no network %q in the node file%s", name, n.meant(name))
			continue
		case slices.Contains(nic.Tagged[:i], name) || name == nic.Network:
			fail("tagged: %s is here twice", name)
			continue
		case !t.OnBridge():
			fail("tagged %s: it is routed, and its guests are on no VLAN", name)
			continue
		case t.VLAN == 0:
			fail("tagged %s: it has no VLAN to be tagged with", name)
			continue
		case vlans[t.VLAN] != "":
			fail("tagged %s: its VLAN is %d, and so is that of %s", name, t.VLAN, vlans[t.VLAN])
			continue
		}
		vlans[t.VLAN] = name
		dev := nic.TagDevice(t)
		if why := badIfName(dev); why != "" {
			fail("tagged %s: %s", name, why)
		}
		if p, ok := n.devices[dev]; ok {
			fail("tagged %s: its device would be %s, and that is %s of the node file", name, dev, p)
		}
		if other, taken := n.names[dev]; taken {
			fail("tagged %s: its device would be %s, and that is the tap of nic %s", name, dev, other)
		}
		for _, why := range t.privateMistakes(nic) {
			fail("tagged %s: %s", name, why)
		}
	}
	return all
}
