// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"context"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"weft/internal/agent"
	"weft/internal/kernel/kerneltest"
	"weft/internal/netstate"
	"weft/internal/nic"
	"weft/internal/spec"
)

var (
	itsIPv4 = netip.MustParseAddr("62.217.124.53")
	itsIPv6 = netip.MustParseAddr("2001:db8:993::53")
	itsLL   = netip.MustParseAddr("fe80::a800:ff:fe94:ed40")
)

// announcedBy is the word of another node that it has an address.
func (k *kept) announcedBy(dev string, a netip.Addr) agent.Heard {
	return agent.Heard{IfIndex: k.host.indexOf(dev), MAC: "02:00:00:00:00:99", Has: a}
}

// rests lets time go by, more of it than a fresh claim is left alone for.
func (k *kept) rests() {
	for range 3 {
		k.rest()
	}
}

func (k *kept) prepared(t *testing.T, id string) bool {
	t.Helper()
	c, there, err := k.node.Store.Get(id)
	if err != nil || !there {
		t.Fatalf("nic %s: %v, %v", id, there, err)
	}
	return c.Prepared
}

// hears tells the test what is announced (+), withdrawn (-) and answered (=) from now on.
func (a *air) hears() <-chan string {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.said = make(chan string, 1000)
	return a.said
}

func await(said <-chan string, any ...string) string {
	for s := range said {
		if slices.Contains(any, s) {
			return s
		}
	}
	return ""
}

