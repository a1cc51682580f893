// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"weft/internal/agent"
	"weft/internal/kernel/kerneltest"
	"weft/internal/netstate"
	"weft/internal/nic"
	"weft/internal/plan"
	"weft/internal/trial"
)

// onTrial is a node on the kernel's model with a place for its trial and its operator's file.
type onTrial struct {
	*agent.Node
	fake *kerneltest.Fake
	file string
}

func newOnTrial(t *testing.T) *onTrial {
	t.Helper()
	fake, dir := kerneltest.NewFake("eth0", "eth1", "tap0"), t.TempDir()
	return &onTrial{
		Node: &agent.Node{Store: nic.Store{Dir: filepath.Join(dir, "run")}, Target: fake, Trials: &trial.Store{Dir: filepath.Join(dir, "lib"), Boot: "this"}},
		fake: fake, file: filepath.Join(dir, "node.yaml"),
	}
}

// edit is the operator's: the node file says something else from now on.
func (n *onTrial) edit(t *testing.T, text string) {
	t.Helper()
	must(t, os.WriteFile(n.file, []byte(text), 0o640))
	n.Spec, n.Text = parse(t, text), []byte(text)
}

func (n *onTrial) try(ctx context.Context) (*trial.Trial, error) {
	return n.Try(ctx, agent.Terms{Window: time.Minute, File: n.file, Guard: func(*trial.Trial) error { return nil }})
}

