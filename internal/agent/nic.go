// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"weft/internal/compile"
	"weft/internal/netstate"
	"weft/internal/plan"
	"weft/internal/spec"
)

// Plug plugs a NIC in, or moves one that is plugged in (the same ID) to what c says now. Only what this NIC needs is
// changed: edits of the node file that nobody applied yet stay unapplied. If it fails, the node is as it was before.
func (n *Node) Plug(ctx context.Context, c spec.NIC) error {
	return n.change(ctx, func(nics []spec.NIC, have *netstate.State) ([]spec.NIC, error) {
		l := have.Link(c.Name)
		if l == nil {
			return nil, fmt.Errorf("%s: no such device; a NIC is plugged in by its tap, which must exist", c.Name)
		}
		if l.Made() {
			return nil, fmt.Errorf("%s is a %s, not a VM's tap", c.Name, l.Kind)
		}
		if l.Status != nil {
			c.IfIndex = l.Status.Index
		}
		rest := slices.DeleteFunc(slices.Clone(nics), func(o spec.NIC) bool {
			// the intent of an earlier tap of this name is a dead VM's
			return o.ID == c.ID || o.Name == c.Name && !there(have, o)
		})
		return append(rest, c), nil
	})
}

// Unplug takes the NIC with this ID out. Its tap, if it is still there, is left without a network and down.
func (n *Node) Unplug(ctx context.Context, id string) error {
	return n.change(ctx, func(nics []spec.NIC, _ *netstate.State) ([]spec.NIC, error) {
		return slices.DeleteFunc(slices.Clone(nics), func(o spec.NIC) bool { return o.ID == id }), nil
	})
}

// change moves from the NICs that there are to those that edit returns. The intents are written first: whatever dies
// half-way is finished by the next apply.
func (n *Node) change(ctx context.Context, edit func([]spec.NIC, *netstate.State) ([]spec.NIC, error)) error {
	unlock, err := n.Store.Lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	before, err := n.Store.List()
	if err != nil {
		return err
	}
	have, err := n.Target.Observe(ctx, nil)
	if err != nil {
		return fmt.Errorf("observe: %w", err)
	}
	after, err := edit(before, have)
	if err != nil {
		return err
	}
	if err := spec.CheckNICs(n.Spec, after); err != nil {
		return err
	}
	scope, err := n.delta(before, after)
	if err != nil {
		return err
	}
	if err := scope.check(have); err != nil {
		return err
	}
	if err := n.store(before, after); err != nil {
		return err
	}
	if err := n.converge(ctx, func() (plan.Plan, error) { return scope.plan(ctx, n.Target) }); err != nil {
		return n.back(ctx, before, after, err)
	}
	return nil
}

// back undoes a change that failed with err, and returns err with whatever went wrong on the way back.
func (n *Node) back(ctx context.Context, before, after []spec.NIC, err error) error {
	ctx = context.WithoutCancel(ctx) // also after an interrupt
	undo := n.store(after, before)
	if undo == nil {
		var scope *delta
		if scope, undo = n.delta(after, before); undo == nil {
			undo = n.converge(ctx, func() (plan.Plan, error) { return scope.plan(ctx, n.Target) })
		}
	}
	if undo != nil {
		return errors.Join(err, fmt.Errorf("going back to what was before: %w", undo))
	}
	return err
}

// store writes the intents of to that differ from those of from, and deletes those that are gone.
func (n *Node) store(from, to []spec.NIC) error {
	for _, c := range to {
		if !slices.ContainsFunc(from, func(o spec.NIC) bool { return equalNIC(o, c) }) {
			if err := n.Store.Put(c); err != nil {
				return err
			}
		}
	}
	for _, c := range from {
		if !slices.ContainsFunc(to, func(o spec.NIC) bool { return o.ID == c.ID }) {
			if err := n.Store.Delete(c.ID); err != nil {
				return err
			}
		}
	}
	return nil
}

func equalNIC(a, b spec.NIC) bool {
	return a.ID == b.ID && a.Name == b.Name && a.IfIndex == b.IfIndex && a.MAC == b.MAC && a.Network == b.Network &&
		slices.Equal(a.Addresses, b.Addresses)
}

// delta is the part of a node that a change of its NICs touches.
type delta struct {
	want *netstate.State       // the objects that come or change
	keys map[netstate.Key]bool // of these, and of those that are not wanted any more
}

// delta compiles the node with the one and the other NICs and keeps what differs.
func (n *Node) delta(before, after []spec.NIC) (*delta, error) {
	a, err := compile.Compile(n.Spec, before)
	if err != nil {
		return nil, err
	}
	b, err := compile.Compile(n.Spec, after)
	if err != nil {
		return nil, err
	}
	d := &delta{want: &netstate.State{}, keys: map[netstate.Key]bool{}}
	for o := range b.All() {
		old := a.Get(o.Key())
		if old == nil || !old.Meets(o) || !o.Meets(old) {
			d.want.Put(o)
			d.keys[o.Key()] = true
		}
	}
	for _, k := range a.Keys() {
		if b.Get(k) == nil {
			d.keys[k] = true
		}
	}
	return d, nil
}

// check returns an error if what the changed links are to be ports of is not there.
func (d *delta) check(have *netstate.State) error {
	missing := map[string]string{}
	for l := range netstate.Of[netstate.Link](d.want) {
		if m := l.MasterName(); m != "" && have.Link(m) == nil && d.want.Link(m) == nil {
			missing[m] = l.Name
		}
	}
	for _, m := range slices.Sorted(maps.Keys(missing)) {
		return fmt.Errorf("plug in %s: %s is not on this node yet: run `weft apply` first", missing[m], m)
	}
	return nil
}

// plan says what is left to do of the change.
func (d *delta) plan(ctx context.Context, t Target) (plan.Plan, error) {
	have, err := t.Observe(ctx, d.want)
	if err != nil {
		return plan.Plan{}, fmt.Errorf("observe: %w", err)
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
