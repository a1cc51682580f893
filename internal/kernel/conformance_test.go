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
	ns := newNamespace(t)
	var peer string
	if len(nics) > 0 {
		peer = newNamespace(t)
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

// newNamespace makes a network namespace that lasts as long as the test.
func newNamespace(t testing.TB) string {
	t.Helper()
	ns := fmt.Sprintf("kt-%d-%d", os.Getpid(), namespaces.Add(1))
	run(t, "ip", "netns", "add", ns)
	t.Cleanup(func() { run(t, "ip", "netns", "del", ns) })
	return ns
}

// batch runs lines of ip in a namespace.
func batch(t testing.TB, ns, lines string) {
	t.Helper()
	cmd := exec.Command("ip", "-n", ns, "-batch", "-")
	cmd.Stdin = strings.NewReader(lines)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("ip -batch: %v\n%s", err, out)
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
