// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// attackTime bounds one attack.
const attackTime = 90 * time.Second

// AttackHelp says what weft lab attack reads.
const AttackHelp = `The folder has files of attacks (*.txtar, one attack a file of theirs) and modes (modes/*.txtar): each of these is a scenario that
builds a datacenter with an attacker g1 and its victims, and plays all attacks of that mode with

  attacks on|off                   with port security as it is, and again when the scenario has turned it off

A mode has the attacks that name it, and where it has a file like with the name of another mode, that one's, too, without those whose
names follow there. Of its other files, values has what $NAMEs stand for in attacks, points the interfaces that are captured (NAME MACHINE DEV), and
settle the commands (MACHINE COMMAND...) that bring caches back into order after each attack.

An attack begins with lines KEY: VALUE and an empty line; what follows is a shell script, or with "tool: scapy" Python:

  what: TEXT                       what it is, in a line
  tool: PROGRAM                    what does it
  modes: MODE...                   where it is played
  see: POINT[+POINT]... FILTER     tcpdump's filter for its packets, and where they would be seen; may come again: the counts add up
  count: MACHINE COMMAND           in place of see: a shell command that prints a number, such as entries of a cache
  at: MACHINE                      where the script runs (default g1); on MACHINE COMMAND, and in Python send(..., at="rt"), go elsewhere
  limit: N [RATE/s]                so much may get through
  alone: yes                       nothing is attacked in other modes meanwhile
  must: pass                       it is no attack: the script must end with exit code 0, and each see must see something`

// attackRun is a run of an attack folder.
type attackRun struct {
	folder  attackFolder
	paper   *paper
	out     string // folder for captures of what got through
	verbose bool
	table   attackTable
	machine sync.RWMutex // held for writing by an attack that wants it alone
}

// prefixAttack is that of the namespaces of weft lab attack, which stand once for each mode: all are attacked at a time.
const prefixAttack = "weftatk"

// RunAttacks plays the attacks of a folder in every mode, with port security on and off, and what must pass, with it on. It
// prints a table and says whether nothing got through, every attack bites, and what must pass does. wanted are names of
// attacks and modes; none means all.
func RunAttacks(ctx context.Context, opt Options, out io.Writer, dir, dumpDir string, wanted []string, verbose bool) (bool, error) {
	folder, err := readAttackFolder(dir)
	if err != nil {
		return false, err
	}
	if folder, err = folder.choose(wanted); err != nil {
		return false, err
	}
	r := &attackRun{folder: folder, paper: newPaper(out), out: dumpDir, verbose: verbose}
	stop := r.paper.progress(fmt.Sprintf("attacking %d modes", len(folder.modes)))
	defer stop()
	begin := time.Now()
	errs := make([]error, len(folder.modes))
	var modes sync.WaitGroup
	for i, file := range folder.modes {
		r.table.modes = append(r.table.modes, scenarioName(file))
		opt := opt
		opt.Prefix = fmt.Sprintf("%s%d-", prefixAttack, i)
		modes.Go(func() { errs[i] = r.mode(ctx, opt, file) })
	}
	modes.Wait()
	stop()
	if err := errors.Join(errs...); err != nil {
		return false, err
	}
	r.paper.printf("%s(%s)\n", r.table.text(folder.attacks, r.paper), time.Since(begin).Round(time.Second))
	return r.table.good(folder.attacks), ctx.Err()
}

// mode builds a mode and attacks it.
func (r *attackRun) mode(ctx context.Context, opt Options, file string) error {
	mode := scenarioName(file)
	player, err := startPlayer()
	if err != nil {
		return err
	}
	defer player.stop()
	res, err := runScenario(ctx, opt, file, r.out, r.verbose, func(l *Lab) scriptCommands {
		return scriptCommands{"attacks": r.command(ctx, l, mode, player)}
	})
	if err == nil && res.Err != nil {
		err = fmt.Errorf("%w\n%s", res.Err, strings.TrimRight(res.Log, "\n"))
	}
	if err != nil {
		return fmt.Errorf("mode %s: %w", mode, err)
	}
	return nil
}

