// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// commandTime bounds one command of a scenario.
const commandTime = 2 * time.Minute

// retryPause is how long within lets the world turn between two tries.
const retryPause = 200 * time.Millisecond

// ScenarioHelp says which commands scenarios have beside testscript's own (exec, stdout, stderr, cmp, grep, cp, env).
const ScenarioHelp = `A scenario is a txtar file: a script of commands, one a line, and the files that it needs, such as hv1.yaml.
"!" before a command means that it must fail.

  in MACHINE CMD...                runs a program on a machine: inet, rt, sw, hv1, hv2 or a guest
  weft NODE ARGS...                runs weft on a node, with NODE.yaml of the scenario
  guest NAME on NODE tap TAP mac MAC
                                   a guest: a namespace behind a tap of the node
  tapguest NAME on NODE tap TAP mac MAC
                                   a guest that can migrate: a namespace behind a real tap, which goes when its holder lets go
  migrate prepare GUEST to NODE tap TAP
                                   makes its tap on the target, as QEMU's -incoming does
  migrate switch GUEST [garp]      it runs on the target from now on: announced by RARP as QEMU does, and by gratuitous ARP
                                   as a Linux guest with virtio does; its tap at the source stays, as a paused VM's
  migrate finish GUEST             the tap at the source goes
  migrate abort GUEST              the tap at the target goes, and the guest runs at the source
  vmguest NAME on NODE tap TAP mac MAC [ip PREFIX] [via GATEWAY] [ping ADDRESS] ...
                                   a guest: QEMU on a real tap; ip, via and ping may come again
  console GUEST REGEXP             matches what a QEMU guest has said on its serial console
  node hv3                         adds a third node
  agent NODE start [FLAG...]       runs weft agent on a node with NODE.yaml, and goes on when it is ready
  agent NODE stop|kill             ends it, by SIGTERM or SIGKILL
  agent NODE pause|resume          has it do nothing meanwhile, by SIGSTOP
  agentlog NODE REGEXP             matches what the agents of a node have said
  pinger NAME MACHINE ADDRESS every DURATION
                                   pings from a machine until pingstat; notes when guests switch
  pingstat NAME spare DURATION late N max-gap DURATION
                                   ends a pinger and prints its losses; more than N that were sent later than spare after a
                                   switch, or a longer time without an answer, fail
  play FILE [NAME=VALUE]...        runs the commands of a file, with values for its $NAMEs
  poweroff GUEST                   ends a guest; its tap goes with it
  within DURATION [!] COMMAND...   repeats in, weft, console or agentlog until it succeeds (or, with !, fails)
  exits CODE COMMAND...            in, weft, console or agentlog must end with this exit code
  capture MACHINE DEV FILE [FILTER...]
                                   writes what passes an interface to a file, one line per packet
  uncapture FILE                   ends a capture
  snapshot MACHINE FILE            writes a machine's network to a file, without what is volatile
`

