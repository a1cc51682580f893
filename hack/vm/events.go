// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// event is one line of go test -json: what happened to a test, or to a package (Test is empty).
type event struct {
	Package    string  `json:",omitempty"`
	ImportPath string  `json:",omitempty"` // instead of Package while building
	Action     string  // start, run, pause, cont, output, pass, fail, skip, build-output, build-fail
	Test       string  `json:",omitempty"`
	Elapsed    float64 `json:",omitempty"` // seconds
	Output     string  `json:",omitempty"`
}

// marker begins the lines that the testing package wrote, and not a test, under -test.v=test2json.
const marker = '\x16'

// converter makes events of what one test binary prints under -test.v=test2json. The go command
// has such a converter, but a VM may not have the go command.
type converter struct {
	pkg     string
	emit    func(event)
	test    string // that the output belongs to
	pending *event // a result is held back: the output of a panic follows it
}

// run reads the output to its end.
func (c *converter) run(r io.Reader) error {
	c.emit(event{Package: c.pkg, Action: "start"})
	br := bufio.NewReader(r)
	for {
		line, err := br.ReadString('\n')
		if line != "" {
			c.line(line)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the output of the tests of %s: %w", c.pkg, err)
		}
	}
}

// finish ends the package: err is how its test binary ended.
func (c *converter) finish(err error, took time.Duration) {
	c.flush()
	c.test = ""
	action := "pass"
	if err != nil {
		action = "fail"
		c.output(fmt.Sprintf("FAIL\t%s\t%v\n", c.pkg, err))
	}
	c.emit(event{Package: c.pkg, Action: action, Elapsed: took.Seconds()})
}

// line takes one line, which may begin with output of a test that wrote no newline.
func (c *converter) line(line string) {
	before, report, marked := strings.Cut(line, string(marker))
	if before != "" {
		c.output(before)
	}
	if !marked {
		return
	}
	c.flush()
	text := strings.TrimRight(report, "\r\n")
	if rest, ok := strings.CutPrefix(text, "=== "); ok {
		c.update(rest, report)
		return
	}
	if rest, ok := strings.CutPrefix(strings.TrimLeft(text, " "), "--- "); ok {
		c.result(rest, report)
		return
	}
	c.test = "" // the final PASS or FAIL
	c.output(report)
}

// update takes "RUN   TestX" and its like.
func (c *converter) update(text, report string) {
	what, name, _ := strings.Cut(text, " ")
	name = strings.TrimSpace(name)
	c.test = name
	switch what {
	case "RUN", "PAUSE", "CONT":
		if name != "" { // no event about the package
			c.emit(event{Package: c.pkg, Action: strings.ToLower(what), Test: name})
		}
		c.output(report)
	case "NAME":
	default: // ATTR and what may come: about the test, not a change of it
		c.test, _, _ = strings.Cut(name, " ")
		c.output(report)
	}
}

// result takes "PASS: TestX (0.00s)".
func (c *converter) result(text, report string) {
	what, rest, _ := strings.Cut(text, ": ")
	name, took, _ := strings.Cut(rest, " (")
	c.test = name
	c.output(report)
	if name == "" {
		return
	}
	switch what {
	case "PASS", "FAIL", "SKIP":
		secs, err := strconv.ParseFloat(strings.TrimSuffix(took, "s)"), 64)
		if err != nil {
			secs = 0
		}
		c.pending = &event{Package: c.pkg, Action: strings.ToLower(what), Test: name, Elapsed: secs}
	}
}

// output emits output of the current test, or of the package.
func (c *converter) output(s string) {
	c.emit(event{Package: c.pkg, Action: "output", Test: c.test, Output: s})
}

// flush emits the result that is held back.
func (c *converter) flush() {
	if c.pending != nil {
		c.emit(*c.pending)
		c.pending = nil
	}
}

// readEvents calls f for every event of a stream of JSON lines, and other for a line that is none.
func readEvents(r io.Reader, f func(event), other func(string)) error {
	br := bufio.NewReader(r)
	for {
		line, err := br.ReadString('\n')
		if line != "" {
			var e event
			if json.Unmarshal([]byte(line), &e) == nil && e.Action != "" {
				f(e)
			} else {
				other(line)
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading test events: %w", err)
		}
	}
}
