// SPDX-License-Identifier: Apache-2.0

package rig

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"weft/internal/vm"
)

// Transcript is one run of a test's steps: it prints what it does in the VMs of a folder, and counts what it asked.
type Transcript struct {
	Dir    string // of the VMs' sockets
	Began  time.Time
	Step   string // what is under way, for the verdicts
	passed int
	failed []string
}

// Result is what a command said and how it ended.
type Result struct {
	Out  string // standard output and standard error
	Code int
}

// OK reports whether the command succeeded.
func (r Result) OK() bool { return r.Code == 0 }

// Step is a part of a test.
type Step struct {
	What string
	Run  func(context.Context)
}

// Play runs the steps of these letters, and stops at one that there is not, or when ctx has ended.
func (t *Transcript) Play(ctx context.Context, letters string, steps map[rune]Step) {
	for _, letter := range letters {
		s, ok := steps[letter]
		if !ok || ctx.Err() != nil {
			t.Check(false, "step %c: no such step, or interrupted", letter)
			return
		}
		t.Step = string(letter)
		fmt.Printf("\n== %c. %s [%.1f min]\n", letter, s.What, time.Since(t.Began).Minutes())
		s.Run(ctx)
	}
}

// Quiet runs a shell script in a VM and prints nothing.
func (t *Transcript) Quiet(ctx context.Context, machine, script string) Result {
	var out bytes.Buffer
	code, err := vm.Exec(ctx, filepath.Join(t.Dir, machine+".sock"), []string{"bash", "-c", script}, nil, &out, &out)
	if err != nil {
		fmt.Fprintf(&out, "%v\n", err)
		code = 255
	}
	return Result{strings.TrimRight(out.String(), "\n"), code}
}

// print prints a script with what it said.
func (r Result) print(machine, script string) {
	fmt.Printf("%s# %s\n", machine, strings.ReplaceAll(script, "\n", "\n    "))
	if r.Out != "" {
		fmt.Println("    " + strings.ReplaceAll(r.Out, "\n", "\n    "))
	}
}

// Sh runs a shell script in a VM and prints it with what it said.
func (t *Transcript) Sh(ctx context.Context, machine, script string) Result {
	began := time.Now()
	r := t.Quiet(ctx, machine, script)
	r.print(machine, script)
	status := ""
	if r.Code != 0 {
		status = fmt.Sprintf("exit status %d, ", r.Code)
	}
	if took := time.Since(began); status != "" || took > 5*time.Second {
		fmt.Printf("    (%s%.0f s)\n", status, took.Seconds())
	}
	return r
}

// Check counts one thing that was asked and prints how it is.
func (t *Transcript) Check(ok bool, what string, args ...any) bool {
	what = t.Step + ": " + fmt.Sprintf(what, args...)
	verdict := "PASS"
	if ok {
		t.passed++
	} else {
		verdict = "FAIL"
		t.failed = append(t.failed, what)
	}
	fmt.Printf("%s %s\n", verdict, what)
	return ok
}

// Must runs a script whose success is one thing that is asked.
func (t *Transcript) Must(ctx context.Context, machine, what, script string) bool {
	return t.Check(t.Sh(ctx, machine, script).OK(), "%s", what)
}

// Wait runs a script again and again until it succeeds, and prints the last try.
func (t *Transcript) Wait(ctx context.Context, limit time.Duration, machine, what, script string) bool {
	began := time.Now()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var r Result
	for {
		r = t.Quiet(ctx, machine, script)
		if r.OK() || time.Since(began) > limit || ctx.Err() != nil {
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	r.print(machine, script)
	return t.Check(r.OK(), "%s (after %.0f s)", what, time.Since(began).Seconds())
}

// Report prints the total and returns the exit status.
func (t *Transcript) Report() int {
	fmt.Printf("\n%d passed, %d failed, in %.1f minutes\n", t.passed, len(t.failed), time.Since(t.Began).Minutes())
	for _, f := range t.failed {
		fmt.Println("FAIL", f)
	}
	if len(t.failed) > 0 || t.passed == 0 {
		return 1
	}
	return 0
}
