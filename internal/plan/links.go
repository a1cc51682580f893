// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"slices"

	"weft/internal/netstate"
)

// create deletes the links that have to be made anew and makes those that are not there, parents first.
func (d *differ) create() {
	for _, l := range d.replaced {
		if h := d.sim.Link(l.Name); h != nil {
			d.emit(PhaseCreate, replaceWords(d.sim, *h), Change{Old: *h})
		}
	}
	for _, w := range d.ordered() {
		if !w.Made() || d.sim.Link(w.Name) != nil {
			continue
		}
		d.emit(PhaseCreate, "", Change{New: born(w)})
	}
}

// born returns the part of a link that it is made with. A VLAN device starts with its parent's MTU, which may not have
// been raised yet; a bond's primary is a member that it does not have yet.
func born(w netstate.Link) netstate.Link {
	b := netstate.Link{Name: w.Name, Kind: w.Kind, Parent: w.Parent, MAC: w.MAC, MTU: w.MTU, Group: w.Group, VLAN: w.VLAN, Bridge: w.Bridge, VRF: w.VRF}
	if w.Parent != "" {
		b.MTU = 0
	}
	if w.Bond != nil {
		bond := *w.Bond
		bond.Primary = nil
		b.Bond = &bond
	}
	return b
}

// ordered returns the wanted links so that each comes after its parent, and a bond after its members.
func (d *differ) ordered() []netstate.Link {
	byName, ports := map[string]netstate.Link{}, map[string][]string{}
	var names []string
	for l := range netstate.Of[netstate.Link](d.want) {
		names = append(names, l.Name)
		byName[l.Name] = l
		if m := l.MasterName(); m != "" {
			ports[m] = append(ports[m], l.Name)
		}
	}
	var out []netstate.Link
	seen := map[string]bool{}
	var visit func(string)
	visit = func(name string) {
		l, ok := byName[name]
		if !ok || seen[name] {
			return
		}
		seen[name] = true
		visit(l.Parent)
		if l.Kind == netstate.Bond {
			for _, p := range ports[name] {
				visit(p)
			}
		}
		out = append(out, l)
	}
	for _, n := range names {
		visit(n)
	}
	return out
}

// links sets what the wanted links should have, below before above, and everything that hangs on a link before it goes up.
func (d *differ) links() {
	sysctls, vlans := map[string][]netstate.Object{}, map[string][]netstate.Object{}
	for o := range d.want.All() {
		switch o := o.(type) {
		case netstate.Sysctl:
			if dev := o.Dev(); dev != "" {
				sysctls[dev] = append(sysctls[dev], o)
			}
		case netstate.BridgeVLAN:
			vlans[o.Dev] = append(vlans[o.Dev], o)
		}
	}
	for _, w := range d.ordered() {
		for _, s := range sysctls[w.Name] {
			d.put(PhaseLink, s)
		}
		delete(sysctls, w.Name)
		d.master(w)
		d.attributes(w)
		for _, v := range vlans[w.Name] {
			d.put(PhaseLink, v)
		}
		delete(vlans, w.Name)
		if w.Up != nil && !isTap(w) {
			d.set(PhaseLink, netstate.Link{Name: w.Name, Kind: w.Kind, Up: w.Up})
		}
	}
	for _, rest := range []map[string][]netstate.Object{sysctls, vlans} { // of links that the file does not name
		for _, dev := range sortedKeys(rest) {
			for _, o := range rest[dev] {
				d.put(PhaseLink, o)
			}
		}
	}
}

func sortedKeys(m map[string][]netstate.Object) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// isTap reports whether the link is a guest's, which goes up last.
func isTap(l netstate.Link) bool {
	g := l.GroupID()
	return g >= netstate.GroupTap && g < netstate.GroupUplink
}

// set emits what of want the simulated link does not have yet, as one operation.
func (d *differ) set(phase Phase, want netstate.Link) {
	have := d.sim.Link(want.Name)
	if have == nil {
		d.conflict("%s: no such device", want.Name)
		return
	}
	left, any := netstate.Missing(*have, want)
	if !any {
		return
	}
	left.Kind = have.Kind
	old := netstate.Pick(*have, left)
	d.emit(phase, linkDisruption(d.sim, *have, left), Change{Old: old, New: left})
}

// master makes the link a port of what it should be a port of. A bond takes only members that are down, and puts them up.
func (d *differ) master(w netstate.Link) {
	have := d.sim.Link(w.Name)
	if have == nil || w.Master == nil || have.MasterName() == *w.Master {
		return
	}
	if m := d.sim.Link(*w.Master); m != nil && m.Kind == netstate.Bond {
		d.set(PhaseLink, netstate.Link{Name: w.Name, Up: new(false)})
	} else if isTap(w) && have.MasterName() != "" {
		// A guest's tap changes networks while it is down: it is in neither half-way.
		d.set(PhaseLink, netstate.Link{Name: w.Name, Up: new(false)})
	}
	d.set(PhaseLink, netstate.Link{Name: w.Name, Master: w.Master, Group: w.Group})
}

// attributes sets all but whether the link is up. What a bond takes only while it is down is set while it is down.
func (d *differ) attributes(w netstate.Link) {
	have := d.sim.Link(w.Name)
	if have == nil {
		d.conflict("%s: no such device", w.Name)
		return
	}
	rest := w
	rest.Up, rest.Port = nil, nil
	if m := d.sim.Link(have.MasterName()); m != nil && m.Kind == netstate.Bond {
		rest.MAC, rest.MTU = "", 0 // a member has its bond's
	}
	left, _ := netstate.Missing(*have, rest)
	if b := left.Bond; b != nil && have.IsUp() && (b.LACPRate != nil || b.ADSelect != nil) {
		d.set(PhaseLink, netstate.Link{Name: w.Name, Up: new(false)})
		d.set(PhaseLink, rest)
		d.set(PhaseLink, netstate.Link{Name: w.Name, Up: new(true)})
	} else {
		d.set(PhaseLink, rest)
	}
	if w.Port != nil {
		d.set(PhaseLink, netstate.Link{Name: w.Name, Port: w.Port})
	}
}

// taps puts the guests' taps up, now that everything that guards them stands, and brings the routes through them.
func (d *differ) taps() {
	through := map[string][]netstate.Route{}
	for r := range netstate.Of[netstate.Route](d.want) {
		if r.Dev != "" {
			through[r.Dev] = append(through[r.Dev], r)
		}
	}
	for w := range netstate.Of[netstate.Link](d.want) {
		if !isTap(w) {
			continue
		}
		if w.Up != nil {
			d.set(PhaseTap, netstate.Link{Name: w.Name, Up: w.Up})
		}
		for _, r := range through[w.Name] {
			d.put(PhaseTap, r)
		}
	}
}
