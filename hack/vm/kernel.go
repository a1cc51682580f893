// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"weft/internal/vm"
)

// shardEnv tells a test process which of several it is, as K/N from 1/N on: a test of the package leaves out what is another's.
const shardEnv = "WEFT_TEST_SHARD"

// atOnce is how many VMs a lane has at most: each takes its memory, and tests wait more than they compute.
const atOnce = 4

// kernelLane runs test binaries with a kernel that can do everything: this machine's if it can and we are root, one after the
// other; otherwise Debian's, in as many VMs at once as this machine has CPUs for, each VM one binary.
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
	k := kernelRun{tmp: tmp, vms: 1, icount: o.icount, label: l.name + " (" + runningKernel() + " of this machine)", report: r}
	if k.self, err = os.Executable(); err != nil {
		return l.name, r.total, fmt.Errorf("finding this program: %w", err)
	}
	run, manifests := k.here, []manifest{m}
	if len(lacks) > 0 || o.icount {
		if len(lacks) > 0 {
			say("the running kernel lacks: " + strings.Join(lacks, ", "))
		}
		if k.image, err = vm.Prepare(ctx, "", say); err != nil {
			return l.name, r.total, err
		}
		k.label = fmt.Sprintf("%s (%s in QEMU)", l.name, k.image)
		run, manifests = k.there, m.apart()
		if !o.verbose { // or what they print would be mixed
			k.vms = min(len(manifests), runtime.NumCPU(), atOnce)
		}
	}
	err = k.all(ctx, manifests, run)
	r.close()
	return k.label, r.total, err
}

// kernelRun is the run of one lane.
type kernelRun struct {
	self, tmp, label string
	image            vm.Image
	vms              int  // at once
	icount           bool // what the VMs' clocks count

	mu     sync.Mutex // held while report is told something
	report *reporter
}

// apart returns a manifest for each of the test binaries.
func (m manifest) apart() []manifest {
	var all []manifest
	for _, t := range m.Tests {
		all = append(all, manifest{Tests: []testBinary{t}, Args: m.Args, Env: m.Env})
	}
	return all
}

// all runs the manifests, in their order and so many at once. A manifest that cannot be run does not keep the others from it.
func (k *kernelRun) all(ctx context.Context, manifests []manifest, run func(context.Context, []string, io.Writer) error) error {
	next := make(chan int)
	errs := make([]error, len(manifests))
	var workers sync.WaitGroup
	for range k.vms {
		workers.Go(func() {
			for i := range next {
				errs[i] = k.one(ctx, i, manifests[i], run)
			}
		})
	}
	for i := range manifests {
		next <- i
	}
	close(next)
	workers.Wait()
	return errors.Join(errs...)
}

// one runs one manifest and reports the events of its tests.
func (k *kernelRun) one(ctx context.Context, i int, m manifest, run func(context.Context, []string, io.Writer) error) error {
	if ctx.Err() != nil {
		return nil // the caller says why
	}
	argv := []string{k.self, insideFlag, filepath.Join(k.tmp, fmt.Sprintf("manifest%d.json", i))}
	if err := writeJSON(argv[2], m); err != nil {
		return err
	}
	events, sink := io.Pipe()
	read := make(chan error, 1)
	go func() { read <- readEvents(events, k.handle, k.print) }()
	err := run(ctx, argv, sink)
	_ = sink.Close()
	return errors.Join(err, <-read)
}

func (k *kernelRun) handle(e event) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.report.handle(e)
}

func (k *kernelRun) print(s string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.report.print(s)
}

// here runs the inside mode on this machine.
func (k *kernelRun) here(ctx context.Context, argv []string, events io.Writer) error {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = events, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("running the tests: %w", err)
	}
	return nil
}

// there runs the inside mode in a VM.
func (k *kernelRun) there(ctx context.Context, argv []string, events io.Writer) error {
	say(fmt.Sprintf("booting %s in QEMU", k.image))
	began := time.Now()
	cfg := vm.Config{
		Image: k.image, Argv: argv, Stdout: events, Stderr: os.Stderr, Instructions: k.icount,
		Booted: func() { say(fmt.Sprintf("booted in %.0f s; running the tests", time.Since(began).Seconds())) },
	}
	if k.vms > 1 { // emulated CPUs that share a real one wait for each other
		cfg.CPUs = max(1, runtime.NumCPU()/k.vms)
	}
	code, err := vm.Run(ctx, cfg)
	if err == nil && code != 0 {
		err = fmt.Errorf("running the tests in the VM: exit status %d", code)
	}
	return err
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
	of, packages, err := shardCounts(ctx, l.packages)
	if err != nil {
		return m, err
	}
	out, err := goTool(ctx, append([]string{"list", "-f", format}, packages...)...)
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
		m.Tests = append(m.Tests, t.shards(of[pkg])...)
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

// shardCounts returns the packages without the number of their shards (PKG:N), and that by their import paths.
func shardCounts(ctx context.Context, packages []string) (of map[string]int, plain []string, err error) {
	of = map[string]int{}
	for _, p := range packages {
		name, number, sharded := strings.Cut(p, ":")
		plain = append(plain, name)
		if !sharded {
			continue
		}
		n, err := strconv.Atoi(number)
		if err != nil || n < 1 {
			return nil, nil, fmt.Errorf("%s: the number of shards is %q", p, number)
		}
		path, err := goTool(ctx, "list", name)
		if err != nil {
			return nil, nil, err
		}
		of[strings.TrimSpace(path)] = n
	}
	return of, plain, nil
}

// shards returns the test binary once for each of its shards.
func (t testBinary) shards(n int) []testBinary {
	if n < 2 {
		return []testBinary{t}
	}
	var all []testBinary
	for k := range n {
		part := t
		part.Shard = fmt.Sprintf("%d/%d", k+1, n)
		all = append(all, part)
	}
	return all
}
