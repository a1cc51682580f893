// SPDX-License-Identifier: Apache-2.0

package announce_test

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"weft/internal/announce"
	"weft/internal/frame"
	"weft/internal/wire"
)

var (
	other  = frame.MAC{2, 0, 0, 0, 0, 9}
	third  = frame.MAC{2, 0, 0, 0, 0, 10}
	source = ip("62.217.124.54")
	ll     = frame.LinkLocal(other)
)

func arpReply(mac frame.MAC, a netip.Addr) frame.Frame {
	return frame.Frame{Dst: uplink.MAC, Src: mac, Msg: frame.ARP{Op: frame.OpReply, SHA: mac, SPA: a, THA: uplink.MAC, TPA: source}}
}

// TestProbe: what counts as a holder.
func TestProbe(t *testing.T) {
	addrs := []netip.Addr{v4.Addr, v6.Addr}
	for _, tt := range []struct {
		name   string
		answer func(frame.Frame) []frame.Frame
		want   []announce.Holder
	}{
		{"nobody", nil, nil},
		{"a host answers the probe", func(f frame.Frame) []frame.Frame {
			if m, ok := f.Msg.(frame.ARP); ok && m.Probe() && m.TPA == v4.Addr {
				return []frame.Frame{arpReply(other, v4.Addr), arpReply(third, v4.Addr)}
			}
			return nil
		}, []announce.Holder{{v4.Addr, other}}},
		{"a node answers the request, and not the probe", func(f frame.Frame) []frame.Frame {
			if m, ok := f.Msg.(frame.ARP); ok && m.SPA == source {
				return []frame.Frame{arpReply(other, m.TPA)}
			}
			return nil
		}, []announce.Holder{{v4.Addr, other}}},
		{"a host defends against duplicate address detection", func(f frame.Frame) []frame.Frame {
			if m, ok := f.Msg.(frame.NS); ok && m.DAD() {
				return []frame.Frame{frame.UnsolicitedNA(other, ll, m.Target)}
			}
			return nil
		}, []announce.Holder{{v6.Addr, other}}},
		{"a node answers the solicitation", func(f frame.Frame) []frame.Frame {
			if m, ok := f.Msg.(frame.NS); ok && m.Src == uplink.LinkLocal {
				return []frame.Frame{{Dst: uplink.MAC, Src: other, Msg: frame.NA{Src: ll, Dst: m.Src, Target: m.Target, TLLA: third, Solicited: true}}}
			}
			return nil
		}, []announce.Holder{{v6.Addr, third}}},
		{"others try at the same time", func(f frame.Frame) []frame.Frame {
			return []frame.Frame{frame.ARPProbe(other, v4.Addr), frame.DADNS(third, v6.Addr)}
		}, []announce.Holder{{v4.Addr, other}, {v6.Addr, third}}},
		{"a host speaks for itself", func(f frame.Frame) []frame.Frame {
			return []frame.Frame{frame.GratuitousRequest(other, v4.Addr), frame.Solicit(third, v6.Addr, ip("2001:db8:993::1"))}
		}, []announce.Holder{{v4.Addr, other}, {v6.Addr, third}}},
		{"our own frames come back", func(f frame.Frame) []frame.Frame {
			return []frame.Frame{f, frame.GratuitousReply(uplink.MAC, v4.Addr), frame.UnsolicitedNA(uplink.MAC, uplink.LinkLocal, v6.Addr)}
		}, nil},
		{"others ask and talk of other things", func(f frame.Frame) []frame.Frame {
			return []frame.Frame{
				frame.ARPRequest(other, ip("62.217.124.49"), v4.Addr), arpReply(other, ip("62.217.124.50")), frame.Solicit(other, ll, v6.Addr),
				{Dst: frame.Broadcast, Src: other, Msg: frame.RARP{Op: frame.OpReverseRequest, SHA: other, SPA: ip("0.0.0.0"), THA: other, TPA: ip("0.0.0.0")}},
			}
		}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newFake()
				w.answer = tt.answer
				begin := time.Now()
				got, err := announce.Probe(t.Context(), w, uplink.Name, source, addrs)
				if err != nil || !slices.Equal(got, tt.want) {
					t.Errorf("got %v, %v, want %v", got, err, tt.want)
				}
				if took := time.Since(begin); len(tt.want) < len(addrs) && took != 300*time.Millisecond || len(tt.want) == len(addrs) && took != 0 {
					t.Errorf("it took %v", took)
				}
				if group := "33:33:ff:00:00:53"; !slices.Equal(w.joined, []string{group, "not " + group}) {
					t.Errorf("groups: %v", w.joined)
				}
			})
		})
	}
}

// TestQuestions: what a probe asks, and when.
func TestQuestions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFake()
		if _, err := announce.Probe(t.Context(), w, uplink.Name, source, []netip.Addr{v4.Addr, v6.Addr}); err != nil {
			t.Fatal(err)
		}
		got, at := w.take()
		want := []frame.Frame{frame.ARPProbe(uplink.MAC, v4.Addr), frame.ARPRequest(uplink.MAC, source, v4.Addr), frame.DADNS(uplink.MAC, v6.Addr), frame.Solicit(uplink.MAC, uplink.LinkLocal, v6.Addr)}
		if !slices.Equal(got, append(slices.Clone(want), want...)) || at[3] != 0 || at[4] != 100*time.Millisecond {
			t.Errorf("%v %v", at, got)
		}
		// Without a sender's name, and with one that is the very address: only the probes.
		w.devices[uplink.Name] = wire.Device{Name: uplink.Name, Index: 7, MAC: uplink.MAC}
		for _, name := range []netip.Addr{{}, v4.Addr} {
			if _, err := announce.Probe(t.Context(), w, uplink.Name, name, []netip.Addr{v4.Addr, v6.Addr}); err != nil {
				t.Fatal(err)
			}
			if got, _ := w.take(); !slices.Equal(got, []frame.Frame{want[0], want[2], want[0], want[2]}) {
				t.Errorf("as %v: %v", name, got)
			}
		}
	})
}

