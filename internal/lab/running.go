// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"fmt"
	"maps"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func (l *Lab) nodeCommand(ctx context.Context, _ *testscript.TestScript, args []string) error {
	if len(args) != 1 || args[0] != thirdNode {
		return errUsage
	}
	return l.AddThirdNode(ctx)
}

func (l *Lab) tapguestCommand(ctx context.Context, _ *testscript.TestScript, args []string) error {
	name, v, err := words(args, "on", "tap", "mac")
	if err != nil {
		return err
	}
	return l.AddTapGuest(ctx, name, v["on"][0], v["tap"][0], v["mac"][0])
}

func (l *Lab) migrateCommand(ctx context.Context, _ *testscript.TestScript, args []string) error {
	switch {
	case len(args) == 6 && args[0] == "prepare" && args[2] == "to" && args[4] == "tap":
		return l.Prepare(args[1], args[3], args[5])
	case len(args) == 2 && args[0] == "switch":
		return l.Switch(ctx, args[1], false)
	case len(args) == 3 && args[0] == "switch" && args[2] == "garp":
		return l.Switch(ctx, args[1], true)
	case len(args) == 2 && args[0] == "finish":
		return l.Finish(args[1])
	case len(args) == 2 && args[0] == "abort":
		return l.Abort(args[1])
	}
	return errUsage
}

func (l *Lab) agentCommand(ctx context.Context, ts *testscript.TestScript, args []string) error {
	if len(args) < 2 || args[1] != "start" && len(args) != 2 {
		return errUsage
	}
	switch args[1] {
	case "start":
		return l.StartAgent(ctx, args[0], ts.MkAbs(args[0]+".yaml"), args[2:]...)
	case "pause", "resume":
		return l.PauseAgent(args[0], args[1] == "resume")
	case "stop":
		return l.EndAgent(args[0], syscall.SIGTERM)
	case "kill":
		return l.EndAgent(args[0], syscall.SIGKILL)
	}
	return errUsage
}

func (l *Lab) pingerCommand(_ context.Context, _ *testscript.TestScript, args []string) error {
	if len(args) != 5 || args[3] != "every" {
		return errUsage
	}
	every, err := time.ParseDuration(args[4])
	if err != nil {
		return fmt.Errorf("pinger: %w", err)
	}
	return l.StartPinger(args[0], args[1], args[2], every)
}

func (l *Lab) pingstatCommand(_ context.Context, ts *testscript.TestScript, args []string) error {
	if len(args) != 7 || args[1] != "spare" || args[3] != "late" || args[5] != "max-gap" {
		return errUsage
	}
	spare, err := time.ParseDuration(args[2])
	if err != nil {
		return fmt.Errorf("pingstat: %w", err)
	}
	late, err := strconv.Atoi(args[4])
	if err != nil {
		return fmt.Errorf("pingstat: %w", err)
	}
	gap, err := time.ParseDuration(args[6])
	if err != nil {
		return fmt.Errorf("pingstat: %w", err)
	}
	r, err := l.Pinged(args[0], spare)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(ts.Stdout(), "%s: %s", args[0], r); err != nil {
		return err
	}
	if r.Late() > late {
		return fmt.Errorf("pinger %s: %d were lost that were sent more than %s after a switch, want at most %d", args[0], r.Late(), spare, late)
	}
	if r.Gap > gap {
		return fmt.Errorf("pinger %s: nothing was answered for %s, want at most %s", args[0], r.Gap, gap)
	}
	return nil
}

// playCommand runs the commands of a file of the scenario, with values for its $NAMEs: a scenario has no loops. Its lines
// are words without quotes, and only the lab's commands.
func (l *Lab) playCommand(ctx context.Context) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) < 1 {
			ts.Fatalf("usage: play FILE [NAME=VALUE]...")
		}
		text, err := os.ReadFile(ts.MkAbs(args[0]))
		ts.Check(err)
		values := map[string]string{}
		for _, a := range args[1:] {
			name, value, ok := strings.Cut(a, "=")
			if !ok {
				ts.Fatalf("play %s: %q is not NAME=VALUE", args[0], a)
			}
			values[name] = value
		}
		commands := maps.Clone(l.commands(ctx))
		delete(commands, "play")
		for n, line := range strings.Split(string(text), "\n") {
			line = os.Expand(line, func(name string) string {
				value, ok := values[name]
				if !ok {
					ts.Fatalf("%s:%d: no value for $%s", args[0], n+1, name)
				}
				return value
			})
			words := strings.Fields(line)
			if len(words) == 0 || strings.HasPrefix(words[0], "#") {
				continue
			}
			not := words[0] == "!"
			if not {
				words = words[1:]
			}
			if len(words) == 0 || commands[words[0]] == nil {
				ts.Fatalf("%s:%d: %q is no command that play has", args[0], n+1, line)
			}
			ts.Logf("# %s", line)
			commands[words[0]](ts, not, words[1:])
		}
	}
}
