// SPDX-License-Identifier: Apache-2.0

package kernel_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"

	"weft/internal/kernel"
	"weft/internal/kernel/kerneltest"
)

// TestConformance holds the running kernel to what weft takes a kernel to be.
func TestConformance(t *testing.T) {
	kerneltest.Conformance(t, func(t *testing.T, nics ...string) kerneltest.Host {
		h, _ := newHost(t, nics...)
		return h
	})
}

var namespaces atomic.Uint32

// newHost returns the host of a fresh network namespace, and the namespace's name. Its NICs are the ends of virtual
// cables to a second namespace.
func newHost(t testing.TB, nics ...string) (*kernel.Host, string) {
	t.Helper()
	if !strings.Contains(os.Getenv("WEFT_TEST_REQUIRE"), "kernel") {
		t.Skip("changes network namespaces of a kernel with bonds, VLANs and VRFs: the kernel lane runs it")
	}
	ns := fmt.Sprintf("kt-%d-%d", os.Getpid(), namespaces.Add(1))
	peer := ns + "-peer"
	batch(t, "", "netns add "+ns+"\nnetns add "+peer+"\n")
	t.Cleanup(func() { batch(t, "", "netns del "+ns+"\nnetns del "+peer+"\n") })
	var cables, ends strings.Builder
	for i, nic := range nics {
		fmt.Fprintf(&cables, "link add %s address 02:00:00:00:00:%02x type veth peer name %s netns %s\n", nic, i+1, nic, peer)
		fmt.Fprintf(&ends, "link set %s up\n", nic)
	}
	if len(nics) > 0 {
		batch(t, ns, cables.String())
		batch(t, peer, ends.String())
	}
	h, err := kernel.Open("/run/netns/" + ns)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h, ns
}

// batch runs lines of ip in a namespace, "" for the test's own.
func batch(t testing.TB, ns, lines string) {
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

// run runs a command and returns what it printed.
func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}
