// SPDX-License-Identifier: Apache-2.0

package guest_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"weft/internal/frame"
	"weft/internal/guest"
	"weft/internal/wire"
)

var (
	tap   = frame.MAC{0xcc, 0x47, 0x52, 0x4e, 0x45, 0x54}
	mac   = frame.MAC{0xaa, 0, 0, 0x11, 0x22, 0x33}
	ll    = frame.LinkLocal(mac)
	other = ip("2001:db8:993::7")

	nic = guest.NIC{
		Index: 5, TapMAC: tap, GuestMAC: mac, MTU: 1500,
		Addrs:    []netip.Addr{ip("62.217.124.53"), ip("2001:db8:993::53")},
		Prefixes: []netip.Prefix{netip.MustParsePrefix("2001:db8:993::100/120")},
		Subnet:   netip.MustParsePrefix("2001:db8:993::/64"), Gateway: ip("2001:db8:993::1"),
	}

	compare = cmp.Options{
		cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	}
)

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

type sent struct {
	Index int
	Frame frame.Frame
	At    time.Duration
}

// taps are the wires of the guests.
type taps struct {
	mu    sync.Mutex
	begin time.Time
	down  bool
	sent  []sent
}

func (w *taps) Send(ifindex int, f frame.Frame) error {
	if _, err := f.Marshal(); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.down {
		return fmt.Errorf("send %T on device %d: %w", f.Msg, ifindex, unix.ENETDOWN)
	}
	w.sent = append(w.sent, sent{ifindex, f, time.Since(w.begin)})
	return nil
}

func (w *taps) take() []sent {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := w.sent
	w.sent = nil
	return all
}

func solicit(src frame.MAC, from netip.Addr, to, target netip.Addr) frame.Frame {
	return frame.Frame{Dst: tap, Src: src, Msg: frame.NS{Src: from, Dst: to, Target: target, SLLA: src}}
}

// TestNeighbours: who is answered for which address.
func TestNeighbours(t *testing.T) {
	group := frame.SolicitedNode
	for _, tt := range []struct {
		name   string
		index  int
		f      frame.Frame
		answer bool
	}{
		{"a neighbour", 5, solicit(mac, ll, group(other), other), true},
		{"a neighbour that it knows", 5, solicit(mac, ll, other, other), true},
		{"a neighbour, from its own address", 5, solicit(mac, nic.Addrs[1], group(other), other), true},
		{"the gateway, which the kernel answers for", 5, solicit(mac, ll, group(nic.Gateway), nic.Gateway), false},
		{"the gateway that it knows", 5, solicit(mac, ll, nic.Gateway, nic.Gateway), true},
		{"itself", 5, solicit(mac, ll, group(nic.Addrs[1]), nic.Addrs[1]), false},
		{"an address of its own prefix", 5, solicit(mac, ll, group(ip("2001:db8:993::1ff")), ip("2001:db8:993::1ff")), false},
		{"an address elsewhere", 5, solicit(mac, ll, group(ip("2001:db8:994::7")), ip("2001:db8:994::7")), false},
		{"the router's link-local address, which is the kernel's", 5, solicit(mac, ll, group(frame.LinkLocal(tap)), frame.LinkLocal(tap)), false},
		{"duplicate address detection", 5, frame.DADNS(mac, other), false},
		{"in another's name", 5, solicit(frame.MAC{2, 0, 0, 0, 0, 1}, ll, group(other), other), false},
		{"from another tap", 6, solicit(mac, ll, group(other), other), false},
		{"an announcement", 5, frame.UnsolicitedNA(mac, ll, other), false},
		{"ARP", 5, frame.ARPRequest(mac, nic.Addrs[0], ip("62.217.124.49")), false},
	} {
		w := &taps{begin: time.Now()}
		a := guest.New(w, nil)
		a.Set([]guest.NIC{nic})
		if got := a.Handle(wire.Event{Index: tt.index, Frame: tt.f}); got != tt.answer {
			t.Errorf("%s: answered %v", tt.name, got)
		}
		got := w.take()
		if !tt.answer {
			if len(got) > 0 {
				t.Errorf("%s: %v", tt.name, got)
			}
			continue
		}
		q, _ := tt.f.Msg.(frame.NS)
		want := frame.Frame{Dst: mac, Src: tap, Msg: frame.NA{Src: ip("fe80::ce47:52ff:fe4e:4554"), Dst: q.Src, Target: q.Target, TLLA: tap, Solicited: true}}
		if len(got) != 1 || got[0].Index != 5 || got[0].Frame != want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

// TestAdvertisement: what a guest is told of its router, and that a prefix is for its address only where that is the one
// that it would form.
func TestAdvertisement(t *testing.T) {
	slaac, narrow := nic, nic
	slaac.Addrs = []netip.Addr{frame.EUI64(ip("2001:db8:993::"), mac)}
	narrow.Subnet, narrow.MTU = netip.MustParsePrefix("2001:db8:993::/80"), 0
	for _, tt := range []struct {
		name string
		nic  guest.NIC
		auto bool
	}{{"given", nic, false}, {"formed", slaac, true}, {"narrow", narrow, false}} {
		w := &taps{begin: time.Now()}
		a := guest.New(w, nil)
		a.Set([]guest.NIC{tt.nic})
		if !a.Handle(wire.Event{Index: 5, Frame: frame.Frame{Dst: frame.MulticastMAC(frame.AllRouters), Src: mac, Msg: frame.RS{Src: ll, Dst: frame.AllRouters, SLLA: mac}}}) {
			t.Fatal("not answered")
		}
		want := frame.Frame{Dst: mac, Src: tap, Msg: frame.RA{
			Src: ip("fe80::ce47:52ff:fe4e:4554"), Dst: ll, HopLimit: 64, Lifetime: 150 * time.Minute, SLLA: tap, MTU: tt.nic.MTU,
			Prefixes: []frame.Prefix{{Prefix: tt.nic.Subnet, Autonomous: tt.auto, Valid: 720 * time.Hour, Preferred: 168 * time.Hour}},
		}}
		if d := cmp.Diff(want, w.take()[0].Frame, compare); d != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, d)
		}
	}
}

