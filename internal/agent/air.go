// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"weft/internal/announce"
	"weft/internal/frame"
	"weft/internal/guest"
	"weft/internal/wire"
)

// LinkAir is the air over the links of a network namespace: an Air for verbs, a Voice and Ears for a loop. Its sockets are
// opened when they are first needed, so that a verb that neither asks nor tells needs none.
type LinkAir struct {
	Netns string // "" is the caller's own
	Log   *slog.Logger

	once    sync.Once
	sock    *wire.Socket
	err     error
	voice   *announce.Announcer
	guests  *guest.Answers
	stop    context.CancelFunc
	running sync.WaitGroup
}

// open opens the sockets.
func (a *LinkAir) open() error {
	a.once.Do(func() {
		if a.Log == nil {
			a.Log = slog.New(slog.DiscardHandler)
		}
		if a.sock, a.err = wire.Open(a.Netns); a.err == nil {
			a.voice = announce.New(a.sock, a.Log)
			ctx, stop := context.WithCancel(context.Background())
			a.stop = stop
			a.running.Go(func() { a.voice.Run(ctx) })
			a.guests = guest.New(a.sock, a.Log)
			a.running.Go(func() { a.guests.Run(ctx) })
		}
	})
	return a.err
}

// Close ends whatever is being announced.
func (a *LinkAir) Close() error {
	if a.sock == nil {
		return nil
	}
	a.stop()
	a.running.Wait()
	return a.sock.Close()
}

func announced(claims []Claim) []announce.Claim {
	out := make([]announce.Claim, len(claims))
	for i, c := range claims {
		out[i] = announce.Claim{Dev: c.Dev, Addr: c.Addr}
	}
	return out
}

// Ask returns who else has these addresses.
func (a *LinkAir) Ask(ctx context.Context, claims []Claim) ([]Holder, error) {
	if err := a.open(); err != nil {
		return nil, err
	}
	type way struct {
		dev    string
		source netip.Addr
	}
	ways := map[way][]netip.Addr{}
	for _, c := range claims {
		w := way{c.Dev, c.Source}
		ways[w] = append(ways[w], c.Addr)
	}
	var mu sync.Mutex
	var holders []Holder
	var errs error
	var all sync.WaitGroup
	for w, addrs := range ways { // at once: each takes its time
		all.Go(func() {
			found, err := announce.Probe(ctx, a.sock, w.dev, w.source, addrs)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err != nil && silent(err):
				a.Log.Warn("nobody can be asked", "dev", w.dev, "err", err)
			case err != nil:
				errs = errors.Join(errs, err)
			}
			for _, h := range found {
				holders = append(holders, Holder{Claim{w.dev, h.Addr, w.source}, h.MAC.String()})
			}
		})
	}
	all.Wait()
	return holders, errs
}

// silent reports whether an error says that nothing can be said on a link at the moment: it is down or not there, or it is
// on a bond none of whose members carries frames (ENOBUFS).
func silent(err error) bool {
	return errors.Is(err, unix.ENETDOWN) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO) || errors.Is(err, unix.ENOBUFS)
}

// Tell announces the addresses once.
func (a *LinkAir) Tell(ctx context.Context, claims []Claim) error {
	if err := a.open(); err != nil {
		return err
	}
	if err := announce.Once(ctx, a.sock, announced(claims)); err != nil && !silent(err) {
		return err
	}
	return nil
}

// Announce announces the addresses at once, and again for a while.
func (a *LinkAir) Announce(claims ...Claim) {
	if err := a.open(); err != nil {
		a.Log.Error("announce", "err", err)
		return
	}
	a.voice.Announce(announced(claims)...)
}

// Withdraw ends the announcing of addresses.
func (a *LinkAir) Withdraw(claims ...Claim) {
	if a.open() == nil {
		a.voice.Withdraw(announced(claims)...)
	}
}

// Hold puts off the announcing of addresses.
func (a *LinkAir) Hold(d time.Duration, claims ...Claim) {
	if a.open() == nil {
		a.voice.Hold(d, announced(claims)...)
	}
}

// Guests says which guests are answered, where their network has IPv6.
func (a *LinkAir) Guests(taps []Tap) {
	if a.open() != nil {
		return
	}
	var list []guest.NIC
	for _, t := range taps {
		tap, mac, err := t.macs()
		if p := t.Network.IPv6; p != nil && err == nil {
			list = append(list, guest.NIC{
				Index: t.Index, TapMAC: tap, GuestMAC: mac, Addrs: t.Addresses, Prefixes: t.Prefixes,
				Subnet: p.Subnet, Gateway: p.Gateway, MTU: t.MTU,
			})
		}
	}
	a.guests.Set(list)
}

// macs returns the MACs of both ends of the tap.
func (t *Tap) macs() (host, guest frame.MAC, err error) {
	if host, err = frame.ParseMAC(t.MAC); err == nil {
		guest, err = frame.ParseMAC(t.NIC.MAC)
	}
	return host, guest, err
}

// Knock asks the guest behind the tap for an address of its own.
func (a *LinkAir) Knock(_ context.Context, t Tap, addr netip.Addr) error {
	if err := a.open(); err != nil {
		return err
	}
	host, mac, err := t.macs()
	if err != nil {
		return err
	}
	var gateway netip.Addr
	if p := t.Network.IPv4; p != nil {
		gateway = p.Gateway
	}
	return a.sock.Send(t.Index, guest.Knock(host, mac, gateway, addr))
}

// Answer answers a question that the kernel leaves unanswered.
func (a *LinkAir) Answer(h Heard, dev string) error {
	if err := a.open(); err != nil {
		return err
	}
	d, err := a.sock.Device(dev)
	if err != nil {
		return err
	}
	if f, ok := announce.Answer(h.frame, d, func(addr netip.Addr) bool { return addr == h.Asks }); ok {
		return a.sock.Send(d.Index, f)
	}
	return nil
}

// heardMost is how many frames wait until somebody reads them, before they are left to the kernel's buffers.
const heardMost = 1024

// Listen returns what is heard on the links until ctx ends. Guests are answered on the way.
func (a *LinkAir) Listen(ctx context.Context) (<-chan Heard, error) {
	if err := a.open(); err != nil {
		return nil, err
	}
	events, err := a.sock.Listen(ctx, 0)
	if err != nil {
		return nil, fmt.Errorf("hear ARP and neighbour discovery: %w", err)
	}
	heard := make(chan Heard, heardMost)
	go func() {
		defer close(heard)
		for e := range events {
			a.guests.Handle(e)
			for _, h := range hear(e) {
				select {
				case heard <- h:
				case <-ctx.Done():
				}
			}
		}
	}()
	return heard, nil
}

// hear takes from a frame who said that it has which address, and whether it is a guest's own word.
func hear(e wire.Event) []Heard {
	var all []Heard
	if e.Lost > 0 {
		all = append(all, Heard{Lost: true})
	}
	if e.Limited {
		return append(all, Heard{Lost: true, IfIndex: e.Index})
	}
	h := Heard{IfIndex: e.Index}
	if mac, _, ok := guest.Life(e); ok {
		h.Guest = mac.String()
	}
	if who, ok := announce.Says(e.Frame); ok {
		h.Has, h.MAC = who.Addr, who.MAC.String()
	}
	switch m := e.Frame.Msg.(type) {
	case frame.ARP:
		if m.Probe() {
			h.Asks = m.TPA
		}
	case frame.NS:
		if m.Dst == m.Target && !m.DAD() {
			h.Asks = m.Target
		}
	}
	h.frame = e.Frame
	return append(all, h)
}
