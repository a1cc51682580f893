// SPDX-License-Identifier: Apache-2.0

package qmp

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// machine is a QEMU without a disk or a card, whose firmware is its guest, and a monitor of it besides the one that is tested.
type machine struct {
	cmd      *exec.Cmd
	own, qmp string
}

func boot(t *testing.T, name string, args ...string) *machine {
	t.Helper()
	dir := t.TempDir()
	m := &machine{own: filepath.Join(dir, "own"), qmp: filepath.Join(dir, "qmp")}
	m.cmd = exec.Command("qemu-system-x86_64", append([]string{"-name", name, "-accel", "tcg", "-m", "16", "-nodefaults", "-display", "none",
		"-qmp", "unix:" + m.own + ",server=on,wait=off", "-qmp", "unix:" + m.qmp + ",server=on,wait=off"}, args...)...)
	m.cmd.Stderr = os.Stderr
	if err := m.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = m.cmd.Process.Kill()
		_ = m.cmd.Wait()
	})
	if err := dial(t, m.own).Close(); err != nil {
		t.Fatal(err)
	}
	return m
}

// tell sends a command to QEMU's own monitor and returns its answer.
func (m *machine) tell(t *testing.T, command string) string {
	t.Helper()
	c := dial(t, m.own)
	defer func() { _ = c.Close() }()
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintf(c, "{\"execute\":\"qmp_capabilities\"}\n%s\n", command); err != nil {
		t.Fatal(err)
	}
	returns := 0
	for lines := bufio.NewScanner(c); lines.Scan(); {
		if strings.Contains(lines.Text(), `"error"`) {
			t.Fatalf("%s: %s", command, lines.Text())
		}
		if strings.Contains(lines.Text(), `"return"`) {
			if returns++; returns == 2 {
				return lines.Text()
			}
		}
	}
	t.Fatalf("%s: no answer", command)
	return ""
}

// waiting starts to wait, on a monitor that is connected, and returns what it ends with.
func (m *machine) waiting(t *testing.T) <-chan error {
	t.Helper()
	ended := make(chan error, 1)
	c := dial(t, m.qmp)
	go func() { ended <- wait(t.Context(), c) }()
	return ended
}

// dial connects to a unix socket of a QEMU that makes it soon.
func dial(t *testing.T, path string) net.Conn {
	t.Helper()
	for begin := time.Now(); ; {
		c, err := net.Dial("unix", path)
		if err == nil {
			return c
		}
		if time.Since(begin) > time.Minute {
			t.Fatal(err)
		}
	}
}

func still(t *testing.T, ended <-chan error) {
	t.Helper()
	select {
	case err := <-ended:
		t.Fatalf("the waiting ended before the guest ran here: %v", err)
	default:
	}
}

func result(t *testing.T, ended <-chan error) error {
	t.Helper()
	select {
	case err := <-ended:
		return err
	case <-time.After(2 * time.Minute):
		t.Fatal("the waiting did not end")
		return nil
	}
}

// needQEMU skips where there is no QEMU for this test's guests. make test, which installs it, requires it.
func needQEMU(t *testing.T) {
	t.Helper()
	_, err := exec.LookPath("qemu-system-x86_64")
	switch {
	case err == nil:
	case runtime.GOARCH == "amd64" && strings.Contains(os.Getenv("WEFT_TEST_REQUIRE"), "qemu"):
		t.Fatal(err)
	default:
		t.Skip(err)
	}
}

// TestMigration migrates a guest between two QEMUs. Its target is paused when all of it is there, which is not yet running.
func TestMigration(t *testing.T) {
	needQEMU(t)
	wire := "unix:" + filepath.Join(t.TempDir(), "wire")
	source, target := boot(t, "source"), boot(t, "target", "-S", "-incoming", wire)
	if err := WaitRunning(t.Context(), source.qmp); err != nil {
		t.Error(err)
	}
	ended := target.waiting(t)
	target.tell(t, `{"execute":"query-status"}`) // it answers when it listens
	source.tell(t, `{"execute":"migrate","arguments":{"uri":"`+wire+`"}}`)
	for begin := time.Now(); !strings.Contains(target.tell(t, `{"execute":"query-status"}`), `"paused"`); {
		if time.Since(begin) > time.Minute {
			t.Fatal("the migration did not end")
		}
		still(t, ended)
	}
	short, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	select { // the source has ended its part, everything is here, and yet
	case err := <-ended:
		t.Fatalf("the waiting ended before the guest ran here: %v", err)
	case <-short.Done():
	}
	target.tell(t, `{"execute":"cont"}`)
	if err := result(t, ended); err != nil {
		t.Error(err)
	}
	if s := target.tell(t, `{"execute":"query-status"}`); !strings.Contains(s, `"running"`) {
		t.Errorf("the waiting ended, and the guest's status is %s", s)
	}
	if err := WaitRunning(t.Context(), source.qmp); err == nil || !strings.Contains(err.Error(), "postmigrate") {
		t.Errorf("the source, afterwards: %v", err)
	}
}

// TestTargetEnds: the target of a migration that fails goes away without a word, one that is told to says so.
func TestTargetEnds(t *testing.T) {
	needQEMU(t)
	for name, test := range map[string]struct {
		do    func(t *testing.T, m *machine, wire string)
		wants string
	}{
		"the source dies": {func(t *testing.T, _ *machine, wire string) {
			if err := dial(t, wire).Close(); err != nil {
				t.Fatal(err)
			}
		}, "QEMU ended"},
		"it is told to quit": {func(t *testing.T, m *machine, _ string) { m.tell(t, `{"execute":"quit"}`) }, "ended"},
	} {
		t.Run(name, func(t *testing.T) {
			wire := filepath.Join(t.TempDir(), "wire")
			target := boot(t, "target", "-incoming", "unix:"+wire)
			ended := target.waiting(t)
			test.do(t, target, wire)
			if err := result(t, ended); err == nil || !strings.Contains(err.Error(), test.wants) {
				t.Errorf("got %v, want %q", err, test.wants)
			}
		})
	}
}
