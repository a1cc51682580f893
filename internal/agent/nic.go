// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"

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
	return n.change(ctx, c.ID, &c, func(nics []spec.NIC, have *netstate.State) ([]spec.NIC, error) {
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
	return n.change(ctx, id, nil, func(nics []spec.NIC, _ *netstate.State) ([]spec.NIC, error) {
		return slices.DeleteFunc(slices.Clone(nics), func(o spec.NIC) bool { return o.ID == id }), nil
	})
}

// Forget takes out the NIC with this ID if its tap is gone. One that has been plugged in again meanwhile stays.
func (n *Node) Forget(ctx context.Context, id string) error {
	return n.change(ctx, id, nil, func(nics []spec.NIC, have *netstate.State) ([]spec.NIC, error) {
		return slices.DeleteFunc(slices.Clone(nics), func(o spec.NIC) bool { return o.ID == id && !there(have, o) }), nil
	})
}

// edit says what the NICs are to be, given those that there are and what is in the kernel.
type edit func([]spec.NIC, *netstate.State) ([]spec.NIC, error)

// change moves from the NICs that there are to those that edit returns, and sees to it that the NIC with this ID is in
// the kernel what it is in its intent, whatever an earlier try left behind. A NIC that comes has its intent written
// before the kernel is touched, one that goes has it deleted after: whatever dies half-way is finished, or undone, by
// the same verb or the next apply.
//
// likely is what the NIC will be after edit, nil for none: what it takes is compiled before the node is looked at, so that one look
// tells both what edit asks and, if it is as expected, what is to be planned from.
func (n *Node) change(ctx context.Context, id string, likely *spec.NIC, edit edit) error {
	r := &request{id: id, likely: likely, edit: edit, done: n.Done}
	if n.Together != nil {
		if err := n.Together.change(ctx, n, r); err != nil {
			return err
		}
		if err := n.renew(); err != nil { // whoever made the change has done that for itself; what follows is announced by this node
			n.log().Warn("the applied file", "err", err)
		}
		return nil
	}
	unlock, err := n.Store.Lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	return n.changes(ctx, r)
}

// changes makes several changes as one: all or none. The caller holds the lock.
func (n *Node) changes(ctx context.Context, all ...*request) error {
	if err := n.renew(); err != nil {
		return err
	}
	stored, err := n.Store.List()
	if err != nil {
		return err
	}
	ids := idsOf(all)
	before := unfinished(stored, ids)
	made := &compiled{node: n.Spec}
	guess := without(before, ids)
	had := byID(before)
	for _, r := range all {
		if r.was = had[r.id]; r.likely != nil {
			guess = append(guess, *r.likely)
		}
	}
	expected, err := made.of(guess)
	if err != nil {
		expected = nil // the edits say what they make of it
	}
	have, err := n.Target.Observe(ctx, expected)
	if err != nil {
		return fmt.Errorf("observe: %w", err)
	}
	after := before
	for _, r := range all {
		if after, err = r.edit(after, have); err != nil {
			return err
		}
	}
	scope, err := n.scope(made, ids, before, after, have)
	if err != nil {
		return err
	}
	dead := func(c spec.NIC) bool { return !there(have, c) }
	if err := errors.Join(n.forget(before, after, dead), n.write(stored, moving(before, after))); err != nil {
		return err
	}
	if expected == nil || !alike(guess, after) {
		have = nil // it does not tell all settings
	}
	if err := n.converge(ctx, func() (plan.Plan, error) { defer func() { have = nil }(); return scope.plan(ctx, n.Target, have) }); err != nil {
		return n.back(ctx, ids, before, after, err)
	}
	return errors.Join(n.write(moving(before, after), after), n.forget(before, after, func(spec.NIC) bool { return true }))
}

// scope returns what a change from some NICs to others touches, if they can be had.
func (n *Node) scope(made *compiled, ids map[string]bool, before, after []spec.NIC, have *netstate.State) (*delta, error) {
	if err := spec.CheckNICs(n.Spec, after); err != nil {
		return nil, err
	}
	scope, err := made.delta(ids, before, after)
	if err != nil {
		return nil, err
	}
	lacking, err := n.lacking(after, have)
	if err != nil {
		return nil, err
	}
	return scope, scope.check(have, lacking)
}

// without returns the NICs but for those of these IDs.
func without(nics []spec.NIC, ids map[string]bool) []spec.NIC {
	return slices.DeleteFunc(slices.Clone(nics), func(o spec.NIC) bool { return ids[o.ID] })
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

// unfinished returns the NICs with those of these IDs as they were before a move that did not come to its end.
func unfinished(nics []spec.NIC, ids map[string]bool) []spec.NIC {
	nics = slices.Clone(nics)
	for i, c := range nics {
		if ids[c.ID] && c.Was != nil {
			nics[i] = *c.Was
		}
	}
	return nics
}

// moving returns the NICs of after; those that differ from before remember what they were.
func moving(before, after []spec.NIC) []spec.NIC {
	after, had := slices.Clone(after), byID(before)
	for i, c := range after {
		if o := had[c.ID]; o != nil && !o.Equal(&c) {
			after[i].Was = o
		}
	}
	return after
}

// byID finds NICs by their IDs.
func byID(nics []spec.NIC) map[string]*spec.NIC {
	all := make(map[string]*spec.NIC, len(nics))
	for i := range nics {
		all[nics[i].ID] = &nics[i]
	}
	return all
}

// back undoes a change that failed with err, and returns err with whatever went wrong on the way back.
func (n *Node) back(ctx context.Context, ids map[string]bool, before, after []spec.NIC, err error) error {
	ctx = context.WithoutCancel(ctx) // also after an interrupt
	undo := errors.Join(n.write(moving(before, after), before), n.forget(after, before, func(spec.NIC) bool { return true }))
	if undo == nil {
		var scope *delta
		if scope, undo = (&compiled{node: n.Spec}).delta(ids, after, before); undo == nil {
			undo = n.converge(ctx, func() (plan.Plan, error) { return scope.plan(ctx, n.Target, nil) })
		}
	}
	if undo != nil {
		return errors.Join(err, fmt.Errorf("going back to what was before: %w", undo))
	}
	return err
}

// write writes the intents of to that are not in from, or differ there.
func (n *Node) write(from, to []spec.NIC) error {
	had := byID(from)
	for _, c := range to {
		if o := had[c.ID]; o == nil || !o.Equal(&c) {
			if err := n.Store.Put(c); err != nil {
				return err
			}
		}
	}
	return nil
}

// forget deletes the intents of from that are not in to, as far as which says.
func (n *Node) forget(from, to []spec.NIC, which func(spec.NIC) bool) error {
	stays := byID(to)
	for _, c := range from {
		if stays[c.ID] == nil && which(c) {
			if err := n.Store.Delete(c.ID); err != nil {
				return err
			}
		}
	}
	return nil
}
