// SPDX-License-Identifier: Apache-2.0

// Package compile turns what the operator wrote into what the kernel is to hold: a node file and the NICs that are
// plugged in become the desired state.
//
// It owns the data plane: which links, addresses, routes, rules, neighbours, settings and nftables objects make a bond,
// a VLAN, a bridged and a routed network, and a NIC in each of them; and the marks that tell all of it as weft's. Two
// parts of a file that ask for different things of one object are an error that names both.
//
// It is pure: it never observes a kernel, opens a file or reads a clock, and equal input gives an equal state.
// Whether the file is sound in itself is package spec's to say.
package compile

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"weft/internal/netstate"
	"weft/internal/nft"
	"weft/internal/spec"
)

// Compile returns the state that the node is to have with these NICs plugged in. The node and the NICs are taken to be
// valid (spec.Parse, spec.CheckNICs). The error joins every contradiction found; then there is no state.
//
// Networks that only NICs describe are taken along (spec.WithNICs).
func Compile(node *spec.Node, nics []spec.NIC) (*netstate.State, error) {
	node, err := spec.WithNICs(node, nics)
	if err != nil {
		return nil, err
	}
	b := newBuilder(node)
	b.declared()
	b.networks()
	b.plug(nics)
	b.members(nics)
	b.trunks()
	b.routing()
	b.settings()
	b.finish()
	if err := nft.Check(&b.state); err != nil {
		b.errs = append(b.errs, err)
	}
	if len(b.errs) > 0 {
		return nil, errors.Join(b.errs...)
	}
	return &b.state, nil
}

// builder gathers the state. A link is asked for by several parts of a file (bond0.993 may be declared, and be a
// network's uplink), so links are merged field by field until finish puts them into the state.
type builder struct {
	node    *spec.Node
	state   netstate.State
	links   map[string]netstate.Link
	addrs   []netstate.Addr // of the declared links
	aliases map[string]string
	askers  map[netstate.Key][]string  // the parts of the file that asked for an object, for messages
	below   map[string]bool            // devices that only carry others: they are to be up, nothing else is asked of them
	vids    map[string]map[uint16]bool // VLANs that a VLAN-aware bridge carries on its trunk ports
	errs    []error
}

func newBuilder(node *spec.Node) *builder {
	return &builder{
		node:    node,
		links:   make(map[string]netstate.Link),
		aliases: make(map[string]string),
		askers:  make(map[netstate.Key][]string),
		below:   make(map[string]bool),
		vids:    make(map[string]map[uint16]bool),
	}
}

// put adds an object that nothing else may ask for differently. Who is the part of the file, such as "networks.public".
func (b *builder) put(who string, o netstate.Object) {
	k := o.Key()
	if old := b.state.Get(k); old != nil && !reflect.DeepEqual(old, o) {
		b.errs = append(b.errs, fmt.Errorf("%s: %s asks for %q, %s for %q", k, who, o, b.who(k), old))
		return
	}
	b.asked(k, who)
	b.state.Put(o)
}

// link asks for the fields that are set in l, on top of what was asked for before.
func (b *builder) link(who string, l netstate.Link) {
	k := l.Key()
	old, ok := b.links[l.Name]
	if !ok {
		old = netstate.Link{Name: l.Name}
	}
	if old.Kind != "" && l.Kind != "" && old.Kind != l.Kind {
		b.errs = append(b.errs, fmt.Errorf("%s: %s asks for a %s, %s for a %s", k, who, l.Kind, b.who(k), old.Kind))
		return
	}
	if clash, any := netstate.Missing(l, netstate.Pick(old, l)); any {
		asks := netstate.Pick(l, clash)
		b.errs = append(b.errs, fmt.Errorf("%s: %s asks for %q, %s for %q", k, who, wants(asks), b.who(k), wants(clash)))
		return
	}
	b.asked(k, who)
	b.links[l.Name] = netstate.Merge(old, l)
}

// wants spells the settings of a partial link, without its name and kind.
func wants(l netstate.Link) string {
	s := strings.TrimPrefix(l.String(), l.Name)
	return strings.TrimSpace(strings.Replace(s, " type "+l.Kind, "", 1))
}

// alias says what a link is for. The first to say it has the word.
func (b *builder) alias(name, text string) {
	if b.aliases[name] == "" {
		b.aliases[name] = "weft: " + text
	}
}

func (b *builder) sysctl(who, path, value string) {
	b.put(who, netstate.Sysctl{Path: path, Value: value})
}

func (b *builder) asked(k netstate.Key, who string) {
	if !slices.Contains(b.askers[k], who) {
		b.askers[k] = append(b.askers[k], who)
	}
}

func (b *builder) who(k netstate.Key) string { return strings.Join(b.askers[k], " and ") }

// finish gives every link what all of weft's links have, and puts them into the state.
func (b *builder) finish() {
	for name, l := range b.links {
		if l.Up == nil {
			l.Up = new(true)
		}
		if l.Group == nil {
			l.Group = new(netstate.GroupOwned)
		}
		if l.Master == nil { // asked for, so that a link that leaves its bond or bridge in the file leaves it in the kernel
			l.Master = new("")
		}
		if l.Made() {
			b.alias(name, l.Kind)
			l.Alias = new(b.aliases[name])
		}
		b.state.Put(l)
	}
	for name := range b.below {
		if _, ok := b.links[name]; !ok {
			b.state.Put(netstate.Link{Name: name, Up: new(true)})
		}
	}
}

// sorted returns the keys of a section of the file in order, so that messages come in the same order every time.
func sorted[V any](section map[string]V) []string { return slices.Sorted(maps.Keys(section)) }