// command is the command attacks of a mode's scenario.
func (r *attackRun) command(ctx context.Context, l *Lab, mode string, player *player) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) != 1 || args[0] != "on" && args[0] != "off" {
			ts.Fatalf("usage: attacks on|off")
		}
		p := &play{run: r, player: player, lab: l, mode: mode, on: args[0] == "on", dir: ts.MkAbs(".")}
		text := func(name string) string {
			data, err := os.ReadFile(ts.MkAbs(name))
			ts.Check(err)
			return string(data)
		}
		values, err := readValues(text("values"))
		ts.Check(err)
		points, err := readPoints(text("points"))
		ts.Check(err)
		p.values, p.points, p.settle = values, points, text("settle")
		ts.Check(p.all(ctx))
	}
}

// play is a mode under attack.
type play struct {
	run    *attackRun
	player *player
	lab    *Lab
	mode   string
	on     bool // port security stands
	dir    string
	values map[string]string
	points []point
	settle string
}

// all plays every attack of the mode.
func (p *play) all(ctx context.Context) error {
	for i := range p.points {
		if err := p.points[i].watch(ctx, p.lab); err != nil {
			return err
		}
	}
	var mine []attack
	for _, a := range p.run.folder.attacks {
		if slices.Contains(a.modes, p.mode) && (p.on || !a.honest) {
			mine = append(mine, a)
		}
	}
	state := "off"
	if p.on {
		state = "on"
	}
	all := time.Now()
	for _, a := range mine {
		begin := time.Now()
		res, err := p.one(ctx, a)
		if err != nil {
			return fmt.Errorf("attack %s, port security %s: %w", a.name, state, err)
		}
		p.run.table.add(a.name, p.mode, p.on, res)
		if p.run.verbose {
			p.run.paper.printf("%s %s %s: %d (%s)\n", p.mode, state, a.name, res.count, time.Since(begin).Round(10*time.Millisecond))
		}
		if p.on && res.count <= res.limit { // there is nothing to bring back into order
			continue
		}
		if err := p.settled(ctx); err != nil {
			return err
		}
	}
	p.run.paper.printf("%s: %d attacks with port security %s (%s)\n", p.mode, len(mine), state, time.Since(all).Round(time.Second))
	var errs []error
	for _, pt := range p.points {
		errs = append(errs, p.lab.Uncapture(pt.file))
	}
	return errors.Join(errs...)
}

// one plays one attack and counts.
func (p *play) one(ctx context.Context, a attack) (attackResult, error) {
	if a.alone {
		p.run.machine.Lock()
		defer p.run.machine.Unlock()
	} else {
		p.run.machine.RLock()
		defer p.run.machine.RUnlock()
	}
	ctx, cancel := context.WithTimeout(ctx, attackTime)
	defer cancel()
	for i := range p.points {
		if err := p.points[i].forget(); err != nil {
			return attackResult{}, err
		}
	}
	res := attackResult{limit: a.limit}
	if a.tool == pythonTool {
		job := playerJob{Name: a.name, Script: a.script, Lab: p.lab.opt.Prefix, At: a.at, Values: p.values}
		said, err := p.player.play(ctx, job)
		if err != nil {
			return res, err
		}
		res.failed, res.said = said != "", said
	} else {
		out, err := p.shell(ctx, a.at, a.script)
		if err != nil {
			return res, err
		}
		res.failed, res.said = out.Code != 0, out.Stdout+out.Stderr
	}
	if a.count != "" {
		n, err := p.number(ctx, a.count)
		res.count = n
		return res, err
	}
	if err := p.quiet(ctx); err != nil {
		return res, err
	}
	for _, s := range a.see {
		n, took, err := p.seen(ctx, a, s)
		if err != nil {
			return res, err
		}
		res.count += n
		res.limit += int(float64(a.rate) * took.Seconds())
		res.unseen = res.unseen || n == 0
	}
	return res, nil
}

