// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"slices"

	"weft/internal/netstate"
)

// create deletes the links that have to be made anew and makes those that are not there, parents first. The ports of
// weft's on such a link go down first: without their VRF they would be ports of the whole host.
func (d *differ) create() {
	for _, l := range topDown(d.replaced) {
		h := d.sim.Link(l.Name)
		if h == nil {
			continue // gone with the one that it stood on
		}
		for _, p := range ports(d.sim, h.Name) {
			if p.Owned() && p.IsUp() && h.Kind != netstate.Bond {
				d.lower(PhaseCreate, p.Name)
			}
		}
		d.emit(PhaseCreate, replaceWords(d.sim, *h), Change{Old: *h})
	}
	for _, w := range d.ordered() {
		if w.Made() && d.sim.Link(w.Name) == nil {
			d.emit(PhaseCreate, "", Change{New: born(w)})
		}
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
		bond := applicable(*w.Bond, nil)
		bond.Primary = nil
		b.Bond = &bond
	}
	return b
}

// applicable returns the settings that the kernel takes in the bond's mode, which is have's where want asks for none.
func applicable(want netstate.BondAttrs, have *netstate.BondAttrs) netstate.BondAttrs {
	is := want
	if have != nil {
		is = netstate.Merge(*have, want)
	}
	mode := ""
	if is.Mode != nil {
		mode = *is.Mode
	}
	switch mode {
	case "802.3ad":
		want.ARPInterval, want.ARPIPTarget, want.Primary, want.PrimaryReselect = nil, nil, nil, nil
	case "active-backup":
		want.LACPRate = nil
	case "balance-tlb", "balance-alb":
		want.ARPInterval, want.ARPIPTarget, want.LACPRate = nil, nil, nil
	default:
		want.LACPRate, want.Primary, want.PrimaryReselect = nil, nil, nil
	}
	if is.MIIMon != nil && *is.MIIMon > 0 { // the two ways of watching a member exclude each other
		want.ARPInterval = nil
	} else {
		want.UpDelay, want.DownDelay = nil, nil
	}
	return want
}

