// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"
	"strings"
	"testing"

	"weft/hack/rig"
)

// Each wire has one end at the switch, which listens, and one at a node.
func TestWires(t *testing.T) {
	t.Parallel()
	l := &lab{Fleet: &rig.Fleet{Dir: "/d"}}
	ends := map[string]string{}
	for _, name := range machines() {
		for _, arg := range l.wireArgs(name) {
			if id, rest, ok := strings.Cut(strings.TrimPrefix(arg, "stream,id="), ","); ok && strings.HasPrefix(arg, "stream") {
				ends[id] += name + " " + strings.Split(rest, ",")[0] + "; "
			}
		}
	}
	want := map[string]string{
		"h1e0": "net server=on; node1 server=off; ", "h1e1": "net server=on; node1 server=off; ",
		"h2e0": "net server=on; node2 server=off; ", "h2e1": "net server=on; node2 server=off; ",
	}
	for id, w := range want {
		if ends[id] != w {
			t.Errorf("the ends of wire %s are %q, want %q", id, ends[id], w)
		}
	}
	if len(ends) != len(want) {
		t.Errorf("wires %v, want %v", ends, want)
	}
}

// What is installed on the nodes decides how fast they are, too.
func TestPackages(t *testing.T) {
	t.Parallel()
	list := packages()
	for _, want := range []string{"ganeti-os-noop", "qemu-system-x86"} {
		if !slices.Contains(list, want) {
			t.Errorf("the nodes lack %s: %v", want, list)
		}
	}
	if slices.Contains(list, "ca-certificates") {
		t.Error("the nodes would have ca-certificates")
	}
}
