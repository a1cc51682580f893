// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The hidden modes in which this program starts itself, in a VM or not.
const (
	insideFlag = "-inside" // MANIFEST: run the test binaries of a manifest, print their events
	enterFlag  = "-enter"  // PROG ARGS: finish a test's namespaces, then become PROG
)

// manifest is what the inside mode runs.
type manifest struct {
	Tests []testBinary `json:"tests"`
	Args  []string     `json:"args"`
	Env   []string     `json:"env"`
}

// testBinary is the compiled tests of one package.
type testBinary struct {
	Package string `json:"package"`
	Dir     string `json:"dir"`
	File    string `json:"file"`
	Shard   string `json:"shard,omitempty"` // "" is the whole
}

// name is how the package is called in reports.
func (t testBinary) name() string {
	if t.Shard == "" {
		return t.Package
	}
	return t.Package + " (" + t.Shard + ")"
}

// runInside runs the test binaries of a manifest one after the other, each in a network and a
// mount namespace of its own, and prints events. It fails only when it cannot do that: how the
// tests end is in the events.
func runInside(ctx context.Context, file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("reading the list of tests: %w", err)
	}
	var m manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return fmt.Errorf("reading the list of tests: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this program: %w", err)
	}
	enc := json.NewEncoder(os.Stdout)
	var broken error
	for _, t := range m.Tests {
		c := converter{pkg: t.name(), emit: func(e event) { broken = errors.Join(broken, enc.Encode(e)) }}
		began := time.Now()
		err := runBinary(ctx, self, t, m, &c)
		c.finish(err, time.Since(began))
		if broken != nil {
			return fmt.Errorf("printing test events: %w", broken)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return nil
}

// runBinary runs one test binary to its end, and then ends what it left running.
func runBinary(ctx context.Context, self string, t testBinary, m manifest, c *converter) error {
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("making a pipe: %w", err)
	}
	defer func() { _ = r.Close() }()
	cmd := exec.CommandContext(ctx, self, append([]string{enterFlag, t.File}, m.Args...)...)
	cmd.Dir, cmd.Env = t.Dir, append(append(os.Environ(), m.Env...), shardEnv+"="+t.Shard)
	cmd.Stdout, cmd.Stderr = w, w
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setpgid: true, Unshareflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS,
	}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	err = cmd.Start()
	if cerr := w.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("starting the tests: %w", err)
	}
	ended := make(chan error, 1)
	go func() {
		err := cmd.Wait()
		// Its group holds what the tests started in the background, and the pipe open.
		_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
		ended <- err
	}()
	err = c.run(r)
	return errors.Join(<-ended, err)
}

// enter finishes the namespaces that runBinary made and becomes the test binary. /sys shows the
// network namespace of who mounted it, and names of namespaces must not leak out.
func enter(argv []string) error {
	if err := unix.Mount("sysfs", "/sys", "sysfs", 0, ""); err != nil {
		return fmt.Errorf("mounting /sys: %w", err)
	}
	if err := os.MkdirAll("/run/netns", 0o755); err != nil {
		return fmt.Errorf("making /run/netns: %w", err)
	}
	if err := unix.Mount("tmpfs", "/run/netns", "tmpfs", 0, "mode=0755"); err != nil {
		return fmt.Errorf("mounting /run/netns: %w", err)
	}
	signal.Reset()
	if err := unix.Exec(argv[0], argv, os.Environ()); err != nil {
		return fmt.Errorf("starting %s: %w", argv[0], err)
	}
	return nil
}
