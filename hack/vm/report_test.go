// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// mixed is what a test binary printed under -test.v=test2json; ^V stands for the marker.
const mixed = `^V=== RUN   TestA
no newline^V=== RUN   TestA/x
    a_test.go:3: hi
partial^V=== RUN   TestA/x/deep
^V--- PASS: TestA/x/deep (0.00s)
^V=== NAME  TestA/x
^V--- PASS: TestA/x (0.25s)
^V=== NAME  TestA
^V=== RUN   TestA/y
    a_test.go:3: why
^V--- SKIP: TestA/y (0.00s)
^V=== NAME  TestA
^V--- PASS: TestA (1.50s)
^V=== NAME  
^V=== RUN   TestP
^V=== RUN   TestP/a
^V=== PAUSE TestP/a
^V=== NAME  TestP
^V=== RUN   TestP/b/c
^V=== PAUSE TestP/b/c
^V=== NAME  TestP
^V=== CONT  TestP/a
    a_test.go:4: in a
--- PASS: TestNot (0.00s)
^V--- PASS: TestP/a (0.00s)
^V=== CONT  TestP/b/c
    a_test.go:4: in b
^V--- FAIL: TestP/b/c (0.00s)
^V--- FAIL: TestP (0.00s)
^V=== NAME  
^V=== RUN   FuzzZ
^V=== RUN   FuzzZ/seed#0
^V--- PASS: FuzzZ/seed#0 (0.00s)
^V=== NAME  FuzzZ
^V--- PASS: FuzzZ (0.00s)
^V=== NAME  
^V=== RUN   TestOwn
^V=== RUN   TestOwn/fine
^V--- PASS: TestOwn/fine (0.00s)
^V=== NAME  TestOwn
    a_test.go:9: the parent itself
^V--- FAIL: TestOwn (0.00s)
^V=== NAME  
`

// report runs recorded output through the converter and the reporter.
func report(t *testing.T, s style, recorded string, exit error) (counts, string) {
	t.Helper()
	var b strings.Builder
	r := newReporter(&b, s)
	c := converter{pkg: "weft/p", emit: func(e event) {
		// As between a VM and its host.
		data, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		if err := readEvents(strings.NewReader(string(data)+"\n"), r.handle, r.print); err != nil {
			t.Fatal(err)
		}
	}}
	if err := c.run(strings.NewReader(strings.ReplaceAll(recorded, "^V", string(marker)))); err != nil {
		t.Fatal(err)
	}
	c.finish(exit, 2*time.Second)
	r.close()
	return r.total, b.String()
}

func TestReportCountsLeaves(t *testing.T) {
	t.Parallel()
	got, out := report(t, perTest, mixed+"^VFAIL\n", errors.New("exit status 1"))
	if want := (counts{passed: 4, failed: 2, skipped: 1}); got != want {
		t.Errorf("counted %v, want %v", got, want)
	}
	want := `PASS  weft/p TestA  1.5 s  (1 passed, 0 failed, 1 skipped)
=== RUN   TestP
=== RUN   TestP/a
=== PAUSE TestP/a
=== RUN   TestP/b/c
=== PAUSE TestP/b/c
=== CONT  TestP/a
    a_test.go:4: in a
--- PASS: TestNot (0.00s)
--- PASS: TestP/a (0.00s)
=== CONT  TestP/b/c
    a_test.go:4: in b
--- FAIL: TestP/b/c (0.00s)
--- FAIL: TestP (0.00s)
FAIL  weft/p TestP  0.0 s  (1 passed, 1 failed, 0 skipped)
PASS  weft/p FuzzZ  0.0 s
=== RUN   TestOwn
=== RUN   TestOwn/fine
--- PASS: TestOwn/fine (0.00s)
    a_test.go:9: the parent itself
--- FAIL: TestOwn (0.00s)
FAIL  weft/p TestOwn  0.0 s  (1 passed, 1 failed, 0 skipped)
FAIL  weft/p  4 passed, 2 failed, 1 skipped  2.0 s
`
	if diff := cmp.Diff(want, out); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
	want = ""
	for line := range strings.Lines(mixed) {
		if !strings.HasPrefix(line, "^V=== NAME") {
			want += strings.ReplaceAll(line, "^V", "")
		}
	}
	_, out = report(t, everything, mixed, nil)
	if diff := cmp.Diff(want, out); diff != "" {
		t.Errorf("with -v (-want +got):\n%s", diff)
	}
}

