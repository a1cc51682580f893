// SPDX-License-Identifier: Apache-2.0

package kerneltest_test

import (
	"errors"
	"testing"

	"weft/internal/kernel/kerneltest"
	"weft/internal/netstate"
	"weft/internal/plan"
)

// TestFake holds the fake to what the real kernel is held to in package kernel's tests.
func TestFake(t *testing.T) {
	kerneltest.Conformance(t, func(_ *testing.T, nics ...string) kerneltest.Host { return kerneltest.NewFake(nics...) })
}

func TestFailAt(t *testing.T) {
	f, broken := kerneltest.NewFake("eth0"), errors.New("broken")
	f.FailAt(2, broken)
	for i, want := range []error{nil, broken, nil} {
		up := i%2 == 0
		op := plan.Op{Changes: []plan.Change{{Old: netstate.Link{Name: "eth0", Up: new(!up)}, New: netstate.Link{Name: "eth0", Up: &up}}}}
		if err := f.Apply(t.Context(), op); !errors.Is(err, want) {
			t.Errorf("operation %d: %v, want %v", i+1, err, want)
		}
	}
	if n := len(f.Applied()); n != 2 {
		t.Errorf("%d operations were applied, want 2", n)
	}
}
