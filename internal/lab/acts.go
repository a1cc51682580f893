// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// The demo's guest.
const (
	demoTap = "tap0"
	demoMAC = "aa:00:00:94:ed:40"
)

// acts are the demo.
func acts() []act {
	return []act{
		{"two interfaces become one bond", "Twice the bandwidth, and a cable or a switch port may fail. With LACP (802.3ad) node and switch agree on it.", playBond},
		{"a VLAN on the bond", "Many networks over the same cables: a frame carries the number of its network in an 802.1Q tag.", playVLAN},
		{"a bridge for the VLAN, and a guest in it", "A bridge is a switch inside the node: the guest's tap and the VLAN are its ports. One network in the\nfile makes both; plugging the guest in is one command.", playBridge},
		{"the running guest moves to a routed network", "In a routed network the node is a router in front of each guest: no shared segment, so no stolen addresses and\nno broadcasts from strangers. The node holds no address of the subnet: towards the VLAN it answers ARP for its\nguests, towards the guests it answers for the gateway.", playRouted},
		{"nothing is left to do", "The plan is the difference between the file and the kernel. A second one is empty.", playConverged},
	}
}

func playBond(d *demo) error {
	if err := d.nodeFile("demo-1-bond.yaml"); err != nil {
		return err
	}
	if err := d.planAndApply(); err != nil {
		return err
	}
	if err := d.prove(proof{
		claim:   "both members are up, in one aggregator, with the switch as their one partner",
		machine: "hv1",
		command: "grep -E 'Slave Interface|^MII Status|Aggregator ID|system mac address|port state' /proc/net/bonding/bond0",
		check:   oneAggregator,
	}); err != nil {
		return err
	}
	return d.prove(proof{claim: "the router answers over the bond", machine: "hv1", command: "ping -c 2 -W 2 " + gateway4})
}

// oneAggregator reads the lines of /proc/net/bonding: the bond's own, then for each member its name,
// status, aggregator, own system MAC and the partner's.
func oneAggregator(out Output) error {
	parts := strings.Split(out.Stdout, "Slave Interface:")
	if len(parts) != 3 {
		return fmt.Errorf("want 2 members, there are %d", len(parts)-1)
	}
	var aggregators, partners []string
	for _, member := range parts[1:] {
		if !strings.Contains(member, "MII Status: up") {
			return errors.New("a member's link is not up")
		}
		aggregators = append(aggregators, fieldsAfter(member, "Aggregator ID:")...)
		macs := fieldsAfter(member, "system mac address:")
		if len(macs) != 2 {
			return errors.New("LACP has not found a partner yet")
		}
		// Bits 0x30 of LACP's port state: collecting and distributing (IEEE 802.1AX, 6.4.2.3).
		for _, state := range fieldsAfter(member, "port state:") {
			if bits, err := strconv.Atoi(state); err != nil || bits&0x30 != 0x30 {
				return errors.New("a port does not collect and distribute yet")
			}
		}
		partners = append(partners, macs[1])
	}
	if len(aggregators) != 2 || aggregators[0] != aggregators[1] {
		return fmt.Errorf("the members are in different aggregators: %s", strings.Join(aggregators, ", "))
	}
	if partners[0] != partners[1] || partners[0] == "00:00:00:00:00:00" {
		return fmt.Errorf("the members have no common partner: %s", strings.Join(partners, ", "))
	}
	return nil
}

// fieldsAfter are the words that follow a label, in order.
func fieldsAfter(text, label string) []string {
	var list []string
	for _, rest := range strings.Split(text, label)[1:] {
		if f := strings.Fields(rest); len(f) > 0 {
			list = append(list, f[0])
		}
	}
	return list
}

func playVLAN(d *demo) error {
	if err := d.nodeFile("demo-2-vlan.yaml"); err != nil {
		return err
	}
	if err := d.planAndApply(); err != nil {
		return err
	}
	if err := d.prove(proof{claim: "bond0.992 is there and up", machine: "hv1", command: "ip -d link show bond0.992",
		check: contains("vlan protocol 802.1Q id 992", "UP")}); err != nil {
		return err
	}
	// The node has no address in this VLAN; arping -D asks without one. Exit code 1 is "somebody has it".
	return d.onWire("frames leave with tag 992, and the router answers in that VLAN", "sw", "p0", "vlan 992 and arp",
		func() error {
			return d.prove(proof{claim: "somebody in the VLAN has 192.0.2.1", machine: "hv1",
				command: "arping -D -c 1 -w 3 -I bond0.992 192.0.2.1", check: func(out Output) error {
					return contains("Unicast reply from 192.0.2.1")(Output{Stdout: out.Stdout})
				}})
		},
		func(packets string) error {
			return contains("vlan 992", "who-has 192.0.2.1", "192.0.2.1 is-at")(Output{Stdout: packets})
		})
}

// contains wants each of these in what a command printed.
func contains(want ...string) func(Output) error {
	return func(out Output) error {
		for _, w := range want {
			if !strings.Contains(out.Stdout, w) {
				return fmt.Errorf("%q is missing", w)
			}
		}
		return nil
	}
}

