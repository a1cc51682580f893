// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
)

// state is what a snapshot says is wanted, or there: objects by kind.
type state map[string][]map[string]any

// compare reads a snapshot: all that is wanted is there, what is there and carries weft's mark is wanted, and nothing is left to do. It
// returns how many objects of weft's there are, and how many of them are wanted.
func compare(text []byte) (own, wanted int, err error) {
	var s struct {
		Want, Have state
		Pending    []string
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return 0, 0, fmt.Errorf("the snapshot: %w", err)
	}
	var errs []error
	if len(s.Pending) > 0 {
		errs = append(errs, fmt.Errorf("left to do: %q", s.Pending))
	}
	met := map[string]map[int]bool{} // of what is there, what somebody wants
	for kind, objects := range s.Want {
		met[kind] = map[int]bool{}
		for _, w := range objects {
			found := false
			for i, h := range s.Have[kind] {
				if !met[kind][i] && same(kind, w, h) {
					found, met[kind][i] = true, true
					break
				}
			}
			if !found {
				errs = append(errs, fmt.Errorf("wanted and not there: %s %v", kind, w))
			}
		}
	}
	for kind, objects := range s.Have {
		for i, h := range objects {
			if !marked(kind, h) {
				continue
			}
			if own++; met[kind][i] {
				wanted++
			} else {
				errs = append(errs, fmt.Errorf("there and wanted by nobody: %s %v", kind, h))
			}
		}
	}
	return own, wanted, errors.Join(errs...)
}

// same reports whether what is there has all that is wanted.
func same(kind string, want, have map[string]any) bool {
	if kind == "table" { // its rules are compared in the ruleset's dump; here the identity is enough
		return want["family"] == have["family"] && want["name"] == have["name"]
	}
	return holds(want, have)
}

func holds(want, have any) bool {
	w, ok := want.(map[string]any)
	if !ok {
		return reflect.DeepEqual(want, have)
	}
	h, ok := have.(map[string]any)
	for k, v := range w {
		ok = ok && (v == nil || holds(v, h[k]))
	}
	return ok
}

// The marks of weft's objects.
const (
	markProtocol = 87
	markTable    = "weft"
	markGroup    = 87 // and 8700000 to 8899999
	markGroups   = 8700000
	markLast     = 8899999
)

// marked reports whether something that is there carries weft's mark.
func marked(kind string, o map[string]any) bool {
	switch kind {
	case "link":
		group, _ := o["group"].(float64)
		return group == markGroup || group >= markGroups && group <= markLast
	case "addr", "rule", "route", "neigh":
		return o["protocol"] == float64(markProtocol)
	case "bridge-vlan", "fdb", "mdb":
		return o["ours"] == true
	case "table":
		return o["name"] == markTable
	case "element":
		return o["table"] == markTable
	}
	return false
}
