// SPDX-License-Identifier: Apache-2.0

package spec

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// checker looks for what does not fit together in a Node whose parts could be read.
type checker struct {
	node *Node
	src  *source
	errs Errors

	devices map[string]path   // every interface that the file describes or makes, and where
	masters map[string]master // what an interface is a port or a member of
	carried map[string]bool   // every interface that a VLAN or a network is on
	vrfs    map[string]bool   // every VRF that a network makes
	nets    []string          // the networks' names, in the order of the file
	all     []declared        // what links returns
}

// master is what an interface is given to.
type master struct {
	what string // such as "a member of bond1"
	name string // such as "bond1"
	bond bool   // it is a bond, which takes every frame
	net  string // the network for which it was given away, or ""
	at   path
}

func (c *checker) fail(p path, format string, args ...any) {
	c.errs = append(c.errs, c.src.errorAt(p, format, args...))
}

// unread reports whether the value at p could not be read, which is a mistake already.
func (c *checker) unread(p path) bool { return c.src != nil && c.src.bad[p] }

func (c *checker) check() {
	c.nets = inOrder(c.src, "networks", c.node.Networks)
	c.collect()
	c.checkBonds()
	c.checkVLANs()
	c.checkBridges()
	c.checkVRFs()
	c.checkNetworks()
	c.checkMembers()
	c.checkPorts()
	c.checkLoops()
	c.checkAddresses()
	c.checkRoutes()
	c.checkRules()
	c.checkNeighbours()
	c.checkSysctls()
	c.checkGroups()
}

// collect gathers the interfaces that the file describes or makes, and refuses a name with two meanings.
func (c *checker) collect() {
	c.devices, c.masters, c.carried = map[string]path{}, map[string]master{}, map[string]bool{}
	for name, v := range c.node.VLANs {
		c.carried[v.ParentName(name)] = true
	}
	c.vrfs = map[string]bool{}
	for _, net := range c.node.Networks {
		for _, u := range c.node.Uplinks(net) {
			c.carried[u.Parent] = true
			if !net.IsManaged() {
				c.carried[u.Dev] = true
			}
		}
		if net.IsManaged() {
			c.vrfs[net.VRFName()] = true
		} else {
			c.carried[net.BridgeName()] = true
		}
	}
	for _, section := range []struct {
		name  string
		links []string
	}{
		{"links", inOrder(c.src, "links", c.node.Links)}, {"bonds", inOrder(c.src, "bonds", c.node.Bonds)}, {"vlans", inOrder(c.src, "vlans", c.node.VLANs)},
		{"bridges", inOrder(c.src, "bridges", c.node.Bridges)}, {"vrfs", inOrder(c.src, "vrfs", c.node.VRFs)},
	} {
		for _, name := range section.links {
			p := at(section.name, name)
			if reserved(name) {
				c.fail(p, "%s is a name that the kernel keeps for itself", name)
			}
			c.claim(name, p)
		}
	}
	for _, name := range c.nets {
		c.collectNetwork(name, c.node.Networks[name])
	}
}

// claim notes that the file describes or makes the interface at p.
func (c *checker) claim(name string, p path) {
	if first, taken := c.devices[name]; taken {
		c.fail(p, "%s is %s already", name, c.spell(first))
		return
	}
	c.devices[name] = p
}

// spell names the place of the file where something was said before.
func (c *checker) spell(p path) string { return p.String() + c.line(p) }

// line names the line of p, where it is known.
func (c *checker) line(p path) string {
	if c.src == nil {
		return ""
	}
	return fmt.Sprintf(" (line %d)", c.src.place(p).line)
}

// collectNetwork claims the interfaces that a network makes.
func (c *checker) collectNetwork(name string, net *Network) {
	p := at("networks", name)
	if !net.IsManaged() {
		return
	}
	for _, l := range net.legs() {
		if l.vlan == 0 || c.node.VLANAware(net) {
			continue
		}
		if _, declared := c.node.vlanOf(l.uplink, l.vlan); !declared {
			dev := c.node.deviceOf(l)
			if first, taken := c.devices[dev]; !taken || !byNetwork(first, "vlan") { // or refused by its number
				c.claimMade(dev, l.key(p, "vlan"), "VLAN device", "declare it under vlans with a shorter name")
			}
		}
	}
	switch {
	case net.VRFName() != "" && net.TableNumber() != 0:
		if first, taken := c.devices[net.VRFName()]; taken && net.VRF == "" && byNetwork(first, "vrf") {
			return // both are named for their table, which is refused by its number
		}
		c.claimMade(net.VRFName(), p.key("vrf"), "VRF", "name it")
	case net.OnBridge() && c.node.Bridges[net.Bridge] == nil && (net.Bridge != "" || net.VLAN != 0):
		c.claimMade(net.BridgeName(), p.key("bridge"), "bridge", "name it")
	}
}

