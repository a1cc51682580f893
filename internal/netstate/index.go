// SPDX-License-Identifier: Apache-2.0

package netstate

import (
	"maps"
	"slices"
)

// index finds objects by the link that they hang on. It is built when it is first asked for, and kept from then on.
type index struct {
	on    map[string]map[Key]bool // by device: what is on it, the link itself excepted
	above map[string]map[Key]bool // by link: the links that stand on it or are its ports
}

// On returns what hangs on the link of this name, in the order of keys: addresses, routes, neighbours, sysctls and so on.
func (s *State) On(dev string) []Object {
	return s.take(s.indexed().on[dev])
}

// Above returns the links that stand on the link of this name (VLAN devices) or are its ports.
func (s *State) Above(name string) []Link {
	var links []Link
	for _, o := range s.take(s.indexed().above[name]) {
		links = append(links, o.(Link))
	}
	return links
}

func (s *State) take(keys map[Key]bool) []Object {
	out := make([]Object, 0, len(keys))
	for _, k := range slices.SortedFunc(maps.Keys(keys), Key.Compare) {
		out = append(out, s.objects[k])
	}
	return out
}

func (s *State) indexed() *index {
	if s.index == nil {
		s.index = &index{on: map[string]map[Key]bool{}, above: map[string]map[Key]bool{}}
		for _, o := range s.objects {
			s.index.add(o)
		}
	}
	return s.index
}

func (x *index) add(o Object) {
	x.each(o, func(m map[string]map[Key]bool, at string) { put(m, at, o.Key()) })
}
func (x *index) remove(o Object) {
	x.each(o, func(m map[string]map[Key]bool, at string) { delete(m[at], o.Key()) })
}

func put(m map[string]map[Key]bool, at string, k Key) {
	if m[at] == nil {
		m[at] = map[Key]bool{}
	}
	m[at][k] = true
}

// each calls do for every place that the object has in the index.
func (x *index) each(o Object, do func(m map[string]map[Key]bool, at string)) {
	l, ok := o.(Link)
	if !ok {
		if dev := DevOf(o); dev != "" {
			do(x.on, dev)
		}
		if r, ok := o.(Route); ok {
			for _, h := range r.NextHops {
				do(x.on, h.Dev)
			}
		}
		return
	}
	if l.Parent != "" {
		do(x.above, l.Parent)
	}
	if m := l.MasterName(); m != "" {
		do(x.above, m)
	}
}
