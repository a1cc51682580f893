// SPDX-License-Identifier: Apache-2.0

package kerneltest

import (
	"context"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"weft/internal/netstate"
	"weft/internal/plan"
)

// env is one test's host.
type env struct {
	*testing.T
	host  Host
	loose map[string]bool // links whose MAC and MTU effect does not check: they depend on what the kernel keeps to itself
}

// Conformance holds a kind of host to what weft takes a kernel to be. newHost returns a fresh one that has nothing but
// the loopback device, the kernel's own rules and links of these names that weft did not make, with carrier, down.
func Conformance(t *testing.T, newHost func(t *testing.T, nics ...string) Host) {
	for _, part := range []struct {
		name string
		nics []string
		test func(*env)
	}{
		{"bond", []string{"eth0", "eth1"}, testBond},
		{"bond active-backup", []string{"eth0", "eth1"}, testActiveBackup},
		{"bond taken over", nil, testBondTakenOver},
		{"vlan", []string{"eth0"}, testVLAN},
		{"bridge", nil, testBridge},
		{"vrf", nil, testVRF},
		{"borrowed link", []string{"eth0"}, testBorrowed},
		{"bridge port", []string{"eth0"}, testPort},
		{"bridge vlans", []string{"eth0"}, testBridgeVLANs},
		{"fdb", []string{"eth0"}, testFDB},
		{"fdb of a bridge that filters no VLANs", []string{"eth0"}, testFDBUnfiltered},
		{"mdb", []string{"eth0"}, testMDB},
		{"limits", []string{"eth0"}, testLimits},
		{"addresses", []string{"eth0"}, testAddrs},
		{"routes", []string{"eth0", "eth1"}, testRoutes},
		{"route replaced", []string{"eth0", "eth1"}, testRouteReplaced},
		{"rules", nil, testRules},
		{"local rule", nil, testLocalRule},
		{"neighbours", []string{"eth0"}, testNeighs},
		{"sysctls", []string{"eth0"}, testSysctls},
		{"nftables", nil, testTables},
		{"errors", []string{"eth0"}, testErrors},
		{"watch", []string{"eth0"}, testWatch},
		{"foreign objects", []string{"eth0", "eth1", "eth2"}, testForeign},
		{"effects/link down", []string{"eth0"}, testDown},
		{"effects/parent deleted", []string{"eth0"}, testParentDeleted},
		{"effects/enslaved to a vrf", []string{"eth0"}, testEnslaveVRF},
		{"effects/vrf deleted", []string{"eth0"}, testVRFDeleted},
		{"effects/enslaved to a bond", []string{"eth0", "eth1"}, testEnslaveBond},
		{"effects/bond deleted", []string{"eth0", "eth1"}, testBondDeleted},
		{"effects/bridge deleted", []string{"eth0"}, testBridgeDeleted},
		{"effects/parent mtu", []string{"eth0"}, testParentMTU},
		{"node", []string{"eth0", "eth1", "tap0", "tap1", "tap2"}, testNode},
	} {
		t.Run(part.name, func(t *testing.T) {
			part.test(&env{T: t, host: newHost(t, part.nics...), loose: map[string]bool{}})
		})
	}
}

// observe returns what is there, and the sysctls that objects name.
func (e *env) observe(objects ...netstate.Object) *netstate.State {
	e.Helper()
	want := &netstate.State{}
	want.Put(objects...)
	s, err := e.host.Observe(e.Context(), want)
	if err != nil {
		e.Fatalf("observe: %v", err)
	}
	return s
}

// do applies one change.
func (e *env) do(old, new netstate.Object) {
	e.Helper()
	if err := e.host.Apply(e.Context(), step(old, new)); err != nil {
		e.Fatalf("apply %v -> %v: %v", old, new, err)
	}
}

func step(old, new netstate.Object) plan.Op {
	return plan.Op{Phase: plan.PhaseLink, Changes: []plan.Change{{Old: old, New: new}}}
}

// add makes objects, each twice: the second time has nothing to do.
func (e *env) add(objects ...netstate.Object) {
	e.Helper()
	for _, o := range objects {
		e.do(nil, o)
		e.do(nil, o)
		e.has(o)
	}
}

// remove takes objects away, each twice.
func (e *env) remove(objects ...netstate.Object) {
	e.Helper()
	for _, o := range objects {
		e.do(o, nil)
		e.do(o, nil)
		e.lacks(o)
	}
}