// TestLoopHearsWhileTheLockIsTaken: a guest that comes waits for the lock, and the answer of another is heard all the same.
func TestLoopHearsWhileTheLockIsTaken(t *testing.T) {
	k, end := begin(t, routedFile, nil) // in real time: the lock is a system call
	defer end()
	said := k.air.hears()
	comes := otherGuest()
	comes.Prepared = true
	for _, c := range []spec.NIC{comes, routedGuest(false)} {
		if err := k.node.Plug(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	k.wake <- struct{}{}
	await(said, "+62.217.124.53")
	unlock, err := k.node.Store.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	k.air.guests(func(tap agent.Tap, _ netip.Addr) bool {
		if tap.Name == "tap0" {
			k.air.say(t.Context(), agent.Heard{IfIndex: k.host.indexOf("tap1"), Guest: comes.MAC})
		}
		return tap.Name == "tap0"
	})
	over := make(chan struct{})
	var contest sync.WaitGroup
	contest.Go(func() { // again and again: a fresh claim is left alone for a while
		again := time.NewTicker(20 * time.Millisecond)
		defer again.Stop()
		for {
			select {
			case <-again.C:
				k.air.say(t.Context(), k.announcedBy("bond0.993", itsIPv4))
			case <-over:
				return
			}
		}
	})
	if got := await(said, "~62.217.124.53", "+62.217.124.53", "-62.217.124.53"); got != "~62.217.124.53" {
		t.Errorf("%s: what was to be said of it did not wait for the answer", got)
	}
	if got := await(said, "+62.217.124.53", "-62.217.124.53"); got != "+62.217.124.53" {
		t.Errorf("%s: its guest answered", got)
	}
	close(over)
	contest.Wait()
	unlock()
	await(said, "+62.217.124.51")
	if k.prepared(t, guest.ID) || k.prepared(t, comes.ID) {
		t.Error("a guest that was heard is only prepared")
	}
}

// TestLoopDoesNotReleaseWhoIsHeardMeanwhile: the guest is heard when the release has the lock at last.
func TestLoopDoesNotReleaseWhoIsHeardMeanwhile(t *testing.T) {
	keep(t, func(t *testing.T, k *kept) {
		k.plug(t, routedGuest(false))
		k.plug(t, otherGuest())
		k.rests()
		k.air.take()
		before, ops := k.has(t), len(k.host.Applied())
		said := k.air.hears()
		k.host.whenLooked(func() {
			k.air.say(t.Context(), agent.Heard{IfIndex: k.host.indexOf("tap0"), Guest: guest.MAC})
			k.air.say(t.Context(), agent.Heard{IfIndex: k.host.indexOf("bond0.993"), Asks: otherGuest().Addresses[0]})
			await(said, "=62.217.124.51") // what came before was read
		})
		k.air.heard <- k.announcedBy("bond0.993", itsIPv4)
		k.rests()
		k.expect(t, "withdrawn, so that the release began", k.air.withdrawn, sortedCopy(k.air.withdrawn, itsClaims))
		k.expect(t, "announced", k.air.take(), itsClaims)
		same(t, 0, before, k.has(t))
		if done := k.host.Applied()[ops:]; len(done) != 0 {
			t.Errorf("released and claimed again: %v", done)
		}
	})
}

// TestLoopTakesNoLossForSilence: the guest answers, and its answer is lost, or waits behind others.
func TestLoopTakesNoLossForSilence(t *testing.T) {
	for _, what := range []string{"lost", "waits"} {
		t.Run(what, func(t *testing.T) {
			keep(t, func(t *testing.T, k *kept) {
				k.plug(t, routedGuest(false))
				k.rests()
				k.air.take()
				var mu sync.Mutex
				asked := 0
				k.air.slow = 350 * time.Millisecond // longer than three knocks
				k.air.guests(func(tap agent.Tap, _ netip.Addr) bool {
					mu.Lock()
					defer mu.Unlock()
					switch asked++; {
					case asked == 1 && what == "lost":
						k.air.say(t.Context(), agent.Heard{Lost: true})
					case asked == 1:
						k.air.say(t.Context(), agent.Heard{IfIndex: k.host.indexOf("bond0.993"), Asks: itsIPv4})
						return true
					case asked > 9: // three addresses, three times
						return what == "lost"
					}
					return false
				})
				k.air.heard <- k.announcedBy("bond0.993", itsIPv4)
				k.rests()
				k.expect(t, "announced", k.air.take(), itsClaims[1:])
				k.expect(t, "withdrawn", k.air.withdrawn, nil)
			})
		})
	}
}

// TestLoopMissesByDevice: what may have been missed of a guest's own tap is no silence of it, and what was of another's is no
// reason to go on answering for a guest that has moved.
func TestLoopMissesByDevice(t *testing.T) {
	for tap, released := range map[string]bool{"tap0": false, "tap1": true} {
		t.Run(tap, func(t *testing.T) {
			keep(t, func(t *testing.T, k *kept) {
				k.plug(t, routedGuest(false))
				k.rests()
				k.air.guests(func(agent.Tap, netip.Addr) bool {
					k.air.say(t.Context(), agent.Heard{Lost: true, IfIndex: k.host.indexOf(tap)})
					return false
				})
				k.air.heard <- k.announcedBy("bond0.993", itsIPv4)
				k.rests()
				k.rests()
				if got := k.prepared(t, guest.ID); got != released {
					t.Errorf("released %v, want %v", got, released)
				}
			})
		})
	}
}

// TestLoopAnswersSoMuch: whoever asks without end is not answered without end, and is answered again later.
func TestLoopAnswersSoMuch(t *testing.T) {
	keep(t, func(t *testing.T, k *kept) {
		k.plug(t, routedGuest(false))
		k.rests()
		ask := func(times int) int {
			k.air.mu.Lock()
			k.air.answered = nil
			k.air.mu.Unlock()
			for range times {
				k.air.heard <- agent.Heard{IfIndex: k.host.indexOf("bond0.993"), Asks: itsIPv4}
			}
			synctest.Wait()
			k.air.mu.Lock()
			defer k.air.mu.Unlock()
			return len(k.air.answered)
		}
		if first, more := ask(200), ask(5000); first != 200 || more > 300 {
			t.Errorf("%d of 200 answered, then %d of 5000", first, more)
		}
		k.rest()
		if again := ask(50); again != 50 {
			t.Errorf("a second later: %d of 50", again)
		}
	})
}

// TestLoopEndsWhenItIsDeaf: an agent that hears nothing any more would take every guest for silent. Who started it starts it again.
func TestLoopEndsWhenItIsDeaf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host := kerneltest.NewFake("eth0")
		l := &agent.Loop{
			Node: &agent.Node{Spec: &spec.Node{}, Store: nic.Store{Dir: t.TempDir()}, Target: host}, Stats: agent.NewStats(),
			Ears:  deaf{},
			Load:  func() (*spec.Node, []byte, error) { return &spec.Node{}, nil, nil },
			Ready: func() {},
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := l.Run(ctx); err == nil || ctx.Err() != nil {
			t.Errorf("it ended with %v, %v", err, ctx.Err())
		}
	})
}

// deaf are ears that hear nothing from the first moment on.
type deaf struct{ agent.Ears }

func (deaf) Guests([]agent.Tap) {}

func (deaf) Listen(context.Context) (<-chan agent.Heard, error) {
	nothing := make(chan agent.Heard)
	close(nothing)
	return nothing, nil
}

// TestLoopAsksForAnyAddress: a guest that has configured one of its addresses only answers for that one.
func TestLoopAsksForAnyAddress(t *testing.T) {
	for _, has := range []netip.Addr{itsIPv4, itsIPv6, itsLL} {
		t.Run(has.String(), func(t *testing.T) {
			keep(t, func(t *testing.T, k *kept) {
				k.plug(t, routedGuest(false))
				k.rests()
				k.air.take()
				k.air.guests(func(_ agent.Tap, a netip.Addr) bool { return a == has })
				for i, a := range []netip.Addr{itsIPv6, itsIPv4} {
					k.air.heard <- k.announcedBy("bond0.993", a)
					k.rest()
					k.expect(t, "announced", k.air.take(), itsClaims[i:i+1])
				}
				k.expect(t, "withdrawn", k.air.withdrawn, nil)
			})
		})
	}
}

