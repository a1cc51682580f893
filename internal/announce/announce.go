// SPDX-License-Identifier: Apache-2.0

// Package announce tells a VLAN where an address is, and finds out whether somebody else has it: gratuitous ARP and
// unsolicited neighbour advertisements, repeated for a while, the probe for duplicates, and the look at what others say.
// It owns when and how often frames are sent. It never decides which addresses the node answers for, and it changes
// nothing in the kernel: no address, no neighbour entry, no sysctl (arp_notify and ndisc_notify stay as they are).
package announce

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"weft/internal/frame"
	"weft/internal/wire"
)

// Claim is an address that is to be found at a device of this node. The address is not the device's own.
type Claim struct {
	Dev  string
	Addr netip.Addr
}

// Wire is what announcing takes of package wire.
type Wire interface {
	Device(name string) (wire.Device, error)
	Send(ifindex int, f frame.Frame) error
}

// schedule says when a claim is announced, from the moment on in which it was made. The first may be lost to a switch
// port that does not forward yet (spanning tree, LACP), to a router that limits the rate of ARP, and to a full queue: the
// rest is for these. 30 s is the time that spanning tree takes with its default timers (IEEE 802.1D: two forward delays).
var schedule = [...]time.Duration{0, 1 * time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 15 * time.Second, 30 * time.Second}

// A node has a thousand claims when its uplink fails over. They go out in bursts that a switch's and a router's control
// plane may take (a router that drops the rest gets them again), in 50 to 100 ms for a thousand.
const (
	burst    = 200 // frames
	breather = 10 * time.Millisecond
)

// Announcer announces claims while its Run does. Its methods never wait for the wire.
type Announcer struct {
	wire Wire
	log  *slog.Logger
	poke chan struct{} // has a value when a claim came

	sent, failed atomic.Uint64

	mu     sync.Mutex
	claims map[Claim]*round
	made   uint64 // how many claims were ever made
}

// round is what is left to announce of a claim.
type round struct {
	order uint64    // claims that are due at the same time go in the order in which they were made
	begin time.Time // of the schedule
	step  int       // index of the next in schedule
	hold  time.Time // and none before
}

func (r *round) due() time.Time {
	if at := r.begin.Add(schedule[r.step]); at.After(r.hold) {
		return at
	}
	return r.hold
}

// New returns an Announcer that waits for its Run. No log is kept where log is nil.
func New(w Wire, log *slog.Logger) *Announcer {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Announcer{wire: w, log: log, poke: make(chan struct{}, 1), claims: map[Claim]*round{}}
}

// Announce announces the claims now, and again 1, 2, 4, 8, 15 and 30 s from now. A claim that is being announced begins
// again.
func (a *Announcer) Announce(claims ...Claim) {
	a.mu.Lock()
	now := time.Now()
	for _, c := range claims {
		a.made++
		a.claims[c] = &round{order: a.made, begin: now}
	}
	a.mu.Unlock()
	select {
	case a.poke <- struct{}{}:
	default: // Run has not seen the one before yet, and will see this one with it
	}
}

// Withdraw ends the announcements of the claims. When it returns, at most the frames of one more burst, which was being
// sent, have them.
func (a *Announcer) Withdraw(claims ...Claim) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, c := range claims {
		delete(a.claims, c)
	}
}

// Hold puts off what is still to be said of the claims for so long, while it is in question. When it returns, at most the frames of
// one more burst, which was being sent, have them.
func (a *Announcer) Hold(d time.Duration, claims ...Claim) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, c := range claims {
		if r := a.claims[c]; r != nil {
			r.hold = time.Now().Add(d)
		}
	}
}

// Counts returns how many frames were sent, and how many could not be.
func (a *Announcer) Counts() (sent, failed uint64) { return a.sent.Load(), a.failed.Load() }

