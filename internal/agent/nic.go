// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"

	"weft/internal/compile"
	"weft/internal/netstate"
	"weft/internal/nic"
	"weft/internal/plan"
	"weft/internal/spec"
)

// Plug plugs a NIC in, or moves one that is plugged in (the same ID) to what c says now. Only what this NIC needs is
// changed: edits of the node file that nobody applied yet stay unapplied. If it fails, the node is as it was before.
//
// Before its addresses are claimed the VLANs are asked who has them, and told afterwards.
func (n *Node) Plug(ctx context.Context, c spec.NIC) error {
	if err := spec.CheckNICs(n.Spec, []spec.NIC{c}); err != nil { // what cannot be is not worth a question
		return err
	}
	if err := n.vacant(ctx, c); err != nil {
		return err
	}
	if err := n.plug(ctx, c); err != nil {
		return err
	}
	n.tell(ctx, c)
	return nil
}

func (n *Node) plug(ctx context.Context, c spec.NIC) error {
	return n.change(ctx, c.ID, func(nics []spec.NIC, have *netstate.State) ([]spec.NIC, error) {
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
		c.Was = nil
		rest := slices.DeleteFunc(slices.Clone(nics), func(o spec.NIC) bool {
			return o.ID == c.ID || !there(have, o) && collide(o, c)
		})
		return append(rest, c), nil
	})
}

// collide reports whether two NICs have a tap's name, a MAC or an address in common. The intent of a tap that is gone is a
// dead VM's, and does not keep what it had from the next one.
func collide(a, b spec.NIC) bool {
	return a.Name == b.Name || a.MAC == b.MAC || slices.ContainsFunc(a.Addresses, func(x netip.Addr) bool { return slices.Contains(b.Addresses, x) })
}

// Unplug takes the NIC with this ID out. Its tap, if it is still there, is left without a network and down.
func (n *Node) Unplug(ctx context.Context, id string) error {
	return n.change(ctx, id, func(nics []spec.NIC, _ *netstate.State) ([]spec.NIC, error) {
		return slices.DeleteFunc(slices.Clone(nics), func(o spec.NIC) bool { return o.ID == id }), nil
	})
}

// Forget takes out the NIC with this ID if its tap is gone. One that has been plugged in again meanwhile stays.
func (n *Node) Forget(ctx context.Context, id string) error {
	return n.change(ctx, id, func(nics []spec.NIC, have *netstate.State) ([]spec.NIC, error) {
		return slices.DeleteFunc(slices.Clone(nics), func(o spec.NIC) bool { return o.ID == id && !there(have, o) }), nil
	})
}

// change moves from the NICs that there are to those that edit returns, and sees to it that the NIC with this ID is in
// the kernel what it is in its intent, whatever an earlier try left behind. A NIC that comes has its intent written
// before the kernel is touched, one that goes has it deleted after: whatever dies half-way is finished, or undone, by
// the same verb or the next apply.
func (n *Node) change(ctx context.Context, id string, edit func([]spec.NIC, *netstate.State) ([]spec.NIC, error)) error {
	unlock, err := n.Store.Lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := n.renew(); err != nil {
		return err
	}
	stored, err := n.Store.List()
	if err != nil {
		return err
	}
	before := unfinished(stored, id)
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
	scope, err := n.delta(id, before, after)
	if err != nil {
		return err
	}
	lacking, err := n.lacking(after, have)
	if err != nil {
		return err
	}
	if err := scope.check(have, lacking); err != nil {
		return err
	}
	dead := func(c spec.NIC) bool { return !there(have, c) }
	if err := errors.Join(n.forget(before, after, dead), n.write(stored, moving(before, after))); err != nil {
		return err
	}
	if err := n.converge(ctx, func() (plan.Plan, error) { return scope.plan(ctx, n.Target) }); err != nil {
		return n.back(ctx, id, before, after, err)
	}
	return errors.Join(n.write(moving(before, after), after), n.forget(before, after, func(spec.NIC) bool { return true }))
}

// renew takes over the file that was applied last, where that is another than the one that the node was read from: whoever had the
// lock until now may have applied it. The caller holds the lock.
func (n *Node) renew() error {
	text, err := n.Store.File()
	if err != nil || text == nil || bytes.Equal(text, n.Text) {
		return err
	}
	s, err := spec.Parse(filepath.Join(n.Store.Dir, nic.FileName), text)
	if err != nil {
		return err
	}
	n.Spec, n.Text = s, text
	return nil
}

// unfinished returns the NICs with the one of this ID as it was before a move that did not come to its end.
func unfinished(nics []spec.NIC, id string) []spec.NIC {
	nics = slices.Clone(nics)
	for i, c := range nics {
		if c.ID == id && c.Was != nil {
			nics[i] = *c.Was
		}
	}
	return nics
}

// moving returns the NICs of after; those that differ from before remember what they were.
func moving(before, after []spec.NIC) []spec.NIC {
	after = slices.Clone(after)
	for i, c := range after {
		for _, o := range before {
			if o.ID == c.ID && !o.Equal(&c) {
				after[i].Was = &o
			}
		}
	}
	return after
}

// back undoes a change that failed with err, and returns err with whatever went wrong on the way back.
func (n *Node) back(ctx context.Context, id string, before, after []spec.NIC, err error) error {
	ctx = context.WithoutCancel(ctx) // also after an interrupt
	undo := errors.Join(n.write(moving(before, after), before), n.forget(after, before, func(spec.NIC) bool { return true }))
	if undo == nil {
		var scope *delta
		if scope, undo = n.delta(id, after, before); undo == nil {
			undo = n.converge(ctx, func() (plan.Plan, error) { return scope.plan(ctx, n.Target) })
		}
	}
	if undo != nil {
		return errors.Join(err, fmt.Errorf("going back to what was before: %w", undo))
	}
	return err
}

// write writes the intents of to that are not in from, or differ there.
func (n *Node) write(from, to []spec.NIC) error {
	for _, c := range to {
		if !slices.ContainsFunc(from, func(o spec.NIC) bool { return o.Equal(&c) }) {
			if err := n.Store.Put(c); err != nil {
				return err
			}
		}
	}
	return nil
}

// forget deletes the intents of from that are not in to, as far as which says.
func (n *Node) forget(from, to []spec.NIC, which func(spec.NIC) bool) error {
	for _, c := range from {
		if which(c) && !slices.ContainsFunc(to, func(o spec.NIC) bool { return o.ID == c.ID }) {
			if err := n.Store.Delete(c.ID); err != nil {
				return err
			}
		}
	}
	return nil
}

// delta is the part of a node that a change of its NICs touches.
type delta struct {
	want *netstate.State       // the objects that come or change
	keys map[netstate.Key]bool // of these, and of those that are not wanted any more
}

// delta compiles the node without the NIC of this ID, with the NICs before, and with those after, and keeps what the
// last has that one of the others has not.
func (n *Node) delta(id string, before, after []spec.NIC) (*delta, error) {
	without := slices.DeleteFunc(slices.Clone(after), func(o spec.NIC) bool { return o.ID == id })
	var states [3]*netstate.State
	for i, nics := range [][]spec.NIC{without, before, after} {
		s, err := compile.Compile(n.Spec, nics)
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