// TestNoVerdict: a probe that could not ask, or was not let wait, does not say that nobody is there.
func TestNoVerdict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFake()
		addrs := []netip.Addr{v4.Addr}
		if h, err := announce.Probe(t.Context(), w, "bond0.994", source, addrs); !errors.Is(err, unix.ENODEV) {
			t.Errorf("%v, %v", h, err)
		}
		w.down[7] = true
		if h, err := announce.Probe(t.Context(), w, uplink.Name, source, addrs); !errors.Is(err, unix.ENETDOWN) {
			t.Errorf("%v, %v", h, err)
		}
		w.down[7] = false
		ctx, cancel := context.WithTimeout(t.Context(), 250*time.Millisecond)
		defer cancel()
		if h, err := announce.Probe(ctx, w, uplink.Name, source, addrs); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v, %v", h, err)
		}
	})
}

func TestSays(t *testing.T) {
	for _, tt := range []struct {
		name        string
		f           frame.Frame
		says, tries announce.Holder
	}{
		{"gratuitous request", frame.GratuitousRequest(other, v4.Addr), announce.Holder{v4.Addr, other}, announce.Holder{}},
		{"reply by a bridge", frame.Frame{Src: third, Msg: arpReply(other, v4.Addr).Msg}, announce.Holder{v4.Addr, other}, announce.Holder{}},
		{"probe", frame.ARPProbe(other, v4.Addr), announce.Holder{}, announce.Holder{v4.Addr, other}},
		{"advertisement", frame.UnsolicitedNA(other, ll, v6.Addr), announce.Holder{v6.Addr, other}, announce.Holder{}},
		{"advertisement without option", frame.Frame{Src: other, Msg: frame.NA{Src: ll, Dst: frame.AllNodes, Target: v6.Addr}}, announce.Holder{v6.Addr, other}, announce.Holder{}},
		{"duplicate address detection", frame.DADNS(other, v6.Addr), announce.Holder{}, announce.Holder{v6.Addr, other}},
		{"solicitation", frame.Solicit(other, v6.Addr, ip("2001:db8:993::1")), announce.Holder{v6.Addr, other}, announce.Holder{}},
		{"router solicitation", frame.Frame{Src: other, Msg: frame.RS{Src: ip("::"), Dst: frame.AllRouters}}, announce.Holder{}, announce.Holder{}},
		{"router advertisement", frame.Frame{Src: other, Msg: frame.RA{Src: ll, Dst: frame.AllNodes}}, announce.Holder{ll, other}, announce.Holder{}},
	} {
		says, ok := announce.Says(tt.f)
		if says != tt.says || ok != (tt.says != announce.Holder{}) {
			t.Errorf("%s says %v, %v, want %v", tt.name, says, ok, tt.says)
		}
		tries, ok := announce.Tries(tt.f)
		if tries != tt.tries || ok != (tt.tries != announce.Holder{}) {
			t.Errorf("%s tries %v, %v, want %v", tt.name, tries, ok, tt.tries)
		}
	}
}

// TestAnswer: what is answered for the kernel, and in which words.
func TestAnswer(t *testing.T) {
	mine := func(a netip.Addr) bool { return a == v4.Addr || a == v6.Addr }
	noLL := uplink
	noLL.LinkLocal = netip.Addr{}
	straight := func(src, target netip.Addr) frame.Frame {
		return frame.Frame{Dst: uplink.MAC, Src: other, Msg: frame.NS{Src: src, Dst: target, Target: target, SLLA: other}}
	}
	sure := frame.NA{Src: uplink.LinkLocal, Dst: ll, Target: v6.Addr, TLLA: uplink.MAC, Solicited: true}
	self := sure
	self.Src = v6.Addr
	for _, tt := range []struct {
		name string
		f    frame.Frame
		dev  wire.Device
		want frame.Message
	}{
		{"probe", frame.ARPProbe(other, v4.Addr), uplink, frame.ARP{Op: frame.OpReply, SHA: uplink.MAC, SPA: v4.Addr, THA: other, TPA: ip("0.0.0.0")}},
		{"probe for another's", frame.ARPProbe(other, source), uplink, nil},
		{"our own probe", frame.ARPProbe(uplink.MAC, v4.Addr), uplink, nil},
		{"request, which the kernel answers", frame.ARPRequest(other, source, v4.Addr), uplink, nil},
		{"announcement", frame.GratuitousRequest(other, v4.Addr), uplink, nil},
		{"straight solicitation", straight(ll, v6.Addr), uplink, sure},
		{"straight solicitation, no link-local address", straight(ll, v6.Addr), noLL, self},
		{"straight solicitation for another's", straight(ll, ip("2001:db8:993::54")), uplink, nil},
		{"solicitation, which the kernel answers", frame.Solicit(other, ll, v6.Addr), uplink, nil},
		{"duplicate address detection", frame.DADNS(other, v6.Addr), uplink, nil},
		{"advertisement", frame.UnsolicitedNA(other, ll, v6.Addr), uplink, nil},
	} {
		f, ok := announce.Answer(tt.f, tt.dev, mine)
		if ok != (tt.want != nil) {
			t.Errorf("%s: %v, %v", tt.name, f, ok)
			continue
		}
		if !ok {
			continue
		}
		if f.Src != uplink.MAC || f.Dst != other || f.Msg != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.name, f, tt.want)
		}
		if _, err := f.Marshal(); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}
