// SPDX-License-Identifier: Apache-2.0

package announce_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"weft/internal/announce"
	"weft/internal/frame"
	"weft/internal/wire"
)

// fake is a wire with the devices of one node on which nobody else is but those that a test adds.
type fake struct {
	mu      sync.Mutex
	devices map[string]wire.Device
	down    map[int]bool
	begin   time.Time
	sent    []frame.Frame
	at      []time.Duration                 // when each was sent, since begin
	heard   chan wire.Event                 // what Listen returns
	answer  func(frame.Frame) []frame.Frame // what others say to a frame
	joined  []string
}

var uplink = wire.Device{Name: "bond0.993", Index: 7, MAC: frame.MAC{2, 0, 0, 0, 0, 1}, LinkLocal: ip("fe80::ff:fe00:1")}

func newFake() *fake {
	return &fake{devices: map[string]wire.Device{uplink.Name: uplink}, down: map[int]bool{}, begin: time.Now(), heard: make(chan wire.Event, 100)}
}

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

func (w *fake) Device(name string) (wire.Device, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	d, ok := w.devices[name]
	if !ok {
		return d, fmt.Errorf("find device %s: %w", name, unix.ENODEV)
	}
	return d, nil
}

func (w *fake) Send(ifindex int, f frame.Frame) error {
	if _, err := f.Marshal(); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.down[ifindex] {
		return fmt.Errorf("send %T: %w", f.Msg, unix.ENETDOWN)
	}
	w.sent, w.at = append(w.sent, f), append(w.at, time.Since(w.begin))
	if w.answer != nil {
		for _, a := range w.answer(f) {
			w.heard <- wire.Event{Index: ifindex, Frame: a}
		}
	}
	return nil
}

func (w *fake) Listen(ctx context.Context, ifindex int) (<-chan wire.Event, error) {
	events := make(chan wire.Event)
	go func() {
		defer close(events)
		for {
			select {
			case e := <-w.heard:
				select {
				case events <- e:
				case <-ctx.Done():
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return events, nil
}

func (w *fake) Join(_ int, group frame.MAC) (func() error, error) {
	w.joined = append(w.joined, group.String())
	return func() error { w.joined = append(w.joined, "not "+group.String()); return nil }, nil
}

// take returns what was sent since the last call.
func (w *fake) take() (frames []frame.Frame, at []time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	frames, at, w.sent, w.at = w.sent, w.at, nil, nil
	return frames, at
}

var (
	v4 = announce.Claim{Dev: "bond0.993", Addr: ip("62.217.124.53")}
	v6 = announce.Claim{Dev: "bond0.993", Addr: ip("2001:db8:993::53")}
)

func start(t *testing.T, w *fake, log *slog.Logger) *announce.Announcer {
	a := announce.New(w, log)
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() { a.Run(ctx) })
	t.Cleanup(func() { cancel(); done.Wait() })
	synctest.Wait()
	return a
}

// TestSchedule: what is sent for a claim of each family, and when.
func TestSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFake()
		a := start(t, w, nil)
		a.Announce(v4, v6)
		synctest.Wait()
		once := []frame.Frame{
			frame.GratuitousRequest(uplink.MAC, v4.Addr), frame.GratuitousReply(uplink.MAC, v4.Addr),
			frame.UnsolicitedNA(uplink.MAC, uplink.LinkLocal, v6.Addr),
		}
		got, at := w.take()
		if d := cmp.Diff(once, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" || at[2] != 0 {
			t.Errorf("at once: %v (-want +got):\n%s", at, d)
		}
		time.Sleep(time.Hour)
		got, at = w.take()
		want := []time.Duration{1, 1, 1, 2, 2, 2, 4, 4, 4, 8, 8, 8, 15, 15, 15, 30, 30, 30}
		for i := range want {
			want[i] *= time.Second
		}
		if d := cmp.Diff(want, at); d != "" || !slices.Equal(got[15:], once) {
			t.Errorf("after that (-want +got):\n%s%v", d, got)
		}
		if sent, failed := a.Counts(); sent != 21 || failed != 0 {
			t.Errorf("%d sent, %d failed", sent, failed)
		}
	})
}

// TestAgainAndNoMore: a claim that is made again begins again, one that is withdrawn is not said any more.
func TestAgainAndNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFake()
		a := start(t, w, nil)
		a.Announce(v4, v6)
		time.Sleep(3500 * time.Millisecond)
		a.Announce(v6)
		a.Withdraw(v4)
		synctest.Wait()
		w.take()
		time.Sleep(time.Hour)
		got, at := w.take()
		if len(at) != 6 || at[0] != 4500*time.Millisecond || at[5] != 33500*time.Millisecond || slices.ContainsFunc(got, func(f frame.Frame) bool { _, arp := f.Msg.(frame.ARP); return arp }) {
			t.Errorf("%v %v", at, got)
		}
		a.Withdraw(v4, v6) // over long ago
		a.Announce(v4)
		synctest.Wait()
		if got, _ := w.take(); len(got) != 2 {
			t.Errorf("later: %v", got)
		}
	})
}