func playBridge(d *demo) error {
	if err := d.nodeFile("demo-3-bridge.yaml"); err != nil {
		return err
	}
	if err := d.planAndApply(); err != nil {
		return err
	}
	d.say("A guest is started; its tap is " + demoTap + ".")
	if err := d.l.AddGuest(d.ctx, "g1", "hv1", demoTap, demoMAC); err != nil {
		return err
	}
	if _, err := d.weft(0, "nic", "add", "--name", demoTap, "--mac", demoMAC, "--network", "tenants"); err != nil {
		return err
	}
	if err := d.guestAddresses(bridgedGuest("192.0.2.53", "2001:db8:992::53")); err != nil {
		return err
	}
	return d.proveAll(
		proof{claim: "the VLAN and the tap are ports of the bridge vlan992", machine: "hv1", command: "bridge link show", check: func(out Output) error {
			for _, port := range []string{"bond0.992", demoTap} {
				if !regexp.MustCompile(`(?m)^\d+: ` + regexp.QuoteMeta(port) + `[@:].*master vlan992 `).MatchString(out.Stdout) {
					return fmt.Errorf("%s is no port of vlan992", port)
				}
			}
			return nil
		}},
		proof{claim: "the guest reaches the internet over IPv4", machine: "g1", command: "ping -c 2 -W 2 " + internet4},
		proof{claim: "the guest reaches the internet over IPv6", machine: "g1", command: "ping -c 2 -W 2 " + internet6},
	)
}

func (d *demo) proveAll(list ...proof) error {
	for _, p := range list {
		if err := d.prove(p); err != nil {
			return err
		}
	}
	return nil
}

// guestAddresses lets the guest configure itself: that is not the node's work.
func (d *demo) guestAddresses(lines []string) error {
	for i, line := range lines {
		lines[i] = "ip " + line
	}
	d.show("g1", strings.Join(lines, "\n      "), "")
	out, err := d.in("g1", strings.Join(lines, " && "))
	if err == nil {
		err = out.Err()
	}
	if err != nil {
		return fmt.Errorf("configuring the guest: %w", err)
	}
	return nil
}

func playRouted(d *demo) error {
	if err := d.nodeFile("demo-4-routed.yaml"); err != nil {
		return err
	}
	if err := d.planAndApply(); err != nil {
		return err
	}
	if _, err := d.weft(0, "nic", "move", demoTap, "--network", "public", "--ip", "62.217.124.53", "--ip", "2001:db8:993::53"); err != nil {
		return err
	}
	d.say("The guest runs on; it gives itself its new addresses.")
	if err := d.guestAddresses(routedGuest("62.217.124.53", "2001:db8:993::53")); err != nil {
		return err
	}
	// The router asks anew, and so does the node.
	if _, err := d.in("rt", "ip neigh flush dev rt0.993; ip -n "+d.l.netns("hv1")+" neigh flush dev bond0.993"); err != nil {
		return err
	}
	if err := d.onWire("the node asks for the gateway as 62.217.124.54 (arp_source), not as a guest", "rt", "rt0.993", "arp",
		func() error {
			return d.prove(proof{claim: "the guest still reaches the internet over IPv4", machine: "g1", command: "ping -c 2 -W 2 " + internet4})
		},
		func(packets string) error {
			return contains("who-has 62.217.124.49 tell 62.217.124.54")(Output{Stdout: strings.ReplaceAll(packets, " (Broadcast)", "")})
		}); err != nil {
		return err
	}
	return d.proveAll(
		proof{claim: "and over IPv6", machine: "g1", command: "ping -c 2 -W 2 " + internet6},
		proof{claim: "the internet reaches the guest", machine: "inet", command: "ping -c 2 -W 2 62.217.124.53"},
		d.gatewayIsTap(),
		proof{claim: "the node holds no address of the subnet", machine: "hv1", command: "ip -o addr show to 62.217.124.48/29; ip -o addr show to 2001:db8:993::/64",
			check: func(out Output) error {
				if out.Stdout != "" {
					return errors.New("it holds one")
				}
				return out.Err()
			}},
		proof{claim: "on the VLAN somebody answers for the guest's .53", machine: "rt", command: "arping -c 1 -w 3 -I rt0.993 62.217.124.53",
			check: contains("reply from 62.217.124.53")},
		proof{claim: "and nobody for .50, which no guest has", machine: "rt", command: "arping -c 2 -w 3 -I rt0.993 62.217.124.50",
			check: contains("Received 0 response")},
	)
}

// gatewayIsTap proves that the guest's gateway, and its whole segment, is the node's end of the tap.
func (d *demo) gatewayIsTap() proof {
	return proof{claim: "the guest's gateway is the tap: the node is all that it sees", machine: "g1",
		command: "ip neigh show 62.217.124.49 dev eth0",
		check: func(out Output) error {
			tap, err := d.in("hv1", "ip -o link show "+demoTap)
			if err != nil {
				return err
			}
			macs := fieldsAfter(tap.Stdout, "link/ether")
			if len(macs) != 1 || !strings.Contains(out.Stdout, macs[0]) {
				return fmt.Errorf("the tap's MAC is %s", strings.Join(macs, " "))
			}
			return nil
		}}
}

func playConverged(d *demo) error {
	if _, err := d.weft(0, "plan"); err != nil {
		return err
	}
	d.printf("   %s %s\n", d.green("✓"), "the second plan is empty")
	_, err := d.weft(0, "status")
	return err
}