// commands are those of ScenarioHelp.
func (l *Lab) commands(ctx context.Context) map[string]func(*testscript.TestScript, bool, []string) {
	type command = func(*testscript.TestScript, bool, []string)
	// plain is a command that either works or ends the scenario.
	plain := func(usage string, f func(ctx context.Context, ts *testscript.TestScript, args []string) error) command {
		return func(ts *testscript.TestScript, neg bool, args []string) {
			if neg {
				ts.Fatalf("! does not go with this command; usage: %s", usage)
			}
			ctx, cancel := context.WithTimeout(ctx, commandTime)
			defer cancel()
			if err := f(ctx, ts, args); err != nil {
				if errors.Is(err, errUsage) {
					ts.Fatalf("usage: %s", usage)
				}
				ts.Fatalf("%v", err)
			}
		}
	}
	return map[string]command{
		"in":        l.programCommand(ctx, "in"),
		"weft":      l.programCommand(ctx, "weft"),
		"console":   l.programCommand(ctx, "console"),
		"agentlog":  l.programCommand(ctx, "agentlog"),
		"play":      l.playCommand(ctx),
		"node":      plain("node hv3", l.nodeCommand),
		"tapguest":  plain("tapguest NAME on NODE tap TAP mac MAC", l.tapguestCommand),
		"migrate":   plain("migrate prepare GUEST to NODE tap TAP | switch GUEST [garp] | finish GUEST | abort GUEST", l.migrateCommand),
		"agent":     plain("agent NODE start [FLAG...] | pause | resume | stop | kill", l.agentCommand),
		"pinger":    plain("pinger NAME MACHINE ADDRESS every DURATION", l.pingerCommand),
		"pingstat":  plain("pingstat NAME spare DURATION late N max-gap DURATION", l.pingstatCommand),
		"within":    l.withinCommand(ctx),
		"exits":     l.exitsCommand(ctx),
		"guest":     plain("guest NAME on NODE tap TAP mac MAC", l.guestCommand),
		"vmguest":   plain("vmguest NAME on NODE tap TAP mac MAC [ip PREFIX] [via GATEWAY] [ping ADDRESS] ...", l.vmguestCommand),
		"poweroff":  plain("poweroff GUEST", l.stopCommand),
		"capture":   plain("capture MACHINE DEV FILE [FILTER...]", l.captureCommand),
		"uncapture": plain("uncapture FILE", l.uncaptureCommand),
		"snapshot":  plain("snapshot MACHINE FILE", l.snapshotCommand),
	}
}

// errUsage says that a command of a scenario was written wrongly.
var errUsage = errors.New("wrong usage")

// program runs one of the commands in, weft, console and agentlog.
func (l *Lab) program(ctx context.Context, ts *testscript.TestScript, argv []string) (Output, error) {
	if len(argv) < 3 {
		return Output{}, fmt.Errorf("%q: needs a machine and what to do there", strings.Join(argv, " "))
	}
	ctx, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	switch argv[0] {
	case "in":
		return l.inDir(ctx, argv[1], ts.MkAbs("."), argv[2:]...)
	case "weft":
		return l.Weft(ctx, argv[1], ts.MkAbs(argv[1]+".yaml"), argv[2:]...)
	case "console", "agentlog":
		re, err := regexp.Compile("(?m)" + strings.Join(argv[2:], " "))
		if err != nil {
			return Output{}, fmt.Errorf("%s: %w", argv[0], err)
		}
		said := l.Console
		if argv[0] == "agentlog" {
			said = l.AgentLog
		}
		text, err := said(argv[1])
		out := Output{Stdout: text}
		if !re.MatchString(text) {
			out.Code = 1
		}
		return out, err
	}
	return Output{}, fmt.Errorf("%q is not one of in, weft, console, agentlog", argv[0])
}

// leave hands an output to the scenario's stdout and stderr.
func leave(ts *testscript.TestScript, out Output) {
	_, _ = ts.Stdout().Write([]byte(out.Stdout))
	_, _ = ts.Stderr().Write([]byte(out.Stderr))
}

func (l *Lab) programCommand(ctx context.Context, name string) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		out, err := l.program(ctx, ts, append([]string{name}, args...))
		leave(ts, out)
		switch {
		case err != nil:
			ts.Fatalf("%v", err)
		case neg && out.Code == 0:
			ts.Fatalf("%s %s: succeeded, but should fail", name, strings.Join(args, " "))
		case !neg && out.Code != 0:
			ts.Fatalf("%s %s: exit code %d", name, strings.Join(args, " "), out.Code)
		}
	}
}

func (l *Lab) exitsCommand(ctx context.Context) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) < 2 {
			ts.Fatalf("usage: exits CODE COMMAND...")
		}
		want, err := strconv.Atoi(args[0])
		ts.Check(err)
		out, err := l.program(ctx, ts, args[1:])
		leave(ts, out)
		ts.Check(err)
		if out.Code != want {
			ts.Fatalf("%s: exit code %d, want %d", strings.Join(args[1:], " "), out.Code, want)
		}
	}
}

