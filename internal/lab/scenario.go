// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// Result is how a scenario ended.
type Result struct {
	Name string
	Took time.Duration
	Log  string // the script with what its commands printed
	Err  error  // nil when it passed
	Dump string // file with the state of the lab, when it failed
}

// RunScenario builds a fresh lab, runs one scenario on it and removes it. After the scenario, every
// node that weft was applied on must have nothing left to change. When it fails, the state of all
// machines is written into dumpDir. The error is about the lab; Result.Err is about the scenario.
func RunScenario(ctx context.Context, opt Options, file, dumpDir string, verbose bool) (Result, error) {
	return runScenario(ctx, opt, file, dumpDir, verbose, nil, func(*Lab) scriptCommands { return nil })
}

// scriptCommands are commands of scenarios, by name.
type scriptCommands = map[string]func(*testscript.TestScript, bool, []string)

// runScenario is RunScenario with further commands, and with conditions ("[NAME] COMMAND").
func runScenario(ctx context.Context, opt Options, file, dumpDir string, verbose bool, is func(string) (bool, error), more func(*Lab) scriptCommands) (Result, error) {
	begin := time.Now()
	res := Result{Name: scenarioName(file)}
	if opt.Pcap != "" {
		opt.Pcap = filepath.Join(opt.Pcap, res.Name)
	}
	l, err := New(ctx, opt)
	if err != nil {
		return res, err
	}
	t := &scriptT{verbose: verbose}
	commands := l.commands(ctx)
	maps.Copy(commands, more(l))
	t.run(func() {
		testscript.RunT(t, testscript.Params{
			Files:               []string{file},
			WorkdirRoot:         l.dir,
			Cmds:                commands,
			Condition:           is,
			RequireExplicitExec: true,
			RequireUniqueNames:  true,
		})
	})
	res.Log = t.log.String()
	if verbose { // testscript begins with the environment
		_, res.Log, _ = strings.Cut(res.Log, "\n\n")
	}
	if t.failed {
		res.Err = errors.New(cmp.Or(t.reason, lastLine(res.Log)))
	}
	if res.Err == nil {
		res.Err = l.Converged(ctx)
	}
	if res.Err != nil {
		res.Dump = filepath.Join(dumpDir, res.Name+".state.txt")
		// The run's context may be over; what is there is still worth seeing.
		dctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		if err := l.Dump(dctx, res.Dump); err != nil {
			res.Err = errors.Join(res.Err, err)
			res.Dump = ""
		}
		cancel()
	}
	err = l.Close()
	res.Took = time.Since(begin)
	return res, err
}

// Scenarios finds the scenario files of the arguments: files as they are, folders' *.txtar.
func Scenarios(args []string) ([]string, error) {
	var files []string
	for _, arg := range args {
		info, err := os.Stat(arg)
		if err != nil {
			return nil, fmt.Errorf("finding scenarios: %w", err)
		}
		if !info.IsDir() {
			files = append(files, arg)
			continue
		}
		found, err := filepath.Glob(filepath.Join(arg, "*.txtar"))
		if err != nil {
			return nil, fmt.Errorf("finding scenarios: %w", err)
		}
		if len(found) == 0 {
			return nil, fmt.Errorf("finding scenarios: no *.txtar in %s", arg)
		}
		files = append(files, found...)
	}
	return files, nil
}

// RunScenarios runs scenario files one after the other, prints how each ended and at last
// "N passed, N failed", and says whether all passed.
func RunScenarios(ctx context.Context, opt Options, out io.Writer, files []string, dumpDir string, verbose bool) (bool, error) {
	passed, failed := 0, 0
	p := newPaper(out)
	for i, file := range files {
		stop := p.progress(fmt.Sprintf("[%d/%d] %s", i+1, len(files), scenarioName(file)))
		res, err := RunScenario(ctx, opt, file, dumpDir, verbose)
		stop()
		if err != nil {
			return false, fmt.Errorf("scenario %s: %w", res.Name, err)
		}
		if verbose || res.Err != nil {
			p.printf("%s\n", strings.TrimRight(res.Log, "\n"))
		}
		took := res.Took.Round(100 * time.Millisecond)
		if res.Err == nil {
			passed++
			p.printf("%s %s (%s)\n", p.green("PASS"), res.Name, took)
			continue
		}
		failed++
		p.printf("%s %s (%s): %v\n", p.red("FAIL"), res.Name, took, res.Err)
		if res.Dump != "" {
			p.printf("     the state of every machine: %s\n", res.Dump)
		}
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
	}
	p.printf("%d passed, %d failed\n", passed, failed)
	return failed == 0, nil
}

func scenarioName(file string) string {
	return strings.TrimSuffix(filepath.Base(file), ".txtar")
}

func lastLine(text string) string {
	text = strings.TrimRight(text, "\n")
	return text[strings.LastIndexByte(text, '\n')+1:]
}

// scriptT is testscript's T outside of go test.
type scriptT struct {
	verbose bool
	failed  bool
	reason  string // of a failure that testscript does not end the log with
	log     strings.Builder
}

// run calls f and returns when it ends, also when it ends by FailNow.
func (t *scriptT) run(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	<-done
}

// Run runs a script; the log and the failure are the one script's that RunT was given.
func (t *scriptT) Run(_ string, f func(testscript.T)) { t.run(func() { f(t) }) }

// Parallel does nothing: there is one script.
func (t *scriptT) Parallel() {}

// Log adds a line to the log.
func (t *scriptT) Log(args ...any) { fmt.Fprintln(&t.log, args...) }

// Verbose says whether the log keeps what succeeded.
func (t *scriptT) Verbose() bool { return t.verbose }

// FailNow ends the script as failed.
func (t *scriptT) FailNow() {
	t.failed = true
	runtime.Goexit()
}

// Fatal ends the script as failed, with a message.
func (t *scriptT) Fatal(args ...any) {
	t.Log(args...)
	t.reason = fmt.Sprint(args...)
	t.FailNow()
}

// Skip ends the script. A scenario that skips itself would hide what is missing: it fails.
func (t *scriptT) Skip(args ...any) {
	t.Fatal("a scenario must not skip: " + fmt.Sprint(args...))
}
