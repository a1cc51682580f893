// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"errors"
	"fmt"

	"weft/internal/netstate"
)

// conflictError says why one wanted object cannot be had.
type conflictError struct {
	key netstate.Key
	msg string
}

func (e conflictError) Error() string { return e.msg }

// conflict notes why the object of this key cannot be had.
func (d *differ) conflict(k netstate.Key, format string, args ...any) {
	d.errs = append(d.errs, conflictError{k, fmt.Sprintf(format, args...)})
}

// Contradicted returns the keys of the wanted objects that an error of Diff is about, as far as it is about such.
func Contradicted(err error) []netstate.Key {
	var keys []netstate.Key
	if e := (conflictError{}); errors.As(err, &e) {
		keys = append(keys, e.key)
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		keys = nil
		for _, one := range joined.Unwrap() {
			keys = append(keys, Contradicted(one)...)
		}
	}
	return keys
}

// contradictions finds out whether w can be had without touching what is not weft's.
func (d *differ) contradictions(w, h netstate.Object) {
	switch w := w.(type) {
	case netstate.Link:
		d.linkContradictions(w)
	case netstate.Addr:
		d.addrContradictions(w)
	case netstate.Route:
		if h, ok := h.(netstate.Route); ok && !h.Owned() {
			d.conflict(w.Key(), "route %s: there is one that is not weft's and leads elsewhere: %s", w, h)
		}
	case netstate.Neigh:
		if h, ok := h.(netstate.Neigh); ok && !h.Owned() {
			d.conflict(w.Key(), "neighbour %s: there is one that is not weft's and says otherwise: %s", w, h)
		}
	case netstate.Limit:
		if h, ok := h.(netstate.Limit); ok && !h.Owned() {
			d.conflict(w.Key(), "%s: there is a qdisc or filter (%s) that is not weft's", w.Key(), h.Foreign)
		}
	}
}

// addrContradictions finds the IPv6 address that is there with another prefix length: a link has each only once.
func (d *differ) addrContradictions(w netstate.Addr) {
	for _, h := range sameAddr(d.have, w) {
		if h.Prefix.Addr().Is6() && !d.mine(h) && d.want.Get(h.Key()) == nil {
			d.conflict(w.Key(), "address %s: %s is there, which is not weft's", w, h.Prefix)
		}
	}
}

// sameAddr returns the addresses that keep the kernel from adding w, or that would take it along when they go: the same
// IPv6 address with another prefix length, and IPv4 addresses of the same subnet (the first one is the primary; the
// others go with it).
func sameAddr(s *netstate.State, w netstate.Addr) []netstate.Addr {
	var same []netstate.Addr
	for _, o := range s.On(w.Dev) {
		a, ok := o.(netstate.Addr)
		if !ok || a.Prefix == w.Prefix {
			continue
		}
		if a.Prefix.Addr().Is6() && a.Prefix.Addr() == w.Prefix.Addr() || a.Prefix.Addr().Is4() && a.Prefix.Masked() == w.Prefix.Masked() {
			same = append(same, a)
		}
	}
	return same
}

func (d *differ) linkContradictions(w netstate.Link) {
	h := d.have.Link(w.Name)
	for _, need := range []string{w.Parent, w.MasterName()} {
		if k := netstate.LinkKey(need); need != "" && d.want.Get(k) == nil && d.have.Get(k) == nil {
			d.conflict(w.Key(), "%s: its %s: no such device", w.Name, roleWord(w, need))
		}
	}
	if h == nil {
		if !w.Made() {
			d.conflict(w.Key(), "%s: no such device", w.Name)
		}
		return
	}
	if w.Made() && h.Kind != w.Kind {
		if !h.Made() || !h.Owned() {
			d.conflict(w.Key(), "%s: wanted as a %s, but there is a %s of that name that is not weft's", w.Name, w.Kind, kindWord(*h))
			return
		}
	}
	if reborn(*h, w) {
		if !h.Owned() {
			d.conflict(w.Key(), "%s: there is one that is not weft's and cannot be changed into what is wanted (%s)", w.Name, h)
			return
		}
		d.replaced = append(d.replaced, *h)
		d.foreignAbove(*h)
	}
	if remade(*h, w) {
		for _, p := range ports(d.have, h.Name) {
			if !p.Owned() && d.want.Get(p.Key()) == nil {
				d.conflict(w.Key(), "%s: its mode can change only without members, but its member %s is not weft's", w.Name, p.Name)
			}
		}
	}
	m := h.MasterName()
	if m == "" || w.Master == nil || *w.Master == m {
		return
	}
	if master := d.have.Link(m); master != nil && !master.Owned() && d.want.Get(master.Key()) == nil {
		d.conflict(w.Key(), "%s is a port of %s, which is not weft's: ip link set dev %s nomaster", w.Name, m, w.Name)
	}
}

func roleWord(l netstate.Link, other string) string {
	if l.Parent == other {
		return "parent " + other
	}
	return "master " + other
}

// foreignAbove finds what would go along with a link of weft's though it is somebody else's.
func (d *differ) foreignAbove(l netstate.Link) {
	for _, a := range d.have.Above(l.Name) {
		if a.Parent == l.Name && !a.Owned() && d.want.Get(a.Key()) == nil {
			d.conflict(l.Key(), "%s has to go, but %s stands on it and is not weft's", l.Name, a.Name)
		}
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
	return left.Parent != "" || left.VLAN != nil || left.VRF != nil
}

// remade reports whether a bond's wanted settings are such that the kernel changes them only while it has no members.
func remade(have, want netstate.Link) bool {
	if have.Kind != netstate.Bond || want.Bond == nil {
		return false
	}
	left, _ := netstate.Missing(have, want)
	return left.Bond != nil && (left.Bond.Mode != nil || left.Bond.FailOverMAC != nil)
}