func (l *Lab) withinCommand(ctx context.Context) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) < 2 {
			ts.Fatalf("usage: within DURATION [!] COMMAND...")
		}
		limit, err := time.ParseDuration(args[0])
		ts.Check(err)
		args = args[1:]
		fails := args[0] == "!"
		if fails {
			args = args[1:]
		}
		begin := time.Now()
		for {
			out, err := l.program(ctx, ts, args)
			if err == nil && (out.Code == 0) != fails {
				leave(ts, out)
				return
			}
			if err != nil || time.Since(begin) > limit {
				leave(ts, out)
				ts.Check(err)
				ts.Fatalf("%s: still exit code %d after %s", strings.Join(args, " "), out.Code, limit)
			}
			if !pause(ctx, retryPause) {
				ts.Fatalf("%v", ctx.Err())
			}
		}
	}
}

// pause waits, or returns false when the context ends.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// words reads NAME and pairs of a keyword and a value; a keyword may come again.
func words(args []string, keywords ...string) (name string, values map[string][]string, err error) {
	if len(args)%2 == 0 {
		return "", nil, errUsage
	}
	values = map[string][]string{}
	for i := 1; i < len(args); i += 2 {
		if !slices.Contains(keywords, args[i]) {
			return "", nil, errUsage
		}
		values[args[i]] = append(values[args[i]], args[i+1])
	}
	for _, k := range []string{"on", "tap", "mac"} {
		if len(values[k]) != 1 {
			return "", nil, errUsage
		}
	}
	return args[0], values, nil
}

func (l *Lab) guestCommand(ctx context.Context, _ *testscript.TestScript, args []string) error {
	name, v, err := words(args, "on", "tap", "mac")
	if err != nil {
		return err
	}
	return l.AddGuest(ctx, name, v["on"][0], v["tap"][0], v["mac"][0])
}

func (l *Lab) vmguestCommand(ctx context.Context, _ *testscript.TestScript, args []string) error {
	name, v, err := words(args, "on", "tap", "mac", "ip", "via", "ping")
	if err != nil {
		return err
	}
	vg := VMGuest{Name: name, Node: v["on"][0], Tap: v["tap"][0], MAC: v["mac"][0]}
	for _, s := range v["ip"] {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return fmt.Errorf("vmguest %s: %w", name, err)
		}
		vg.Addresses = append(vg.Addresses, p)
	}
	for _, list := range []struct {
		words []string
		to    *[]netip.Addr
	}{{v["via"], &vg.Gateways}, {v["ping"], &vg.Ping}} {
		for _, s := range list.words {
			a, err := netip.ParseAddr(s)
			if err != nil {
				return fmt.Errorf("vmguest %s: %w", name, err)
			}
			*list.to = append(*list.to, a)
		}
	}
	return l.AddVMGuest(ctx, vg)
}

func (l *Lab) stopCommand(ctx context.Context, _ *testscript.TestScript, args []string) error {
	if len(args) != 1 {
		return errUsage
	}
	return l.RemoveGuest(ctx, args[0])
}

func (l *Lab) captureCommand(ctx context.Context, ts *testscript.TestScript, args []string) error {
	if len(args) < 3 {
		return errUsage
	}
	return l.Capture(ctx, args[0], args[1], ts.MkAbs(args[2]), args[3:]...)
}

func (l *Lab) uncaptureCommand(_ context.Context, ts *testscript.TestScript, args []string) error {
	if len(args) != 1 {
		return errUsage
	}
	return l.Uncapture(ts.MkAbs(args[0]))
}

func (l *Lab) snapshotCommand(ctx context.Context, ts *testscript.TestScript, args []string) error {
	if len(args) != 2 {
		return errUsage
	}
	text, err := l.Snapshot(ctx, args[0])
	if err != nil {
		return err
	}
	if err := os.WriteFile(ts.MkAbs(args[1]), []byte(text), 0o644); err != nil {
		return fmt.Errorf("writing the snapshot: %w", err)
	}
	return nil
}