// set sets the fields of a partial link and reads them back.
func (e *env) set(l netstate.Link) {
	e.Helper()
	have := e.observe().Link(l.Name)
	if have == nil {
		e.Fatalf("set %v: no such link", l)
	}
	if l.Kind == "" {
		l.Kind = have.Kind
	}
	e.do(netstate.Pick(*have, l), l)
	e.has(l)
}

// has checks that objects are there and what they ought to be.
func (e *env) has(objects ...netstate.Object) {
	e.Helper()
	s := e.observe(objects...)
	for _, o := range objects {
		if have := s.Get(o.Key()); have == nil {
			e.Errorf("%v is not there", o.Key())
		} else if !have.Meets(o) {
			e.Errorf("%v\n has: %v\nwant: %v", o.Key(), have, o)
		} else if marked(o) && !have.Owned() {
			e.Errorf("%v has lost its mark: %v", o.Key(), have)
		}
	}
}

// marked reports whether the object, as it was asked for, carries weft's mark itself.
func marked(o netstate.Object) bool {
	switch o.(type) {
	case netstate.BridgeVLAN, netstate.FDB, netstate.MDB, netstate.Sysctl:
		return false
	}
	return o.Owned()
}

// lacks checks that objects are gone.
func (e *env) lacks(objects ...netstate.Object) {
	e.Helper()
	s := e.observe()
	for _, o := range objects {
		if have := s.Get(o.Key()); have != nil {
			e.Errorf("%v is still there: %v", o.Key(), have)
		}
	}
}

// converge makes the host what want says, as an agent does, and checks that a second look finds nothing to do.
func (e *env) converge(want *netstate.State) {
	e.Helper()
	const passes = 3
	for pass := range passes + 1 {
		have, err := e.host.Observe(e.Context(), want)
		if err != nil {
			e.Fatalf("observe: %v", err)
		}
		p, err := plan.Diff(want, have, plan.Owned)
		if err != nil {
			e.Fatalf("diff: %v", err)
		}
		if p.Empty() {
			return
		}
		if pass > 0 {
			for _, op := range p.Ops {
				e.Logf("pass %d still has: %q", pass+1, op.Lines())
			}
		}
		if pass == passes {
			e.Fatalf("not converged after %d passes", passes)
		}
		for _, op := range p.Ops {
			if err := e.host.Apply(e.Context(), op); err != nil {
				e.Fatalf("apply %q: %v", op.Lines(), err)
			}
		}
	}
}

// effect applies a change and checks that plan.Simulate foresaw all that came of it.
func (e *env) effect(old, new netstate.Object) {
	e.Helper()
	foreseen := e.observe()
	op := step(old, new)
	if err := plan.Simulate(foreseen, op); err != nil {
		e.Fatalf("simulate %v -> %v: %v", old, new, err)
	}
	e.do(old, new)
	after := e.observe()
	for o := range foreseen.All() {
		have := after.Get(o.Key())
		if l, ok := o.(netstate.Link); ok && e.loose[l.Name] {
			l.MAC, l.MTU = "", 0
			o = l
		}
		if have == nil {
			e.Errorf("after %v -> %v: %v is gone, which was not foreseen", old, new, o)
		} else if !have.Meets(o) {
			e.Errorf("after %v -> %v:\n     has: %v\nforeseen: %v", old, new, have, o)
		}
	}
	for o := range after.All() {
		if foreseen.Get(o.Key()) == nil && !byKernel(o) {
			e.Errorf("after %v -> %v: %v is there, which was not foreseen", old, new, o)
		}
	}
}

// byKernel reports whether the kernel makes such an object by itself.
func byKernel(o netstate.Object) bool {
	const kernel = 2 // RTPROT_KERNEL
	switch o := o.(type) {
	case netstate.Route:
		return o.Protocol == kernel
	case netstate.Rule:
		return o.Protocol == kernel
	}
	return false
}

// same checks that nothing differs between two observations but what the kernel does by itself.
func (e *env) same(before, after *netstate.State) {
	e.Helper()
	list := func(s *netstate.State) (all []netstate.Object) {
		for o := range s.All() {
			if !byKernel(o) {
				all = append(all, o)
			}
		}
		return all
	}
	if d := cmp.Diff(list(before), list(after), cmpopts.IgnoreFields(netstate.Link{}, "Status"), cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); d != "" {
		e.Errorf("something has changed (-before +after):\n%s", d)
	}
}

// await takes a value from a channel, or fails at the end of the test's time.
func (e *env) await(ctx context.Context, c <-chan struct{}, what string) {
	e.Helper()
	select {
	case <-c:
	case <-ctx.Done():
		e.Fatalf("no sign of %s", what)
	}
}
