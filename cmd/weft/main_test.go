// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// weft runs a command line and returns what it said.
func weft(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	status = run(t.Context(), args, &out, &errs)
	return status, out.String(), errs.String()
}

// TestMistakesAreListed: every mistake of a file is a line of its own, with the place where an editor finds it, for
// every verb that reads the file; nothing is written, the exit status is 1.
func TestMistakesAreListed(t *testing.T) {
	dir := t.TempDir()
	file, run := filepath.Join(dir, "node.yaml"), filepath.Join(dir, "run")
	if err := os.WriteFile(file, []byte("bonds:\n  bond0: {memebers: [eth0], mode: lacp}\nvlans:\n  bond0.4095: {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"plan", "apply", "status", "nic list", "nic add --name tap0 --mac aa:00:00:00:00:01 --network x", "nic del tap0"} {
		status, stdout, stderr := weft(t, append(strings.Fields(verb), "--file", file, "--run", run)...)
		lines := strings.Split(strings.TrimSpace(stderr), "\n")
		if status != 1 || stdout != "" || len(lines) < 3 {
			t.Errorf("%s: status %d, %q, %q", verb, status, stdout, stderr)
		}
		for _, line := range lines {
			if !strings.HasPrefix(line, file+":") {
				t.Errorf("%s: %q has no place", verb, line)
			}
		}
	}
	if _, err := os.Stat(run); err == nil {
		t.Error("a run folder was made for a file with mistakes")
	}
}

func TestSchemaIsJSON(t *testing.T) {
	status, stdout, _ := weft(t, "schema")
	var schema struct {
		Properties map[string]json.RawMessage `json:"properties"`
	}
	if err := json.Unmarshal([]byte(stdout), &schema); err != nil || status != 0 || schema.Properties["networks"] == nil {
		t.Errorf("status %d, %v, %d bytes", status, err, len(stdout))
	}
}

func TestManPagesAndCompletion(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "man")
	if status, _, stderr := weft(t, "man", dir); status != 0 {
		t.Fatal(stderr)
	}
	for _, page := range []string{"weft.8", "weft-nic-add.8", "weft-import-ifupdown.8", "weft-lab-demo.8"} {
		if data, err := os.ReadFile(filepath.Join(dir, page)); err != nil || !bytes.Contains(data, []byte(".SH SYNOPSIS")) {
			t.Errorf("%s: %v", page, err)
		}
	}
	if status, stdout, _ := weft(t, "completion", "bash"); status != 0 || !strings.Contains(stdout, "__start_weft") {
		t.Errorf("bash completion: status %d, %d bytes", status, len(stdout))
	}
}

// TestPrintingNeverHoldsUpWork: a terminal that takes nothing does not stop the steps, and loses none of them.
func TestPrintingNeverHoldsUpWork(t *testing.T) {
	q := newQueue()
	for range 100_000 {
		q.put([]string{"ip link set dev bond0 up"})
	}
	q.end()
	n := 0
	for range q.lines() {
		n++
	}
	if n != 100_000 {
		t.Errorf("%d lines", n)
	}
}
