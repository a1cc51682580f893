// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"weft/internal/compile"
	"weft/internal/netstate"
	"weft/internal/plan"
	"weft/internal/spec"
)

// delta is the part of a node that a change of its NICs touches.
type delta struct {
	want *netstate.State       // the objects that come or change
	keys map[netstate.Key]bool // of these, and of those that are not wanted any more
}

// compiled keeps what the node is with several lists of NICs: the one before a change is often that without the NIC, too.
type compiled struct {
	node *spec.Node
	with []struct {
		nics  []spec.NIC
		state *netstate.State
	}
}

// of returns the node with these NICs. It must not be changed.
func (c *compiled) of(nics []spec.NIC) (*netstate.State, error) {
	for _, w := range c.with {
		if alike(w.nics, nics) {
			return w.state, nil
		}
	}
	s, err := compile.Compile(c.node, nics)
	if err == nil {
		c.with = append(c.with, struct {
			nics  []spec.NIC
			state *netstate.State
		}{nics, s})
	}
	return s, err
}

// alike reports whether two lists of NICs make the same node. Their order, which tap of its name a NIC has, and what it was make no
// difference.
func alike(a, b []spec.NIC) bool {
	had := byID(a)
	return len(a) == len(b) && !slices.ContainsFunc(b, func(y spec.NIC) bool {
		if had[y.ID] == nil {
			return true
		}
		x := *had[y.ID]
		x.IfIndex, x.Was, y.IfIndex, y.Was = 0, nil, 0, nil
		return !x.Equal(&y)
	})
}

// delta compiles the node without the NICs of these IDs, with the NICs before, and with those after, and keeps what the
// last has that one of the others has not.
func (c *compiled) delta(ids map[string]bool, before, after []spec.NIC) (*delta, error) {
	var states [3]*netstate.State
	for i, nics := range [][]spec.NIC{without(after, ids), before, after} {
		s, err := c.of(nics)
		if err != nil {
			return nil, err
		}
		states[i] = s
	}
	d := &delta{want: &netstate.State{}, keys: map[netstate.Key]bool{}}
	for o := range states[2].All() {
		for _, other := range states[:2] {
			if old := other.Get(o.Key()); old == nil || !old.Meets(o) || !o.Meets(old) {
				d.want.Put(o)
				d.keys[o.Key()] = true
			}
		}
	}
	for _, k := range states[1].Keys() {
		if states[2].Get(k) == nil {
			d.keys[k] = true
		}
	}
	return d, nil
}

// check returns an error if what the changed links need is not there, with who has to make it: what they are to be ports of,
// and the uplinks that answer for them.
func (d *delta) check(have *netstate.State, lacking map[string]string) error {
	missing := map[string]string{}
	for l := range netstate.Of[netstate.Link](d.want) {
		if m := l.MasterName(); m != "" && have.Link(m) == nil && d.want.Link(m) == nil {
			missing[m] = l.Name
		}
		for dev := range lacking {
			if len(d.want.On(dev)) > 0 && !l.Made() {
				missing[dev] = l.Name
			}
		}
	}
	if len(missing) == 0 {
		return nil
	}
	m := slices.Min(slices.Collect(maps.Keys(missing)))
	if network := lacking[m]; network != "" {
		return fmt.Errorf("plug in %s: %s is not on this node, and not weft's to make: network %s has managed: false, and whoever sets it up (ifupdown, the administrator) makes %s first", missing[m], m, network, m)
	}
	return fmt.Errorf("plug in %s: %s is not on this node yet: run `weft apply` first", missing[m], m)
}

// plan says what is left to do of the change, from a look that was taken already, or from a fresh one where have is nil.
func (d *delta) plan(ctx context.Context, t Target, have *netstate.State) (_ plan.Plan, err error) {
	if have == nil {
		if have, err = t.Observe(ctx, d.want); err != nil {
			return plan.Plan{}, fmt.Errorf("observe: %w", err)
		}
	}
	want := d.want.Clone()
	for l := range netstate.Of[netstate.Link](d.want) {
		if have.Link(l.Name) == nil && !l.Made() { // the tap of a VM that is gone: nothing of it can be wanted
			drop(want, l.Name)
		}
	}
	return plan.Diff(want, have, func(o netstate.Object) bool { return d.keys[o.Key()] && o.Owned() })
}

// drop removes a link and all that hangs on it from a state.
func drop(s *netstate.State, dev string) {
	for o := range s.All() {
		if netstate.DevOf(o) == dev {
			s.Delete(o.Key())
		}
	}
}
