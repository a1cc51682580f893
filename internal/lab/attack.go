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

  attacks

It is played twice at the same time, in two datacenters: [on] before a command of the scenario is for that in which port security
stays as it is, [off] for that in which the scenario turns it off before the attacks. A mode has the attacks that name it, and where it has a file like with the name of another mode, that one's, too, without those whose
names follow there. Of its other files, values has what $NAMEs stand for in attacks, points the interfaces that are captured (NAME MACHINE DEV), and
settle the commands (MACHINE ip|bridge ARGUMENTS) that bring caches back into order after each attack.

An attack begins with lines KEY: VALUE and an empty line; what follows is a shell script, or with "tool: scapy" Python:

  what: TEXT                       what it is, in a line
  tool: PROGRAM                    what does it
  modes: MODE...                   where it is played
  see: POINT[+POINT]... FILTER     tcpdump's filter for its packets, and where they would be seen; may come again: the counts add up
  count: MACHINE COMMAND           in place of see: a shell command that prints a number, such as entries of a cache
  at: MACHINE                      where the script runs (default g1); on MACHINE COMMAND, and in Python send(..., at="rt"), go elsewhere;
                                   flood N COMMAND ends it when it has sent N packets, listening COMMAND waits until it captures
  limit: N [RATE/s]                so much may get through
  alone: yes                       nothing is attacked in other datacenters meanwhile
  must: pass                       it is no attack: the script must end with exit code 0, and each see must see something`

// attackRun is a run of an attack folder.
type attackRun struct {
	folder  attackFolder
	paper   *paper
	out     string // folder for captures of what got through
	verbose bool
	begin   time.Time
	table   attackTable
	player  *player
	machine sync.RWMutex // held for writing by an attack that wants it alone
}

// prefixAttack is that of the namespaces of weft lab attack, which stand twice for each mode: all are attacked at a time.
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
	r := &attackRun{folder: folder, paper: newPaper(out), out: dumpDir, verbose: verbose, begin: time.Now()}
	stop := r.paper.progress(fmt.Sprintf("attacking %d modes", len(folder.modes)))
	defer stop()
	if r.player, err = startPlayer(); err != nil {
		return false, err
	}
	defer r.player.stop()
	errs := make([]error, 2*len(folder.modes))
	var labs sync.WaitGroup
	for i := range errs {
		file := folder.modes[i/2]
		if i%2 == 0 {
			r.table.modes = append(r.table.modes, scenarioName(file))
		}
		opt := opt
		opt.Prefix = fmt.Sprintf("%s%d-", prefixAttack, i)
		labs.Go(func() { errs[i] = r.mode(ctx, opt, file, i%2 == 0) })
	}
	labs.Wait()
	stop()
	if err := errors.Join(errs...); err != nil {
		return false, err
	}
	r.paper.printf("%s(%s)\n", r.table.text(folder.attacks, r.paper), time.Since(r.begin).Round(time.Second))
	return r.table.good(folder.attacks), ctx.Err()
}

// mode builds a mode and attacks it, with port security on or off: each in a datacenter of its own, at the same time, because most
// attacks wait more than they work.
func (r *attackRun) mode(ctx context.Context, opt Options, file string, on bool) error {
	mode := scenarioName(file)
	is := func(condition string) (bool, error) {
		if condition != "on" && condition != "off" {
			return false, fmt.Errorf("[%s]: port security is on or off", condition)
		}
		return condition == onOff(on), nil
	}
	res, err := runScenario(ctx, opt, file, r.out, r.verbose, is, func(l *Lab) scriptCommands {
		return scriptCommands{"attacks": r.command(ctx, l, mode, on)}
	})
	if err == nil && res.Err != nil {
		err = fmt.Errorf("%w\n%s", res.Err, strings.TrimRight(res.Log, "\n"))
	}
	if err != nil {
		return fmt.Errorf("mode %s, port security %s: %w", mode, onOff(on), err)
	}
	return nil
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

// command is the command attacks of a mode's scenario.
func (r *attackRun) command(ctx context.Context, l *Lab, mode string, on bool) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) != 0 {
			ts.Fatalf("usage: attacks")
		}
		p := &play{run: r, lab: l, mode: mode, on: on, dir: ts.MkAbs(".")}
		text := func(name string) string {
			data, err := os.ReadFile(ts.MkAbs(name))
			ts.Check(err)
			return string(data)
		}
		values, err := readValues(text("values"))
		ts.Check(err)
		points, err := readPoints(text("points"))
		ts.Check(err)
		p.values, p.points = values, points
		p.settle, err = readSettle(text("settle"), values)
		ts.Check(err)
		ts.Check(p.all(ctx))
	}
}

// play is a mode under attack.
type play struct {
	run    *attackRun
	lab    *Lab
	mode   string
	on     bool // port security stands
	dir    string
	values map[string]string
	points []*point
	settle []settleBatch
}

// all plays every attack of the mode.
func (p *play) all(ctx context.Context) error {
	stop, err := watchAll(p.lab, p.points)
	if err != nil {
		return err
	}
	defer stop()
	var mine []attack
	for _, a := range p.run.folder.attacks {
		if slices.Contains(a.modes, p.mode) && (p.on || !a.honest) {
			mine = append(mine, a)
		}
	}
	state := onOff(p.on)
	all := time.Now()
	for _, a := range mine {
		begin := time.Now()
		res, err := p.one(ctx, a)
		if err != nil {
			return fmt.Errorf("attack %s: %w", a.name, err)
		}
		p.run.table.add(a.name, p.mode, p.on, res)
		if p.run.verbose {
			p.run.paper.printf("%s %s %s: %d (%s of %s)\n", p.mode, state, a.name, res.count, time.Since(begin).Round(10*time.Millisecond), time.Since(p.run.begin).Round(time.Second))
		}
		if p.on && res.count <= res.limit { // there is nothing to bring back into order
			continue
		}
		if err := p.settled(ctx); err != nil {
			return err
		}
	}
	p.run.paper.printf("%s: %d attacks with port security %s (%s)\n", p.mode, len(mine), state, time.Since(all).Round(time.Second))
	return nil
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
	for _, pt := range p.points {
		pt.forget()
	}
	res := attackResult{limit: a.limit}
	if a.tool == pythonTool {
		job := playerJob{Name: a.name, Script: a.script, Lab: p.lab.opt.Prefix, At: a.at, Values: p.values}
		said, err := p.run.player.play(ctx, job)
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
	b.WriteString(shellWords)
	out, err := p.lab.inDir(ctx, machine, p.dir, "sh", "-ec", b.String()+script)
	if errors.Is(err, exec.ErrWaitDelay) { // something goes on in the background, and has the script's output
		err = nil
	}
	return out, err
}

// shellWords are words of attacks' scripts that wait for what a tool does, because how long it takes depends on the machine:
// flood N CMD... ends it when N more packets have left by eth0, listening CMD... goes on when it hears by a packet socket (and
// leaves its PID in $pid). Neither lets it say anything.
const shellWords = `
sent() { sed -n 's/^ *eth0: *//p' /proc/net/dev | { read -r _ _ _ _ _ _ _ _ _ _n _; echo "$_n"; }; }
flood() {
	_end=$(($(sent) + $1)); shift
	"$@" </dev/null >/dev/null 2>&1 &
	pid=$!
	for _ in $(seq 100); do [ "$(sent)" -lt $_end ] && kill -0 $pid 2>/dev/null || break; sleep 0.1; done
	kill -KILL $pid 2>/dev/null || true
	wait $pid 2>/dev/null || true
}
hears() { grep -Ec '^[^ ]+ +[0-9]+ +[0-9]+ +0003 +[0-9]+ +1 ' /proc/net/packet || true; }
listening() {
	_was=$(hears)
	"$@" >/dev/null 2>&1 &
	pid=$!
	for _ in $(seq 50); do [ "$(hears)" -gt "$_was" ] && break; sleep 0.1; done
}
`

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

// quiet returns when nothing has come for a while: what is on its way has arrived.
func (p *play) quiet(ctx context.Context) error {
	const still, patience = 200 * time.Millisecond, 5 * time.Second
	last := -1
	since := time.Now()
	for end := time.Now().Add(patience); time.Since(since) < still && time.Now().Before(end); {
		n := 0
		for _, pt := range p.points {
			n += pt.count()
		}
		if n != last {
			last, since = n, time.Now()
		}
		if !pause(ctx, still/4) {
			return ctx.Err()
		}
	}
	return nil
}

// seen counts the packets of an attack at the points of a sight, and says from when to when they came. What got through is kept.
func (p *play) seen(ctx context.Context, a attack, s sight) (n int, took time.Duration, err error) {
	var all []seenPacket
	for _, name := range s.points {
		packets, lost, err := p.at(name)
		if err != nil {
			return 0, 0, err
		}
		if lost > 0 && p.on {
			return 0, 0, fmt.Errorf("%d packets at %s were not captured", lost, name)
		}
		all = append(all, packets...)
		took = max(took, duration(packets))
	}
	if len(all) == 0 {
		return 0, 0, nil
	}
	n, err = countPackets(ctx, all, os.Expand(s.filter, func(name string) string { return p.values[name] }))
	if err != nil || n <= a.limit+int(float64(a.rate)*took.Seconds()) || !p.on || a.honest {
		return n, took, err
	}
	for _, name := range s.points {
		packets, _, err := p.at(name)
		if err == nil {
			err = keepPackets(packets, filepath.Join(p.run.out, fmt.Sprintf("attack-%s-%s-%s.pcap", p.mode, a.name, name)))
		}
		if err != nil {
			return n, took, err
		}
	}
	return n, took, nil
}

// at is what has been captured at a point.
func (p *play) at(name string) ([]seenPacket, int, error) {
	i := slices.IndexFunc(p.points, func(pt *point) bool { return pt.name == name })
	if i < 0 {
		return nil, 0, fmt.Errorf("mode %s has no point %s", p.mode, name)
	}
	packets, lost := p.points[i].seen()
	return packets, lost, nil
}

// settled brings the machines back into order.
func (p *play) settled(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, attackTime)
	defer cancel()
	errs := make([]error, len(p.settle))
	var all sync.WaitGroup
	for i, s := range p.settle {
		all.Go(func() { errs[i] = batch(ctx, p.lab.netns(s.machine), s.program, s.lines) })
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("bringing caches back into order: %w", err)
	}
	return nil
}

// settleBatch is what one program does in one machine after an attack.
type settleBatch struct {
	machine, program string
	lines            []string
}

// readSettle reads lines MACHINE ip|bridge ARGUMENTS. What one program does in one machine is one process: it runs after every
// attack that arrived, and processes are what takes time.
func readSettle(text string, values map[string]string) ([]settleBatch, error) {
	var list []settleBatch
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		words := strings.SplitN(line, " ", 3)
		if len(words) < 3 || words[1] != "ip" && words[1] != "bridge" {
			return nil, fmt.Errorf("settle: %q is not MACHINE ip|bridge ARGUMENTS", line)
		}
		i := slices.IndexFunc(list, func(s settleBatch) bool { return s.machine == words[0] && s.program == words[1] })
		if i < 0 {
			i = len(list)
			list = append(list, settleBatch{machine: words[0], program: words[1]})
		}
		list[i].lines = append(list[i].lines, os.Expand(words[2], func(name string) string { return values[name] }))
	}
	return list, nil
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
