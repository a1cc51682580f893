// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"weft/internal/netstate"
	"weft/internal/plan"
	"weft/internal/spec"
)

// How long the loop waits: for more of the events that come together, before it tries again what failed (doubled each
// time), and at most between two rounds, because the kernel does not tell of everything (proxy entries).
const (
	settle     = 2 * time.Millisecond
	retryFirst = 50 * time.Millisecond
	retryMost  = 30 * time.Second
	retryWoken = 500 * time.Millisecond // where something happens meanwhile
	roundMost  = 30 * time.Second
	restMost   = time.Second
	restLeast  = 2 * time.Second // until nothing is expected to happen soon
)

// Loop keeps a node true until its context ends: whatever changes, in the kernel, in the NIC intents or in the file that
// was applied, wakes it; it looks, and does what is left to do. Beside that it announces what the node answers for, answers
// guests, hears where they run, and forgets those whose tap is gone.
type Loop struct {
	Node  *Node
	Voice Voice // nil: nothing is announced
	Ears  Ears  // nil: nothing is heard

	// Load returns the node file to hold the node to, as it is now: the applied one, or the operator's where none was
	// applied since the machine started. A round calls it under the lock.
	Load func() (*spec.Node, []byte, error)
	// Wake has a value whenever the applied file or a NIC intent may have changed.
	Wake <-chan struct{}
	// Adopt plugs in the NICs that a hypervisor knows and the node does not, after a start. Nil for no hypervisor.
	Adopt func(context.Context, *Node) error
	// Hold keeps the taps closed while the guards are gone, until what it returns is closed. It is called when they stand, and again
	// now and then where it fails. Nil for nothing of the kind.
	Hold func() (io.Closer, error)
	// Expect says which guests, by the indexes of their taps on bridges, are to wake the loop when they send something: those that are
	// about to arrive. Nil for nobody.
	Expect func(guests map[int]string)
	// Resting is called when nothing has happened for a while after a round. Nil for nobody.
	Resting func()
	// Ready is called once, after the first round that left nothing to do.
	Ready func()

	Stats *Stats

	wake     chan<- struct{} // a round is to follow
	checks   sync.WaitGroup
	heard    <-chan Heard
	answers  *rate.Limiter
	mu       sync.Mutex // of all below
	claims   []Claim
	ways     map[string]string  // of each uplink device: how frames leave by it
	index    map[string]int     // of each uplink device
	macs     map[string]string  // of each uplink device
	taps     map[int]Tap        // by ifindex
	early    map[int]earlyGuest // by ifindex of what is no known tap: the guest that was heard there last
	ahead    map[string]claiming
	doors    map[string][]chan struct{} // by NIC: who waits to hear its guest
	alarms   map[Claim]time.Time        // when a contested claim was looked at
	defended map[Claim]time.Time        // when it was last spoken of
	frames   map[string]uint64          // by NIC: how often its guest was heard
	losses   map[int]int                // how often frames were lost of a device, by ifindex; 0 for any
	lossSaid time.Time                  // when that was spoken of last
	moves    map[string]move            // by NIC
	turn     int                        // counts the rounds
	fights   fights                     // with whoever undoes repairs; the rounds' goroutine's alone
	outcry   outcry                     // over what hurts; the rounds' goroutine's alone
	working  atomic.Int64               // since when a round has the lock, in ns; 0 where none has
	done     int                        // operations of this round; its goroutine's alone
	expected map[int]string             // what Expect was told last
	arriving map[string]bool            // NICs that are being claimed
	checking map[string]bool            // NICs whose guest is being asked whether it is still here
}

// stuck is how long a round may take before the loop counts as dead: the largest node takes seconds.
const stuck = 5 * time.Minute

// Alive reports whether the loop goes on. Waiting for another writer's lock is no sickness of its own.
func (l *Loop) Alive() bool {
	since := l.working.Load()
	return since == 0 || time.Since(time.Unix(0, since)) < stuck
}

