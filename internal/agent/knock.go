// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"weft/internal/frame"
	"weft/internal/netstate"
	"weft/internal/spec"
)

// Patience with a claim that was just made, and with a guest that may have gone: how long it has to answer a knock, how often
// that is tried while what it says may be missed, and how long a claim is left alone after it was defended (RFC 5227 section
// 2.4, DEFEND_INTERVAL).
const (
	settleTime     = 2 * time.Second
	knocks         = 3
	knockWait      = 100 * time.Millisecond
	knockTries     = 10
	defendInterval = 10 * time.Second
)

// How often guests that do not run here, as far as is known, are asked all the same, how many of them at most each time, and
// for how many of their addresses.
const (
	visitEvery = time.Second
	visitMost  = 256
	asksMost   = 16
)

// errLives says that the guest was heard after all.
var errLives = errors.New("its guest was heard")

// alive notes that the guest behind a tap was heard.
func (l *Loop) alive(tap Tap) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.frames[tap.ID]++
	for _, waiting := range l.doors[tap.ID] {
		close(waiting)
	}
	delete(l.doors, tap.ID)
}

// framesOf returns how many frames of a NIC's guest were heard.
func (l *Loop) framesOf(id string) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.frames[id]
}

// contested acts on somebody's word that it has an address: if that is one of this node's, the guest is asked whether it
// is still here. A guest that lives is defended; one that does not has moved.
func (l *Loop) contested(ctx context.Context, h Heard, wake chan<- struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	claim, ours := l.claimedOn(h.IfIndex, h.Has)
	if !h.Has.IsValid() || !ours || h.MAC == l.macs[claim.Dev] {
		return
	}
	if last, known := l.alarms[claim]; known && time.Since(last) < knocks*knockWait {
		return // looked at, or claimed just now
	}
	for _, tap := range l.taps {
		if !tap.Prepared && slices.Contains(tap.claims, claim) && !l.checking[tap.ID] {
			l.alarms[claim], l.checking[tap.ID] = time.Now(), true
			l.hold(tap)
			l.checks.Go(func() {
				l.check(ctx, tap, claim, h.MAC, wake)
				l.mu.Lock()
				defer l.mu.Unlock()
				delete(l.checking, tap.ID)
			})
			return
		}
	}
}

// hold keeps what is still to be announced of a guest, which may have moved, from taking it away from where it is now, until a
// knock has had its time.
func (l *Loop) hold(tap Tap) {
	if l.Voice != nil {
		l.Voice.Hold((knocks+1)*knockWait, tap.claims...)
	}
}

// settling leaves fresh claims uncontested for a moment: the node that a guest left answers for it, to whoever asks, until
// the announcement has reached it. The caller holds mu.
func (l *Loop) settling(claims []Claim) {
	for _, c := range claims {
		l.alarms[c] = time.Now().Add(settleTime)
	}
}

// check finds out whether the guest is still here, and defends or releases its address.
func (l *Loop) check(ctx context.Context, tap Tap, claim Claim, other string, wake chan<- struct{}) {
	before := l.framesOf(tap.ID)
	lives, known := l.lives(ctx, tap, claim.Addr)
	log := l.log().With("addr", claim.Addr, "dev", claim.Dev, "mac", other, "tap", tap.Name, "nic", tap.ID, "instance", tap.Instance)
	switch {
	case ctx.Err() != nil:
		return
	case !known:
		if l.due(claim) {
			log.Warn("announced by another node, and frames come faster than they are read: its guest is not released")
		}
		return
	case lives:
		l.Stats.conflicts.Inc()
		if l.due(claim) {
			log.Error("address conflict: somebody else claims the address of a guest that runs here")
			if l.Voice != nil {
				l.Voice.Announce(claim)
			}
		}
		return
	}
	l.silence(tap)
	err := l.release(ctx, tap.ID, before)
	l.released(tap, err)
	signal(wake)
	switch _, there, _ := l.node().Store.Get(tap.ID); {
	case err == nil:
		l.Stats.released.Inc()
		log.Info("released: announced by another node, and the guest is silent here")
	case errors.Is(err, errLives):
		log.Info("not released: the guest was heard again")
	case there && ctx.Err() == nil: // else it departed in the meantime, with all that it had
		log.Error("release", "err", err)
	}
}

// due reports whether a contested claim is to be spoken of, to the VLAN and to the log, which is so now and then only.
func (l *Loop) due(claim Claim) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if time.Since(l.defended[claim]) < defendInterval {
		return false
	}
	l.defended[claim] = time.Now()
	return true
}

// silence ends the announcements of a guest that has moved, at once: the release may wait for the lock and for a busy
// machine, and what is announced meanwhile would contest the address where the guest is now.
func (l *Loop) silence(tap Tap) {
	l.mu.Lock()
	l.moves[tap.ID] = move{prepared: true, pending: true}
	l.claims = slices.DeleteFunc(slices.Clone(l.claims), func(c Claim) bool { return slices.Contains(tap.claims, c) })
	l.setPrepared(tap, true)
	l.mu.Unlock()
	if l.Voice != nil {
		l.Voice.Withdraw(tap.claims...)
	}
}

