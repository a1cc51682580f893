// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	"weft/internal/agent"
	"weft/internal/kernel/kerneltest"
	"weft/internal/netstate"
	"weft/internal/nic"
	"weft/internal/plan"
	"weft/internal/spec"
)

// looks counts how often a kernel is looked at.
type looks struct {
	agent.Target
	mu    sync.Mutex
	count int
}

func (l *looks) Observe(ctx context.Context, want *netstate.State) (*netstate.State, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count++
	return l.Target.Observe(ctx, want)
}

// plugged plugs all NICs in while somebody else has the lock, in the order of the list, and returns what each was told.
func plugged(t *testing.T, n *agent.Node, nics []spec.NIC) (errs []error, steps [][]string) {
	t.Helper()
	unlock, err := n.Store.Lock(t.Context())
	must(t, err)
	errs, steps = make([]error, len(nics)), make([][]string, len(nics))
	var all sync.WaitGroup
	for i, c := range nics {
		one := *n
		one.Done = func(op plan.Op) { steps[i] = append(steps[i], op.Lines()...) }
		all.Go(func() { errs[i] = one.Plug(t.Context(), c) })
		for n.Together.Waiting() != i+1 {
			runtime.Gosched()
		}
	}
	unlock()
	all.Wait()
	return errs, steps
}

// TestTogether: NICs that come at the same time are plugged in with the looks that one takes, and are what they are one after the other.
// One that cannot be had fails alone.
func TestTogether(t *testing.T) {
	const count = 20
	taps := []string{"eth0", "eth1"}
	for i := range count {
		taps = append(taps, fmt.Sprintf("tap%d", i))
	}
	node := func() (*agent.Node, *looks) {
		l := &looks{Target: kerneltest.NewFake(taps...)}
		n := &agent.Node{Spec: parse(t, bigFile(0)), Store: nic.Store{Dir: t.TempDir()}, Target: l}
		must(t, n.Apply(t.Context()))
		l.count = 0
		return n, l
	}
	for _, bad := range []bool{false, true} {
		nics := bigNICs(count)
		if bad {
			nics[7].Name = "tap99"    // there is no such tap
			nics[9].MAC = nics[8].MAC // that of one before it
			nics[11].ID = nics[10].ID // two wishes about one NIC
		}
		alone, one := node()
		var want []error
		for _, c := range nics {
			one.count = 0
			want = append(want, alone.Plug(t.Context(), c))
		}
		n, all := node()
		n.Together = &agent.Together{}
		errs, steps := plugged(t, n, nics)
		if !bad && all.count > one.count {
			t.Errorf("%d looks for %d NICs, %d for one", all.count, count, one.count)
		}
		for i, err := range errs {
			if fmt.Sprint(err) != fmt.Sprint(want[i]) {
				t.Errorf("%s: %v; alone: %v", nics[i].Name, err, want[i])
			}
			text := strings.Join(steps[i], "\n")
			if other := nics[(i+1)%count]; !bad && (!strings.Contains(text, nics[i].Name+" ") || strings.Contains(text, other.MAC)) {
				t.Errorf("the steps of %s:\n%s", nics[i].Name, text)
			}
		}
		same(t, 0, ours(t, alone), ours(t, n))
	}
}
