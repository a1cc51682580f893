// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"

	"weft/internal/agent"
	"weft/internal/kernel/kerneltest"
	"weft/internal/nic"
	"weft/internal/spec"
)

// TestLoopWaitsForItsFile starts a loop with a node file that has a mistake in it: it goes on, and takes over the hypervisor's
// NICs when it is mended.
func TestLoopWaitsForItsFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host := kerneltest.NewFake("eth0")
		store := nic.Store{Dir: t.TempDir()}
		reads, adopted, ready := 0, 0, make(chan struct{})
		l := &agent.Loop{
			Node: &agent.Node{Spec: &spec.Node{}, Store: store, Target: host}, Stats: agent.NewStats(),
			Load: func() (*spec.Node, []byte, error) {
				if reads++; reads < 4 {
					return nil, nil, errors.New("node.yaml:1:1: a mistake")
				}
				return &spec.Node{}, nil, nil
			},
			Adopt: func(context.Context, *agent.Node) error { adopted = reads; return nil },
			Ready: func() { close(ready) },
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- l.Run(ctx) }()
		select {
		case <-ready:
		case err := <-ended:
			t.Fatalf("it ended: %v", err)
		}
		cancel()
		if err := <-ended; err != nil || adopted != 4 {
			t.Errorf("%v; adopted after %d reads, want 4", err, adopted)
		}
	})
}

// otherFile is routedFile, with the network's uplink elsewhere.
var otherFile = strings.Replace(routedFile, "vlan: 993", "vlan: 994", 1)

// TestPlugHoldsToTheFileUnderTheLock: who waits for the lock may wait for an apply.
func TestPlugHoldsToTheFileUnderTheLock(t *testing.T) {
	store := nic.Store{Dir: t.TempDir()}
	host := &alive{Fake: kerneltest.NewFake("eth0", "eth1", "tap0"), index: map[string]int{}}
	applied := &agent.Node{Spec: parse(t, otherFile), Text: []byte(otherFile), Store: store, Target: host}
	if err := applied.Apply(t.Context()); err != nil {
		t.Fatal(err)
	}
	waited := &agent.Node{Spec: parse(t, routedFile), Text: []byte(routedFile), Store: store, Target: host}
	if err := waited.Plug(t.Context(), routedGuest(false)); err != nil {
		t.Fatal(err)
	}
	if left, err := applied.View(t.Context()); err != nil || !left.Plan.Empty() {
		t.Errorf("it is not plugged in as the applied file says: %v\n%v", err, left.Plan.Ops)
	}
}

// TestLoopClaimsWhatTheNICIsByThen: the guest shows while a verb has the lock, which gives its NIC another address, or while a
// file is applied. What was worked out for the NIC and the file of before is not done.
func TestLoopClaimsWhatTheNICIsByThen(t *testing.T) {
	moved := routedGuest(true)
	moved.Addresses = []netip.Addr{netip.MustParseAddr("62.217.124.52")}
	for what, change := range map[string]func(*testing.T, *kept){
		"another address": func(t *testing.T, k *kept) {
			if err := k.node.Store.Put(moved); err != nil {
				t.Error(err)
			}
		},
		"another file": func(t *testing.T, k *kept) {
			if err := k.node.Store.PutFile([]byte(otherFile)); err != nil {
				t.Error(err)
			}
		},
	} {
		t.Run(what, func(t *testing.T) {
			keep(t, func(t *testing.T, k *kept) {
				k.plug(t, routedGuest(true))
				k.rests()
				k.air.take()
				ops := len(k.host.Applied())
				change(t, k) // and the loop is not told
				k.air.heard <- agent.Heard{IfIndex: k.host.indexOf("tap0"), Guest: guest.MAC}
				synctest.Wait()
				for _, op := range k.host.Applied()[ops:] {
					for _, line := range op.Lines() {
						if what == "another address" && strings.Contains(line, "62.217.124.53") || what == "another file" && strings.Contains(line, "bond0.993") && !strings.Contains(line, "del") {
							t.Errorf("done: %s", line)
						}
					}
				}
				if k.prepared(t, guest.ID) {
					t.Error("not claimed")
				}
			})
		})
	}
}
