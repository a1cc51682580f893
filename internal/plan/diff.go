// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"errors"
	"fmt"

	"weft/internal/netstate"
	"weft/internal/nft"
)

// Scope says whether an observed object that is not wanted is to go.
type Scope func(have netstate.Object) bool

// Owned is the scope of a whole node: what carries weft's mark and is not wanted goes.
func Owned(o netstate.Object) bool { return o.Owned() }

// Diff plans the way from have to want. Observed objects that are not wanted go if they are mine. The error joins all
// conflicts: what contradicts what is not weft's, and what the kernel would refuse. The plan is empty then.
func Diff(want, have *netstate.State, mine Scope) (Plan, error) {
	d := &differ{want: want, have: have, mine: mine, sim: have, wants: map[netstate.Kind][]netstate.Object{}}
	d.look()
	if err := errors.Join(d.errs...); err != nil {
		return Plan{}, err
	}
	if !d.unmet && len(d.gone) == 0 {
		return Plan{}, nil
	}
	d.sim = have.Clone()
	for _, phase := range []func(){d.guard, d.sysctls, d.rules, d.create, d.links, d.addrs, d.routes, d.neighs, d.taps, d.remove} {
		phase()
	}
	if err := errors.Join(d.errs...); err != nil {
		return Plan{}, err
	}
	if len(d.ops) == 0 {
		return Plan{}, nil
	}
	return Plan{Ops: d.ops, Fingerprint: Fingerprint(want, have)}, nil
}

// differ makes one plan. Every operation goes through sim as it is emitted, so that a later phase sees its side effects.
type differ struct {
	want, have, sim *netstate.State
	mine            Scope
	wants           map[netstate.Kind][]netstate.Object // what is wanted, in the order of keys
	unmet           bool                                // something wanted is not there or different
	gone            []netstate.Object                   // there, mine and not wanted
	replaced        []netstate.Link                     // observed links that have to be made anew
	down            map[string]bool                     // links that were taken down for a change, to go up again
	ops             []Op
	errs            []error
}

// look compares the two states as they are and finds what contradicts.
func (d *differ) look() {
	for w := range d.want.All() {
		if l, ok := w.(netstate.Link); ok {
			w = d.freed(l)
		}
		k := w.Key()
		d.wants[k.Kind] = append(d.wants[k.Kind], w)
		h := d.have.Get(k)
		if h == nil || !h.Meets(w) {
			d.unmet = true
			d.contradictions(w, h)
		}
	}
	for h := range d.have.All() {
		if d.want.Get(h.Key()) != nil || !d.mine(h) {
			continue
		}
		d.gone = append(d.gone, h)
		if l, ok := h.(netstate.Link); ok && l.Made() {
			d.foreignAbove(l)
		}
	}
}

// freed returns the wanted link with "no master" asked for where weft once gave it one that nobody asks for now.
func (d *differ) freed(w netstate.Link) netstate.Link {
	h := d.have.Link(w.Name)
	if w.Master != nil || h == nil || h.MasterName() == "" || !h.Owned() {
		return w
	}
	if m := d.have.Link(h.MasterName()); m != nil && m.Owned() {
		w.Master = new("")
	}
	return w
}

// emit adds an operation and lets the simulated kernel do it.
func (d *differ) emit(phase Phase, disrupts string, changes ...Change) {
	op := Op{Phase: phase, Changes: changes, Disrupts: disrupts}
	if err := Simulate(d.sim, op); err != nil {
		d.errs = append(d.errs, err)
		return
	}
	d.ops = append(d.ops, op)
}

// met reports whether w is there by now.
func (d *differ) met(w netstate.Object) bool {
	h := d.sim.Get(w.Key())
	return h != nil && h.Meets(w)
}

// put emits the operation that brings w, unless it is there by now.
func (d *differ) put(phase Phase, w netstate.Object) {
	if d.met(w) {
		return
	}
	h := d.sim.Get(w.Key())
	d.emit(phase, disruption(h, w), Change{Old: h, New: w})
}

