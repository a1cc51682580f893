// SPDX-License-Identifier: Apache-2.0

package spec

import (
	"fmt"
	"net"
	"slices"
	"strings"
)

// defaultMACMask is gnt-networking's MAC_MASK: 20 bits.
const defaultMACMask = "ff:ff:f0:00:00:00"

// OnBridge reports whether the network's guests are ports of a bridge: whether it is bridged or private.
func (n *Network) OnBridge() bool { return n.Mode == Bridged || n.Mode == Private }

// Mask returns the bits of a MAC that the guests of one tenant of a private network have in common, in lower case; "" in every
// other network.
func (n *Network) Mask() string {
	if n.Mode != Private {
		return ""
	}
	return strings.ToLower(orElse(n.MACMask, defaultMACMask))
}

// MACPrefix returns those bits of a MAC and zeros for the others: one for each tenant of a private network. It is "" in every other
// network, and for what is no MAC.
func (n *Network) MACPrefix(mac string) string {
	m, err := net.ParseMAC(mac)
	mask, bad := net.ParseMAC(n.Mask())
	if err != nil || bad != nil || len(m) != len(mask) {
		return ""
	}
	for i := range m {
		m[i] &= mask[i]
	}
	return m.String()
}

// badMask returns why the text is not the first bits of a MAC address, at least 8 and not all, or "".
func badMask(text string) string {
	mask, err := net.ParseMAC(text)
	if err != nil || len(mask) != 6 || len(text) != 17 || strings.Count(text, ":") != 5 {
		return clipped(fmt.Sprintf("%q", text)) + " is not a mask such as " + defaultMACMask
	}
	bits := 0
	for _, b := range mask {
		bits = bits<<8 | int(b)
	}
	rest := ^bits & (1<<48 - 1) // the bits that do not count: the last ones, and no others
	if rest&(rest+1) != 0 || rest == 0 || mask[0] != 0xff {
		return text + " is not a mask of the first 8 to 47 bits of a MAC"
	}
	return ""
}

// checkMasks finds private networks that do not have the node's one mask.
func (c *checker) checkMasks() {
	first := ""
	for _, name := range c.nets {
		n, p := c.node.Networks[name], at("networks", name)
		if n.MACMask != "" && n.Mode != Private && n.Mode != "" {
			c.fail(p.key("mac_mask"), "only the tenants of a private network are told apart by their MACs, and this one is %s", n.Mode)
		}
		if n.Mode != Private || c.unread(p.key("mac_mask")) {
			continue
		}
		if first == "" {
			first = name
		}
		if other := c.node.Networks[first]; other.Mask() != n.Mask() {
			c.fail(p.key("mac_mask"), "%s is not that of network %s, %s%s: a node has one", n.Mask(), first, other.Mask(), c.line(at("networks", first)))
		}
	}
}

// privateMistakes returns what a NIC cannot have in a private network: a MAC tells whose frame it is.
func (n *Network) privateMistakes(nic *NIC) []string {
	if n.Mode != Private {
		return nil
	}
	var all []string
	own := n.MACPrefix(nic.MAC)
	for _, m := range nic.MACs {
		if p := n.MACPrefix(m); p != own {
			all = append(all, fmt.Sprintf("mac %s: the network is private, and the guest's other MACs begin as %s does (%s)", m, nic.MAC, n.Mask()))
		}
	}
	if slices.Contains(nic.Trust, "mac") {
		all = append(all, "trust mac: the network is private, and only MACs keep its tenants apart")
	}
	return all
}
