// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"weft/internal/netstate"
)

// Inverse returns the plan that undoes p, which was made for the state before: whatever p changes, side effects
// included, is put back to what it was. Sysctls of links that did not exist before have nothing to go back to.
func (p Plan) Inverse(before *netstate.State) (Plan, error) {
	after := before.Clone()
	for _, op := range p.Ops {
		if err := Simulate(after, op); err != nil {
			return Plan{}, err
		}
	}
	want := &netstate.State{}
	for o := range before.All() {
		if r, ok := o.(netstate.Route); ok && r.Protocol == protoKernel {
			continue // it comes with its address
		}
		want.Put(o)
	}
	return Diff(want, after, Owned)
}

// Fingerprint identifies what a plan was made for: all that is wanted, and of what is there all that is weft's or has
// the key of something wanted. Counters, carriers and other status are not in it.
func Fingerprint(want, have *netstate.State) string {
	h := sha256.New()
	put := func(mark string, o netstate.Object) {
		if l, ok := o.(netstate.Link); ok {
			l.Status = nil
			fmt.Fprintf(h, "%s %s %s port %+v\n", mark, l.Key(), l, portWords(l))
			return
		}
		if _, err := fmt.Fprintf(h, "%s %s %s\n", mark, o.Key(), o); err != nil {
			return // a hash takes everything
		}
	}
	for o := range want.All() {
		put("want", o)
	}
	for o := range have.All() {
		if o.Owned() || want.Get(o.Key()) != nil {
			put("have", o)
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

func portWords(l netstate.Link) []string {
	if l.Port == nil {
		return nil
	}
	return l.Port.Words()
}
