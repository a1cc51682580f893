// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// counts is how many tests ended how. Only leaves are counted: a test with subtests is its
// subtests, unless it fails by itself.
type counts struct {
	passed, failed, skipped int
}

func (c *counts) add(d counts) {
	c.passed += d.passed
	c.failed += d.failed
	c.skipped += d.skipped
}

func (c counts) String() string {
	return fmt.Sprintf("%d passed, %d failed, %d skipped", c.passed, c.failed, c.skipped)
}

// style is how much of a lane is printed.
type style int

const (
	perPackage style = iota // a line per package, and what failed
	perTest                 // a line per top-level test, and what failed
	everything              // all output as it comes
)

// reporter counts the tests of one lane and prints them.
type reporter struct {
	w        io.Writer
	style    style
	packages map[string]*packageState
	total    counts
}

// packageState is a package whose tests are running.
type packageState struct {
	name     string
	counts   counts
	tests    map[string]*testState
	output   strings.Builder // outside of tests
	finished bool
}

// testState is a test that was started.
type testState struct {
	top      string // the top-level test it belongs to
	result   string // pass, fail, skip; "" while it runs
	children int
	failed   bool            // it or a subtest
	counts   counts          // of a top-level test, with its subtests
	output   strings.Builder // of a top-level test, with its subtests
}

func newReporter(w io.Writer, s style) *reporter {
	return &reporter{w: w, style: s, packages: map[string]*packageState{}}
}

// pkg returns the state of a package.
func (r *reporter) pkg(name string) *packageState {
	p := r.packages[name]
	if p == nil {
		p = &packageState{name: name, tests: map[string]*testState{}}
		r.packages[name] = p
	}
	return p
}

// test returns the state of a test, which it adds to its parents' when it is new.
func (p *packageState) test(name string) *testState {
	t := p.tests[name]
	if t == nil {
		top, _, _ := strings.Cut(name, "/")
		t = &testState{top: top}
		p.tests[name] = t
		if parent := parentOf(name); parent != "" {
			p.test(parent).children++
		}
	}
	return t
}

// parentOf is the test that a subtest belongs to; "" of a top-level test. A slash inside the
// subtest's own name makes a parent that never runs, which counts as nothing.
func parentOf(name string) string {
	i := strings.LastIndexByte(name, '/')
	if i < 0 {
		return ""
	}
	return name[:i]
}

// handle takes the next event.
func (r *reporter) handle(e event) {
	switch {
	case e.Action == "build-output":
		r.print(e.Output)
	case e.Package == "":
	case e.Action == "output":
		r.output(e)
	case e.Test == "" && (e.Action == "pass" || e.Action == "fail" || e.Action == "skip"):
		r.packageEnd(e)
	case e.Test != "":
		t := r.pkg(e.Package).test(e.Test)
		if e.Action == "pass" || e.Action == "fail" || e.Action == "skip" {
			r.testEnd(r.pkg(e.Package), t, e)
		}
	}
}

// output keeps output until it is known whether anybody wants to see it.
func (r *reporter) output(e event) {
	if r.style == everything {
		r.print(e.Output)
		return
	}
	p := r.pkg(e.Package)
	if e.Test == "" {
		p.output.WriteString(e.Output)
		return
	}
	p.test(p.test(e.Test).top).output.WriteString(e.Output)
}

// testEnd counts a finished test and prints a top-level one.
func (r *reporter) testEnd(p *packageState, t *testState, e event) {
	t.result = e.Action
	top := p.test(t.top)
	var c counts
	switch {
	case e.Action == "fail" && !t.failed: // by itself: no subtest failed
		c.failed = 1
	case t.children > 0:
	case e.Action == "pass":
		c.passed = 1
	case e.Action == "skip":
		c.skipped = 1
	}
	top.counts.add(c)
	if e.Action == "fail" {
		for name := e.Test; name != ""; name = parentOf(name) {
			p.test(name).failed = true
		}
	}
	if e.Test != t.top {
		return
	}
	p.counts.add(top.counts)
	if r.style == everything {
		return
	}
	if e.Action == "fail" {
		r.print(strings.TrimRight(top.output.String(), "\n") + "\n")
	}
	if e.Action == "fail" || r.style == perTest {
		r.print(fmt.Sprintf("%s  %s %s  %.1f s%s\n", strings.ToUpper(e.Action), p.name, e.Test, e.Elapsed, several(top.counts)))
	}
	top.output.Reset()
}

// several says what a test with subtests counted as.
func several(c counts) string {
	if c.passed+c.failed+c.skipped < 2 {
		return ""
	}
	return "  (" + c.String() + ")"
}

// packageEnd counts what a package that crashed left unfinished and prints the package.
func (r *reporter) packageEnd(e event) {
	p := r.pkg(e.Package)
	if p.finished {
		return
	}
	p.finished = true
	unfinished := r.countUnfinished(p, e.Action == "pass")
	// A package fails without a failed test when it does not build, crashes or exits by itself.
	crashed := e.Action == "fail" && p.counts.failed == 0
	if crashed {
		p.counts.failed = 1
	}
	r.total.add(p.counts)
	if r.style == everything {
		return
	}
	if e.Action == "fail" && (crashed || unfinished) {
		r.print(p.output.String())
	}
	switch {
	case e.Action == "fail":
		r.print(fmt.Sprintf("FAIL  %s  %s  %.1f s\n", p.name, p.counts, e.Elapsed))
	case r.style == perPackage && p.counts != (counts{}):
		r.print(fmt.Sprintf("ok    %s  %s  %.1f s\n", p.name, p.counts, e.Elapsed))
	}
}

// countUnfinished counts top-level tests that never ended, with what their subtests came to, and
// prints them. Whatever was running failed.
func (r *reporter) countUnfinished(p *packageState, passed bool) bool {
	var tops []string
	for name, t := range p.tests {
		if name == t.top && t.result == "" && !(passed && strings.HasPrefix(name, "Benchmark")) { // a benchmark says only when it failed
			tops = append(tops, name)
		}
	}
	slices.Sort(tops)
	for _, name := range tops {
		top := p.test(name)
		open := 0
		for _, t := range p.tests {
			if t.top == name && t.result == "" && t.children == 0 {
				open++
			}
		}
		if top.counts.failed+open == 0 {
			open = 1 // between its subtests
		}
		top.counts.failed += open
		p.counts.add(top.counts)
		if r.style != everything {
			r.print(top.output.String())
		}
		r.print(fmt.Sprintf("FAIL  %s %s  did not finish%s\n", p.name, name, several(top.counts)))
	}
	return len(tops) > 0
}

// close counts the packages that began and never ended: the whole lane broke off.
func (r *reporter) close() {
	for _, p := range r.packages {
		if !p.finished {
			r.packageEnd(event{Package: p.name, Action: "fail"})
		}
	}
}

// print writes text as it is.
func (r *reporter) print(s string) { _, _ = io.WriteString(r.w, s) }
