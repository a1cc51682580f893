// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"weft/internal/frame"
	"weft/internal/wire"
)

// What a router advertises and when: the defaults and constants of RFC 4861 sections 6.2.1 and 10, but for the lifetime,
// which is the longest that is allowed: a guest keeps its default route for 150 minutes while the agent is dead.
const (
	hopLimit          = 64
	routerLifetime    = 9000 * time.Second
	validLifetime     = 30 * 24 * time.Hour
	preferredLifetime = 7 * 24 * time.Hour

	advertiseLeast   = 200 * time.Second // MinRtrAdvInterval, about a third of the longest
	advertiseMost    = 600 * time.Second // MaxRtrAdvInterval
	initialMost      = 16 * time.Second  // MAX_INITIAL_RTR_ADVERT_INTERVAL
	initialCount     = 3                 // MAX_INITIAL_RTR_ADVERTISEMENTS
	betweenMulticast = 3 * time.Second   // MIN_DELAY_BETWEEN_RAS
)

// A guest that asks without end is answered this often, so that it costs the node no more than that. No guest needs more:
// it asks once for each neighbour that it begins to talk with.
const (
	answersPerSecond = 100
	answersAtOnce    = 200
)

// Wire is what answering takes of package wire.
type Wire interface {
	Send(ifindex int, f frame.Frame) error
}

// Answers is the router at the other end of every guest's wire. Its methods may be called from any goroutine.
type Answers struct {
	wire Wire
	log  *slog.Logger
	poke chan struct{} // has a value when something is due sooner than before

	answered, dropped atomic.Uint64

	mu     sync.Mutex
	guests map[int]*link // by the tap's index
}

// link is a guest's wire.
type link struct {
	NIC
	tokens    float64   // answers that the guest may still have
	filled    time.Time // when tokens was right
	told      int       // unsolicited advertisements so far, up to initialCount
	multicast time.Time // the last advertisement to all
	due       time.Time // the next one
	failing   bool      // the last frame could not be sent
}

// New returns Answers for no guest yet. No log is kept where log is nil.
func New(w Wire, log *slog.Logger) *Answers {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Answers{wire: w, log: log, poke: make(chan struct{}, 1), guests: map[int]*link{}}
}

// Set says which guests there are now. A guest that is new, or whose prefix is, hears of its router at once, where Run
// runs. One whose tap was replaced by another is new.
func (a *Answers) Set(nics []NIC) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	guests := make(map[int]*link, len(nics))
	for _, n := range nics {
		if !n.speaks6() {
			continue
		}
		if old := a.guests[n.Index]; old != nil && old.GuestMAC == n.GuestMAC && old.Subnet == n.Subnet && old.TapMAC == n.TapMAC {
			old.NIC = n
			guests[n.Index] = old
			continue
		}
		guests[n.Index] = &link{NIC: n, tokens: answersAtOnce, filled: now, due: now}
	}
	a.guests = guests
	a.hurry()
}

// Counts returns how many questions were answered, and how many were not because a guest asked too often.
func (a *Answers) Counts() (answered, dropped uint64) { return a.answered.Load(), a.dropped.Load() }

func (a *Answers) hurry() {
	select {
	case a.poke <- struct{}{}:
	default:
	}
}

// Handle answers the frame if a guest asks something in it that is for us to answer, and reports whether it did.
//
// A router solicitation is answered without the random delay of RFC 4861 section 6.2.6, which keeps the routers of a
// shared link from speaking at once: here is one router and one guest, and the guest is waiting to boot. An answer to
// all, as a guest without an address gets it, still has three seconds between it and the one before.
func (a *Answers) Handle(e wire.Event) bool {
	a.mu.Lock()
	g := a.guests[e.Index]
	var answer frame.Frame
	ok := false
	if g != nil && e.Frame.Src == g.GuestMAC {
		answer, ok = a.answer(g, e.Frame, time.Now())
	}
	a.mu.Unlock()
	if !ok {
		return false
	}
	if a.say(g, e.Index, answer) {
		a.answered.Add(1)
	}
	return true
}

// answer returns what to answer now.
func (a *Answers) answer(g *link, f frame.Frame, now time.Time) (answer frame.Frame, ok bool) {
	switch q := f.Msg.(type) {
	case frame.NS:
		answer, ok = g.neighbour(f, q)
	case frame.RS:
		if answer, ok = g.solicited(f, q), true; q.Src.IsUnspecified() {
			if next := g.multicast.Add(betweenMulticast); next.After(now) {
				if next.Before(g.due) {
					g.due = next
					a.hurry()
				}
				return frame.Frame{}, false
			}
		}
	}
	if !ok {
		return frame.Frame{}, false
	}
	g.tokens = min(answersAtOnce, g.tokens+now.Sub(g.filled).Seconds()*answersPerSecond)
	if g.filled = now; g.tokens < 1 {
		a.dropped.Add(1)
		return frame.Frame{}, false
	}
	g.tokens--
	if answer.Dst == frame.MulticastMAC(frame.AllNodes) {
		g.multicast = now
	}
	return answer, true
}

// say sends on a tap. What fails is logged once, until it works again: a tap goes down whenever its guest stops.
func (a *Answers) say(g *link, ifindex int, f frame.Frame) bool {
	err := a.wire.Send(ifindex, f)
	a.mu.Lock()
	first := err != nil && !g.failing
	g.failing = err != nil
	a.mu.Unlock()
	if first {
		a.log.Warn("guest not answered", "err", err)
	}
	return err == nil
}

// Run advertises the router to every guest without being asked: at once, twice more within 16 s each, and from then on
// every 200 to 600 s. It ends when ctx does. Nothing is said then: the router is still there, and goes on to be.
func (a *Answers) Run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.poke:
		case <-timer.C:
		}
		due, next := a.take(time.Now())
		for _, u := range due {
			a.say(u.to, u.ifindex, u.frame)
		}
		if next.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(time.Until(next))
		}
	}
}

// unsolicited is an advertisement that is due.
type unsolicited struct {
	to      *link
	ifindex int
	frame   frame.Frame
}

// take returns the advertisements that are due, and when the next one is, the zero time for never.
func (a *Answers) take(now time.Time) (due []unsolicited, next time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, g := range a.guests {
		if !g.due.After(now) {
			due = append(due, unsolicited{g, i, g.advertisement()})
			g.multicast = now
			g.due = now.Add(advertiseLeast + rand.N(advertiseMost-advertiseLeast))
			if g.told++; g.told < initialCount {
				g.due = now.Add(betweenMulticast + rand.N(initialMost-betweenMulticast))
			}
		}
		if next.IsZero() || g.due.Before(next) {
			next = g.due
		}
	}
	return due, next
}