var (
	boots  = frame.Frame{Dst: frame.MulticastMAC(frame.AllRouters), Src: mac, Msg: frame.RS{Src: ip("::"), Dst: frame.AllRouters}}
	asks   = frame.Frame{Dst: frame.MulticastMAC(frame.AllRouters), Src: mac, Msg: frame.RS{Src: ll, Dst: frame.AllRouters, SLLA: mac}}
	toAll  = frame.MulticastMAC(frame.AllNodes)
	inFive = func(f frame.Frame) wire.Event { return wire.Event{Index: 5, Frame: f} }
)

func run(t *testing.T, a *guest.Answers) {
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() { a.Run(ctx) })
	t.Cleanup(func() { cancel(); done.Wait() })
	synctest.Wait()
}

// TestUnasked: the router tells of itself at once, twice more soon, and then now and then, until the guest is gone.
func TestUnasked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &taps{begin: time.Now()}
		a := guest.New(w, nil)
		run(t, a)
		v4only := nic
		v4only.Index, v4only.Addrs, v4only.Prefixes = 6, nic.Addrs[:1], nil
		a.Set([]guest.NIC{nic, v4only, {Index: 7, GuestMAC: mac, Addrs: nic.Addrs}})
		time.Sleep(24 * time.Hour)
		a.Set([]guest.NIC{nic}) // again is nothing new
		synctest.Wait()
		got := w.take()
		if len(got) < 24*6 || len(got) > 24*18+3 {
			t.Errorf("%d advertisements in a day", len(got))
		}
		for i, s := range got {
			gap := s.At
			if i > 0 {
				gap -= got[i-1].At
			}
			least, most := 200*time.Second, 600*time.Second
			if i == 0 {
				least, most = 0, 0
			} else if i < 3 {
				least, most = 3*time.Second, 16*time.Second
			}
			if s.Index != 5 || s.Frame.Dst != toAll || gap < least || gap > most {
				t.Errorf("advertisement %d on %d to %s after %v", i, s.Index, s.Frame.Dst, gap)
			}
		}
		moved := nic
		moved.Index = 9
		a.Set([]guest.NIC{moved})
		synctest.Wait()
		if got := w.take(); len(got) != 1 || got[0].Index != 9 {
			t.Errorf("on a new tap: %v", got)
		}
		a.Set(nil)
		time.Sleep(time.Hour)
		if got := w.take(); len(got) != 0 || a.Handle(inFive(asks)) {
			t.Errorf("after the guest went: %v", got)
		}
	})
}