// TestHold: what is in question waits, and goes on where it was.
func TestHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFake()
		a := start(t, w, nil)
		a.Announce(v6)
		time.Sleep(900 * time.Millisecond)
		a.Hold(400*time.Millisecond, v6, v4)
		time.Sleep(1500 * time.Millisecond)
		if _, at := w.take(); !slices.Equal(at, []time.Duration{0, 1300 * time.Millisecond, 2 * time.Second}) {
			t.Errorf("said at %v", at)
		}
		a.Hold(time.Hour, v6)
		a.Announce(v6)
		synctest.Wait()
		if got, _ := w.take(); len(got) != 1 {
			t.Errorf("announced again: %v", got)
		}
	})
}

// TestPace: a failover of many claims goes out in bursts, in order, and every claim is said each time.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFake()
		a := start(t, w, nil)
		var claims []announce.Claim
		for i := range 1000 {
			claims = append(claims, announce.Claim{Dev: uplink.Name, Addr: netip.AddrFrom4([4]byte{10, 0, byte(i / 250), byte(i%250 + 1)})})
		}
		a.Announce(claims[:300]...)
		for _, c := range claims[300:] { // one by one is no faster
			a.Announce(c)
			synctest.Wait()
		}
		time.Sleep(100 * time.Millisecond)
		got, at := w.take()
		if len(got) != 2000 || at[len(at)-1] > 100*time.Millisecond {
			t.Fatalf("%d frames, the last after %v", len(got), at[len(at)-1])
		}
		for i, f := range got {
			if m := f.Msg.(frame.ARP); m.SPA != claims[i/2].Addr {
				t.Fatalf("frame %d: %v", i, m)
			}
			if i >= 200 && at[i]-at[i-200] < 10*time.Millisecond {
				t.Fatalf("frames %d and %d at %v and %v", i-200, i, at[i-200], at[i])
			}
		}
		time.Sleep(time.Hour)
		if got, _ := w.take(); len(got) != 6*2000 {
			t.Errorf("after that: %d frames", len(got))
		}
	})
}

// TestFailover: each time the device is asked for its address, and an uplink that is down or gone is only a warning.
func TestFailover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFake()
		var log bytes.Buffer
		a := start(t, w, slog.New(slog.NewTextHandler(&log, nil)))
		w.down[7] = true
		a.Announce(v4, v6)
		time.Sleep(500 * time.Millisecond)
		w.mu.Lock()
		delete(w.devices, uplink.Name)
		w.mu.Unlock()
		time.Sleep(time.Second)
		w.mu.Lock()
		w.down[7] = false
		moved := uplink
		moved.Index, moved.MAC, moved.LinkLocal = 9, frame.MAC{2, 0, 0, 0, 0, 2}, netip.Addr{}
		w.devices[uplink.Name] = moved
		w.mu.Unlock()
		if got, _ := w.take(); len(got) != 0 {
			t.Errorf("sent on a dead device: %v", got)
		}
		time.Sleep(time.Second)
		want := []frame.Frame{frame.GratuitousRequest(moved.MAC, v4.Addr), frame.GratuitousReply(moved.MAC, v4.Addr), frame.UnsolicitedNA(moved.MAC, v6.Addr, v6.Addr)}
		if got, _ := w.take(); !slices.Equal(got, want) {
			t.Errorf("after it: %v", got)
		}
		if sent, failed := a.Counts(); sent != 3 || failed != 6 {
			t.Errorf("%d sent, %d failed", sent, failed)
		}
		if text := log.String(); strings.Count(text, "\n") != 2 || !strings.Contains(text, "network is down") || !strings.Contains(text, "no such device") {
			t.Errorf("log:\n%s", text)
		}
	})
}

func TestOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFake()
		if err := announce.Once(t.Context(), w, []announce.Claim{v4, v6, {Dev: "bond0.994", Addr: ip("10.0.0.1")}}); !errors.Is(err, unix.ENODEV) || err.Error() != "announce 10.0.0.1: find device bond0.994: no such device" {
			t.Error(err)
		}
		if got, _ := w.take(); len(got) != 3 {
			t.Errorf("%v", got)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := announce.Once(ctx, w, []announce.Claim{v4}); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if err := announce.Once(t.Context(), w, slices.Repeat([]announce.Claim{v4}, 1000)); err != nil {
			t.Error(err)
		}
		if got, at := w.take(); len(got) != 2000 || at[1999]-at[0] != 90*time.Millisecond {
			t.Errorf("%d frames until %v", len(got), at[len(at)-1])
		}
	})
}
