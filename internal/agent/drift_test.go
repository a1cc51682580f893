// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"weft/internal/agent"
	"weft/internal/netstate"
	"weft/internal/plan"
	"weft/internal/spec"
)

// TestDrift plays somebody who takes away, alters and flushes what is weft's, with the real tools, while the loop runs and guests are
// pinged: one of every kind of object in every way. All is repaired, the guests answer again, and what is not weft's stays.
// BenchmarkDrift does so to every object and each of its attributes, on a node with 100 NICs.
func TestDrift(t *testing.T) {
	needKernel(t)
	r := &driftReport{}
	for _, n := range driftNodes {
		if n.name == "vrf" { // it takes five minutes: make faults
			continue
		}
		t.Run(n.name, func(t *testing.T) {
			newDrift(t, n, 0, r).play(firstOf(func(f fault) string { return f.sort + f.class }))
		})
	}
	t.Log(r)
}

// BenchmarkDrift is make faults: the report is what counts. Where the clock counts instructions, its times are the kernel's own.
func BenchmarkDrift(b *testing.B) { benchDrift(b, func(fault) bool { return true }) }

// BenchmarkDriftSample does so to one object of a kind and attribute.
func BenchmarkDriftSample(b *testing.B) {
	benchDrift(b, firstOf(func(f fault) string { return f.sort + f.class + f.name }))
}

func benchDrift(b *testing.B, which func(fault) bool) {
	needKernel(b)
	r := &driftReport{}
	for _, n := range driftNodes {
		b.Run(n.name, func(b *testing.B) {
			for b.Loop() {
				newDrift(b, n, 100-len(n.guests), r).play(which)
			}
		})
	}
	r.complete(b)
	fmt.Println(r) // of what a benchmark logs ten lines are printed
}

// drift is a node that is altered while a loop keeps it.
type drift struct {
	testing.TB
	name   string
	node   *agent.Node // as somebody else sees it, who has no part in the loop
	text   []byte
	target *noting
	rounds *roundLog
	tools  *shell
	pings  []*pinging
	state  string // of what is weft's, before anything happened
	report *driftReport
}

func newDrift(t testing.TB, n driftNode, fillers int, r *driftReport) *drift {
	t.Helper()
	nics := n.make(t, fillers)
	dir := t.TempDir()
	node, _ := open(t, "/run/netns/"+driftNS, dir)
	_, host := open(t, "/run/netns/"+driftNS, dir)
	d := &drift{TB: t, name: n.name, node: node, text: []byte(n.file), target: &noting{Target: host, at: map[netstate.Key]time.Time{}}, report: r}
	d.rounds = &roundLog{ended: make(chan struct{}, 1)}
	node.Spec = parse(t, n.file)
	for _, c := range nics {
		must(t, node.Store.Put(c))
	}
	must(t, node.Apply(t.Context()))
	d.tools = newShell(t, driftNS)
	d.do(foreignThings)
	for _, g := range n.guests {
		for words, addr := range g.pings {
			d.pings = append(d.pings, startPinging(t, words, addr))
		}
	}
	slices.SortFunc(d.pings, func(a, b *pinging) int { return strings.Compare(a.to, b.to) })
	left, state := d.look()
	if left != "" {
		t.Fatal(left)
	}
	d.state = state
	return d
}

func (d *drift) do(script string) string {
	d.Helper()
	out, err := d.tools.run(script)
	if err != nil {
		d.Fatal(err)
	}
	return out
}

// look looks at the node with eyes of its own: what is left to do, and what is weft's.
func (d *drift) look() (left, state string) {
	d.Helper()
	v, err := d.node.View(d.Context())
	if err != nil {
		d.Fatal(err)
	}
	var lines []string
	if v.Conflict != nil {
		return v.Conflict.Error(), ""
	}
	for _, op := range v.Plan.Ops {
		lines = append(lines, op.Lines()...)
	}
	for w := range v.Want.All() {
		if have := v.Have.Get(w.Key()); have == nil || !have.Meets(w) {
			lines = append(lines, fmt.Sprintf("want %s %s, have %v", w.Key().Kind, w, have))
		}
	}
	return strings.Join(lines, "\n"), listed(v)
}

// run runs a loop until stop is called. It is a new one for each fault: one that has just repaired an object a few times leaves it alone.
func (d *drift) run() (stop func()) {
	d.Helper()
	ready := make(chan struct{})
	l := &agent.Loop{
		Node: &agent.Node{Spec: d.node.Spec, Store: d.node.Store, Target: d.target, Log: slog.New(d.rounds)}, Stats: agent.NewStats(),
		Load: func() (*spec.Node, []byte, error) { return d.node.Spec, d.text, nil }, Ready: func() { close(ready) },
	}
	ctx, cancel := context.WithCancel(d.Context())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	select {
	case <-ready:
	case err := <-ended:
		d.Fatal(err)
	}
	return func() {
		cancel()
		if err := <-ended; err != nil {
			d.Error(err)
		}
	}
}

// play does what there is to do, of that which.
func (d *drift) play(which func(fault) bool) {
	d.Helper()
	v, err := d.node.View(d.Context())
	must(d, err)
	told, quiet := faults(d, v.Want, which)
	before := theirs(d.do(lookForeign))
	if len(quiet) > 0 {
		d.strike(quiet...)
	}
	for _, f := range told {
		d.strike(f)
		if f.harm {
			d.do(foreignHarmed)
		}
	}
	if after := theirs(d.do(lookForeign)); after != before {
		d.Errorf("what is not weft's was (-) and is (+)\n%s", difference(before, after))
	}
	for _, p := range d.pings {
		sent, lost := p.counts()
		d.report.say("%s: %s: %d of %d pings lost in %d faults", d.name, p.to, lost, sent, len(told)+len(quiet))
	}
}

