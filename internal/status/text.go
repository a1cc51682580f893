// SPDX-License-Identifier: Apache-2.0

package status

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"weft/internal/agent"
	"weft/internal/netstate"
)

// Write prints it for people.
func (s Status) Write(w io.Writer) error {
	head := orDash(s.Node)
	switch {
	case s.Converged:
		fmt.Fprintf(w, "node %s: converged\n", head)
	case s.Conflict != "":
		fmt.Fprintf(w, "node %s: the file contradicts what is not weft's\n", head)
	case s.Pending == "":
		fmt.Fprintf(w, "node %s: not converged\n", head)
	default:
		fmt.Fprintf(w, "node %s: changes pending: %s (weft plan shows them)\n", head, s.Pending)
	}
	if s.Trial != nil {
		fmt.Fprintln(w, s.Trial)
	}
	if s.Missing != "" {
		fmt.Fprintln(w, s.Missing)
	}
	for _, dev := range slices.Sorted(maps.Keys(s.Lacking)) {
		fmt.Fprintf(w, "waiting for %s: network %s needs it, and it is not weft's to make (managed: false)\n", dev, s.Lacking[dev])
	}
	s.writeHurts(w)
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	if len(s.Bonds) > 0 {
		fmt.Fprintln(t, "\nBOND\tMODE\tLINK\tLACP\tMTU")
		for _, b := range s.Bonds {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d\n", b.Name, bondMode(b), linkWord(b), lacpWord(b), b.MTU)
			s.writeMembers(t, b)
		}
	}
	if len(s.Networks) > 0 {
		fmt.Fprintln(t, "\nNETWORK\tMODE\tUPLINK\tTHROUGH\tNICS")
		for _, n := range s.Networks {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d\n", n.Name, n.Mode, uplinkWord(n), n.Through, n.NICs)
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if len(s.NICs) > 0 {
		fmt.Fprintln(w)
		if err := WriteNICs(w, s.NICs); err != nil {
			return err
		}
	}
	return s.writeDropped(w)
}

// hurtsMost is how many hurts of one name are spelled out: a program that manages links may have a thousand of ours.
const hurtsMost = 8

// writeHurts says what hurts, by name.
func (s Status) writeHurts(w io.Writer) {
	count := map[string]int{}
	for i, h := range s.Hurts {
		by := ""
		if h.By != "" {
			by = " (" + h.By + ")"
		}
		if count[h.Name]++; count[h.Name] <= hurtsMost {
			fmt.Fprintf(w, "hurt %s: %s: %s%s\n", h.Name, h.Object, h.Why, by)
		}
		last := i+1 == len(s.Hurts) || s.Hurts[i+1].Name != h.Name
		if more := count[h.Name] - hurtsMost; last && more > 0 {
			fmt.Fprintf(w, "hurt %s: and %d more\n", h.Name, more)
		}
	}
}

// writeDropped says what the guards have dropped, and why, if they have.
func (s Status) writeDropped(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for i, d := range slices.DeleteFunc(slices.Clone(s.Dropped), func(d agent.Drop) bool { return d.Packets == 0 }) {
		if i == 0 {
			fmt.Fprintln(t, "\nDROPPED\tPACKETS\tWHY")
		}
		fmt.Fprintf(t, "%s\t%d\t%s\n", d.Reason, d.Packets, d.Why)
	}
	return t.Flush()
}

// writeMembers says of each member of an 802.3ad bond whether it carries traffic, and if not, why.
func (s Status) writeMembers(w io.Writer, bond netstate.Link) {
	for _, m := range s.Members {
		if m.MasterName() != bond.Name || m.Status == nil || m.Status.Member == nil {
			continue
		}
		ms := m.Status.Member
		speed := "speed unknown"
		if m.Status.Speed > 0 {
			speed = fmt.Sprintf("%d Mbit/s", m.Status.Speed)
		}
		words := []string{ms.State}
		if b := bond.Status; b != nil && b.Bond != nil && b.Bond.AggregatorID != 0 {
			words = []string{fmt.Sprintf("aggregator %d", ms.AggregatorID)}
			if ms.AggregatorID != b.Bond.AggregatorID {
				words = append(words, "NOT in the active one: carries nothing")
			}
		}
		fmt.Fprintf(w, "  %s\t%s\tMII %s\t%s\t%s\n", m.Name, speed, ms.MII, strings.Join(words, ", "), failures(ms.LinkFailures))
	}
}

func failures(n uint32) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%d link failures", n)
}

func bondMode(b netstate.Link) string {
	if b.Bond == nil || b.Bond.Mode == nil {
		return "-"
	}
	return *b.Bond.Mode
}

func linkWord(l netstate.Link) string {
	switch {
	case !l.IsUp():
		return "down"
	case l.Status != nil && !l.Status.Carrier:
		return "no carrier"
	}
	return "up"
}

// lacpWord says who the partner of an 802.3ad bond is. No partner means that the switch does not speak LACP on these ports.
func lacpWord(l netstate.Link) string {
	if l.Status == nil || l.Status.Bond == nil {
		return "-"
	}
	b := l.Status.Bond
	switch {
	case b.AggregatorID == 0 && b.ActiveMember != "":
		return "active " + b.ActiveMember
	case b.AggregatorID == 0:
		return "-"
	case b.PartnerMAC == "" || b.PartnerMAC == "00:00:00:00:00:00":
		return "NO PARTNER: the switch does not speak LACP here"
	}
	return fmt.Sprintf("%d members, partner %s", b.Ports, b.PartnerMAC)
}

func uplinkWord(n Network) string {
	var words []string
	for _, u := range n.Uplinks {
		switch {
		case !u.There:
			u.Dev += " (not there)"
		case !u.Carrier:
			u.Dev += " (no carrier)"
		}
		words = append(words, u.Dev)
	}
	return orDash(strings.Join(words, " "))
}

// WriteNICs prints NICs as a table, a line each.
func WriteNICs(w io.Writer, states []NIC) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "NIC\tSTATE\tMAC\tNETWORK\tADDRESSES\tID")
	for _, s := range states {
		var ips []string
		for _, a := range s.Addresses {
			ips = append(ips, a.String())
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", s.Name, s.State, s.MAC, s.Network, orDash(strings.Join(ips, " ")), s.ID)
	}
	return t.Flush()
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
