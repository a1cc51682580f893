// SPDX-License-Identifier: Apache-2.0

// Package wiretest gives tests network namespaces to wire together, with a packet socket in each. It is for tests only
// and does not ask the kernel anything that the tests are about.
package wiretest

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"weft/internal/wire"
)

// Patience is how long a test waits for what must come about. Machines that run tests are slow at times.
const Patience = time.Minute

var made atomic.Int32

// Namespace makes an empty network namespace for the test, with a socket in it, and returns its name. The test is skipped
// where nobody asked for a real kernel; the kernel lane asks, and there nothing may be skipped.
func Namespace(t testing.TB) (*wire.Socket, string) {
	t.Helper()
	if !strings.Contains(os.Getenv("WEFT_TEST_REQUIRE"), "kernel") {
		t.Skip("makes network namespaces with bonds, VLANs and VRFs: the kernel lane runs it")
	}
	ns := fmt.Sprintf("wire-%d-%d", os.Getpid(), made.Add(1))
	IP(t, "", "netns add "+ns)
	t.Cleanup(func() { IP(t, "", "netns del "+ns) })
	s, err := wire.Open("/run/netns/" + ns)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, ns
}

// IP runs lines of ip in a namespace, "" for the test's own.
func IP(t testing.TB, ns, lines string) {
	t.Helper()
	args := []string{"-batch", "-"}
	if ns != "" {
		args = append([]string{"-n", ns}, args...)
	}
	cmd := exec.Command("ip", args...)
	cmd.Stdin = strings.NewReader(lines)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("ip -batch: %v\n%s\n%s", err, out, lines)
	}
}

// Run runs a command in a namespace and returns what it printed and whether it succeeded.
func Run(t testing.TB, ns string, command ...string) (output string, ok bool) {
	t.Helper()
	out, err := exec.Command("ip", append([]string{"netns", "exec", ns}, command...)...).CombinedOutput()
	return string(out), err == nil
}

// Sysctl sets values, each "path=value", in a namespace.
func Sysctl(t testing.TB, ns string, values ...string) {
	t.Helper()
	if out, ok := Run(t, ns, append([]string{"sysctl", "-qw"}, values...)...); !ok {
		t.Fatalf("sysctl %v: %s", values, out)
	}
}

// Device looks a device up.
func Device(t testing.TB, s *wire.Socket, name string) wire.Device {
	t.Helper()
	d, err := s.Device(name)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// Until waits until something is so. What it was instead is the test's to say, with the text of the last look.
func Until(t testing.TB, look func() (text string, so bool)) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(Patience)
	for {
		text, so := look()
		if so {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("it did not come about:\n%s", text)
		}
	}
}