// patience is how long a repair may take on the slowest machine.
const patience = 5 * time.Minute

// strike does what these faults are and waits until all is as it was, and guests answer.
func (d *drift) strike(all ...fault) {
	d.Helper()
	stop := d.run()
	defer stop()
	d.answered(all[0]) // by then the loop is at rest after its first look
	lost := d.lost()
	d.target.forget()
	d.rounds.begin()
	begun := make([]time.Time, len(all))
	for i, f := range all {
		begun[i] = d.commit(f)
	}
	d.repaired(all)
	d.answered(all[0])
	for i, f := range all {
		took := d.target.since(f, begun[i])
		d.report.add(f, took, d.lost()-lost)
		if _, ok := d.TB.(*testing.B); ok {
			fmt.Printf("%7.1f ms: %s\n", took.Seconds()*1000, f.words())
		} else {
			d.Logf("%7.1f ms: %s", took.Seconds()*1000, f.words())
		}
	}
}

// commit does what a fault is. Where that takes several steps, the loop may have undone the first before the last: then once more.
func (d *drift) commit(f fault) time.Time {
	d.Helper()
	for try := 0; ; try++ {
		begin := time.Now()
		_, err := d.tools.run(f.script)
		if err == nil {
			return begin
		}
		if try == 5 {
			d.Fatalf("%s: %v", f.words(), err)
		}
		d.repaired(nil)
	}
}

// repaired waits until rounds have ended and nothing is left to do, and compares with what was.
func (d *drift) repaired(all []fault) {
	d.Helper()
	late := time.NewTimer(patience)
	defer late.Stop()
	for left, state := "", ""; ; {
		select {
		case <-d.rounds.ended:
		case <-late.C:
			d.Errorf("%v: not repaired, or nothing to repair; still to do: %s\n%s", all, left, d.rounds)
			must(d, d.node.Apply(d.Context())) // for those that follow
			return
		}
		if left, state = d.look(); left != "" || !d.target.did(all) {
			continue
		}
		if state != d.state {
			d.Errorf("%v: repaired, and not as before:\n%s", all, difference(d.state, state))
			d.state = state
		}
		return
	}
}

// answered waits until every guest answers what it is asked from now on.
func (d *drift) answered(f fault) {
	d.Helper()
	late := time.NewTimer(patience)
	defer late.Stop()
	for _, p := range d.pings {
		for range 3 { // one was heard a while ago, one may have been under way
			select {
			case <-p.heard:
			case <-late.C:
				d.Fatalf("%s: %s: no answer any more", f.words(), p.to)
			}
		}
	}
}

func (d *drift) lost() (n int) {
	for _, p := range d.pings {
		_, lost := p.counts()
		n += lost
	}
	return n
}

// noting is a kernel that notes when it was told what.
type noting struct {
	agent.Target
	mu   sync.Mutex
	at   map[netstate.Key]time.Time
	last time.Time
}

func (n *noting) Apply(ctx context.Context, op plan.Op) error {
	err := n.Target.Apply(ctx, op)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.last = time.Now()
	for _, c := range op.Changes {
		n.at[c.Key()] = n.last
	}
	return err
}

func (n *noting) forget() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.at)
	n.last = time.Time{}
}

// did reports whether there was something to do for each of the faults.
func (n *noting) did(all []fault) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, f := range all {
		if !f.maybe && (len(all) == 1 && n.last.IsZero() || len(all) > 1 && n.at[f.key].IsZero()) {
			return false
		}
	}
	return true
}

// since is how long after the fault the last thing was done; for one of several faults, the last thing of its own.
func (n *noting) since(f fault, begin time.Time) time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	at := n.last
	if f.quiet {
		at = n.at[f.key]
	}
	return max(at.Sub(begin), 0)
}

// roundLog is a log in which the ends of rounds are seen.
type roundLog struct {
	ended chan struct{}
	mu    sync.Mutex
	text  bytes.Buffer
}

func (r *roundLog) begin() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.text.Reset()
	select {
	case <-r.ended:
	default:
	}
}

// Enabled is part of slog.Handler.
func (r *roundLog) Enabled(context.Context, slog.Level) bool { return true }

// Handle is part of slog.Handler.
func (r *roundLog) Handle(_ context.Context, rec slog.Record) error {
	r.mu.Lock()
	fmt.Fprint(&r.text, rec.Message)
	rec.Attrs(func(a slog.Attr) bool { fmt.Fprint(&r.text, " ", a); return true })
	fmt.Fprintln(&r.text)
	r.mu.Unlock()
	if rec.Message == "round" {
		select {
		case r.ended <- struct{}{}:
		default:
		}
	}
	return nil
}

// WithAttrs is part of slog.Handler.
func (r *roundLog) WithAttrs([]slog.Attr) slog.Handler { return r }

// WithGroup is part of slog.Handler.
func (r *roundLog) WithGroup(string) slog.Handler { return r }

// String returns what was logged since begin.
func (r *roundLog) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

// difference lists the lines that only one of two texts has.
func difference(a, b string) string {
	var lines []string
	for _, side := range []struct{ sign, mine, other string }{{"- ", a, b}, {"+ ", b, a}} {
		has := map[string]bool{}
		for line := range strings.Lines(side.other) {
			has[strings.TrimSpace(line)] = true
		}
		for line := range strings.Lines(side.mine) {
			if !has[strings.TrimSpace(line)] {
				lines = append(lines, side.sign+strings.TrimSpace(line))
			}
		}
	}
	return strings.Join(lines, "\n")
}
