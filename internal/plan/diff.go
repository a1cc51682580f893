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
// conflicts with what is not weft's; the plan is empty then.
func Diff(want, have *netstate.State, mine Scope) (Plan, error) {
	d := &differ{want: want, have: have, mine: mine, sim: have}
	d.look()
	if err := errors.Join(d.errs...); err != nil {
		return Plan{}, err
	}
	if len(d.unmet) == 0 && len(d.gone) == 0 {
		return Plan{}, nil
	}
	d.sim = have.Clone()
	for _, phase := range []func(){d.guard, d.sysctls, d.create, d.links, d.addrs, d.rules, d.routes, d.neighs, d.taps, d.remove} {
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
	unmet           []netstate.Object // wanted and, at the start, not there or different
	gone            []netstate.Object // there, mine and not wanted
	replaced        []netstate.Link   // observed links that have to be made anew
	ops             []Op
	errs            []error
}

// look compares the two states as they are and finds what contradicts.
func (d *differ) look() {
	for w := range d.want.All() {
		h := d.have.Get(w.Key())
		if h == nil || !h.Meets(w) {
			d.unmet = append(d.unmet, w)
			d.contradictions(w, h)
		}
	}
	for h := range d.have.All() {
		if d.want.Get(h.Key()) == nil && d.mine(h) {
			d.gone = append(d.gone, h)
		}
	}
}

func (d *differ) conflict(format string, args ...any) {
	d.errs = append(d.errs, fmt.Errorf(format, args...))
}

// contradictions finds out whether w can be had without touching what is not weft's.
func (d *differ) contradictions(w, h netstate.Object) {
	switch w := w.(type) {
	case netstate.Link:
		d.linkContradictions(w)
	case netstate.Route:
		if h, ok := h.(netstate.Route); ok && !h.Owned() {
			d.conflict("route %s: there is one that is not weft's and leads elsewhere: %s", w, h)
		}
	case netstate.Neigh:
		if h, ok := h.(netstate.Neigh); ok && !h.Owned() {
			d.conflict("neighbour %s: there is one that is not weft's and says otherwise: %s", w, h)
		}
	}
}

func (d *differ) linkContradictions(w netstate.Link) {
	h := d.have.Link(w.Name)
	if h == nil {
		if !w.Made() {
			d.conflict("%s: no such device", w.Name)
		}
		return
	}
	if w.Made() && h.Kind != w.Kind {
		if !h.Made() || !h.Owned() {
			d.conflict("%s: wanted as a %s, but there is a %s of that name that is not weft's", w.Name, w.Kind, kindWord(*h))
			return
		}
	}
	if reborn(*h, w) {
		if !h.Owned() {
			d.conflict("%s: there is one that is not weft's and cannot be changed into what is wanted (%s)", w.Name, h)
			return
		}
		d.replaced = append(d.replaced, *h)
	}
	m := h.MasterName()
	if m == "" || w.Master == nil || *w.Master == m {
		return
	}
	if master := d.have.Link(m); master != nil && !master.Owned() && d.want.Get(master.Key()) == nil {
		d.conflict("%s is a port of %s, which is not weft's: ip link set dev %s nomaster", w.Name, m, w.Name)
	}
}

func kindWord(l netstate.Link) string {
	if l.Kind == "" {
		return "device"
	}
	return l.Kind
}

// reborn reports whether an observed link can become the wanted one only by being deleted and made again.
func reborn(have, want netstate.Link) bool {
	if !want.Made() {
		return false
	}
	if have.Kind != want.Kind {
		return true
	}
	left, _ := netstate.Missing(have, want)
	switch {
	case left.Parent != "", left.VLAN != nil, left.VRF != nil:
		return true
	case left.Bond != nil: // the kernel changes these only on a bond without members
		return left.Bond.Mode != nil || left.Bond.FailOverMAC != nil
	}
	return false
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

// put emits the operation that brings w, unless it is there by now.
func (d *differ) put(phase Phase, w netstate.Object) {
	h := d.sim.Get(w.Key())
	if h != nil && h.Meets(w) {
		return
	}
	d.emit(phase, disruption(d.sim, h, w), Change{Old: h, New: w})
}

// guard brings the nftables tables and elements, in one transaction.
func (d *differ) guard() {
	var changes []Change
	lost := map[string]bool{} // sets that a changed table makes anew
	for t := range netstate.Of[nft.Table](d.want) {
		h, _ := d.sim.Get(t.Key()).(nft.Table)
		if d.sim.Get(t.Key()) == nil {
			changes = append(changes, Change{New: t})
		} else if !h.Meets(t) {
			changes = append(changes, Change{Old: h, New: t})
			for _, name := range h.Loses(t) {
				lost[string(t.Family)+" "+t.Name+" "+name] = true
			}
		}
	}
	for e := range netstate.Of[nft.Element](d.want) {
		h := d.sim.Get(e.Key())
		if lost[string(e.Family)+" "+e.Table+" "+e.Set] {
			h = nil
		}
		if h == nil || !h.Meets(e) {
			changes = append(changes, Change{Old: h, New: e})
		}
	}
	if len(changes) > 0 {
		d.emit(PhaseGuard, "", changes...)
	}
}

// sysctls sets the global ones; those of a link wait for the link.
func (d *differ) sysctls() {
	for _, o := range d.unmet {
		if s, ok := o.(netstate.Sysctl); ok && s.Dev() == "" {
			d.put(PhaseSysctl, s)
		}
	}
}

func (d *differ) addrs() { each[netstate.Addr](d, PhaseAddr) }
func (d *differ) rules() { each[netstate.Rule](d, PhaseRule) }

// routes brings those to what is on the link before those that need a gateway. Those through a tap come with the tap,
// because the kernel takes none through a link that is down.
func (d *differ) routes() {
	var via []netstate.Route
	for r := range netstate.Of[netstate.Route](d.want) {
		if l := d.want.Link(r.Dev); l != nil && isTap(*l) {
			continue
		}
		if r.Via.IsValid() || len(r.NextHops) > 0 {
			via = append(via, r)
			continue
		}
		d.put(PhaseRoute, r)
	}
	for _, r := range via {
		d.put(PhaseRoute, r)
	}
}

func (d *differ) neighs() {
	each[netstate.Neigh](d, PhaseNeigh)
	each[netstate.FDB](d, PhaseNeigh)
}

// each brings all wanted objects of one type that are not there by now.
func each[T netstate.Object](d *differ, phase Phase) {
	for o := range netstate.Of[T](d.want) {
		d.put(phase, o)
	}
}
