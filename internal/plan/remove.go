// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"slices"

	"weft/internal/netstate"
	"weft/internal/nft"
)

// remove takes away what is mine and not wanted: guests' links first, then what leads to them, links from the top down,
// rulesets last. What hangs on a link that goes as well needs no operation of its own.
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
			if !tables[o.TableKey()] { // a table takes its elements along
				guard = append(guard, Change{Old: o})
			}
		}
	}
	for _, l := range links {
		if !l.Made() {
			d.release(l)
		}
	}
	goes := map[string]bool{} // links that are deleted, with all that hangs on them
	for _, l := range links {
		if l.Made() {
			goes[l.Name] = true
		}
	}
	for _, kind := range []netstate.Kind{netstate.KindFDB, netstate.KindNeigh, netstate.KindRoute, netstate.KindRule, netstate.KindAddr, netstate.KindBridgeVLAN} {
		d.removeKind(kind, goes)
	}
	for _, l := range topDown(links) {
		if h := d.sim.Link(l.Name); h != nil && l.Made() {
			d.emit(PhaseRemove, deleteWords(d.sim, *h), Change{Old: *h})
		}
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

func (d *differ) removeKind(kind netstate.Kind, goes map[string]bool) {
	for _, o := range d.gone {
		if o.Key().Kind != kind || d.sim.Get(o.Key()) == nil || goes[netstate.DevOf(o)] {
			continue
		}
		if r, ok := o.(netstate.Rule); ok && r.IsLocal() {
			back := netstate.Rule{Family: r.Family, Table: r.Table, Action: r.Action, Protocol: protoKernel}
			d.emit(PhaseRemove, "", Change{Old: r, New: back})
			continue
		}
		d.emit(PhaseRemove, "", Change{Old: o})
	}
}

// topDown orders links so that what stands on another goes first, and a VRF or bond after its ports.
func topDown(links []netstate.Link) []netstate.Link {
	rank := map[string]int{netstate.VLAN: 0, netstate.Bridge: 1, netstate.VRF: 2, netstate.Bond: 3}
	out := slices.Clone(links)
	slices.SortStableFunc(out, func(a, b netstate.Link) int { return rank[a.Kind] - rank[b.Kind] })
	return out
}
