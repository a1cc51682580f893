// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"weft/internal/agent"
	"weft/internal/foreign"
	"weft/internal/kernel/kerneltest"
	"weft/internal/netstate"
	"weft/internal/nic"
	"weft/internal/plan"
	"weft/internal/spec"
)

// alive is the model of a kernel whose links have indexes, and carrier while they are up.
type alive struct {
	*kerneltest.Fake
	mu    sync.Mutex
	index map[string]int
	look  func() // called once, when the node is looked at for the next time
	facts foreign.Facts
}

func (a *alive) Foreign(context.Context) (foreign.Facts, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.facts, nil
}

// Changer names who changed rulesets, and nobody else, as the kernel does.
func (a *alive) Changer(kind netstate.Kind) string {
	if kind == netstate.KindTable {
		return "nft (process 7)"
	}
	return ""
}

// surround sets up what others have, and wakes the loop.
func (a *alive) surround(f foreign.Facts) {
	a.mu.Lock()
	a.facts = f
	a.mu.Unlock()
	a.Disturb(func(*netstate.State) {})
}

func (a *alive) Observe(ctx context.Context, want *netstate.State) (*netstate.State, error) {
	s, err := a.Fake.Observe(ctx, want)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	look := a.look
	a.look = nil
	a.mu.Unlock()
	if look != nil {
		look()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for l := range netstate.Of[netstate.Link](s) {
		if a.index[l.Name] == 0 {
			a.index[l.Name] = len(a.index) + 2
		}
		st := netstate.LinkStatus{}
		if l.Status != nil {
			st = *l.Status
		}
		st.Index, st.Carrier = a.index[l.Name], l.IsUp()
		l.Status = &st
		s.Put(l)
	}
	return s, nil
}

func (a *alive) whenLooked(do func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.look = do
}

func (a *alive) indexOf(name string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.index[name]
}

// air is a wire on which nothing travels but what the test says.
type air struct {
	mu        sync.Mutex
	announced []string
	withdrawn []string
	held      []string
	answered  []string
	heard     chan agent.Heard
	answers   func(agent.Tap, netip.Addr) bool // whether the guest answers when somebody knocks; nil: never
	said      chan string                      // where it is not nil: what is announced (+) and withdrawn (-), too
	slow      time.Duration                    // how long an answer takes
	host      *alive
}

func (a *air) Announce(claims ...agent.Claim)              { a.note(&a.announced, "+", claims) }
func (a *air) Withdraw(claims ...agent.Claim)              { a.note(&a.withdrawn, "-", claims) }
func (a *air) Hold(_ time.Duration, claims ...agent.Claim) { a.note(&a.held, "~", claims) }

func (a *air) note(to *[]string, sign string, claims []agent.Claim) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, c := range claims {
		*to = append(*to, c.Addr.String()+" "+c.Dev)
		if a.said != nil {
			a.said <- sign + c.Addr.String()
		}
	}
}

// guests says whether guests answer.
func (a *air) guests(answer func(agent.Tap, netip.Addr) bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answers = answer
}

func (a *air) take() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	said := a.announced
	a.announced = nil
	slices.Sort(said)
	return said
}

func (a *air) Listen(ctx context.Context) (<-chan agent.Heard, error) {
	heard := make(chan agent.Heard, 16)
	go func() {
		defer close(heard)
		for {
			select {
			case h := <-a.heard:
				heard <- h
			case <-ctx.Done():
				return
			}
		}
	}()
	return heard, nil
}

func (a *air) Guests([]agent.Tap) {}

func (a *air) Answer(h agent.Heard, dev string) error {
	a.mu.Lock()
	slow := a.slow
	a.mu.Unlock()
	time.Sleep(slow) // of the bubble's own time
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answered = append(a.answered, h.Asks.String()+" "+dev)
	if a.said != nil {
		a.said <- "=" + h.Asks.String()
	}
	return nil
}

func (a *air) Knock(ctx context.Context, tap agent.Tap, addr netip.Addr) error {
	a.mu.Lock()
	answers := a.answers
	a.mu.Unlock()
	if answers != nil && answers(tap, addr) {
		a.say(ctx, agent.Heard{IfIndex: tap.Index, Guest: tap.NIC.MAC})
	}
	return nil
}

func (a *air) say(ctx context.Context, h agent.Heard) {
	select {
	case a.heard <- h:
	case <-ctx.Done():
	}
}

// kept is a loop at work on a model of a kernel.
type kept struct {
	*agent.Loop
	host *alive
	air  *air
	node *agent.Node // for verbs, as from another process
	wake chan struct{}
}

