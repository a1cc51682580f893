// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
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