// all is everything that is there, whoever it is of.
func (n *onTrial) all(t *testing.T) string {
	t.Helper()
	s, err := n.Target.Observe(t.Context(), nil)
	must(t, err)
	var lines []string
	for o := range s.All() {
		if l, ok := o.(netstate.Link); ok {
			l.Status = nil
			o = l
		}
		if r, ok := o.(netstate.Rule); ok && r.L3MDev && r.Protocol == 2 {
			continue // the kernel makes it with the first VRF, for good
		}
		if r, ok := o.(netstate.Route); ok && r.Protocol == 2 {
			continue // it comes with its address when the link goes up; the model has no such thing
		}
		lines = append(lines, fmt.Sprintf("%s: %s", o.Key(), o))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// byHand is a host that somebody set up without weft: an address and the default route on a card.
func byHand(s *netstate.State) {
	l := *s.Link("eth0")
	l.Up = new(true)
	s.Put(l,
		netstate.Addr{Prefix: netip.MustParsePrefix("10.0.0.11/24"), Dev: "eth0"},
		netstate.Route{Dst: netip.MustParsePrefix("10.0.0.0/24"), Dev: "eth0", Protocol: 2, Type: "unicast"}.Canonical(),
		netstate.Route{Dst: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("10.0.0.1"), Dev: "eth0", Protocol: 3, Type: "unicast"}.Canonical(),
	)
}

// trialCases lead from a node that somebody else or weft made to one on trial.
var trialCases = []struct {
	name, before, after string
	hand                func(*netstate.State)
}{
	{"from a host set up by hand", "", strings.Replace(routedFile, "routes:\n  - {to: default, via: 10.0.0.1}\n", "", 1), byHand},
	{"a network comes", bondFile, routedFile, nil},
	{"a network goes", routedFile, bondFile, nil},
	{"the address moves to a VLAN", bondFile, "bonds: {bond0: {members: [eth0, eth1]}}\nvlans: {bond0.99: {addresses: [10.0.0.11/24]}}\n", nil},
	{"the members go", bondFile, "bonds: {bond1: {members: [eth0]}}\nlinks: {eth1: {mtu: 1400}}\n", nil},
}

func (n *onTrial) begin(t *testing.T, before string, hand func(*netstate.State)) {
	t.Helper()
	if hand != nil {
		n.fake.Disturb(hand)
	}
	if before != "" {
		n.edit(t, before)
		must(t, n.Apply(t.Context()))
	}
}

// TestTrialIsUndone tries a change, lets nobody confirm it, and expects all of the host to be what it was, whoever's it is.
func TestTrialIsUndone(t *testing.T) {
	for _, c := range trialCases {
		t.Run(c.name, func(t *testing.T) {
			n := newOnTrial(t)
			n.begin(t, c.before, c.hand)
			before := n.all(t)
			n.edit(t, c.after)
			tr, err := n.try(t.Context())
			must(t, err)
			if n.all(t) == before {
				t.Fatal("the change changed nothing")
			}
			if err := n.Apply(t.Context()); err == nil || !strings.Contains(err.Error(), "waits to be confirmed") {
				t.Errorf("another change meanwhile: %v", err)
			}
			ended, err := n.Revert(t.Context(), tr.ID, "for a test")
			must(t, err)
			same(t, 0, before, n.all(t))
			n.filesAreOf(t, c.before, c.after, ended)
			if _, err := n.Confirm(t.Context(), "", ""); !errors.Is(err, agent.ErrNoTrial) {
				t.Errorf("confirmed afterwards: %v", err)
			}
		})
	}
}

// filesAreOf fails unless the operator's file and the applied one are those of before, and the other one is kept.
func (n *onTrial) filesAreOf(t *testing.T, before, after string, ended *trial.Trial) {
	t.Helper()
	applied, err := n.Store.File()
	must(t, err)
	mine, err := os.ReadFile(n.file)
	if before == "" && !os.IsNotExist(err) || before != "" && err != nil {
		t.Errorf("the operator's file: %v", err)
	}
	if string(applied) != before || string(mine) != before {
		t.Errorf("the node file is\n%s\nthe applied one\n%s\nwant\n%s", mine, applied, before)
	}
	kept, err := os.ReadFile(ended.Aside)
	must(t, err)
	if string(kept) != after {
		t.Errorf("kept is\n%s\nwant\n%s", kept, after)
	}
}

// TestTrialFailsAtEveryOperation lets each operation of each change fail in turn: the node is what it was.
func TestTrialFailsAtEveryOperation(t *testing.T) {
	for _, c := range trialCases {
		t.Run(c.name, func(t *testing.T) {
			for k := 0; ; k++ {
				n := newOnTrial(t)
				n.begin(t, c.before, c.hand)
				before := n.all(t)
				n.edit(t, c.after)
				once := &failingOnce{Target: n.Target, at: k}
				n.Target = once
				tr, err := n.try(t.Context())
				if once.done <= k {
					must(t, err)
					if k < 3 {
						t.Fatalf("only %d operations", k)
					}
					return
				}
				if err == nil || tr.Verdict != trial.Reverted {
					t.Fatalf("operation %d failed, and: %v", k, err)
				}
				same(t, k, before, n.all(t))
				n.filesAreOf(t, c.before, c.after, tr)
			}
		})
	}
}

// failingOnce is a Target one of whose operations fails, once.
type failingOnce struct {
	agent.Target
	done, at int
}

func (f *failingOnce) Apply(ctx context.Context, op plan.Op) error {
	if f.done++; f.done == f.at+1 {
		return errors.New("injected")
	}
	return f.Target.Apply(ctx, op)
}

// TestTrialOfAnotherBoot: a machine that restarts before the change is confirmed comes up on the file of before.
func TestTrialOfAnotherBoot(t *testing.T) {
	for _, before := range []string{"", bondFile} {
		n := newOnTrial(t)
		n.begin(t, before, nil)
		n.edit(t, routedFile)
		_, err := n.try(t.Context())
		must(t, err)
		must(t, os.RemoveAll(n.Store.Dir)) // a tmpfs
		ended, err := agent.Settle(t.Context(), *n.Trials, n.Store)
		if err != nil || ended != nil {
			t.Fatalf("settled in the same boot: %v, %v", ended, err)
		}
		n.Trials.Boot = "the next"
		ended, err = agent.Settle(t.Context(), *n.Trials, n.Store)
		must(t, err)
		must(t, n.Store.PutFile([]byte(before))) // what the agent does then
		if before == "" {
			must(t, n.Store.DropFile())
		}
		n.filesAreOf(t, before, routedFile, ended)
		if again, err := agent.Settle(t.Context(), *n.Trials, n.Store); err != nil || again != nil {
			t.Fatalf("settled twice: %v, %v", again, err)
		}
	}
}

// TestTrialTakesItsNICs: a NIC that was plugged into a network on trial is unplugged with it, others stay.
func TestTrialTakesItsNICs(t *testing.T) {
	n := newOnTrial(t)
	n.begin(t, bondFile, nil)
	n.edit(t, bridgedFile)
	_, err := n.try(t.Context())
	must(t, err)
	must(t, plug("tenants")(t.Context(), n.Node))
	_, err = n.Revert(t.Context(), "", "for a test")
	must(t, err)
	if nics, err := n.Store.List(); err != nil || len(nics) > 0 {
		t.Errorf("still plugged in: %v, %v", nics, err)
	}
	n.edit(t, bondFile)
	v, err := n.View(t.Context())
	must(t, err)
	if !v.Plan.Empty() {
		t.Errorf("left to do: %s", v.Plan.Summary())
	}
}

// TestTrialConfirmed stays, and is not undone by whoever comes late.
func TestTrialConfirmed(t *testing.T) {
	n := newOnTrial(t)
	n.begin(t, bondFile, nil)
	n.edit(t, routedFile)
	tr, err := n.try(t.Context())
	must(t, err)
	if _, err := n.Confirm(t.Context(), "another", ""); !errors.Is(err, agent.ErrNoTrial) {
		t.Errorf("another trial was confirmed: %v", err)
	}
	after := n.all(t)
	_, err = n.Confirm(t.Context(), tr.ID, "by hand")
	must(t, err)
	if _, err := n.Revert(t.Context(), tr.ID, "late"); !errors.Is(err, agent.ErrNoTrial) {
		t.Errorf("undone after it was confirmed: %v", err)
	}
	same(t, 0, after, n.all(t))
}

// TestTrialIsRefused where its guard does not start: nothing is changed.
func TestTrialIsRefused(t *testing.T) {
	n := newOnTrial(t)
	n.begin(t, bondFile, nil)
	before := n.all(t)
	n.edit(t, routedFile)
	_, err := n.Try(t.Context(), agent.Terms{Window: time.Minute, File: n.file, Guard: func(*trial.Trial) error { return errors.New("no more processes") }})
	if err == nil || !strings.Contains(err.Error(), "no more processes") {
		t.Errorf("without a guard: %v", err)
	}
	same(t, 0, before, n.all(t))
	must(t, n.Apply(t.Context()))
}
