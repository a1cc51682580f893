// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"
	"fmt"

	"weft/internal/netstate"
	"weft/internal/nft"
	"weft/internal/plan"
)

// Apply carries out one operation. What is there already, and what is gone already, is not an error. The error of a
// request that the kernel refused wraps its error number and carries its own words.
func (h *Host) Apply(ctx context.Context, op plan.Op) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var rules []plan.Change // of nftables: one transaction
	for _, c := range op.Changes {
		if err := ctx.Err(); err != nil {
			return err
		}
		object := c.New
		if object == nil {
			object = c.Old
		}
		switch object.(type) {
		case nft.Table, nft.Element:
			rules = append(rules, c)
			continue
		}
		if err := h.change(ctx, c, object); err != nil {
			return fmt.Errorf("%s %s: %w", verb(c), subject(object), err)
		}
	}
	if len(rules) == 0 {
		return nil
	}
	return h.applyTables(rules)
}

// change carries out one change. object is the new one, or the old one where there is no new one.
func (h *Host) change(ctx context.Context, c plan.Change, object netstate.Object) error {
	gone, fresh := c.New == nil, c.Old == nil
	switch o := object.(type) {
	case netstate.Sysctl:
		if gone {
			return nil // a setting cannot go
		}
		return h.setSysctl(o)
	case netstate.Link:
		switch {
		case gone:
			return h.deleteLink(ctx, o)
		case fresh && o.Made():
			return h.createLink(ctx, o)
		}
		return h.setLink(o)
	case netstate.Addr:
		return either(gone, func() error { return h.deleteAddr(o) }, func() error { return h.addAddr(ctx, o) })
	case netstate.Rule:
		return h.changeRule(ctx, c, o)
	case netstate.Route:
		switch {
		case gone:
			return h.deleteRoute(o)
		case fresh:
			return h.addRoute(ctx, o)
		}
		return h.setRoute(o)
	case netstate.Neigh:
		return either(gone, func() error { return h.deleteNeigh(o) }, func() error { return h.setNeigh(o) })
	case netstate.FDB:
		return either(gone, func() error { return h.deleteFDB(o) }, func() error { return h.setFDB(o) })
	case netstate.MDB:
		return either(gone, func() error { return h.deleteMDB(o) }, func() error { return h.setMDB(o) })
	case netstate.Limit:
		return either(gone, func() error { return h.deleteLimit(ctx, o) }, func() error { return h.setLimit(o) })
	case netstate.BridgeVLAN:
		return either(gone, func() error { return h.deleteBridgeVLAN(o) }, func() error { return h.setBridgeVLAN(o) })
	}
	return fmt.Errorf("%T is nothing that a kernel has", object)
}

func either(gone bool, remove, set func() error) error {
	if gone {
		return remove()
	}
	return set()
}

// changeRule adds, moves or deletes a rule. "lookup local" cannot go: it goes back to where the kernel puts it.
func (h *Host) changeRule(ctx context.Context, c plan.Change, r netstate.Rule) error {
	old, _ := c.Old.(netstate.Rule)
	switch {
	case c.New == nil && r.IsLocal():
		r.Priority, r.Protocol = 0, protoKernel
		return h.moveLocal(ctx, old, r)
	case c.New == nil:
		return h.deleteRule(r)
	case c.Old != nil && r.IsLocal():
		return h.moveLocal(ctx, old, r)
	}
	return h.addRule(r)
}

// verb says what a change does, for errors.
func verb(c plan.Change) string {
	switch {
	case c.New == nil:
		return "delete"
	case c.Old == nil:
		return "create"
	}
	return "set"
}

// subject names an object for errors: a link by its name alone.
func subject(o netstate.Object) string {
	if l, ok := o.(netstate.Link); ok {
		return l.Name
	}
	return o.Key().String()
}