// Voice announces addresses, again and again for a while.
type Voice interface {
	Announce(claims ...Claim)
	Withdraw(claims ...Claim)
	Hold(d time.Duration, claims ...Claim) // what is still to be said of them waits for so long
}

// errDeaf says that nothing is heard any more.
var errDeaf = errors.New("the links are not listened to any more: the kernel ended it")

// Run keeps the node true until ctx ends. It returns an error only if it cannot begin, or hears nothing any more.
func (l *Loop) Run(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	changed, err := l.Node.Target.Watch(ctx)
	if err != nil {
		return err
	}
	l.doors, l.alarms, l.defended = map[string][]chan struct{}{}, map[Claim]time.Time{}, map[Claim]time.Time{}
	l.fights = fights{}
	l.early, l.moves, l.frames = map[int]earlyGuest{}, map[string]move{}, map[string]uint64{}
	l.arriving, l.checking, l.losses = map[string]bool{}, map[string]bool{}, map[int]int{}
	l.answers = rate.NewLimiter(answersPerSecond, answersAtOnce)
	var ears sync.WaitGroup
	defer func() { ears.Wait(); l.checks.Wait() }()
	wake := make(chan struct{}, 1)
	l.wake = wake
	if l.Ears != nil {
		heard, err := l.Ears.Listen(ctx)
		if err != nil {
			return fmt.Errorf("listen to the links: %w", err)
		}
		ears.Go(func() {
			l.hear(ctx, heard, wake)
			stop(errDeaf) // unless ctx has ended
		})
	}
	err = l.work(ctx, changed, wake)
	if cause := context.Cause(ctx); errors.Is(cause, errDeaf) {
		return cause
	}
	return err
}

// work takes over the hypervisor's NICs, and then looks and works whenever something may have changed, until ctx ends.
func (l *Loop) work(ctx context.Context, changed, wake <-chan struct{}) error {
	if l.Adopt != nil {
		for wait := retryFirst; ; wait = min(2*wait, retryMost) {
			err := l.reload()
			if err == nil {
				break
			}
			l.log().Error("not converged", "err", err, "retry_in", wait)
			if !await(ctx, wait, nil, l.Wake, nil) {
				return nil
			}
		}
		if err := l.Adopt(ctx, l.node()); err != nil {
			l.log().Error("take over the hypervisor's NICs", "err", err)
		}
	}
	return l.rounds(ctx, changed, wake)
}

// rounds looks and works whenever something may have changed, until ctx ends.
func (l *Loop) rounds(ctx context.Context, changed, wake <-chan struct{}) error {
	ready, wait := false, time.Duration(0)
	said, saidAt := "", time.Time{} // the last error
	var closed holding
	defer closed.end(l.log())
	for {
		begin := time.Now()
		if err := l.round(ctx); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			wait = min(max(2*wait, retryFirst), retryMost)
			l.Stats.failures.Inc()
			if err.Error() != said || time.Since(saidAt) >= retryMost {
				said, saidAt = err.Error(), time.Now()
				l.log().Error("not converged", "err", err, "retry_in", wait)
			}
			// What it tried wakes it too.
			if !sleep(ctx, min(wait, retryWoken)) || !await(ctx, wait, changed, l.Wake, wake) {
				return nil
			}
			continue
		}
		closed.begin(l.Hold, l.log())
		if wait, said = 0, ""; !ready {
			ready = true
			l.Ready()
		}
		took, end := time.Since(begin), time.Now()
		for _, k := range l.fights.over(end) {
			l.log().Info("nobody undoes repairs any more", "object", k)
		}
		if !l.rest(ctx, l.fights.due(end, roundMost), changed, wake) {
			return nil
		}
		// Somebody's stream of changes takes half of a processor at most, and little once he is known for it.
		if l.fights.on(end) {
			took *= stretch
		}
		if !sleep(ctx, max(settle, min(took, restMost)-time.Since(end))) {
			return nil
		}
		drain(changed, l.Wake, wake)
	}
}

