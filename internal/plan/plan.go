// SPDX-License-Identifier: Apache-2.0

// Package plan says what has to be done to turn the network that is there into the network that is wanted.
//
// It owns the comparison of two states, the order of the work (fixed phases, no graph), what each step disrupts, the
// inverse, the fingerprint that keeps a saved plan from being applied to a world that has moved, a simulation of the
// kernel's side effects, and how a plan prints: as the equal ip, bridge, nft and sysctl lines.
//
// It is pure: it never observes or changes a kernel, reads a clock or touches a file.
package plan

import (
	"fmt"
	"slices"

	"weft/internal/netstate"
)

// Phase is a step of the fixed order of work. A tap is never up before its filter stands.
type Phase uint8

// The phases, in order.
const (
	PhaseGuard  Phase = iota + 1 // nftables tables and elements, and routes that lead nowhere, come or change
	PhaseSysctl                  // global sysctls
	PhaseRule                    // rules come
	PhaseCreate                  // links come, parents first; those that have to be made anew go before
	PhaseLink                    // attributes of links, ports, bridge VLANs, per-link sysctls; links other than taps go up
	PhaseAddr                    // addresses come; those that are not wanted on a link that stays go
	PhaseRoute                   // routes come
	PhaseNeigh                   // neighbours, proxies, FDB and MDB entries and limits come
	PhaseTap                     // taps go up, each followed by the routes through it, which need it up
	PhaseRemove                  // what is ours and not wanted goes, in the reverse order
)

var phaseNames = [...]string{
	PhaseGuard: "guard", PhaseSysctl: "sysctl", PhaseRule: "rule", PhaseCreate: "create", PhaseLink: "link",
	PhaseAddr: "addr", PhaseRoute: "route", PhaseNeigh: "neigh", PhaseTap: "tap", PhaseRemove: "remove",
}

// String returns the phase's name.
func (p Phase) String() string {
	if int(p) >= len(phaseNames) {
		return fmt.Sprintf("phase(%d)", uint8(p))
	}
	return phaseNames[p]
}

// MarshalText encodes the phase as its name.
func (p Phase) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText decodes a phase's name.
func (p *Phase) UnmarshalText(text []byte) error {
	i := slices.Index(phaseNames[:], string(text))
	if i < int(PhaseGuard) {
		return fmt.Errorf("unknown phase %q", text)
	}
	*p = Phase(i)
	return nil
}

// Change is one object's step. Old is nil when it comes, New is nil when it goes. Where both are Links they are partial:
// New holds just the fields to set, Old their values before.
type Change struct {
	Old, New netstate.Object
}

// Key returns the key of the object that changes.
func (c Change) Key() netstate.Key {
	if c.New != nil {
		return c.New.Key()
	}
	return c.Old.Key()
}

// Op is one step: one request to the kernel, or (several Changes, nftables only) one transaction.
type Op struct {
	Phase    Phase
	Changes  []Change
	Disrupts string // what stops working while or after the step, in words; "" for nothing
}

// Plan is the work that leads from one state to another. It is a value: it can be printed, saved and applied later.
type Plan struct {
	Ops         []Op
	Fingerprint string // of everything in the observed state that the plan depends on
}

// Empty reports whether there is nothing to do.
func (p Plan) Empty() bool { return len(p.Ops) == 0 }