// shell runs a script in a machine: with the values, and with on MACHINE COMMAND for what another machine does meanwhile.
func (p *play) shell(ctx context.Context, machine, script string) (Output, error) {
	var b strings.Builder
	for name, value := range p.values {
		fmt.Fprintf(&b, "%s='%s'\n", name, value)
	}
	fmt.Fprintf(&b, "on() { _m=$1; shift; nsenter --net=%s/%s\"$_m\" \"$@\"; }\n", netnsDir, p.lab.opt.Prefix)
	out, err := p.lab.inDir(ctx, machine, p.dir, "sh", "-ec", b.String()+script)
	if errors.Is(err, exec.ErrWaitDelay) { // something goes on in the background, and has the script's output
		err = nil
	}
	return out, err
}

// number is what a command of an attack's count line prints.
func (p *play) number(ctx context.Context, count string) (int, error) {
	machine, command, _ := strings.Cut(count, " ")
	out, err := p.shell(ctx, machine, command)
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(strings.TrimSpace(out.Stdout))
	if err != nil {
		return 0, fmt.Errorf("count: %s printed no number: %q %q", command, out.Stdout, out.Stderr)
	}
	return n, nil
}

// quiet returns when no capture has grown for a while: what is on its way has arrived.
func (p *play) quiet(ctx context.Context) error {
	const still, patience = 200 * time.Millisecond, 5 * time.Second
	var last int64 = -1
	since := time.Now()
	for end := time.Now().Add(patience); time.Since(since) < still && time.Now().Before(end); {
		var size int64
		for _, pt := range p.points {
			info, err := os.Stat(pt.file)
			if err != nil {
				return fmt.Errorf("reading a capture: %w", err)
			}
			size += info.Size()
		}
		if size != last {
			last, since = size, time.Now()
		}
		if !pause(ctx, 20*time.Millisecond) {
			return ctx.Err()
		}
	}
	return nil
}

// seen counts the packets of an attack at the points of a sight, and says from when to when they came. What got through is kept.
func (p *play) seen(ctx context.Context, a attack, s sight) (int, time.Duration, error) {
	filter := os.Expand(s.filter, func(name string) string { return p.values[name] })
	var all []byte
	var points []point
	for _, name := range s.points {
		i := slices.IndexFunc(p.points, func(pt point) bool { return pt.name == name })
		if i < 0 {
			return 0, 0, fmt.Errorf("mode %s has no point %s", p.mode, name)
		}
		data, _, err := p.points[i].packets()
		if err != nil {
			return 0, 0, err
		}
		all = append(all, data...)
		points = append(points, p.points[i])
	}
	n, err := countPackets(ctx, all, filter)
	took := duration(all)
	if err != nil || n <= a.limit+int(float64(a.rate)*took.Seconds()) || !p.on || a.honest {
		return n, took, err
	}
	for _, pt := range points {
		if err := pt.keep(filepath.Join(p.run.out, fmt.Sprintf("attack-%s-%s-%s.pcap", p.mode, a.name, pt.name))); err != nil {
			return n, took, err
		}
	}
	return n, took, nil
}

// settled brings the machines back into order.
func (p *play) settled(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, attackTime)
	defer cancel()
	for line := range strings.Lines(p.settle) {
		machine, command, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok || strings.HasPrefix(machine, "#") {
			continue
		}
		out, err := p.shell(ctx, machine, command)
		if err == nil {
			err = out.Err()
		}
		if err != nil {
			return fmt.Errorf("settling %s: %s: %w", machine, command, err)
		}
	}
	return nil
}

// readValues reads lines NAME=VALUE.
func readValues(text string) (map[string]string, error) {
	values := map[string]string{}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if !ok || strings.Contains(value, "'") {
			return nil, fmt.Errorf("values: %q is not NAME=VALUE", line)
		}
		values[name] = value
	}
	return values, nil
}