// rest waits for something to happen, at most for so long, and says when nothing has happened for a while.
func (l *Loop) rest(ctx context.Context, most time.Duration, changed, wake <-chan struct{}) bool {
	if l.Resting != nil && most > restLeast {
		t := time.NewTimer(restLeast)
		defer t.Stop()
		select {
		case <-ctx.Done():
			return false
		case <-changed:
			return true
		case <-l.Wake:
			return true
		case <-wake:
			return true
		case <-t.C:
			l.Resting()
			most -= restLeast
		}
	}
	return await(ctx, most, changed, l.Wake, wake)
}

// await waits for one of the channels, at most for so long. It returns false when ctx ends.
func await(ctx context.Context, most time.Duration, changed, awake, wake <-chan struct{}) bool {
	t := time.NewTimer(most)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-changed:
	case <-awake:
	case <-wake:
	case <-t.C:
	}
	return true
}

// drain takes what is waiting: the round that follows sees it all.
func drain(channels ...<-chan struct{}) {
	for _, c := range channels {
		select {
		case <-c:
		default:
		}
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

func (l *Loop) log() *slog.Logger { return l.Node.log() }

// reload reads the file that the node is held to.
func (l *Loop) reload() error {
	s, text, err := l.Load()
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.turn++ // what was done before this is in what it sees
	if string(text) != string(l.Node.Text) {
		l.log().Info("hold the node to its file", "bytes", len(text))
	}
	l.Node.Spec, l.Node.Text = s, text
	return nil
}

// node returns the node as its file says at the moment.
func (l *Loop) node() *Node {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := *l.Node
	return &n
}

// keep makes the node what its file says. The file is read under the lock: one that was read before could be what a verb, which
// held the lock meanwhile, has just replaced, and the node would be made what it was before.
func (l *Loop) keep(ctx context.Context) (n *Node, v *View, gone []spec.NIC, err error) {
	unlock, err := l.Node.Store.Lock(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	defer unlock()
	l.working.Store(time.Now().UnixNano())
	defer l.working.Store(0)
	if err := l.reload(); err != nil {
		return nil, nil, nil, err
	}
	n = l.node()
	n.Done = l.repaired
	resting := func() map[netstate.Key]bool { return l.fights.resting(time.Now()) }
	if v, gone, err = n.keep(ctx, resting); err != nil {
		return n, v, gone, err
	}
	kept, err := n.Store.File()
	if err == nil && kept == nil { // the operator's, now that it is what the node is
		err = n.applied()
	}
	return n, v, gone, err
}

// longest is how many lines of one repair go to the log: a ruleset that somebody flushed has a hundred.
const longest = 8

// repaired counts and logs an operation that a round applied.
func (l *Loop) repaired(op plan.Op) {
	l.done++
	l.Stats.repaired(op)
	l.fought(op)
	l.undone(op)
	lines, by := op.Lines(), l.whoseTable(op)
	for i, line := range lines {
		if i == longest {
			l.log().Info("repair", "step", fmt.Sprintf("… and %d lines more of the same step", len(lines)-i))
		}
		attrs := []any{"step", line}
		if i == 0 && by != "" {
			attrs = append(attrs, "by", by)
		}
		if i < longest {
			l.log().Info("repair", attrs...)
		} else {
			l.log().Debug("repair", attrs...)
		}
	}
}

// round looks once and does what is to be done.
func (l *Loop) round(ctx context.Context) error {
	begin := time.Now()
	l.done = 0
	n, v, gone, err := l.keep(ctx)
	l.Stats.round(time.Since(begin), l.done, v)
	for _, c := range gone {
		l.Stats.departures.Inc()
		l.log().Info("departed", "tap", c.Name, "nic", c.ID, "instance", c.Instance)
	}
	if v != nil {
		l.learn(n.Spec, v)
		for _, tap := range append(l.cameEarly(), l.cameByBridge(n.Spec, v)...) {
			l.arrive(ctx, tap, l.wake)
		}
		l.hurting(ctx, n, v)
	}
	if err != nil {
		return err
	}
	l.Stats.rounds.Inc()
	l.log().Debug("round", "took", time.Since(begin), "nics", len(v.NICs))
	return nil
}
