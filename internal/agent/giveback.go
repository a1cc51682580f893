// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"encoding/json"
	"fmt"

	"weft/internal/netstate"
	"weft/internal/plan"
	"weft/internal/trial"
)

// giveBack puts back what a change took, as far as it is written down, that was never weft's: the address of a card that became
// a bond's member, the default route that went with it, a bond that somebody else had made. What is wanted without the change
// is not its business. What cannot be had any more, a device that is gone for one, stays away.
func (n *Node) giveBack(ctx context.Context, t *trial.Trial, wanted *netstate.State, which func(netstate.Object) bool) error {
	var undo plan.Plan
	if len(t.Undo) == 0 {
		return nil
	}
	if err := json.Unmarshal(t.Undo, &undo); err != nil {
		return fmt.Errorf("read the way back: %w", err)
	}
	want := &netstate.State{}
	for _, o := range taken(undo, wanted) {
		if which(o) {
			want.Put(o)
		}
	}
	return n.converge(ctx, func() (plan.Plan, error) {
		have, err := n.Target.Observe(ctx, want)
		if err != nil {
			return plan.Plan{}, fmt.Errorf("observe: %w", err)
		}
		can := want.Clone()
		for o := range want.All() {
			if dev := netstate.DevOf(o); dev != "" && have.Link(dev) == nil {
				can.Delete(o.Key())
			}
		}
		p, err := plan.Diff(can, have, nobody)
		for ; err != nil; p, err = plan.Diff(can, have, nobody) {
			before := can.Len()
			for _, k := range plan.Contradicted(err) {
				can.Delete(k)
			}
			if can.Len() == before {
				return plan.Plan{}, err
			}
		}
		return p, nil
	})
}

// nobody is the scope in which nothing goes.
func nobody(netstate.Object) bool { return false }

func isLink(o netstate.Object) bool { return o.Key().Kind == netstate.KindLink }

func anything(netstate.Object) bool { return true }

// taken returns what of the state before a change is not weft's, and not what is wanted without the change.
func taken(undo plan.Plan, wanted *netstate.State) (all []netstate.Object) {
	before := &netstate.State{}
	for _, op := range undo.Ops {
		for _, c := range op.Changes {
			part, isLink := c.New.(netstate.Link)
			if had := before.Link(part.Name); isLink && had != nil { // each step has its part of a link
				before.Put(netstate.Merge(*had, part))
			} else if c.New != nil {
				before.Put(c.New)
			}
		}
	}
	for o := range before.All() {
		if !o.Owned() && wanted.Get(o.Key()) == nil && lasting(o) {
			all = append(all, o)
		}
	}
	return all
}

// Origins of addresses and routes (IFAPROT_*, RTPROT_*) that whoever made them makes again.
const (
	addrKernelLast  = 3  // loopback, router advertisements, link-local
	routeKernel     = 2  // comes with its address
	routeStatic     = 4  // the last of those that a person or a script makes
	routeDHCP       = 16 // a client makes it again only with its next lease
	routeKernelAuto = 1  // a redirect
)

// lasting reports whether an object stays until somebody takes it away: a route of a daemon or of an advertisement comes back by
// itself, and must not when it should not.
func lasting(o netstate.Object) bool {
	switch o := o.(type) {
	case netstate.Addr:
		return o.Protocol == 0 || o.Protocol > addrKernelLast
	case netstate.Route:
		return o.Protocol != routeKernel && o.Protocol != routeKernelAuto && (o.Protocol <= routeStatic || o.Protocol == routeDHCP)
	}
	return true
}
