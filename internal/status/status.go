// SPDX-License-Identifier: Apache-2.0

// Package status says how a node is: whether it is what its file says, and how its bonds, networks and NICs are.
//
// It owns what weft status prints and what the agent's API answers, which are the same. It looks at a node and changes nothing.
package status

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"time"

	"weft/internal/agent"
	"weft/internal/netstate"
	"weft/internal/spec"
	"weft/internal/trial"
)

// Status is how a node is. Converged means that nothing is left to do, not that a packet gets through.
type Status struct {
	Node      string          `json:"node,omitempty"`
	Converged bool            `json:"converged"`
	Pending   string          `json:"pending,omitempty"`  // the plan's summary
	Missing   string          `json:"missing,omitempty"`  // interfaces that the file takes for existing
	Conflict  string          `json:"conflict,omitempty"` // why there is no plan
	Bonds     []netstate.Link `json:"bonds,omitempty"`
	Members   []netstate.Link `json:"members,omitempty"`
	Networks  []Network       `json:"networks,omitempty"`
	NICs      []NIC           `json:"nics,omitempty"`
	Dropped   []agent.Drop    `json:"dropped,omitempty"`

	Trial   *Trial            `json:"trial,omitempty"`   // the last change with --confirm, unless it was confirmed
	Hurts   []agent.Hurt      `json:"hurts,omitempty"`   // what is not weft's and hurts the node's networks
	Lacking map[string]string `json:"lacking,omitempty"` // devices that networks need and that nobody made, and the network of each
}

// Network is how a network of the node is.
type Network struct {
	Name    string `json:"name"`
	Mode    string `json:"mode"`
	Managed bool   `json:"managed"`
	Through string `json:"through"` // bridge or VRF
	NICs    int    `json:"nics"`

	Uplinks []Uplink `json:"uplinks,omitempty"` // two where IPv4 and IPv6 are apart
}

// Uplink is how a device is by which a network leaves the node.
type Uplink struct {
	Dev     string `json:"dev"`
	Carrier bool   `json:"carrier"`
	There   bool   `json:"there"` // false where somebody else has to make it
}

// Of looks at a node.
func Of(ctx context.Context, node *agent.Node) (s Status, v *agent.View, err error) {
	if v, err = node.View(ctx); err != nil {
		return s, nil, err
	}
	s = of(node.Spec, v)
	if s.Hurts, err = node.Hurts(ctx, v); err != nil {
		return s, v, err
	}
	if s.Dropped, err = node.Drops(ctx); err != nil {
		return s, v, err
	}
	s.Trial, err = lastTrial(node.Trials)
	return s, v, err
}

func of(node *spec.Node, v *agent.View) Status {
	s := Status{Node: node.Node, Converged: v.Plan.Empty() && v.Missing == nil && v.Conflict == nil, NICs: NICs(v), Lacking: v.Lacking}
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
		s.Networks = append(s.Networks, network(node, name, v))
	}
	return s
}

func network(node *spec.Node, name string, v *agent.View) Network {
	n := node.Networks[name]
	ns := Network{Name: name, Mode: n.Mode, Managed: n.IsManaged()}
	if ns.Through = n.BridgeName(); n.Mode == spec.Routed {
		ns.Through = fmt.Sprintf("table %d", n.TableNumber())
		if vrf := n.VRFName(); vrf != "" {
			ns.Through = vrf + " " + ns.Through
		}
	}
	for _, u := range node.Uplinks(n) {
		l := v.Have.Link(u.Dev)
		ns.Uplinks = append(ns.Uplinks, Uplink{Dev: u.Dev, There: l != nil, Carrier: l != nil && l.Status != nil && l.Status.Carrier})
	}
	for _, c := range v.NICs {
		if c.Network == name {
			ns.NICs++
		}
	}
	return ns
}

// NIC is a NIC as list and show print it.
type NIC struct {
	spec.NIC
	State string `json:"state"` // "up", "down", "prepared" or "absent"
}

// NICs returns the NICs of a view, with how they are.
func NICs(v *agent.View) []NIC {
	states := make([]NIC, 0, len(v.NICs))
	for _, n := range v.NICs {
		s := NIC{NIC: n, State: "absent"}
		if l := v.Have.Link(n.Name); l != nil && !v.Absent[n.ID] {
			s.State = "down"
			switch {
			case l.IsUp() && n.Prepared:
				s.State = "prepared"
			case l.IsUp():
				s.State = "up"
			}
		}
		states = append(states, s)
	}
	return states
}

// Trial is what weft status says of the last change on trial.
type Trial struct {
	Began   time.Time     `json:"began"`
	Left    time.Duration `json:"left_ns,omitempty"` // while it waits
	Verdict trial.Verdict `json:"verdict,omitempty"`
	Why     string        `json:"why,omitempty"`
	Kept    string        `json:"kept,omitempty"` // where the file is that was undone
}

// lastTrial returns the last change on trial, nil where there was none, or it was confirmed, or who asks may not know.
func lastTrial(trials *trial.Store) (*Trial, error) {
	t, err := trials.Get()
	if t == nil || err != nil || t.Verdict == trial.Confirmed {
		if errors.Is(err, fs.ErrPermission) {
			err = nil
		}
		return nil, err
	}
	s := &Trial{Began: t.Began, Verdict: t.Verdict, Why: t.Why, Kept: t.Aside}
	if t.Pending() {
		s.Left = max(t.Left(), 0)
	}
	return s, nil
}

// String says it in a line.
func (s *Trial) String() string {
	if s.Verdict == "" {
		return fmt.Sprintf("on trial: undone in %s unless confirmed (weft confirm)", s.Left.Round(time.Second))
	}
	return fmt.Sprintf("the change of %s was undone: %s; its file is kept as %s", s.Began.Format(time.DateTime), s.Why, s.Kept)
}
