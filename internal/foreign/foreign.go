// SPDX-License-Identifier: Apache-2.0

// Package foreign is the vocabulary of what others have set up on a host, as far as it bears on the networks there.
//
// It owns the facts that package kernel finds and package agent judges. None of them is ever changed, or a part of the state that is
// wanted or observed: that is package netstate's.
package foreign

import (
	"fmt"
	"strings"
)

// Facts is what others have set up at one moment.
type Facts struct {
	Chains   []Chain   // the base chains of others that drop what none of their rules accepts
	Calls    []string  // the settings of br_netfilter that are on: "net.bridge.bridge-nf-call-iptables"
	Managers []Manager // the links that a program of this namespace takes for its own
	Unread   []string  // what may drop and could not be read, and why
}

// Chain is a base chain whose policy is drop.
type Chain struct {
	Family  string // "ip", "ip6", "inet", "arp", "bridge" or "netdev"
	Table   string
	Name    string
	Hook    string   // "forward"
	Devices []string // of a hook of devices
	Legacy  bool     // of the iptables that are not nftables
	By      string   // who makes such chains, as far as their names tell; "" for anybody
}

// String names the chain as its own tool does.
func (c Chain) String() string {
	s := fmt.Sprintf("chain %s %s %s (hook %s, policy drop)", c.Family, c.Table, c.Name, c.Hook)
	if c.Legacy {
		s = fmt.Sprintf("chain %s of the legacy %s table %s (policy DROP)", c.Name, map[string]string{"ip": "iptables", "ip6": "ip6tables"}[c.Family], c.Table)
	}
	if len(c.Devices) > 0 {
		s += " on " + strings.Join(c.Devices, ", ")
	}
	return s
}

// Manager is a program that takes a link for its own.
type Manager struct {
	Program string // "systemd-networkd" or "NetworkManager"
	Process int
	Index   int    // of the link
	Says    string // the file that says so, and its words
}