// Run sends until ctx ends.
func (a *Announcer) Run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	left, window := burst, time.Now() // frames that may still go before the window's end, which is a breather after this
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.poke:
		case <-timer.C:
		}
		now := time.Now()
		if now.Sub(window) >= breather {
			left, window = burst, now
		}
		if left < mostFrames {
			timer.Reset(time.Until(window.Add(breather)))
			continue
		}
		batch, frames, next := a.take(now, left)
		left -= frames
		sent, failed, errs := say(a.wire, batch)
		a.sent.Add(sent)
		a.failed.Add(failed)
		for _, err := range errs {
			a.log.Warn("not announced", "err", err)
		}
		switch {
		case next.IsZero():
			timer.Stop()
		case next.After(now):
			timer.Reset(time.Until(next))
		default:
			timer.Reset(time.Until(window.Add(breather)))
		}
	}
}

// take returns the claims whose time has come, as many as the given number of frames can say, and how many frames that
// takes; and when the next claim's time comes: the zero time for never. Those that it returns are on their next step.
func (a *Announcer) take(now time.Time, most int) (batch []Claim, frames int, next time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	sooner := func(t time.Time) {
		if next.IsZero() || t.Before(next) {
			next = t
		}
	}
	for c, r := range a.claims {
		if due := r.due(); due.After(now) {
			sooner(due)
		} else {
			batch = append(batch, c)
		}
	}
	slices.SortFunc(batch, func(x, y Claim) int {
		r, s := a.claims[x], a.claims[y]
		return cmp.Or(r.due().Compare(s.due()), cmp.Compare(r.order, s.order))
	})
	for i, c := range batch {
		r := a.claims[c]
		if frames+framesOf(c) > most {
			sooner(r.due())
			return batch[:i], frames, next
		}
		frames += framesOf(c)
		if r.step++; r.step == len(schedule) {
			delete(a.claims, c)
		} else {
			sooner(r.due())
		}
	}
	return batch, frames, next
}

func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// Once announces each claim one time, for those who have no Announcer, and returns what could not be sent.
func Once(ctx context.Context, w Wire, claims []Claim) error {
	var all []error
	for part := range slices.Chunk(claims, burst/2) {
		if len(all) > 0 || ctx.Err() != nil {
			break
		}
		_, _, errs := say(w, part)
		all = append(all, errs...)
		if len(part) == burst/2 && !wait(ctx, breather) {
			break
		}
	}
	return errors.Join(append(all, ctx.Err())...)
}

// say sends the frames of each claim, with the address that its device has now. It returns an error per device, and not
// one per claim.
func say(w Wire, claims []Claim) (sent, failed uint64, errs []error) {
	type answer struct {
		wire.Device
		err error
	}
	devices := map[string]*answer{}
	for _, c := range claims {
		d := devices[c.Dev]
		if d == nil {
			d = &answer{}
			d.Device, d.err = w.Device(c.Dev)
			devices[c.Dev] = d
			if d.err != nil {
				errs = append(errs, fmt.Errorf("announce %s: %w", c.Addr, d.err))
			}
		}
		for _, f := range frames(d.Device, c.Addr) {
			if d.err == nil {
				if d.err = w.Send(d.Index, f); d.err != nil {
					errs = append(errs, fmt.Errorf("announce %s on %s: %w", c.Addr, c.Dev, d.err))
				}
			}
			if d.err != nil {
				failed++
				continue
			}
			sent++
		}
	}
	return sent, failed, errs
}

// mostFrames is the most that framesOf returns.
const mostFrames = 2

// framesOf returns how many frames announce a claim.
func framesOf(c Claim) int {
	if c.Addr.Is4() {
		return 2
	}
	return 1
}

// frames are what announces an address at a device: for IPv4 both forms, because there are those who take only one.
func frames(d wire.Device, a netip.Addr) []frame.Frame {
	if a.Is4() {
		return []frame.Frame{frame.GratuitousRequest(d.MAC, a), frame.GratuitousReply(d.MAC, a)}
	}
	return []frame.Frame{frame.UnsolicitedNA(d.MAC, d.LinkLocal, a)}
}
