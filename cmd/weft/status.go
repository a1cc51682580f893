// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"weft/internal/agent"
	"weft/internal/netstate"
	"weft/internal/spec"
)

// status is what `weft status` says of a node. Converged means that nothing is left to do, not that a packet gets through.
type status struct {
	Node      string          `json:"node,omitempty"`
	Converged bool            `json:"converged"`
	Pending   string          `json:"pending,omitempty"`  // the plan's summary
	Missing   string          `json:"missing,omitempty"`  // interfaces that the file takes for existing
	Conflict  string          `json:"conflict,omitempty"` // why there is no plan
	Bonds     []netstate.Link `json:"bonds,omitempty"`
	Members   []netstate.Link `json:"members,omitempty"`
	Networks  []networkStatus `json:"networks,omitempty"`
	NICs      []nicState      `json:"nics,omitempty"`
	Dropped   []agent.Drop    `json:"dropped,omitempty"`

	Trial   *trialStatus      `json:"trial,omitempty"`   // the last change with --confirm, unless it was confirmed
	Early   []netstate.Rule   `json:"early,omitempty"`   // rules of others that stand before that of the host's own addresses
	Lacking map[string]string `json:"lacking,omitempty"` // devices that networks need and that nobody made, and the network of each
}

type networkStatus struct {
	Name    string `json:"name"`
	Mode    string `json:"mode"`
	Managed bool   `json:"managed"`
	Through string `json:"through"` // bridge or VRF
	NICs    int    `json:"nics"`

	Uplinks []uplinkStatus `json:"uplinks,omitempty"` // two where IPv4 and IPv6 are apart
}

type uplinkStatus struct {
	Dev     string `json:"dev"`
	Carrier bool   `json:"carrier"`
	There   bool   `json:"there"` // false where somebody else has to make it
}

func newStatusCommand(o *options) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Say whether the node is what its file says, and how its bonds, networks and NICs are",
		Long: `Say whether the node is what its file says, and how its bonds, networks and NICs are.

Exit status: 0 converged, 1 error, 2 changes pending.`,
		Args: cobra.NoArgs,
		RunE: o.withView(func(c *cobra.Command, node *agent.Node, v *agent.View, _ []string) (err error) {
			s := nodeStatus(node.Spec, v)
			if s.Dropped, err = node.Drops(c.Context()); err != nil {
				return err
			}
			if s.Trial, err = lastTrial(node.Trials); err != nil {
				return err
			}
			if asJSON {
				err = writeJSON(c.OutOrStdout(), s)
			} else {
				err = s.write(c.OutOrStdout())
			}
			if err == nil && v.Conflict != nil {
				err = v.Conflict
			}
			if err == nil && !s.Converged {
				err = exitStatus(exitPending)
			}
			return err
		}),
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print as JSON")
	return c
}

func nodeStatus(node *spec.Node, v *agent.View) status {
	s := status{Node: node.Node, Converged: v.Plan.Empty() && v.Missing == nil && v.Conflict == nil, NICs: nicStates(v), Early: v.Early(), Lacking: v.Lacking}
	if v.Missing != nil {
		s.Missing = v.Missing.Error()
	}
	switch {
	case v.Conflict != nil:
		s.Conflict = v.Conflict.Error()
	case !v.Plan.Empty():
		s.Pending = v.Plan.Summary()
	}
	for _, name := range slices.Sorted(maps.Keys(node.Bonds)) {
		bond := v.Have.Link(name)
		if bond == nil {
			continue
		}
		s.Bonds = append(s.Bonds, *bond)
		for l := range netstate.Of[netstate.Link](v.Have) {
			if l.MasterName() == name {
				s.Members = append(s.Members, l)
			}
		}
	}
	if merged, err := spec.WithNICs(node, v.NICs); err == nil { // the view was made with it
		node = merged
	}
	for _, name := range slices.Sorted(maps.Keys(node.Networks)) {
		s.Networks = append(s.Networks, networkStatusOf(node, name, v))
	}
	return s
}

func networkStatusOf(node *spec.Node, name string, v *agent.View) networkStatus {
	n := node.Networks[name]
	ns := networkStatus{Name: name, Mode: n.Mode, Managed: n.IsManaged()}
	if ns.Through = n.BridgeName(); n.Mode == spec.Routed {
		ns.Through = fmt.Sprintf("table %d", n.TableNumber())
		if vrf := n.VRFName(); vrf != "" {
			ns.Through = vrf + " " + ns.Through
		}
	}
	for _, u := range node.Uplinks(n) {
		l := v.Have.Link(u.Dev)
		ns.Uplinks = append(ns.Uplinks, uplinkStatus{Dev: u.Dev, There: l != nil, Carrier: l != nil && l.Status != nil && l.Status.Carrier})
	}
	for _, c := range v.NICs {
		if c.Network == name {
			ns.NICs++
		}
	}
	return ns
}

func (s status) write(w io.Writer) error {
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
	for _, r := range s.Early {
		fmt.Fprintf(w, "IPv%d rule %s: stands before the host's own addresses; give it a preference (pref 1000)\n", r.Family, r)
	}
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
		if err := writeNICs(w, s.NICs); err != nil {
			return err
		}
	}
	return s.writeDropped(w)
}

// writeDropped says what the guards have dropped, and why, if they have.
func (s status) writeDropped(w io.Writer) error {
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
func (s status) writeMembers(w io.Writer, bond netstate.Link) {
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

func uplinkWord(n networkStatus) string {
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
