// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"weft/internal/agent"
	"weft/internal/kernel"
	"weft/internal/kernel/kerneltest"
	"weft/internal/nic"
	"weft/internal/plan"
)

// reference runs the demo undisturbed: what is ours after each stage, and how many operations had been done by then.
func reference(t *testing.T, n *agent.Node) (after []string, ops []int) {
	t.Helper()
	c := &counting{Target: n.Target, failAt: -1}
	n.Target = c
	for i, s := range demo {
		if err := s.run(t.Context(), n); err != nil {
			t.Fatalf("stage %d: %v", i, err)
		}
		after, ops = append(after, ours(t, n)), append(ops, c.done)
	}
	if ops[len(ops)-1] < 80 {
		t.Fatalf("only %d operations in the demo: this test does not test it", ops[len(ops)-1])
	}
	return after, ops
}

// same fails if a node is not what it was without a disturbance.
func same(t *testing.T, stage int, want, got string) {
	t.Helper()
	if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(got, "\n")); diff != "" {
		t.Fatalf("stage %d, undisturbed (-) and after the disturbance (+):\n%s", stage, diff)
	}
}

// TestFaultMatrix lets the kernel's model refuse everything from one operation of the demo on, then work again: the
// verb that failed, done again, leads to the same node, and so does the rest of the demo. Every operation has its turn.
func TestFaultMatrix(t *testing.T) {
	fake := func() *agent.Node {
		return &agent.Node{Store: nic.Store{Dir: t.TempDir()}, Target: kerneltest.NewFake("eth0", "eth1", "tap0")}
	}
	want, ops := reference(t, fake())
	for k := range ops[len(ops)-1] {
		t.Run(fmt.Sprint(k), func(t *testing.T) { faultAt(t, fake(), k, want, ops) })
	}
}

// faultAt runs the demo with everything from operation k on refused, until the verb was told so.
func faultAt(t *testing.T, n *agent.Node, k int, want []string, ops []int) {
	c := &counting{Target: n.Target, failAt: k}
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
		same(t, i, want[i], ours(t, n))
	}
}

// TestFaultAtEveryOperation is the same on a real kernel, in one run: every operation of the demo is refused when it is
// first tried, and the verb is done again.
func TestFaultAtEveryOperation(t *testing.T) {
	needKernel(t)
	ref, _ := open(t, namespace(t, "weft-ref", 1), t.TempDir())
	want, ops := reference(t, ref)
	n, host := open(t, namespace(t, "weft-fault", 1), t.TempDir())
	c := &counting{Target: host}
	n.Target = c
	faults := 0
	for i, s := range demo {
		for c.failAt = c.done; ; c.failAt = c.done + 1 { // the next one passes, the one after it does not
			err := s.run(t.Context(), n)
			if err == nil {
				break
			}
			if faults++; faults > 3*ops[len(ops)-1] {
				t.Fatalf("stage %d does not come to its end: %v", i, err)
			}
		}
		same(t, i, want[i], ours(t, n))
	}
	if faults < ops[len(ops)-1]-len(demo) {
		t.Errorf("%d faults for %d operations", faults, ops[len(ops)-1])
	}
	t.Logf("%d faults injected into %d operations", faults, ops[len(ops)-1])
}

// TestKillBetweenOperations ends the process with SIGKILL after each operation of the demo; the next process goes on.
func TestKillBetweenOperations(t *testing.T) {
	needKernel(t)
	ref, _ := open(t, namespace(t, "weft-kref", 1), t.TempDir())
	want, ops := reference(t, ref)
	netns, dir := namespace(t, "weft-kill", 1), t.TempDir()
	n, _ := open(t, netns, dir)
	kills := 0
	for i := range demo {
		for victim(t, netns, dir, i) {
			if kills++; kills > 3*ops[len(ops)-1] {
				t.Fatalf("stage %d does not come to its end", i)
			}
		}
		n.Spec = parse(t, demo[i].file)
		same(t, i, want[i], ours(t, n))
	}
	if kills < ops[len(ops)-1]-len(demo) {
		t.Errorf("%d kills for %d operations", kills, ops[len(ops)-1])
	}
	t.Logf("%d processes killed in %d operations", kills, ops[len(ops)-1])
}

// victim runs a stage in a process of its own, which is killed after its first operation, and reports whether it was.
func victim(t *testing.T, netns, dir string, stage int) bool {
	t.Helper()
	p := exec.Command(os.Args[0])
	p.Env = append(os.Environ(), fmt.Sprintf("WEFT_VICTIM=%s %s %d", netns, dir, stage))
	out, err := p.CombinedOutput()
	if err == nil {
		return false
	}
	if status, ok := p.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
		t.Fatalf("stage %d: %v\n%s", stage, err, out)
	}
	return true
}

// TestMain lets this program be the process that TestKillBetweenOperations kills.
func TestMain(m *testing.M) {
	if v := os.Getenv("WEFT_VICTIM"); v != "" {
		if err := beVictim(v); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// beVictim runs a stage of the demo and dies after its first operation. It ends well if there was none to do.
func beVictim(what string) error {
	var netns, dir string
	var stage int
	if _, err := fmt.Sscan(what, &netns, &dir, &stage); err != nil {
		return err
	}
	host, err := kernel.Open(netns)
	if err != nil {
		return err
	}
	n := &agent.Node{Store: nic.Store{Dir: dir}, Target: host}
	n.Done = func(plan.Op) {
		if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
			panic(err)
		}
		select {} // until it arrives
	}
	return demo[stage].run(context.Background(), n)
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
		same(t, i, ours(t, a), ours(t, b))
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
