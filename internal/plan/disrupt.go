// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"strings"

	"weft/internal/netstate"
)

// disruption says what stops working when w comes, or takes the place of h.
func disruption(s *netstate.State, h, w netstate.Object) string {
	switch w := w.(type) {
	case netstate.Sysctl:
		if w.Path == "net/ipv6/conf/all/forwarding" && w.Value == "1" {
			return "interfaces with accept_ra 1 stop accepting router advertisements"
		}
	case netstate.Route:
		if h != nil {
			return fmt.Sprintf("traffic to %s takes another way", w.Dst)
		}
	case netstate.Rule:
		if w.IsLocal() && h != nil {
			return "packets of VRFs no longer reach the host's own addresses"
		}
	}
	return ""
}

// linkDisruption says what stops working when the fields of part are set on l.
func linkDisruption(s *netstate.State, l, part netstate.Link) string {
	var what []string
	if part.Up != nil && !*part.Up && l.IsUp() {
		what = append(what, downWords(s, l))
	}
	if part.Master != nil && l.MasterName() != *part.Master {
		what = append(what, masterWords(s, l, *part.Master)...)
	}
	if part.MTU != 0 && part.MTU != l.MTU && l.IsUp() {
		what = append(what, fmt.Sprintf("MTU from %d to %d: some drivers reset the link", l.MTU, part.MTU))
	}
	if part.MAC != "" && part.MAC != l.MAC && l.IsUp() {
		what = append(what, fmt.Sprintf("peers must learn the new MAC of %s", l.Name))
	}
	return strings.Join(what, "; ")
}

// masterWords says what a change of master ends.
func masterWords(s *netstate.State, l netstate.Link, to string) []string {
	var what []string
	if from := l.MasterName(); from != "" {
		what = append(what, fmt.Sprintf("%s leaves %s", l.Name, from))
	}
	m := s.Link(to)
	if m == nil {
		return what
	}
	if a := addresses(s, l.Name); a != "" && m.Kind != netstate.VRF {
		what = append(what, fmt.Sprintf("%s as a port of %s no longer receives for %s", l.Name, to, a))
	}
	if m.Kind == netstate.VRF && l.IsUp() {
		what = append(what, fmt.Sprintf("%s loses its routes for a moment", l.Name))
	}
	return what
}

func downWords(s *netstate.State, l netstate.Link) string {
	words := l.Name + " goes down"
	if above := through(s, l.Name); above != "" {
		words += ", and with it " + above
	}
	if a := addresses(s, l.Name); a != "" {
		words += "; traffic of " + a + " stops"
	}
	return words
}

func replaceWords(s *netstate.State, l netstate.Link) string {
	return downWords(s, l) + " until it is made anew"
}

func deleteWords(s *netstate.State, l netstate.Link) string {
	if !l.IsUp() {
		return ""
	}
	return downWords(s, l)
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

// through names the links that stand on this one or are its ports, for messages.
func through(s *netstate.State, name string) string {
	var names []string
	for _, l := range s.Above(name) {
		names = append(names, l.Name)
	}
	if len(names) > 5 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:4], ", "), len(names)-4)
	}
	return strings.Join(names, ", ")
}
