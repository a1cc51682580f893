// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"cmp"
	"slices"

	"weft/internal/netstate"
	"weft/internal/nft"
)

// remove takes away what is mine and not wanted: guests' taps first, then the other links from the top down, so that
// nothing comes in any more when the routes and rules go; rulesets last. What hangs on a link goes with it.
func (d *differ) remove() {
	var links []netstate.Link
	var guard []Change
	tables := map[netstate.Key]bool{}
	for _, o := range d.gone {
		if o.Key().Kind == netstate.KindTable {
			tables[o.Key()] = true
		}
	}
	for _, o := range d.gone {
		switch o := o.(type) {
		case netstate.Link:
			links = append(links, o)
		case nft.Table:
			guard = append(guard, Change{Old: o})
		case nft.Element:
			if !tables[o.TableKey()] && d.sim.Get(o.Key()) != nil { // a table takes its elements along, and so does a set
				guard = append(guard, Change{Old: o})
			}
		}
	}
	for _, l := range links {
		if !l.Made() && isTap(l) {
			d.release(l)
		}
	}
	for _, l := range topDown(links) {
		if h := d.sim.Link(l.Name); h != nil && l.Made() {
			d.emit(PhaseRemove, deleteWords(d.sim, *h), Change{Old: *h})
		}
	}
	for _, l := range links {
		if !l.Made() && !isTap(l) {
			d.release(l)
		}
	}
	for _, kind := range []netstate.Kind{netstate.KindBridgeVLAN, netstate.KindFDB, netstate.KindMDB, netstate.KindLimit, netstate.KindNeigh, netstate.KindRoute, netstate.KindRule, netstate.KindAddr} {
		d.removeKind(kind)
	}
	if len(guard) > 0 {
		d.emit(PhaseRemove, "", guard...)
	}
}

// release gives a borrowed link back: without a master of weft's, down if it was a guest's, without a group.
func (d *differ) release(l netstate.Link) {
	have := d.sim.Link(l.Name)
	if have == nil {
		return
	}
	if isTap(l) {
		d.set(PhaseRemove, netstate.Link{Name: l.Name, Up: new(false)})
	}
	free := netstate.Link{Name: l.Name, Group: new(uint32(0))}
	if m := d.sim.Link(have.MasterName()); m != nil && m.Owned() {
		free.Master = new("")
	}
	d.set(PhaseRemove, free)
}

func (d *differ) removeKind(kind netstate.Kind) {
	for _, o := range d.gone {
		if o.Key().Kind != kind || d.sim.Get(o.Key()) == nil {
			continue
		}
		if r, ok := o.(netstate.Rule); ok && r.IsLocal() {
			back := netstate.Rule{Family: r.Family, Table: r.Table, Action: r.Action, Protocol: protoKernel}
			d.emit(PhaseRemove, gone(r), Change{Old: r, New: back})
			continue
		}
		d.emit(PhaseRemove, gone(o), Change{Old: o})
	}
}

// topDown orders links so that what stands on another goes first, and a bridge, a VRF or a bond after its ports.
func topDown(links []netstate.Link) []netstate.Link {
	rank := map[string]int{netstate.VLAN: 0, netstate.Bridge: 1, netstate.VRF: 2, netstate.Bond: 3}
	above := map[string]int{} // how many links a link stands on
	parent := map[string]string{}
	for _, l := range links {
		parent[l.Name] = l.Parent
	}
	for _, l := range links {
		for p := l.Parent; p != "" && above[l.Name] <= len(links); p = parent[p] {
			above[l.Name]++
		}
	}
	out := slices.Clone(links)
	slices.SortStableFunc(out, func(a, b netstate.Link) int {
		return cmp.Or(cmp.Compare(rank[a.Kind], rank[b.Kind]), cmp.Compare(above[b.Name], above[a.Name]))
	})
	return out
}
