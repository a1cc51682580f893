// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"context"
	"errors"
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