// keep starts a loop in a bubble of synctest and runs the test once it has nothing left to do.
func keep(t *testing.T, test func(t *testing.T, k *kept)) { keepFile(t, routedFile, test) }

// keepFile is keep with another node file.
func keepFile(t *testing.T, file string, test func(t *testing.T, k *kept)) {
	synctest.Test(t, func(t *testing.T) {
		k, end := begin(t, file, nil)
		defer end()
		test(t, k)
	})
}

// locked reports whether somebody holds the node's lock.
func locked(t *testing.T, s nic.Store) bool {
	f, err := os.OpenFile(filepath.Join(s.Dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Error(err)
		return false
	}
	defer f.Close()
	return errors.Is(syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB), syscall.EWOULDBLOCK)
}

// begin starts a loop, waits until it has nothing left to do, and returns it with what ends it.
func begin(t *testing.T, file string, log *slog.Logger) (*kept, func()) {
	host := &alive{Fake: kerneltest.NewFake("eth0", "eth1", "tap0", "tap1"), index: map[string]int{}}
	a := &air{heard: make(chan agent.Heard, 16), host: host}
	store := nic.Store{Dir: t.TempDir()}
	node := parse(t, file)
	k := &kept{host: host, air: a, wake: make(chan struct{}, 1), node: &agent.Node{Spec: node, Store: store, Target: host}}
	ready := make(chan struct{})
	k.Loop = &agent.Loop{
		Node: &agent.Node{Spec: node, Store: store, Target: host, Log: log}, Voice: a, Ears: a, Wake: k.wake, Stats: agent.NewStats(),
		Load: func() (*spec.Node, []byte, error) {
			if !locked(t, store) {
				t.Error("the file is read without the lock: what a verb has just applied would be undone")
			}
			return node, []byte(file), nil
		},
		Ready: func() { close(ready) },
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := k.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	<-ready
	return k, func() {
		cancel()
		running.Wait()
	}
}

// rest lets the loop do what it was woken for.
func (k *kept) rest() {
	time.Sleep(time.Second) // of the bubble's own time
	synctest.Wait()
}

func (k *kept) plug(t *testing.T, c spec.NIC) {
	t.Helper()
	if err := k.node.Plug(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	k.wake <- struct{}{}
	k.rest()
}

func routedGuest(prepared bool) spec.NIC {
	c := guest
	c.Network, c.Prepared = "public", prepared
	c.Addresses = []netip.Addr{netip.MustParseAddr("62.217.124.53"), netip.MustParseAddr("2001:db8:993::53")}
	return c
}

var itsClaims = []string{"2001:db8:993::53 bond0.993", "62.217.124.53 bond0.993"}

func (k *kept) expect(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

func (k *kept) has(t *testing.T) string { return ours(t, k.node) }

func TestLoopRepairs(t *testing.T) {
	keep(t, func(t *testing.T, k *kept) {
		k.plug(t, routedGuest(false))
		k.expect(t, "announced", k.air.take(), itsClaims)
		before := k.has(t)
		for o := range netstate.Of[netstate.Neigh](mustObserve(t, k.host)) {
			k.host.Disturb(func(s *netstate.State) { s.Delete(o.Key()) })
		}
		k.host.Disturb(func(s *netstate.State) {
			vanish(t, s, "bond0.993")
		})
		k.rest()
		same(t, 0, before, k.has(t))
	})
}

func TestLoopForgetsTheDeparted(t *testing.T) {
	keep(t, func(t *testing.T, k *kept) {
		before := k.has(t)
		k.plug(t, routedGuest(false))
		k.host.Disturb(func(s *netstate.State) {
			vanish(t, s, "tap0")
		})
		k.rest()
		if nics, err := k.node.Store.List(); err != nil || len(nics) != 0 {
			t.Errorf("nics %v, %v", nics, err)
		}
		same(t, 0, before, k.has(t))
		k.expect(t, "withdrawn", k.air.withdrawn, sortedCopy(k.air.withdrawn, itsClaims))
	})
}

func TestLoopClaimsForAGuestThatShows(t *testing.T) {
	keep(t, func(t *testing.T, k *kept) {
		k.plug(t, routedGuest(true))
		k.expect(t, "announced when prepared", k.air.take(), nil)
		prepared := k.has(t)
		if strings.Contains(prepared, "62.217.124.53") || strings.Contains(prepared, "2001:db8:993::53") {
			t.Fatalf("a prepared NIC is answered for:\n%s", prepared)
		}
		k.air.heard <- agent.Heard{IfIndex: k.host.indexOf("tap0"), Guest: "aa:00:00:ff:ff:ff"}
		k.rest()
		k.expect(t, "announced for a stranger on the tap", k.air.take(), nil)
		k.air.heard <- agent.Heard{IfIndex: k.host.indexOf("tap0"), Guest: guest.MAC}
		k.rest()
		k.expect(t, "announced", k.air.take(), itsClaims)
		claimed := k.has(t)
		if !strings.Contains(claimed, "62.217.124.53") || !strings.Contains(claimed, "2001:db8:993::53") {
			t.Errorf("not claimed:\n%s", claimed)
		}
	})
}

// The guest shows before the agent knows of its tap, and says nothing after that.
func TestLoopClaimsForAGuestThatCameEarly(t *testing.T) {
	keep(t, func(t *testing.T, k *kept) {
		k.air.heard <- agent.Heard{IfIndex: k.host.indexOf("tap0"), Guest: guest.MAC}
		k.rest()
		k.plug(t, routedGuest(true))
		k.rest()
		k.expect(t, "announced", k.air.take(), itsClaims)
	})
}

func TestLoopWhenSomebodyElseClaims(t *testing.T) {
	for _, here := range []bool{true, false} {
		keep(t, func(t *testing.T, k *kept) {
			k.air.guests(func(agent.Tap, netip.Addr) bool { return here })
			k.plug(t, routedGuest(false))
			for range 3 { // a fresh claim is left alone for a while
				k.rest()
			}
			before := k.has(t)
			k.air.take()
			other := agent.Heard{IfIndex: k.host.indexOf("bond0.993"), MAC: "02:00:00:00:00:99", Has: netip.MustParseAddr("62.217.124.53")}
			k.air.heard <- other
			k.rest()
			if here {
				k.expect(t, "defended", k.air.take(), itsClaims[1:])
				k.air.heard <- other
				k.rest()
				k.expect(t, "defended again within 10 s", k.air.take(), nil)
				same(t, 0, before, k.has(t))
				return
			}
			k.expect(t, "announced for a guest that went", k.air.take(), nil)
			if after := k.has(t); strings.Contains(after, "62.217.124.53") || strings.Contains(after, "2001:db8:993::53") {
				t.Errorf("not released:\n%s", after)
			}
			// it comes back: a migration that failed
			k.air.heard <- agent.Heard{IfIndex: k.host.indexOf("tap0"), Guest: guest.MAC}
			k.rest()
			same(t, 0, before, k.has(t))
			k.expect(t, "announced after its return", k.air.take(), itsClaims)
		})
	}
}

func TestLoopAnswersForItsGuestsOnly(t *testing.T) {
	keep(t, func(t *testing.T, k *kept) {
		k.plug(t, routedGuest(false))
		for _, ask := range []struct{ dev, addr string }{
			{"bond0.993", "62.217.124.53"}, {"bond0.993", "62.217.124.50"}, {"bond0", "62.217.124.53"}, {"bond0.993", "2001:db8:993::53"},
		} {
			k.air.heard <- agent.Heard{IfIndex: k.host.indexOf(ask.dev), Asks: netip.MustParseAddr(ask.addr)}
		}
		k.rest()
		k.expect(t, "answered", k.air.answered, []string{"62.217.124.53 bond0.993", "2001:db8:993::53 bond0.993"})
	})
}

func TestLoopAnnouncesAfterAFailover(t *testing.T) {
	keep(t, func(t *testing.T, k *kept) {
		k.plug(t, routedGuest(false))
		k.air.take()
		k.host.Disturb(func(s *netstate.State) {
			l := *s.Link("bond0")
			l.Status = &netstate.LinkStatus{Bond: &netstate.BondStatus{AggregatorID: 2, Ports: 1, PartnerMAC: "02:00:00:00:00:77"}}
			s.Put(l)
		})
		k.rest()
		k.expect(t, "announced", k.air.take(), itsClaims)
		k.rest()
		k.expect(t, "announced once more without a reason", k.air.take(), nil)
	})
}

// vanish takes a link away, with what the kernel takes along.
func vanish(t *testing.T, s *netstate.State, name string) {
	t.Helper()
	if err := plan.Simulate(s, plan.Op{Changes: []plan.Change{{Old: *s.Link(name)}}}); err != nil {
		t.Error(err)
	}
}

func mustObserve(t *testing.T, host agent.Target) *netstate.State {
	t.Helper()
	s, err := host.Observe(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// sortedCopy sorts got in place and returns want, for a comparison in any order.
func sortedCopy(got, want []string) []string {
	slices.Sort(got)
	return want
}
