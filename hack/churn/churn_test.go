// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestChurn is a short run: some tens of cycles, and an agent that is killed a few times.
func TestChurn(t *testing.T) {
	if !strings.Contains(os.Getenv("WEFT_TEST_REQUIRE"), "kernel") {
		t.Skip("needs root and a kernel with bonding, 8021q and VRF: make kernel")
	}
	weft := os.Getenv("WEFT_TEST_BINARY") // the test runner's
	if weft == "" {
		weft = filepath.Join(t.TempDir(), "weft")
		cmd := exec.Command("go", "build", "-o", weft, "weft/cmd/weft")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("building weft: %v\n%s", err, out)
		}
	}
	var out strings.Builder
	err := run(t.Context(), &out, options{weft: weft, cycles: 40, atOnce: 12, kills: 3, killed: 40, seed: 1})
	t.Log("\n" + out.String())
	if err != nil {
		t.Fatal(err)
	}
}

// TestSnapshot: what is there and wanted by nobody is found, and what is wanted and not there.
func TestSnapshot(t *testing.T) {
	const (
		tap   = `{"name": "tap0", "up": true, "group": 8700993, "status": {"ifindex": 7}}`
		route = `{"dst": "10.64.0.5/32", "dev": "tap0", "table": 993, "protocol": 87}`
		other = `{"dst": "10.0.0.0/24", "dev": "eth0", "table": 254, "protocol": 2}`
	)
	for _, c := range []struct{ name, want, have, says string }{
		{"as wanted", `{"link": [{"name": "tap0", "up": true}], "route": [` + route + `]}`, `{"link": [` + tap + `], "route": [` + other + `,` + route + `]}`, ""},
		{"left", `{"link": [{"name": "tap0"}]}`, `{"link": [` + tap + `], "route": [` + route + `]}`, "wanted by nobody: route"},
		{"lacking", `{"route": [` + route + `]}`, `{"route": [` + other + `]}`, "not there: route"},
		{"different", `{"link": [{"name": "tap0", "up": false}]}`, `{"link": [` + tap + `]}`, "not there: link"},
		{"an element left", `{}`, `{"element": [{"family": "inet", "table": "weft", "set": "macs", "key": ["\"tap0\""]}]}`, "wanted by nobody: element"},
	} {
		own, wanted, err := compare([]byte(`{"want": ` + c.want + `, "have": ` + c.have + `}`))
		if c.says == "" && (err != nil || own != wanted || own == 0) || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %d of weft's, %d wanted, %v", c.name, own, wanted, err)
		}
	}
}

// TestPings: pings that a later answer overtook are lost, also across the end of the numbers.
func TestPings(t *testing.T) {
	var p ping
	for _, line := range []string{
		"PING 10.9.255.10 (10.9.255.10) 56(84) bytes of data.",
		"64 bytes from 10.9.255.10: icmp_seq=1 ttl=64 time=0.1 ms", "64 bytes from 10.9.255.10: icmp_seq=4 ttl=64 time=0.1 ms",
		"From 10.9.0.1 icmp_seq=5 Destination Host Unreachable", "64 bytes from 10.9.255.10: icmp_seq=6 ttl=64 time=0.1 ms",
	} {
		p.read(line)
	}
	if p.last != 6 || p.lost != 3 {
		t.Errorf("at %d, %d lost", p.last, p.lost)
	}
	p = ping{last: 1<<16 - 1}
	p.read("64 bytes from 10.9.255.10: icmp_seq=1 ttl=64 time=0.1 ms")
	if p.last != 1<<16+1 || p.lost != 1 {
		t.Errorf("at %d, %d lost", p.last, p.lost)
	}
}