// setPrepared notes whether a NIC is only prepared, from now on and until the next round. The caller holds mu.
func (l *Loop) setPrepared(tap Tap, prepared bool) {
	if t, ok := l.taps[tap.Index]; ok && t.ID == tap.ID {
		t.Prepared = prepared
		l.taps[tap.Index] = t
	}
}

// release makes a NIC a prepared one again, unless its guest was heard meanwhile: more frames of it than that many. It looks
// once it has the lock, which somebody else may have had for long.
func (l *Loop) release(ctx context.Context, id string, frames uint64) error {
	node := l.node()
	likely, err := node.nic(id)
	if err != nil {
		return err
	}
	likely.Prepared = true
	return node.change(ctx, id, &likely, func(nics []spec.NIC, have *netstate.State) ([]spec.NIC, error) {
		i := slices.IndexFunc(nics, func(c spec.NIC) bool { return c.ID == id })
		if i < 0 || !there(have, nics[i]) {
			return nil, fmt.Errorf("%s: its tap is gone", id)
		}
		if l.framesOf(id) != frames {
			return nil, errLives
		}
		nics = slices.Clone(nics)
		nics[i].Prepared, nics[i].Was = true, nil
		return nics, nil
	})
}

// released notes what came of a release: rounds that looked before it may still be at work.
func (l *Loop) released(tap Tap, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case !l.moves[tap.ID].pending: // the guest came back, and was claimed again by now
	case err == nil:
		l.moves[tap.ID] = move{prepared: true, turn: l.turn}
	default:
		delete(l.moves, tap.ID)
		l.setPrepared(tap, false)
	}
}

// lives asks a guest for its addresses, that one first, and reports whether it was heard, and whether that is known: silence
// is none while frames were lost, or wait to be read.
func (l *Loop) lives(ctx context.Context, tap Tap, addr netip.Addr) (lives, known bool) {
	lost := func() int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.losses[0] + l.losses[tap.Index]
	}
	for range knockTries {
		l.hold(tap)
		before := lost()
		if l.knock(ctx, tap, addr) {
			return true, true
		}
		if ctx.Err() != nil {
			return false, false
		}
		if len(l.heard) == 0 && lost() == before {
			return false, true
		}
	}
	return false, false
}

// knock asks a guest for its addresses and reports whether it was heard.
func (l *Loop) knock(ctx context.Context, tap Tap, addr netip.Addr) bool {
	door := make(chan struct{})
	l.mu.Lock()
	l.doors[tap.ID] = append(l.doors[tap.ID], door)
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.doors[tap.ID] = slices.DeleteFunc(l.doors[tap.ID], func(d chan struct{}) bool { return d == door })
		if len(l.doors[tap.ID]) == 0 {
			delete(l.doors, tap.ID)
		}
	}()
	for range knocks {
		l.ask(ctx, tap, addresses(tap, addr))
		select {
		case <-door:
			return true
		case <-ctx.Done():
			return false
		case <-time.After(knockWait):
		}
	}
	return false
}

// addresses returns what a guest is asked for, the contested address first. It may have configured one of its addresses only,
// or the link-local one that most guests have: any answer will do.
func addresses(tap Tap, contested netip.Addr) []netip.Addr {
	addrs := []netip.Addr{contested}
	if mac, err := frame.ParseMAC(tap.NIC.MAC); err == nil {
		addrs = append(addrs, frame.LinkLocal(mac))
	}
	return append(addrs, slices.DeleteFunc(slices.Clone(tap.Addresses), func(a netip.Addr) bool { return a == contested })...)
}

// ask asks a guest for addresses, though not for all of very many.
func (l *Loop) ask(ctx context.Context, tap Tap, addrs []netip.Addr) {
	for _, a := range addrs[:min(len(addrs), asksMost)] {
		if err := l.Ears.Knock(ctx, tap, a); err != nil {
			l.log().Debug("knock", "tap", tap.Name, "addr", a, "err", err) // the tap is going
		}
	}
}

// visits asks the guests of prepared NICs now and then. One that waits for its migration cannot answer; one that does runs
// here, though nobody heard it begin to, or though it was taken for gone. What waits in the tap until then it answers all at
// once: it is not asked for its link-local address, as the guards let a guest say only so much in that one's name.
func (l *Loop) visits(ctx context.Context) {
	tick := time.NewTicker(visitEvery)
	defer tick.Stop()
	for last := 0; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, tap := range l.absent(last) {
			l.ask(ctx, tap, tap.Addresses)
			last = tap.Index
		}
	}
}

// absent returns the prepared NICs whose tap somebody holds, those after that index first, and not all of very many.
func (l *Loop) absent(last int) []Tap {
	l.mu.Lock()
	defer l.mu.Unlock()
	var after, before []Tap
	for _, i := range slices.Sorted(maps.Keys(l.taps)) {
		switch tap := l.taps[i]; {
		case !tap.Prepared || !tap.carrier:
		case i > last:
			after = append(after, tap)
		default:
			before = append(before, tap)
		}
	}
	taps := append(after, before...)
	return taps[:min(len(taps), visitMost)]
}
