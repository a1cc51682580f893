// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// Addresses of the fabric that scenarios and the demo speak to.
const (
	gateway4  = "10.0.0.1"     // the router, native VLAN
	internet4 = "203.0.113.80" // the host behind the router
	internet6 = "2001:db8:ffff::80"
)

// wire is one link: its two ends are interfaces of two machines.
type wire struct {
	a, aDev, aMAC string
	b, bDev, bMAC string
}

// fabricLinks are the links of the datacenter. The second end is where a link is recorded.
func fabricLinks() []wire {
	return []wire{
		{"rt", "rt0", "02:00:00:00:fe:01", "sw", "p0", "02:00:00:00:5c:00"},
		{"rt", "wan", "02:00:00:00:fe:02", "inet", "eth0", "02:00:00:00:fe:80"},
		{"hv1", "eth0", "02:00:00:00:01:00", "sw", "h1e0", "02:00:00:00:5c:10"},
		{"hv1", "eth1", "02:00:00:00:01:01", "sw", "h1e1", "02:00:00:00:5c:11"},
		{"hv2", "eth0", "02:00:00:00:02:00", "sw", "h2e0", "02:00:00:00:5c:20"},
		{"hv2", "eth1", "02:00:00:00:02:01", "sw", "h2e1", "02:00:00:00:5c:21"},
	}
}

// thirdNode is the node that only those scenarios have that ask for it.
const thirdNode = "hv3"

// thirdLinks are the links of the third node.
func thirdLinks() []wire {
	return []wire{
		{thirdNode, "eth0", "02:00:00:00:03:00", "sw", "h3e0", "02:00:00:00:5c:30"},
		{thirdNode, "eth1", "02:00:00:00:03:01", "sw", "h3e1", "02:00:00:00:5c:31"},
	}
}

// nodes lists the lab's nodes.
func (l *Lab) nodes() []string {
	list := []string{"hv1", "hv2"}
	if l.has(thirdNode) {
		list = append(list, thirdNode)
	}
	return list
}

func (l *Lab) isNode(name string) bool { return slices.Contains(l.nodes(), name) }

// AddThirdNode adds a node like the others, with its bond of the switch.
func (l *Lab) AddThirdNode(ctx context.Context) error {
	if err := l.addMachine(ctx, thirdNode); err != nil {
		return err
	}
	var lines []string
	for _, w := range thirdLinks() {
		lines = append(lines, l.linkLine(w))
	}
	if err := batch(ctx, l.netns(thirdNode), "ip", lines); err != nil {
		return err
	}
	if err := batch(ctx, l.netns("sw"), "ip", lagLines("3")); err != nil {
		return err
	}
	if err := batch(ctx, l.netns("sw"), "bridge", vlanLines("lag3")); err != nil {
		return err
	}
	for _, w := range thirdLinks() {
		if err := l.record(ctx, w); err != nil {
			return err
		}
	}
	return nil
}

// linkLine makes a link, at its first end.
func (l *Lab) linkLine(w wire) string {
	return fmt.Sprintf("link add name %s address %s type veth peer name %s address %s netns %s", w.aDev, w.aMAC, w.bDev, w.bMAC, l.netns(w.b))
}

// lagLines make the switch's LACP bond for a node.
func lagLines(node string) []string {
	lag := "lag" + node
	lines := []string{"link add " + lag + " type bond mode 802.3ad lacp_rate fast miimon 100 xmit_hash_policy layer3+4"}
	for _, port := range []string{"h" + node + "e0", "h" + node + "e1"} {
		lines = append(lines, "link set "+port+" master "+lag, "link set "+port+" up")
	}
	return append(lines, "link set "+lag+" up", "link set "+lag+" master br0")
}

// vlanLines let a port of the switch carry the VLANs.
func vlanLines(port string) []string {
	var lines []string
	for _, vid := range []string{"992", "993", "994"} {
		lines = append(lines, "vlan add dev "+port+" vid "+vid)
	}
	return lines
}

// buildFabric makes the namespaces of fabric and nodes, the links between them, and configures all
// but the nodes, whose interfaces stay as they are: down, and nothing else there.
func (l *Lab) buildFabric(ctx context.Context) error {
	for _, name := range []string{"sw", "rt", "inet", "hv1", "hv2"} {
		if err := l.addMachine(ctx, name); err != nil {
			return err
		}
	}
	byMachine := map[string][]string{}
	for _, w := range fabricLinks() {
		byMachine[w.a] = append(byMachine[w.a], l.linkLine(w))
	}
	for _, m := range []string{"rt", "hv1", "hv2"} {
		if err := batch(ctx, l.netns(m), "ip", byMachine[m]); err != nil {
			return err
		}
	}
	return errors.Join(l.configureSwitch(ctx), l.configureRouter(ctx), l.configureInternet(ctx))
}