// byNetwork reports whether the place is that key of a network.
func byNetwork(p path, k string) bool {
	return strings.HasPrefix(string(p), "networks\x00") && strings.HasSuffix(string(p), "\x00"+k+"\x00")
}

// claimMade claims an interface that a network makes; its name may be one that we made up.
func (c *checker) claimMade(name string, p path, what, advice string) {
	if len(name) > maxIfName {
		c.fail(p, "its %s %s has a name of %d bytes, and %d is the most: %s", what, name, len(name), maxIfName, advice)
		return
	}
	if first, taken := c.devices[name]; taken {
		c.fail(p, "its %s is named %s, and that is %s already", what, name, c.spell(first))
		return
	}
	if reserved(name) {
		c.fail(p, "%s is a name that the kernel keeps for itself", name)
	}
	c.devices[name] = p
}

// give notes that the interface is a port or a member of something; nothing can be of two. The same may be said twice:
// a network's uplink may be declared as a port of its bridge.
func (c *checker) give(name string, m master) {
	if first, taken := c.masters[name]; taken {
		if first.name == m.name {
			first.net = orElse(first.net, m.net)
			c.masters[name] = first
			return
		}
		c.fail(m.at, "%s is already %s%s", name, first.what, c.line(first.at))
		return
	}
	c.masters[name] = m
}

// known reports whether the file says anything of the interface, so that routes and rules can name it.
func (c *checker) known(name string) bool {
	if _, ok := c.devices[name]; ok {
		return true
	}
	if _, ok := c.masters[name]; ok {
		return true
	}
	return c.carried[name]
}

// checkDev refuses an interface that the file says nothing of.
func (c *checker) checkDev(name string, p path) {
	if name == "" || c.unread(p) || c.known(name) {
		return
	}
	hint := ""
	if meant := closest(name, slices.Sorted(maps.Keys(c.devices))); meant != "" {
		hint = fmt.Sprintf(" (did you mean %s?)", meant)
	}
	c.fail(p, "%s is nowhere else in this file%s; a device that exists already is described under links, {} is enough", name, hint)
}

// checkLoops refuses links that stand on themselves: each walk goes down from a link once.
func (c *checker) checkLoops() {
	const walking, done = 1, 2
	state := map[string]int{}
	var walk func(name string, way []string)
	walk = func(name string, way []string) {
		switch state[name] {
		case done:
			return
		case walking:
			from := slices.Index(way, name)
			c.fail(c.devices[way[len(way)-1]], "%s stands on itself: %s", name, strings.Join(append(way[from:], name), " on "))
			return
		}
		state[name] = walking
		way = append(way, name)
		for _, below := range c.below(name) {
			if below != name { // named where it was said
				walk(below, way)
			}
		}
		state[name] = done
	}
	for _, name := range sorted(c.devices) {
		walk(name, nil)
	}
}

// below returns the interfaces that a declared link stands on.
func (c *checker) below(name string) []string {
	if b := c.node.Bonds[name]; b != nil {
		return b.Members
	}
	if b := c.node.Bridges[name]; b != nil {
		return b.Ports
	}
	if v := c.node.VLANs[name]; v != nil {
		return []string{v.ParentName(name)}
	}
	return nil
}

// inOrder returns the names of a section in the order of the file, so that of two that clash the later one is the
// mistake; without a file, by name.
func inOrder[V any](src *source, section string, m map[string]V) []string {
	names := sorted(m)
	if src == nil {
		return names
	}
	slices.SortStableFunc(names, func(a, b string) int {
		x, y := src.place(at(section, a)), src.place(at(section, b))
		return cmp.Or(cmp.Compare(x.line, y.line), cmp.Compare(x.column, y.column))
	})
	return names
}

// sorted returns the keys of a map in order.
func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