func TestReportOfCrashes(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		recorded string
		exit     error
		want     counts
		contains []string
	}{
		"panic in a test": {
			"^V=== RUN   TestZ\n^V--- FAIL: TestZ (0.00s)\npanic: boom [recovered]\ngoroutine 12\n", errors.New("exit status 2"),
			counts{failed: 1}, []string{"panic: boom", "FAIL  weft/p TestZ"},
		},
		"exit in a test": {
			"^V=== RUN   TestOK\n^V--- PASS: TestOK (0.00s)\n^V=== NAME  \n^V=== RUN   TestZ\nlast words\n", errors.New("exit status 3"),
			counts{passed: 1, failed: 1}, []string{"last words", "weft/p TestZ  did not finish", "exit status 3"},
		},
		"exit between subtests": {
			"^V=== RUN   TestZ\n^V=== RUN   TestZ/a\n^V--- PASS: TestZ/a (0.00s)\n^V=== NAME  TestZ\n", errors.New("exit status 3"),
			counts{passed: 1, failed: 1}, []string{"TestZ  did not finish  (1 passed, 1 failed, 0 skipped)"},
		},
		"exit in two subtests": {
			"^V=== RUN   TestZ\n^V=== RUN   TestZ/a\n^V=== RUN   TestZ/b\n", errors.New("signal: killed"),
			counts{failed: 2}, []string{"signal: killed"},
		},
		"exit after the tests": {
			"^V=== RUN   TestOK\n^V--- PASS: TestOK (0.00s)\n^V=== NAME  \n^VPASS\nrace: found\n", errors.New("exit status 66"),
			counts{passed: 1, failed: 1}, []string{"race: found", "FAIL  weft/p  1 passed, 1 failed"},
		},
		"crash before the tests": {"panic: at start\n", errors.New("exit status 2"), counts{failed: 1}, []string{"panic: at start"}},
		"no tests":               {"testing: warning: no tests to run\n^VPASS\n", nil, counts{}, nil},
	} {
		got, out := report(t, perTest, test.recorded, test.exit)
		if got != test.want {
			t.Errorf("%s: counted %v, want %v", name, got, test.want)
		}
		for _, s := range test.contains {
			if !strings.Contains(out, s) {
				t.Errorf("%s: the report lacks %q:\n%s", name, s, out)
			}
		}
	}
}

func TestReportOfLaneThatBrokeOff(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	r := newReporter(&b, perTest)
	for _, e := range []event{
		{Package: "weft/p", Action: "start"},
		{Package: "weft/p", Action: "run", Test: "TestA"},
		{Package: "weft/p", Action: "output", Test: "TestA", Output: "last words\n"},
	} {
		r.handle(e)
	}
	r.close()
	if r.total != (counts{failed: 1}) || !strings.Contains(b.String(), "last words") {
		t.Errorf("counted %v:\n%s", r.total, &b)
	}
}

// TestConverterAgreesWithGo compares with what go tool test2json makes of the same output.
func TestConverterAgreesWithGo(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("go", "tool", "test2json", "-p", "weft/p")
	recorded := strings.ReplaceAll(mixed, "^V", string(marker))
	cmd.Stdin = strings.NewReader(recorded)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	type result struct{ Action, Test string }
	var want, got []result
	keep := func(list *[]result) func(event) {
		return func(e event) {
			if e.Action != "output" && e.Action != "start" && e.Test != "" {
				*list = append(*list, result{e.Action, e.Test})
			}
		}
	}
	if err := readEvents(strings.NewReader(string(out)), keep(&want), func(s string) { t.Errorf("not an event: %s", s) }); err != nil {
		t.Fatal(err)
	}
	c := converter{pkg: "weft/p", emit: keep(&got)}
	if err := c.run(strings.NewReader(recorded)); err != nil {
		t.Fatal(err)
	}
	c.finish(nil, 0)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-go +ours):\n%s", diff)
	}
}

