// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"weft/internal/vm"
)

// requireEnv names what a test process can rely on, so that a test that needs it runs or fails.
const requireEnv = "WEFT_TEST_REQUIRE"

// runLanes runs the lanes in order and prints a line per lane and a total. The exit status is 1
// when a test failed or a lane ran none.
func runLanes(ctx context.Context, o options) (int, error) {
	var total counts
	var problems []error
	var summary []string
	for _, l := range o.lanes {
		label, c, err := runLane(ctx, l, o)
		if ctx.Err() != nil {
			return 1, errors.Join(fmt.Errorf("lane %s: %w", l.name, context.Cause(ctx)), err)
		}
		if err == nil && c.passed+c.failed == 0 && o.bench == "" {
			err = errors.New("no test ran")
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("lane %s: %w", label, err))
		}
		summary = append(summary, fmt.Sprintf("lane %s: %s", label, c))
		total.add(c)
	}
	fmt.Println(strings.Join(summary, "\n"))
	fmt.Println(total)
	if total.failed > 0 || len(problems) > 0 {
		return 1, errors.Join(problems...)
	}
	return 0, nil
}

// runLane runs one lane; the label says where it ran.
func runLane(ctx context.Context, l lane, o options) (string, counts, error) {
	s := perPackage
	if l.name != laneUnit {
		s = perTest
	}
	if o.verbose {
		s = everything
	}
	r := newReporter(os.Stdout, s)
	switch l.name {
	case laneUnit:
		err := goTest(ctx, l, o, nil, r)
		return l.name, r.total, err
	case laneVM:
		// A test binary becomes the init program of a VM: it must be static.
		err := goTest(ctx, l, o, []string{"CGO_ENABLED=0", requireEnv + "=vm"}, r)
		return l.name, r.total, err
	}
	return kernelLane(ctx, l, o, r)
}

// goTest runs go test on this machine.
func goTest(ctx context.Context, l lane, o options, env []string, r *reporter) error {
	args := []string{"test", "-json", "-timeout", o.timeout.String()}
	if len(env) > 0 {
		args = append(args, "-count=1") // cached results say nothing about the machine
	}
	if o.run != "" {
		args = append(args, "-run", o.run)
	}
	if o.bench != "" {
		args = append(args, "-benchmem", "-bench", o.bench)
	}
	cmd := exec.CommandContext(ctx, "go", append(args, l.packages...)...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("running go test: %w", err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("running go test: %w", err)
	}
	err = readEvents(out, r.handle, r.print)
	r.close()
	werr := cmd.Wait()
	if err == nil && werr != nil && r.total.failed == 0 {
		err = fmt.Errorf("go test: %w", werr)
	}
	return err
}

// kernelLane runs test binaries with a kernel that can do everything: this machine's if it can
// and we are root, otherwise Debian's in one VM.
func kernelLane(ctx context.Context, l lane, o options, r *reporter) (string, counts, error) {
	tmp, err := os.MkdirTemp("", "weft-test-")
	if err != nil {
		return l.name, r.total, fmt.Errorf("preparing the tests: %w", err)
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	say("building the tests of lane " + l.name)
	m, err := buildTests(ctx, tmp, l, o)
	if err != nil {
		return l.name, r.total, err
	}
	lacks, err := vm.KernelLacks()
	if err != nil {
		return l.name, r.total, err
	}
	self, err := os.Executable()
	if err != nil {
		return l.name, r.total, fmt.Errorf("finding this program: %w", err)
	}
	argv := []string{self, insideFlag, filepath.Join(tmp, "manifest.json")}
	if err := writeJSON(argv[2], m); err != nil {
		return l.name, r.total, err
	}

	events, sink := io.Pipe()
	read := make(chan error, 1)
	go func() { read <- readEvents(events, r.handle, r.print) }()
	var label string
	if len(lacks) == 0 {
		label = l.name + " (" + runningKernel() + " of this machine)"
		err = runHere(ctx, argv, sink)
	} else {
		say("the running kernel lacks: " + strings.Join(lacks, ", "))
		label, err = runThere(ctx, l, argv, sink)
	}
	_ = sink.Close()
	err = errors.Join(err, <-read)
	r.close()
	return label, r.total, err
}

// runHere runs the inside mode on this machine.
func runHere(ctx context.Context, argv []string, events io.Writer) error {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = events, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("running the tests: %w", err)
	}
	return nil
}

// runThere runs the inside mode in a VM.
func runThere(ctx context.Context, l lane, argv []string, events io.Writer) (label string, err error) {
	img, err := vm.Prepare(ctx, "", say)
	if err != nil {
		return l.name, err
	}
	label = fmt.Sprintf("%s (%s in QEMU)", l.name, img)
	say(fmt.Sprintf("booting %s in QEMU", img))
	began := time.Now()
	code, err := vm.Run(ctx, vm.Config{
		Image: img, Argv: argv, Stdout: events, Stderr: os.Stderr,
		Booted: func() { say(fmt.Sprintf("booted in %.0f s; running the tests", time.Since(began).Seconds())) },
	})
	if err == nil && code != 0 {
		err = fmt.Errorf("running the tests in the VM: exit status %d", code)
	}
	return label, err
}

// runningKernel is the release of this machine's kernel.
func runningKernel() string {
	data, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "the kernel"
	}
	return strings.TrimSpace(string(data))
}