// ordered returns the wanted links so that each comes after its parent, and a bond after its members.
func (d *differ) ordered() []netstate.Link {
	byName, ports := map[string]netstate.Link{}, map[string][]string{}
	var names []string
	for _, o := range d.wants[netstate.KindLink] {
		l, ok := o.(netstate.Link)
		if !ok {
			continue
		}
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

// links sets what the wanted links should have, below before above, then puts them up: a link that goes up takes the VLAN
// devices on it along, so those have to be where they belong by then.
func (d *differ) links() {
	d.down = map[string]bool{}
	sysctls, vlans := map[string][]netstate.Object{}, map[string][]netstate.Object{}
	for _, o := range d.wants[netstate.KindSysctl] {
		if dev := netstate.DevOf(o); dev != "" {
			sysctls[dev] = append(sysctls[dev], o)
		}
	}
	for _, o := range d.wants[netstate.KindBridgeVLAN] {
		vlans[netstate.DevOf(o)] = append(vlans[netstate.DevOf(o)], o)
	}
	order := d.ordered()
	for _, w := range order {
		d.remake(w)
	}
	for _, w := range order {
		d.prepare(w, sysctls[w.Name], vlans[w.Name])
		delete(sysctls, w.Name)
		delete(vlans, w.Name)
	}
	for _, rest := range []map[string][]netstate.Object{sysctls, vlans} { // of links that the file does not name
		for _, dev := range sortedKeys(rest) {
			for _, o := range rest[dev] {
				d.put(PhaseLink, o)
			}
		}
	}
	for _, w := range order {
		if w.Up != nil && !isTap(w) {
			d.set(PhaseLink, netstate.Link{Name: w.Name, Up: w.Up})
		} else if w.Up == nil && d.down[w.Name] && !isTap(w) {
			d.set(PhaseLink, netstate.Link{Name: w.Name, Up: new(true)})
		}
	}
}

// prepare does all for a link but put it up.
func (d *differ) prepare(w netstate.Link, sysctls, vlans []netstate.Object) {
	have := d.sim.Link(w.Name)
	if have == nil {
		d.conflict(w.Key(), "%s: no such device", w.Name)
		return
	}
	switch {
	case w.Up != nil && !*w.Up:
		d.lower(PhaseLink, w.Name)
	case (isTap(w) || isTap(*have)) && d.moves(w, vlans):
		d.lower(PhaseLink, w.Name) // in neither network half-way, and in none whose guard it is not in
	}
	d.attributes(w)
	for _, v := range vlans {
		d.put(PhaseLink, v)
	}
	if isTap(w) { // those that others should not be in go at the end
		for _, v := range d.strayVLANs(w.Name) {
			d.emit(PhaseLink, "", Change{Old: v})
		}
	}
	for _, s := range sysctls {
		d.put(PhaseLink, s)
	}
}

// remake changes what a bond lets change only while it has no members. They leave and, unless they are not to, come back.
func (d *differ) remake(w netstate.Link) {
	have := d.sim.Link(w.Name)
	if have == nil || !remade(*have, w) {
		return
	}
	d.lower(PhaseLink, w.Name)
	members := ports(d.sim, w.Name)
	for _, p := range members {
		d.set(PhaseLink, netstate.Link{Name: p.Name, Master: new("")})
	}
	bond := applicable(*w.Bond, have.Bond)
	bond.Primary = nil
	d.set(PhaseLink, netstate.Link{Name: w.Name, Bond: &bond})
	for _, p := range members {
		if d.want.Get(p.Key()) == nil && !d.mine(p) {
			d.set(PhaseLink, netstate.Link{Name: p.Name, Master: &w.Name})
		}
	}
}

// moves reports whether a tap changes networks: its master, its group or the VLAN of its port.
func (d *differ) moves(w netstate.Link, vlans []netstate.Object) bool {
	have := d.sim.Link(w.Name)
	if have == nil || !have.IsUp() {
		return false
	}
	if w.Master != nil && have.MasterName() != *w.Master || w.Group != nil && have.GroupID() != *w.Group {
		return true
	}
	for _, v := range vlans {
		if !d.met(v) {
			return true
		}
	}
	return len(d.strayVLANs(w.Name)) > 0
}

// strayVLANs returns the VLANs that are on a port, mine and not wanted.
func (d *differ) strayVLANs(dev string) []netstate.BridgeVLAN {
	var stray []netstate.BridgeVLAN
	for _, o := range d.sim.On(dev) {
		if v, ok := o.(netstate.BridgeVLAN); ok && d.want.Get(v.Key()) == nil && d.mine(v) {
			stray = append(stray, v)
		}
	}
	return stray
}

// lower takes a link down for a change.
func (d *differ) lower(phase Phase, name string) {
	if h := d.sim.Link(name); h != nil && h.IsUp() {
		d.set(phase, netstate.Link{Name: name, Up: new(false)})
		if d.down != nil {
			d.down[name] = true
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
		d.conflict(want.Key(), "%s: no such device", want.Name)
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

// attributes makes the link a port of what it should be a port of and sets all else but whether it is up. What it takes
// only while it is down is set while it is down; a bond takes only members that are down, and puts them up.
func (d *differ) attributes(w netstate.Link) {
	have := d.sim.Link(w.Name)
	if m := d.sim.Link(have.MasterName()); m != nil && m.Kind == netstate.Bond && w.Master != nil && *w.Master != m.Name {
		leaves := netstate.Link{Name: w.Name, Master: w.Master, Group: w.Group} // gets back the MAC that it came with
		if to := d.sim.Link(*w.Master); to != nil && to.Kind == netstate.Bond { // which takes it only while it is down
			leaves.Master = new("")
		}
		d.set(PhaseLink, leaves)
		have = d.sim.Link(w.Name)
	}
	rest := w
	rest.Up, rest.Port = nil, nil
	master := have.MasterName()
	if w.Master != nil {
		master = *w.Master
	}
	joins := false
	if m := d.sim.Link(master); m != nil && m.Kind == netstate.Bond {
		rest.MAC, rest.MTU = "", 0 // a member has its bond's
		joins = master != have.MasterName()
	}
	if w.Bond != nil {
		bond := applicable(*w.Bond, have.Bond)
		rest.Bond = &bond
	}
	left, _ := netstate.Missing(*have, rest)
	b := left.Bond
	if joins || b != nil && (b.LACPRate != nil || b.ADSelect != nil) || left.MAC != "" && have.Kind == "" {
		d.lower(PhaseLink, w.Name)
	}
	d.set(PhaseLink, rest)
	if w.Port != nil {
		d.set(PhaseLink, netstate.Link{Name: w.Name, Port: w.Port})
	}
}

// taps puts the guests' taps up, now that everything that guards them stands, and brings the routes through them: those to
// the guests' addresses before those that have such an address for their gateway.
func (d *differ) taps() {
	through, behind := map[string][]netstate.Object{}, map[string][]netstate.Object{}
	for _, o := range d.wants[netstate.KindRoute] {
		switch r, ok := o.(netstate.Route); {
		case !ok || r.Dev == "" || d.met(o):
		case r.Via.IsValid():
			behind[r.Dev] = append(behind[r.Dev], o)
		default:
			through[r.Dev] = append(through[r.Dev], o)
		}
	}
	for _, o := range d.wants[netstate.KindLink] {
		w, ok := o.(netstate.Link)
		if !ok || !isTap(w) {
			continue
		}
		if w.Up != nil {
			d.set(PhaseTap, netstate.Link{Name: w.Name, Up: w.Up})
		} else if d.down[w.Name] {
			d.set(PhaseTap, netstate.Link{Name: w.Name, Up: new(true)})
		}
		for _, r := range append(through[w.Name], behind[w.Name]...) {
			d.put(PhaseTap, r)
		}
	}
}
