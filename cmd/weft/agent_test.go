// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"weft/internal/agent"
)

// TestMetricsThatFailAreSaidOnce: a full disk is no reason to fill the log.
func TestMetricsThatFailAreSaidOnce(t *testing.T) {
	var said bytes.Buffer
	log, stats, dir := slog.New(slog.NewTextHandler(&said, nil)), agent.NewStats(), filepath.Join(t.TempDir(), "run")
	failing := false
	write := func(times int) string {
		said.Reset()
		for range times {
			failing = writeMetrics(stats, filepath.Join(dir, "weft.prom"), log, failing)
		}
		return said.String()
	}
	for range 2 {
		if out := write(3); strings.Count(out, "\n") != 1 || !strings.Contains(out, `msg="no metrics"`) {
			t.Errorf("without a folder: %q", out)
		}
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if out := write(3); strings.Count(out, "\n") != 1 || !strings.Contains(out, `msg="metrics again"`) {
			t.Errorf("with one: %q", out)
		}
		if out := write(1); out != "" {
			t.Errorf("for nothing: %q", out)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
}