// addMachine makes an empty namespace. Settings that it would inherit from the host are the
// kernel's own defaults again, and no machine of the fabric waits for duplicate addresses.
func (l *Lab) addMachine(ctx context.Context, name string) error {
	ns := l.netns(name)
	if err := batch(ctx, "", "ip", []string{"netns add " + ns}); err != nil {
		return fmt.Errorf("creating namespace %s: %w", ns, err)
	}
	values := map[string]string{
		"net/ipv4/ip_forward":                "0",
		"net/ipv6/conf/all/forwarding":       "0",
		"net/ipv4/conf/all/rp_filter":        "0",
		"net/ipv4/conf/default/rp_filter":    "0",
		"net/ipv6/conf/all/disable_ipv6":     "0",
		"net/ipv6/conf/default/disable_ipv6": "0",
	}
	switch name {
	case "sw":
		values["net/ipv6/conf/all/disable_ipv6"] = "1"
		values["net/ipv6/conf/default/disable_ipv6"] = "1"
	case "hv1", "hv2", thirdNode:
	default:
		values["net/ipv6/conf/default/accept_dad"] = "0"
		values["net/ipv6/conf/default/router_solicitations"] = "0"
	}
	if err := setSysctls(ns, values); err != nil {
		return err
	}
	return batch(ctx, ns, "ip", []string{"link set lo up"})
}

// configureSwitch is the switch: a VLAN-aware bridge with the router's trunk and a LACP bond per node.
func (l *Lab) configureSwitch(ctx context.Context) error {
	lines := []string{
		"link add br0 address 02:00:00:00:5c:ff type bridge vlan_filtering 1 mcast_snooping 0 forward_delay 0",
		"link set br0 up",
		"link set p0 master br0",
		"link set p0 up",
	}
	for _, node := range []string{"1", "2"} {
		lines = append(lines, lagLines(node)...)
	}
	vlans := []string{}
	for _, port := range []string{"p0", "lag1", "lag2"} {
		vlans = append(vlans, vlanLines(port)...)
	}
	if err := batch(ctx, l.netns("sw"), "ip", lines); err != nil {
		return err
	}
	return batch(ctx, l.netns("sw"), "bridge", vlans)
}

// configureRouter is the router: one leg in each VLAN, one towards the internet.
func (l *Lab) configureRouter(ctx context.Context) error {
	if err := setSysctls(l.netns("rt"), map[string]string{
		"net/ipv4/ip_forward":          "1",
		"net/ipv6/conf/all/forwarding": "1",
	}); err != nil {
		return err
	}
	return batch(ctx, l.netns("rt"), "ip", []string{
		"link set rt0 up",
		"link set wan up",
		"addr add " + gateway4 + "/24 dev rt0",
		"link add link rt0 name rt0.992 type vlan id 992",
		"link add link rt0 name rt0.993 type vlan id 993",
		"link add link rt0 name rt0.994 type vlan id 994",
		"link set rt0.992 up",
		"link set rt0.993 up",
		"link set rt0.994 up",
		"addr add 192.0.2.1/24 dev rt0.992",
		"addr add 2001:db8:992::1/64 dev rt0.992 nodad",
		"addr add 62.217.124.49/29 dev rt0.993",
		"addr add 2001:db8:993::1/64 dev rt0.993 nodad",
		"addr add 2001:db8:994::1/64 dev rt0.994 nodad", // IPv6 alone, for networks that have it apart
		"addr add 203.0.113.1/24 dev wan",
		"addr add 2001:db8:ffff::1/64 dev wan nodad",
	})
}

// configureInternet is the one host of the internet.
func (l *Lab) configureInternet(ctx context.Context) error {
	return batch(ctx, l.netns("inet"), "ip", []string{
		"link set eth0 up",
		"addr add " + internet4 + "/24 dev eth0",
		"addr add " + internet6 + "/64 dev eth0 nodad",
		"route add default via 203.0.113.1",
		"route add default via 2001:db8:ffff::1",
	})
}