// TestLimits: answers to all are three seconds apart, a question in between is answered then; and a guest that asks
// without end gets no more than a hundred answers a second.
func TestLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &taps{begin: time.Now()}
		a := guest.New(w, nil)
		run(t, a)
		a.Set([]guest.NIC{nic})
		time.Sleep(time.Second)
		w.take()
		for range 2 {
			if a.Handle(inFive(boots)) {
				t.Error("answered to all a second after the last")
			}
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := w.take(); len(got) != 1 || got[0].At != 3*time.Second || got[0].Frame.Dst != toAll {
			t.Errorf("after three seconds: %v", got)
		}
		for range 1000 {
			a.Handle(inFive(asks))
		}
		if answered, dropped := a.Counts(); len(w.take()) != 200 || answered != 200 || dropped != 800 {
			t.Errorf("%d answered, %d dropped", answered, dropped)
		}
		time.Sleep(500 * time.Millisecond)
		for range 100 {
			a.Handle(inFive(solicit(mac, ll, frame.SolicitedNode(other), other)))
		}
		if got := w.take(); len(got) != 50 {
			t.Errorf("after half a second: %d", len(got))
		}
		time.Sleep(time.Hour)
		w.take()
		if !a.Handle(inFive(asks)) {
			t.Error("not answered after an hour")
		}
	})
}

// TestDown: a tap that is down is logged once, and answered again when it is up.
func TestDown(t *testing.T) {
	var log bytes.Buffer
	w := &taps{begin: time.Now(), down: true}
	a := guest.New(w, slog.New(slog.NewTextHandler(&log, nil)))
	a.Set([]guest.NIC{nic})
	for range 3 {
		a.Handle(inFive(asks))
	}
	w.down = false
	a.Handle(inFive(asks))
	if answered, _ := a.Counts(); answered != 1 || strings.Count(log.String(), "network is down") != 1 {
		t.Errorf("%d answered\n%s", answered, log.String())
	}
}

// TestLife: what shows that a guest runs.
func TestLife(t *testing.T) {
	zero := ip("0.0.0.0")
	for _, tt := range []struct {
		name string
		f    frame.Frame
		says netip.Addr
		ok   bool
	}{
		{"QEMU announces it", frame.Frame{Dst: frame.Broadcast, Src: mac, Msg: frame.RARP{Op: frame.OpReverseRequest, SHA: mac, SPA: zero, THA: mac, TPA: zero}}, netip.Addr{}, true},
		{"it announces itself", frame.GratuitousRequest(mac, nic.Addrs[0]), nic.Addrs[0], true},
		{"it asks", frame.ARPRequest(mac, nic.Addrs[0], ip("62.217.124.49")), nic.Addrs[0], true},
		{"it probes", frame.ARPProbe(mac, nic.Addrs[0]), netip.Addr{}, true},
		{"it announces itself, IPv6", frame.UnsolicitedNA(mac, ll, nic.Addrs[1]), nic.Addrs[1], true},
		{"it asks, IPv6", solicit(mac, nic.Addrs[1], other, other), nic.Addrs[1], true},
		{"it tries an address", frame.DADNS(mac, nic.Addrs[1]), nic.Addrs[1], true},
		{"it boots", boots, netip.Addr{}, true},
		{"it asks for routers", asks, ll, true},
		{"it forwards another's ARP", frame.Frame{Src: mac, Msg: frame.GratuitousRequest(tap, nic.Addrs[0]).Msg}, netip.Addr{}, false},
		{"it answers reverse", frame.Frame{Src: mac, Msg: frame.RARP{Op: frame.OpReverseReply, SHA: mac, SPA: zero, TPA: zero}}, netip.Addr{}, false},
		{"it plays the router", frame.Frame{Src: mac, Msg: frame.RA{Src: ll, Dst: frame.AllNodes}}, netip.Addr{}, false},
	} {
		m, a, ok := guest.Life(inFive(tt.f))
		if ok != tt.ok || a != tt.says || ok && m != mac {
			t.Errorf("%s: %v %v %v", tt.name, m, a, ok)
		}
	}
}

func TestKnock(t *testing.T) {
	for _, tt := range []struct {
		gateway, addr netip.Addr
		want          frame.Message
	}{
		{ip("62.217.124.49"), nic.Addrs[0], frame.ARP{Op: 1, SHA: tap, SPA: ip("62.217.124.49"), TPA: nic.Addrs[0]}},
		{netip.Addr{}, nic.Addrs[0], frame.ARP{Op: 1, SHA: tap, SPA: ip("0.0.0.0"), TPA: nic.Addrs[0]}},
		{nic.Gateway, nic.Addrs[1], frame.NS{Src: frame.LinkLocal(tap), Dst: frame.SolicitedNode(nic.Addrs[1]), Target: nic.Addrs[1], SLLA: tap}},
	} {
		f := guest.Knock(tap, mac, tt.gateway, tt.addr)
		if f.Src != tap || f.Dst != mac || f.Msg != tt.want {
			t.Errorf("%v: %v", tt.addr, f)
		}
		if _, err := f.Marshal(); err != nil {
			t.Error(err)
		}
	}
}
