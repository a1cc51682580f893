// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// reads makes text the standard input of this process until the test ends.
func reads(t *testing.T, text string) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "stdin")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	was := os.Stdin
	os.Stdin = f
	t.Cleanup(func() {
		os.Stdin = was
		_ = f.Close()
	})
}

// TestLibvirtHook: nothing ever on standard output, reconnect never fails, and guests that are not weft's start on a
// node that has no node file, or one with mistakes.
func TestLibvirtHook(t *testing.T) {
	const (
		head  = "<domain><name>g</name><uuid>11111111-1111-4111-8111-111111111111</uuid>"
		other = head + "<devices><interface type='user'><mac address='52:54:00:00:00:01'/></interface></devices></domain>"
		ours  = head + "<metadata><nics xmlns='urn:weft:1'><nic mac='52:54:00:00:00:01' network='x'/></nics></metadata><devices><interface type='ethernet'><mac address='52:54:00:00:00:01'/></interface></devices></domain>"
	)
	dir := t.TempDir()
	broken := filepath.Join(dir, "broken.yaml")
	if err := os.WriteFile(broken, []byte("networks: {x: {mode: rooted}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		file, op, xml string
		status        int
		says          string
	}{
		{"none.yaml", "start", other, 0, ""},
		{broken, "start", other, 0, ""},
		{"none.yaml", "start", ours, 1, "network \"x\" is not in the node file"},
		{broken, "start", ours, 1, "broken.yaml:1:"},
		{broken, "reconnect", ours, 0, "broken.yaml:1:"},
		{broken, "reconnect", "<domain", 0, "read the domain XML"},
		{broken, "start", "", 1, "none on standard input"},
		{broken, "prepare", "", 0, ""},
		{broken, "migrate", ours, 0, ""},
	} {
		reads(t, test.xml)
		status, stdout, stderr := weft(t, "--file", test.file, "--run", filepath.Join(dir, "run"), "libvirt", "hook", "g", test.op, "begin", "-")
		if status != test.status || stdout != "" || (test.status != 0) != (stderr != "") || test.status != 0 && !strings.Contains(stderr, test.says) {
			t.Errorf("%s with %s: status %d, %q, %q", test.op, test.file, status, stdout, stderr)
		}
	}
	if status, _, stderr := weft(t, "libvirt", "hook", "g"); status != 1 || !strings.Contains(stderr, "1 arguments") {
		t.Errorf("a call that is not libvirt's: status %d, %q", status, stderr)
	}
}

func TestLibvirtInstall(t *testing.T) {
	dir := t.TempDir()
	for _, says := range []string{"installed ", "is installed already"} {
		status, stdout, stderr := weft(t, "libvirt", "install", "--dir", dir)
		if status != 0 || !strings.Contains(stdout, says) || stderr != "" {
			t.Errorf("status %d, %q, %q", status, stdout, stderr)
		}
	}
}

// TestQEMUFlags: without a QEMU above it, the script has to say the MAC.
func TestQEMUFlags(t *testing.T) {
	f := qemuFlags{network: "public", ips: []string{"192.0.2.5"}}
	if n, err := f.nic("tap0", os.Getpid()); err == nil || !strings.Contains(err.Error(), "no QEMU has this tap") {
		t.Errorf("%+v, error %v", n, err)
	}
	f.mac = "52:54:00:AA:00:01"
	one, err := f.nic("tap0", os.Getpid())
	if err != nil || one.MAC != "52:54:00:aa:00:01" || one.Name != "tap0" || one.Prepared || len(one.Addresses) != 1 {
		t.Fatalf("%+v, error %v", one, err)
	}
	f.mac = "52:54:00:aa:00:01"
	if again, err := f.nic("tap0", os.Getpid()); err != nil || again.ID != one.ID {
		t.Errorf("the same NIC has the IDs %s and %s, error %v", one.ID, again.ID, err)
	}
	if other, err := f.nic("tap1", os.Getpid()); err != nil || other.ID == one.ID {
		t.Errorf("two NICs have the ID %s, error %v", other.ID, err)
	}
	f.ips = []string{"192.0.2"}
	if _, err := f.nic("tap0", os.Getpid()); err == nil {
		t.Error("192.0.2 is taken for an address")
	}
}