// TestLoopFindsAGuestThatSaysNothing: nobody heard that it goes on here, and it is asked.
func TestLoopFindsAGuestThatSaysNothing(t *testing.T) {
	keep(t, func(t *testing.T, k *kept) {
		k.plug(t, routedGuest(true))
		k.rests()
		k.expect(t, "announced while it is silent", k.air.take(), nil)
		k.air.guests(func(_ agent.Tap, a netip.Addr) bool { return a == itsIPv4 })
		k.rest()
		k.rest()
		k.expect(t, "announced", k.air.take(), itsClaims)
		if k.prepared(t, guest.ID) {
			t.Error("not claimed")
		}
	})
}

// TestLoopVisitsTakeTurns: of more prepared NICs than are asked at a time, each is asked in the end.
func TestLoopVisitsTakeTurns(t *testing.T) {
	keep(t, func(t *testing.T, k *kept) {
		k.plug(t, routedGuest(true))
		other := otherGuest()
		other.Prepared = true
		k.plug(t, other)
		var mu sync.Mutex
		asked := map[string]int{}
		k.air.guests(func(tap agent.Tap, _ netip.Addr) bool {
			mu.Lock()
			defer mu.Unlock()
			asked[tap.Name]++
			return false
		})
		k.rests()
		mu.Lock()
		defer mu.Unlock()
		if asked["tap0"] < 4 || asked["tap0"] > 8 || asked["tap1"] != asked["tap0"] {
			t.Errorf("asked in 3 s: %v", asked)
		}
	})
}

const twoTenants = bondFile + `
networks:
  red: {mode: routed, uplink: bond0, vlan: 31, ipv4: {subnet: 10.9.0.0/24, gateway: 10.9.0.1}}
  blue: {mode: routed, uplink: bond0, vlan: 32, ipv4: {subnet: 10.9.0.0/24, gateway: 10.9.0.1}}
`

// tenants are two guests of two networks with the same address.
func tenants() (red, blue spec.NIC) {
	addrs := []netip.Addr{netip.MustParseAddr("10.9.0.5")}
	return spec.NIC{ID: "r", Name: "tap0", MAC: "aa:00:00:00:00:01", Network: "red", Addresses: addrs},
		spec.NIC{ID: "b", Name: "tap1", MAC: "aa:00:00:00:00:02", Network: "blue", Addresses: addrs}
}

func TestLoopTellsNetworksApart(t *testing.T) {
	for _, dev := range []string{"bond0.31", "bond0.32"} {
		t.Run(dev, func(t *testing.T) {
			keepFile(t, twoTenants, func(t *testing.T, k *kept) {
				red, blue := tenants()
				k.plug(t, red)
				k.plug(t, blue)
				k.rests()
				k.expect(t, "announced", k.air.take(), []string{"10.9.0.5 bond0.31", "10.9.0.5 bond0.32"})
				k.air.heard <- k.announcedBy(dev, red.Addresses[0])
				k.rest()
				k.expect(t, "withdrawn", k.air.withdrawn, []string{"10.9.0.5 " + dev})
				k.expect(t, "announced for who stays", k.air.take(), nil)
				for _, c := range []spec.NIC{red, blue} {
					if gone := k.prepared(t, c.ID); gone != (dev == map[string]string{"red": "bond0.31", "blue": "bond0.32"}[c.Network]) {
						t.Errorf("%s released: %v", c.Network, gone)
					}
				}
			})
		})
	}
}

// TestLoopStandsByRoute: one tenant's route is taken by somebody else, and the other's stands.
func TestLoopStandsByRoute(t *testing.T) {
	keepFile(t, twoTenants, func(t *testing.T, k *kept) {
		red, blue := tenants()
		k.plug(t, red)
		k.plug(t, blue)
		k.host.Disturb(func(s *netstate.State) {
			for _, o := range s.On("tap0") {
				if r, ok := o.(netstate.Route); ok && r.Dst.Addr() == red.Addresses[0] {
					theirs := r
					theirs.Dev, theirs.Protocol = "bond0.31", 4
					s.Delete(r.Key())
					s.Put(theirs)
				}
			}
		})
		k.rest()
		k.expect(t, "withdrawn", k.air.withdrawn, []string{"10.9.0.5 bond0.31"})
	})
}

