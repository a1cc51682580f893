// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"log/slog"
	"testing"
)

// TestJournal: a line for the journal has its priority and no time.
func TestJournal(t *testing.T) {
	t.Setenv("JOURNAL_STREAM", "8:1")
	var out bytes.Buffer
	log := slog.New(logTo(&out, slog.LevelInfo))
	log.Info("repair", "step", "ip link set dev eth0 up")
	log.Error("not converged")
	log.Debug("round")
	if want := "<6>level=INFO msg=repair step=\"ip link set dev eth0 up\"\n<3>level=ERROR msg=\"not converged\"\n"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}