// buildTests compiles the tests of every package that has any into dir, and the weft command for
// tests that run it: compiling takes minutes in a VM.
func buildTests(ctx context.Context, dir string, l lane, o options) (manifest, error) {
	const format = "{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}\t{{.Dir}}{{end}}"
	m := manifest{
		Args: []string{"-test.v=test2json", "-test.count=1", "-test.paniconexit0", "-test.timeout=" + o.timeout.String()},
		Env:  []string{requireEnv + "=kernel", "WEFT_LAB_CACHE=" + vm.CacheDir()},
	}
	if o.run != "" {
		m.Args = append(m.Args, "-test.run="+o.run)
	}
	if o.bench != "" {
		m.Args = append(m.Args, "-test.benchmem", "-test.bench="+o.bench)
	}
	out, err := goTool(ctx, append([]string{"list", "-f", format}, l.packages...)...)
	if err != nil {
		return m, err
	}
	for i, line := range strings.Split(strings.TrimSpace(out), "\n") {
		pkg, pkgDir, ok := strings.Cut(line, "\t")
		if !ok {
			continue
		}
		t := testBinary{Package: pkg, Dir: pkgDir, File: filepath.Join(dir, strconv.Itoa(i)+".test")}
		if _, err := goTool(ctx, "test", "-c", "-o", t.File, pkg); err != nil {
			return m, err
		}
		m.Tests = append(m.Tests, t)
	}
	if len(m.Tests) == 0 {
		return m, fmt.Errorf("no test files in %s", strings.Join(l.packages, " "))
	}
	if _, err := os.Stat("cmd/weft"); err == nil {
		bin := filepath.Join(dir, "weft")
		// Tests that need it fail without it; the others need not wait for it.
		if _, err := goTool(ctx, "build", "-o", bin, "./cmd/weft"); err != nil {
			say("no weft binary for the tests: " + err.Error())
		} else {
			m.Env = append(m.Env, "WEFT_TEST_BINARY="+bin)
		}
	}
	return m, nil
}

// goTool runs the go command without cgo and returns what it prints.
func goTool(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	var msg bytes.Buffer
	cmd.Stderr = &msg
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go %s: %w\n%s%s", strings.Join(args, " "), err, msg.Bytes(), out)
	}
	return string(out), nil
}

// writeJSON writes a value to a file.
func writeJSON(file string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("writing %s: %w", file, err)
	}
	if err := os.WriteFile(file, data, 0o644); err != nil {
		return fmt.Errorf("writing %s: %w", file, err)
	}
	return nil
}
