// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"weft/internal/vm"
)

// test is one run of the steps: it prints what it does and counts what it asked.
type test struct {
	lab    *lab
	began  time.Time
	passed int
	failed []string
	step   string
}

// result is what a command said and how it ended.
type result struct {
	out  string // standard output and standard error
	code int
}

func (r result) ok() bool { return r.code == 0 }

// quiet runs a shell script in a VM and prints nothing.
func (t *test) quiet(ctx context.Context, machine, script string) result {
	var out bytes.Buffer
	code, err := vm.Exec(ctx, t.lab.socket(machine), []string{"bash", "-c", script}, nil, &out, &out)
	if err != nil {
		fmt.Fprintf(&out, "%v\n", err)
		code = 255
	}
	return result{strings.TrimRight(out.String(), "\n"), code}
}

// sh runs a shell script in a VM and prints it with what it said.
func (t *test) sh(ctx context.Context, machine, script string) result {
	began := time.Now()
	fmt.Printf("%s# %s\n", machine, strings.ReplaceAll(script, "\n", "\n    "))
	r := t.quiet(ctx, machine, script)
	if r.out != "" {
		fmt.Println("    " + strings.ReplaceAll(r.out, "\n", "\n    "))
	}
	status := ""
	if r.code != 0 {
		status = fmt.Sprintf("exit status %d, ", r.code)
	}
	if took := time.Since(began); status != "" || took > 5*time.Second {
		fmt.Printf("    (%s%.0f s)\n", status, took.Seconds())
	}
	return r
}

// check counts one thing that was asked and prints how it is.
func (t *test) check(ok bool, what string, args ...any) bool {
	what = t.step + ": " + fmt.Sprintf(what, args...)
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

// must runs a script whose success is one thing that is asked.
func (t *test) must(ctx context.Context, machine, what, script string) bool {
	return t.check(t.sh(ctx, machine, script).ok(), "%s", what)
}

// slow is what Ganeti says of a job that it gave up because its own daemons, or QEMU's monitor, were too slow for it, as on a loaded
// machine: nothing of the job ran, or the guest was not told to end.
var slow = []string{"Getting the lockfile of the client", "Failed to send command 'system_powerdown'"}

func (r result) slow() bool {
	return slices.ContainsFunc(slow, func(words string) bool { return strings.Contains(r.out, words) })
}

// ganeti is must for a command that is a job of Ganeti's. A job that was too slow for Ganeti is asked for again, up to three times in all.
func (t *test) ganeti(ctx context.Context, what, script string) bool {
	r := t.sh(ctx, "node1", script)
	for again := 0; again < 2 && !r.ok() && r.slow(); again++ {
		fmt.Println("    (too slow for Ganeti: once more)")
		r = t.sh(ctx, "node1", script)
	}
	return t.check(r.ok(), "%s", what)
}

// wait runs a script again and again until it succeeds, and prints the last try.
func (t *test) wait(ctx context.Context, limit time.Duration, machine, what, script string) bool {
	began := time.Now()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var r result
	for {
		r = t.quiet(ctx, machine, script)
		if r.ok() || time.Since(began) > limit || ctx.Err() != nil {
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	fmt.Printf("%s# %s\n", machine, strings.ReplaceAll(script, "\n", "\n    "))
	if r.out != "" {
		fmt.Println("    " + strings.ReplaceAll(r.out, "\n", "\n    "))
	}
	return t.check(r.ok(), "%s (after %.0f s)", what, time.Since(began).Seconds())
}

// report prints the total and returns the exit status.
func (t *test) report() int {
	fmt.Printf("\n%d passed, %d failed, in %.1f minutes\n", t.passed, len(t.failed), time.Since(t.began).Minutes())
	for _, f := range t.failed {
		fmt.Println("FAIL", f)
	}
	if len(t.failed) > 0 || t.passed == 0 {
		return 1
	}
	return 0
}
