// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"weft/internal/plan"
)

// reference runs the demo undisturbed: what is ours after each stage, and how many operations had been done by then.
func reference(t *testing.T, netns string) (after []string, ops []int) {
	t.Helper()
	n, host := open(t, netns, t.TempDir())
	c := &counting{Target: host, failAt: -1}
	n.Target = c
	for i, s := range demo {
		if err := s.run(t.Context(), n); err != nil {
			t.Fatalf("stage %d: %v", i, err)
		}
		after, ops = append(after, ours(t, n)), append(ops, c.done)
	}
	if ops[len(ops)-1] < 40 {
		t.Fatalf("only %d operations in the demo: this test does not test it", ops[len(ops)-1])
	}
	return after, ops
}

// TestFaultAtEveryOperation lets the kernel refuse everything from one operation of the demo on, then work again: the
// verb that failed, done again, leads to the same node, and so does the rest of the demo.
func TestFaultAtEveryOperation(t *testing.T) {
	needKernel(t)
	want, ops := reference(t, namespace(t, "weft-ref", 1))
	for k := range ops[len(ops)-1] {
		t.Run(fmt.Sprint(k), func(t *testing.T) {
			n, host := open(t, namespace(t, "weft-fault", 1), t.TempDir())
			c := &counting{Target: host, failAt: k}
			n.Target = c
			for i, s := range demo {
				err := s.run(t.Context(), n)
				switch at := k < ops[i] && c.failAt >= 0; {
				case at && err == nil:
					t.Fatalf("stage %d: an operation failed and the verb did not", i)
				case at:
					c.failAt = -1
					err = s.run(t.Context(), n)
				}
				if err != nil {
					t.Fatalf("stage %d: %v", i, err)
				}
				if diff := cmp.Diff(want[i], ours(t, n)); diff != "" {
					t.Fatalf("stage %d, undisturbed (-) and after the fault (+):\n%s", i, diff)
				}
			}
		})
	}
}

// TestKillBetweenOperations ends the process with SIGKILL after each operation of the demo in turn.
func TestKillBetweenOperations(t *testing.T) {
	needKernel(t)
	want, ops := reference(t, namespace(t, "weft-kref", 1))
	for k := 1; k <= ops[len(ops)-1]; k++ {
		t.Run(fmt.Sprint(k), func(t *testing.T) {
			netns, dir := namespace(t, "weft-kill", 1), t.TempDir()
			victim := exec.Command(os.Args[0], "-test.run=^TestVictim$", "-test.count=1")
			victim.Env = append(os.Environ(), "WEFT_VICTIM="+netns+" "+dir+" "+strconv.Itoa(k))
			out, err := victim.CombinedOutput()
			status, ok := victim.ProcessState.Sys().(syscall.WaitStatus)
			if err == nil || !ok || status.Signal() != syscall.SIGKILL {
				t.Fatalf("the victim was not killed: %v\n%s", err, out)
			}
			n, _ := open(t, netns, dir)
			for i, s := range demo {
				if k > ops[i] {
					continue // was done before the kill
				}
				if err := s.run(t.Context(), n); err != nil {
					t.Fatalf("stage %d: %v", i, err)
				}
				if diff := cmp.Diff(want[i], ours(t, n)); diff != "" {
					t.Fatalf("stage %d, undisturbed (-) and after the kill (+):\n%s", i, diff)
				}
			}
		})
	}
}

// TestVictim is the process that TestKillBetweenOperations kills.
func TestVictim(t *testing.T) {
	var netns, dir string
	var k int
	if _, err := fmt.Sscan(os.Getenv("WEFT_VICTIM"), &netns, &dir, &k); err != nil {
		return // nobody's victim: there is nothing to test here
	}
	n, _ := open(t, netns, dir)
	n.Done = func(plan.Op) {
		if k--; k == 0 {
			if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i, s := range demo {
		if err := s.run(t.Context(), n); err != nil {
			t.Fatalf("stage %d: %v", i, err)
		}
	}
}

// TestReplay runs the printed plans line by line with the real ip, bridge, nft and sysctl, and compares the result with
// what weft itself makes.
func TestReplay(t *testing.T) {
	needKernel(t)
	a, _ := open(t, namespace(t, "weft-replay-a", 1), t.TempDir())
	bDir := t.TempDir()
	b, _ := open(t, namespace(t, "weft-replay-b", 1), bDir)
	var script []string
	a.Done = func(op plan.Op) { script = append(script, op.Lines()...) }
	for i, s := range demo {
		script = nil
		if err := s.run(t.Context(), a); err != nil {
			t.Fatalf("stage %d: %v", i, err)
		}
		for _, line := range script {
			if out, err := exec.Command("ip", "netns", "exec", "weft-replay-b", "sh", "-ec", line).CombinedOutput(); err != nil {
				t.Fatalf("stage %d: %s: %v\n%s", i, line, err, out)
			}
		}
		copyNICs(t, a.Store.Dir, bDir)
		b.Spec = a.Spec
		if diff := cmp.Diff(ours(t, a), ours(t, b)); diff != "" {
			t.Fatalf("stage %d, by weft (-) and by the printed lines (+):\n%s", i, diff)
		}
	}
}

// copyNICs gives the second node the intents of the first: the replayed lines do not write any. The taps' indexes differ.
func copyNICs(t *testing.T, from, to string) {
	t.Helper()
	if err := os.RemoveAll(filepath.Join(to, "nics")); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(from, "nics", "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(string(data), "\n")
		kept := lines[:0]
		for _, l := range lines {
			if !strings.Contains(l, `"ifindex"`) {
				kept = append(kept, l)
			}
		}
		if err := os.MkdirAll(filepath.Join(to, "nics"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(to, "nics", filepath.Base(f)), []byte(strings.Join(kept, "\n")), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
