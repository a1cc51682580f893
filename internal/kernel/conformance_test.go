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
	for _, n := range []string{ns, peer} {
		run(t, "ip", "netns", "add", n)
		t.Cleanup(func() { run(t, "ip", "netns", "del", n) })
	}
	for i, nic := range nics {
		run(t, "ip", "-n", ns, "link", "add", nic, "address", fmt.Sprintf("02:00:00:00:00:%02x", i+1), "type", "veth", "peer", "name", nic, "netns", peer)
		run(t, "ip", "-n", peer, "link", "set", nic, "up")
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

// run runs a command and returns what it printed.
func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}