// logged is a log of which a test can wait for lines, and on whose lines something can be done.
type logged struct {
	mu    sync.Mutex
	lines []string
	at    map[string]func() // by message; each once
}

func (l *logged) Enabled(context.Context, slog.Level) bool { return true }
func (l *logged) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *logged) WithGroup(string) slog.Handler            { return l }

func (l *logged) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	l.lines = append(l.lines, r.Message)
	do := l.at[r.Message]
	delete(l.at, r.Message)
	l.mu.Unlock()
	if do != nil {
		do()
	}
	return nil
}

func (l *logged) when(message string, do func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.at == nil {
		l.at = map[string]func(){}
	}
	l.at[message] = do
}

func (l *logged) count(message string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.lines {
		if strings.HasPrefix(s, message) {
			n++
		}
	}
	return n
}

// keepLog is keep with a log.
func keepLog(t *testing.T, test func(t *testing.T, k *kept, log *logged)) {
	synctest.Test(t, func(t *testing.T) {
		log := &logged{}
		k, end := begin(t, routedFile, slog.New(log))
		defer end()
		test(t, k, log)
	})
}

const releasedLine = "released: announced by another node, and the guest is silent here"

// TestLoopIsSilentOnceAGuestLeft: the guest is found to be gone while a round is at work that still saw it here, and does
// not end before (1) or after (2) the release. It is not announced again.
func TestLoopIsSilentOnceAGuestLeft(t *testing.T) {
	t.Run("before the release", func(t *testing.T) {
		keepLog(t, func(t *testing.T, k *kept, _ *logged) {
			k.plug(t, routedGuest(false))
			k.rests()
			k.air.take()
			said := k.air.hears()
			k.host.whenLooked(func() { // by a round, which has the lock
				k.air.say(t.Context(), k.announcedBy("bond0.993", itsIPv4))
				await(said, "-62.217.124.53")
			})
			k.wake <- struct{}{}
			k.rests()
			k.expect(t, "announced", k.air.take(), nil)
			if !k.prepared(t, guest.ID) {
				t.Error("not released")
			}
		})
	})
	t.Run("after the release", func(t *testing.T) {
		keepLog(t, func(t *testing.T, k *kept, log *logged) {
			k.plug(t, routedGuest(false))
			k.plug(t, otherGuest())
			k.rests()
			k.air.take()
			released := make(chan struct{})
			log.when(releasedLine, func() { close(released) })
			log.when("departed", func() { // a round has looked, and has not taken over what it saw
				k.air.say(t.Context(), k.announcedBy("bond0.993", itsIPv4))
				<-released
			})
			k.host.Disturb(func(s *netstate.State) { vanish(t, s, "tap1") })
			k.rests()
			k.expect(t, "announced", k.air.take(), nil)
			if !k.prepared(t, guest.ID) {
				t.Error("not released")
			}
		})
	})
}

// TestLoopKeepsAClaimThatARoundDidNotSee: a guest is claimed while a round is at work that still saw it prepared.
func TestLoopKeepsAClaimThatARoundDidNotSee(t *testing.T) {
	keepLog(t, func(t *testing.T, k *kept, log *logged) {
		k.plug(t, routedGuest(true))
		k.plug(t, otherGuest())
		k.air.take()
		claimed := make(chan struct{})
		log.when("claimed", func() { close(claimed) })
		log.when("departed", func() {
			k.air.say(t.Context(), agent.Heard{IfIndex: k.host.indexOf("tap0"), Guest: guest.MAC})
			<-claimed
		})
		k.host.Disturb(func(s *netstate.State) { vanish(t, s, "tap1") })
		k.rests()
		k.expect(t, "announced", k.air.take(), itsClaims)
		if slices.Contains(k.air.withdrawn, itsClaims[0]) {
			t.Error("withdrawn, too")
		}
	})
}

// TestLoopDoesNotFloodTheLog: a conflict that lasts is counted each time and reported now and then.
func TestLoopDoesNotFloodTheLog(t *testing.T) {
	keepLog(t, func(t *testing.T, k *kept, log *logged) {
		k.air.guests(func(agent.Tap, netip.Addr) bool { return true })
		k.plug(t, routedGuest(false))
		k.rests()
		for range 8 {
			k.air.heard <- k.announcedBy("bond0.993", itsIPv4)
			k.rest()
		}
		if n := log.count("address conflict"); n != 1 {
			t.Errorf("reported %d times in 8 s", n)
		}
		file := filepath.Join(t.TempDir(), "weft.prom")
		if err := k.Stats.Write(file); err != nil {
			t.Fatal(err)
		}
		if text, err := os.ReadFile(file); err != nil || !strings.Contains(string(text), "weft_agent_address_conflicts_total 8\n") {
			t.Errorf("%v\n%s", err, text)
		}
	})
}