func TestShards(t *testing.T) {
	of, plain, err := shardCounts(t.Context(), []string{"./...", "weft/hack/vm:2"})
	if err != nil || of["weft/hack/vm"] != 2 || len(of) != 1 || strings.Join(plain, " ") != "./... weft/hack/vm" {
		t.Errorf("%v, %v, %v", of, plain, err)
	}
	for _, wrong := range []string{".:0", ".:x", ".:"} {
		if _, _, err := shardCounts(t.Context(), []string{wrong}); err == nil {
			t.Errorf("%s is taken", wrong)
		}
	}
	m := manifest{Tests: append(testBinary{Package: "a"}.shards(2), testBinary{Package: "b"}.shards(0)...)}
	var names []string
	for _, part := range m.apart() {
		names = append(names, part.Tests[0].name())
	}
	if got := strings.Join(names, ", "); got != "a (1/2), a (2/2), b" {
		t.Error(got)
	}
}

func FuzzConverter(f *testing.F) {
	f.Add(strings.ReplaceAll(mixed, "^V", string(marker)))
	f.Add("\x16--- PASS: \n\x16=== \n\x16--- FAIL: /// (s)\n\x16=== RUN   a//b\n")
	f.Fuzz(func(t *testing.T, recorded string) {
		r := newReporter(discard{}, perTest)
		c := converter{pkg: "p", emit: r.handle}
		if err := c.run(strings.NewReader(recorded)); err != nil {
			t.Fatal(err)
		}
		c.finish(errors.New("exit status 1"), 0)
		r.close()
		if r.total.failed == 0 {
			t.Errorf("a failed package counts as %v", r.total)
		}
	})
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }

func TestParseArgs(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		args string
		want options
		err  string
	}{
		{args: "-unit ./... -kernel ./a ./b", want: options{timeout: 15 * time.Minute, lanes: []lane{{"unit", []string{"./..."}}, {"kernel", []string{"./a", "./b"}}}}},
		{args: "-kernel ./a -v -run X --timeout 2m", want: options{verbose: true, run: "X", timeout: 2 * time.Minute, lanes: []lane{{"kernel", []string{"./a"}}}}},
		{args: "-mem 512 -work /w -exec -- ls -v", want: options{memory: 512, work: "/w", exec: []string{"ls", "-v"}}},
		{args: "-kernel ./a -bench B", want: options{verbose: true, run: "^$", bench: "B", timeout: 15 * time.Minute, lanes: []lane{{"kernel", []string{"./a"}}}}},
		{args: "-h", want: options{help: true}},
		{args: "", err: "no lane"},
		{args: "./a", err: "before any lane"},
		{args: "-unit", err: "no packages"},
		{args: "-unit ./a -run", err: "needs a value"},
		{args: "-unit ./a -timeout soon", err: "-timeout soon"},
		{args: "-unit ./a -x", err: "no option -x"},
		{args: "-exec ls", err: "before any lane"},
		{args: "-exec --", err: "-exec wants a command"},
		{args: "-unit ./a -- ls", err: "-exec wants a command"},
		{args: "-unit ./a -exec -- ls", err: "do not go together"},
	} {
		got, err := parseArgs(strings.Fields(test.args))
		if test.err != "" {
			if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("%s: error %v, want one with %q", test.args, err, test.err)
			}
			continue
		}
		if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(options{}, lane{})); diff != "" || err != nil {
			t.Errorf("%s: error %v (-want +got):\n%s", test.args, err, diff)
		}
	}
}

func TestBuildTests(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	m, err := buildTests(t.Context(), dir, lane{"kernel", []string{"weft/hack/vm"}}, options{run: "X", timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Tests) != 1 || m.Tests[0].Package != "weft/hack/vm" || filepath.Dir(m.Tests[0].File) != dir {
		t.Errorf("tests %v", m.Tests)
	}
	if info, err := os.Stat(m.Tests[0].File); err != nil || info.Mode()&0o111 == 0 {
		t.Errorf("the test binary: %v, error %v", info, err)
	}
	if _, err := buildTests(t.Context(), dir, lane{"kernel", []string{"weft/no/such"}}, options{}); err == nil {
		t.Error("a package that is not there was built")
	}
}

func TestParseArgsSplitsPackages(t *testing.T) {
	t.Parallel()
	got, err := parseArgs([]string{"-kernel", "./a ./b", "./c"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"./a", "./b", "./c"}, got.lanes[0].packages); diff != "" {
		t.Errorf("packages (-want +got):\n%s", diff)
	}
}
