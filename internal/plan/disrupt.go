// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"strings"

	"weft/internal/netstate"
)

// disruption says what stops working when w comes, or takes the place of h.
func disruption(h, w netstate.Object) string {
	switch w := w.(type) {
	case netstate.Sysctl:
		return sysctlWords(w)
	case netstate.Route:
		if h != nil {
			return fmt.Sprintf("traffic to %s takes another way", w.Dst)
		}
	case netstate.Rule:
		old, moves := h.(netstate.Rule)
		if moves && old.Priority > w.Priority {
			return gone(old)
		} else if moves {
			return fmt.Sprintf("rules before pref %d are asked before the host's own addresses", w.Priority)
		}
	case netstate.Neigh:
		if h != nil {
			return fmt.Sprintf("%s is reached at another MAC", w.IP)
		}
	}
	return ""
}

func sysctlWords(w netstate.Sysctl) string {
	switch {
	case w.Path == "net/ipv6/conf/all/forwarding" && w.Value == "1":
		return "interfaces with accept_ra 1 stop accepting router advertisements"
	case w.Path == "net/ipv6/conf/all/forwarding" && w.Value == "0", w.Path == "net/ipv4/ip_forward" && w.Value == "0":
		return "the node routes no more: its guests on routed networks are cut off"
	}
	return ""
}

// gone says what stops working when o, which is not a link, is taken away.
func gone(o netstate.Object) string {
	switch o := o.(type) {
	case netstate.Addr:
		return fmt.Sprintf("%s loses %s", o.Dev, o.Prefix)
	case netstate.Route:
		if o.Type == "unicast" || o.Type == "" {
			return fmt.Sprintf("%s is not reached this way any more", o.Dst)
		}
	case netstate.Rule:
		if o.IsLocal() {
			return "guests of routed networks reach the host's own addresses"
		}
	}
	return ""
}

// linkDisruption says what stops working when the fields of part are set on l.
func linkDisruption(s *netstate.State, l, part netstate.Link) string {
	var what []string
	add := func(words string) {
		if words != "" {
			what = append(what, words)
		}
	}
	if part.Up != nil && !*part.Up && l.IsUp() {
		add(downWords(s, l))
	}
	if part.Master != nil && l.MasterName() != *part.Master {
		what = append(what, masterWords(s, l, *part.Master)...)
	}
	if part.MTU != 0 && part.MTU != l.MTU && l.IsUp() && (l.Kind == "" || l.Kind == netstate.Bond) {
		add(fmt.Sprintf("MTU of %s from %d to %d: some drivers reset the link", l.Name, l.MTU, part.MTU))
	}
	if part.MAC != "" && part.MAC != l.MAC && l.IsUp() {
		add(fmt.Sprintf("peers must learn the new MAC of %s", l.Name))
	}
	if b := part.Bridge; b != nil && l.IsUp() {
		if b.STP != nil && *b.STP {
			add(fmt.Sprintf("ports of %s forward nothing until STP has settled, about twice its forward delay", l.Name))
		} else if b.STP != nil {
			add(fmt.Sprintf("loops through %s are not cut any more", l.Name))
		}
		if b.VLANFiltering != nil {
			add(fmt.Sprintf("ports of %s pass only the VLANs that they are in, or all", l.Name))
		}
	}
	return strings.Join(what, "; ")
}

// masterWords says what a change of master ends.
func masterWords(s *netstate.State, l netstate.Link, to string) []string {
	var what []string
	from := l.MasterName()
	if f := s.Link(from); f != nil && f.IsUp() && l.IsUp() {
		what = append(what, fmt.Sprintf("%s leaves %s", l.Name, from))
	}
	m := s.Link(to)
	if m == nil {
		return what
	}
	if a := addresses(s, l.Name); a != "" && m.Kind != netstate.VRF {
		what = append(what, fmt.Sprintf("%s as a port of %s does not receive for %s: traffic of it stops", l.Name, to, a))
	}
	if m.Kind == netstate.VRF && l.IsUp() && len(routesOn(s, l.Name)) > 0 {
		what = append(what, fmt.Sprintf("%s loses its routes for a moment", l.Name))
	}
	return what
}

// downWords says what ends with a link that goes down; "" where nothing was to be had through it.
func downWords(s *netstate.State, l netstate.Link) string {
	if isTap(l) {
		return fmt.Sprintf("the guest on %s is cut off while it is down", l.Name)
	}
	words := ""
	if above := through(s, l); above != "" {
		words += ", and with it " + above
	}
	if m := l.MasterName(); m != "" {
		words += ", a port of " + m
	}
	if a := addresses(s, l.Name); a != "" {
		words += "; traffic of " + a + " stops"
	}
	if words == "" && len(routesOn(s, l.Name)) == 0 {
		return ""
	}
	return l.Name + " goes down" + words
}

func replaceWords(s *netstate.State, l netstate.Link) string {
	if words := downWords(s, l); words != "" {
		return words + ", until it is made anew"
	}
	return ""
}

func deleteWords(s *netstate.State, l netstate.Link) string {
	if !l.IsUp() {
		return ""
	}
	return downWords(s, l)
}

func routesOn(s *netstate.State, dev string) []netstate.Route {
	var list []netstate.Route
	for _, o := range s.On(dev) {
		if r, ok := o.(netstate.Route); ok {
			list = append(list, r)
		}
	}
	return list
}

// addresses lists the addresses of a link.
func addresses(s *netstate.State, dev string) string {
	var list []string
	for _, o := range s.On(dev) {
		if a, ok := o.(netstate.Addr); ok {
			list = append(list, a.Prefix.String())
		}
	}
	return strings.Join(list, ", ")
}

// through names the links that stand on this one and are up, or are its ports, for messages.
func through(s *netstate.State, l netstate.Link) string {
	var names []string
	for _, a := range s.Above(l.Name) {
		if a.MasterName() == l.Name && l.Kind != netstate.VRF || a.IsUp() {
			names = append(names, a.Name)
		}
	}
	if len(names) > 5 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:4], ", "), len(names)-4)
	}
	return strings.Join(names, ", ")
}