// guard brings the nftables tables and elements, in one transaction, and the routes that lead nowhere: a table that they
// close leaks nothing once a link comes that looks things up in it.
func (d *differ) guard() {
	var changes []Change
	lost := map[string]bool{} // sets that a changed table makes anew
	for _, o := range d.wants[netstate.KindTable] {
		h := d.sim.Get(o.Key())
		if h != nil && h.Meets(o) {
			continue
		}
		changes = append(changes, Change{Old: h, New: o})
		old, was := h.(nft.Table)
		if t, ok := o.(nft.Table); ok && was {
			for _, name := range old.Loses(t) {
				lost[string(t.Family)+" "+t.Name+" "+name] = true
			}
		}
	}
	for _, o := range d.wants[netstate.KindElement] {
		h := d.sim.Get(o.Key())
		if e, ok := o.(nft.Element); ok && len(lost) > 0 && lost[string(e.Family)+" "+e.Table+" "+e.Set] {
			h = nil
		}
		if h == nil || !h.Meets(o) {
			changes = append(changes, Change{Old: h, New: o})
		}
	}
	if len(changes) > 0 {
		d.emit(PhaseGuard, "", changes...)
	}
	for _, o := range d.wants[netstate.KindRoute] {
		if r, ok := o.(netstate.Route); ok && r.Dev == "" && len(r.NextHops) == 0 {
			d.put(PhaseGuard, r)
		}
	}
}

// sysctls sets the global ones; those of a link wait for the link. One can spread to others, hence the second look.
func (d *differ) sysctls() {
	for range 2 {
		for _, o := range d.wants[netstate.KindSysctl] {
			if netstate.DevOf(o) == "" {
				d.put(PhaseSysctl, o)
			}
		}
	}
}

// addrs brings addresses, and takes away those of links that stay: with its last IPv4 address a link loses its routes,
// which a later phase can mend. What stands in the way of an address goes before it.
func (d *differ) addrs() {
	going := map[string][]netstate.Addr{}
	for _, o := range d.gone {
		if a, ok := o.(netstate.Addr); ok && d.want.Get(netstate.LinkKey(a.Dev)) != nil {
			going[a.Dev] = append(going[a.Dev], a)
		}
	}
	for _, o := range d.wants[netstate.KindAddr] {
		w, ok := o.(netstate.Addr)
		if !ok || d.met(o) {
			continue
		}
		for _, a := range sameAddr(d.sim, w) {
			for _, g := range going[w.Dev] {
				if g.Prefix == a.Prefix {
					d.dropAddr(g)
				}
			}
		}
		d.put(PhaseAddr, w)
	}
	for _, o := range d.gone {
		if a, ok := o.(netstate.Addr); ok && len(going[a.Dev]) > 0 {
			d.dropAddr(a)
		}
	}
}

// dropAddr takes an address away. Those of its subnet that came after it go with it, unless promote_secondaries is set;
// nothing tells which those are, so the wanted ones are brought again.
func (d *differ) dropAddr(a netstate.Addr) {
	if d.sim.Get(a.Key()) == nil {
		return
	}
	words, again := gone(a), []netstate.Addr{}
	for _, o := range sameAddr(d.sim, a) {
		if a.Prefix.Addr().Is6() {
			break
		}
		if d.want.Get(o.Key()) != nil {
			again = append(again, o)
		} else if !d.mine(o) {
			words += fmt.Sprintf(", and %s unless promote_secondaries is set", o.Prefix)
		}
	}
	d.emit(PhaseAddr, words, Change{Old: a})
	for _, o := range again {
		d.emit(PhaseAddr, "", Change{Old: o, New: o})
	}
}

// rules brings the others before it moves that of the local table, and all before the links whose packets they judge.
func (d *differ) rules() {
	for _, local := range []bool{false, true} {
		for _, o := range d.wants[netstate.KindRule] {
			if r, ok := o.(netstate.Rule); ok && r.IsLocal() == local {
				d.put(PhaseRule, r)
			}
		}
	}
}

// routes brings those to what is on the link before those that need a gateway. Those through a tap come with the tap,
// because the kernel takes none through a link that is down.
func (d *differ) routes() {
	var via []netstate.Object
	for _, o := range d.wants[netstate.KindRoute] {
		r, ok := o.(netstate.Route)
		if !ok || d.met(o) {
			continue
		}
		if l := d.want.Link(r.Dev); l != nil && isTap(*l) {
			continue
		}
		if r.Via.IsValid() || len(r.NextHops) > 0 {
			via = append(via, o)
			continue
		}
		d.put(PhaseRoute, o)
	}
	for _, o := range via {
		d.put(PhaseRoute, o)
	}
}

func (d *differ) neighs() {
	for _, kind := range []netstate.Kind{netstate.KindNeigh, netstate.KindFDB, netstate.KindMDB, netstate.KindLimit} {
		for _, o := range d.wants[kind] {
			d.put(PhaseNeigh, o)
		}
	}
}
