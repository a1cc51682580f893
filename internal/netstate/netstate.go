// SPDX-License-Identifier: Apache-2.0

// Package netstate is the one vocabulary of weft: what a node's network is, used for the desired and for the observed state alike.
//
// It owns the kinds of object that weft knows (links, addresses, routes, rules, neighbours, forwarding entries, bridge VLANs,
// limits, sysctls; package nft adds tables and elements), their keys, their canonical form, the owner marks, and how each one is
// spelled in iproute2's idiom. Links go by name; an ifindex exists only inside package kernel.
//
// It never does I/O, never parses a node file and never compares two whole states: that is package plan's.
package netstate

import (
	"cmp"
	"iter"
	"maps"
	"slices"
)

// Protocol is weft's owner mark on routes, rules, neighbours and addresses (RTA_PROTOCOL, FRA_PROTOCOL, NDA_PROTOCOL, IFA_PROTO).
const Protocol uint8 = 87

// Kind is the sort of an object. Kinds have an order only so that a State can be listed in a stable one.
type Kind uint8

// The kinds of object.
const (
	KindSysctl Kind = iota + 1
	KindLink
	KindBridgeVLAN
	KindAddr
	KindRule
	KindRoute
	KindNeigh
	KindFDB
	KindMDB
	KindLimit   // how fast a device may carry packets
	KindTable   // an nftables table with its chains, rules and set declarations
	KindElement // one element of an nftables set or map
)

var kindNames = map[Kind]string{
	KindSysctl: "sysctl", KindLink: "link", KindBridgeVLAN: "bridge-vlan", KindAddr: "addr", KindRule: "rule",
	KindRoute: "route", KindNeigh: "neigh", KindFDB: "fdb", KindMDB: "mdb", KindLimit: "limit", KindTable: "table", KindElement: "element",
}

// String returns the kind's name as used in JSON and in messages.
func (k Kind) String() string { return kindNames[k] }

// Key is the identity of an object: its kind and, in ID, what the kernel keys it by, in words.
type Key struct {
	Kind Kind
	ID   string
}

// String returns the key for messages, such as "route default table 993".
func (k Key) String() string { return k.Kind.String() + " " + k.ID }

// Compare orders keys by kind, then by ID.
func (k Key) Compare(o Key) int {
	return cmp.Or(cmp.Compare(k.Kind, o.Kind), cmp.Compare(k.ID, o.ID))
}

// Object is one thing of the network. Objects are values: nothing changes one after it was put into a State.
type Object interface {
	// Key returns the object's identity.
	Key() Key
	// Owned reports whether an observed object carries weft's mark.
	Owned() bool
	// Meets reports whether the observed object has everything that want asks for. What want leaves at its zero
	// value is the kernel's choice. The owner mark counts only where an object cannot be weft's without it.
	Meets(want Object) bool
	// String spells the object as iproute2, nft or sysctl would, without the verb.
	String() string
}

// State is a set of objects with one object per key. The zero value is an empty state. A State is not safe for concurrent use.
type State struct {
	objects map[Key]Object
	index   *index // nil until it is asked for
}

// Put adds o and replaces the object of the same key, if there is one.
func (s *State) Put(objects ...Object) {
	if s.objects == nil {
		s.objects = make(map[Key]Object)
	}
	for _, o := range objects {
		k := o.Key()
		if s.index != nil {
			if old := s.objects[k]; old != nil {
				s.index.remove(old)
			}
			s.index.add(o)
		}
		s.objects[k] = o
	}
}

// Get returns the object with this key, or nil.
func (s *State) Get(k Key) Object { return s.objects[k] }

// Delete removes the object with this key, if there is one.
func (s *State) Delete(k Key) {
	if old := s.objects[k]; old != nil && s.index != nil {
		s.index.remove(old)
	}
	delete(s.objects, k)
}

// Len returns the number of objects.
func (s *State) Len() int { return len(s.objects) }

// Keys returns all keys in order.
func (s *State) Keys() []Key {
	return slices.SortedFunc(maps.Keys(s.objects), Key.Compare)
}

// All yields all objects in the order of their keys.
func (s *State) All() iter.Seq[Object] {
	return func(yield func(Object) bool) {
		for _, k := range s.Keys() {
			if !yield(s.objects[k]) {
				return
			}
		}
	}
}

// Clone returns a copy; the objects themselves are values and are shared.
func (s *State) Clone() *State { return &State{objects: maps.Clone(s.objects)} }

// Link returns the link of this name, or nil.
func (s *State) Link(name string) *Link {
	l, ok := s.objects[LinkKey(name)].(Link)
	if !ok {
		return nil
	}
	return &l
}

// Of yields all objects of type T in the order of their keys.
func Of[T Object](s *State) iter.Seq[T] {
	return func(yield func(T) bool) {
		for o := range s.where(func(_ Key, o Object) bool { _, ok := o.(T); return ok }) {
			if t, ok := o.(T); ok && !yield(t) {
				return
			}
		}
	}
}

// Kinds yields all objects of these kinds in the order of their keys.
func (s *State) Kinds(kinds ...Kind) iter.Seq[Object] {
	return s.where(func(k Key, _ Object) bool { return slices.Contains(kinds, k.Kind) })
}

// where yields what is so in the order of keys. It puts in order only that: a state has tens of thousands of objects.
func (s *State) where(so func(Key, Object) bool) iter.Seq[Object] {
	return func(yield func(Object) bool) {
		var keys []Key
		for k, o := range s.objects {
			if so(k, o) {
				keys = append(keys, k)
			}
		}
		slices.SortFunc(keys, Key.Compare)
		for _, k := range keys {
			if o := s.objects[k]; o != nil && !yield(o) { // one may have been deleted meanwhile
				return
			}
		}
	}
}

// DevOf returns the name of the interface that an object is, or hangs on; "" for objects that need none.
func DevOf(o Object) string {
	switch o := o.(type) {
	case Link:
		return o.Name
	case Addr:
		return o.Dev
	case Route:
		return o.Dev
	case Neigh:
		return o.Dev
	case FDB:
		return o.Dev
	case BridgeVLAN:
		return o.Dev
	case Limit:
		return o.Dev
	case MDB:
		return o.Dev
	case Sysctl:
		return o.Dev()
	}
	return ""
}
