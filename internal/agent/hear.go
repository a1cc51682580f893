// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"weft/internal/frame"
	"weft/internal/spec"
)

// Ears hear what is said about addresses on the node's links: ARP, RARP and IPv6 neighbour discovery.
type Ears interface {
	// Listen returns what is heard until ctx ends.
	Listen(ctx context.Context) (<-chan Heard, error)
	// Guests says which guests there are, for those who answer them: router advertisements, neighbours of their subnet.
	Guests(taps []Tap)
	// Answer answers, on the device that it was heard on, somebody who asks for an address that is claimed there.
	Answer(h Heard, dev string) error
	// Knock asks the guest behind the tap for an address of its own, so that it is heard if it lives.
	Knock(ctx context.Context, tap Tap, addr netip.Addr) error
}

// Heard is one thing that was heard.
type Heard struct {
	IfIndex int
	Guest   string     // the MAC of the guest that shows by it that it runs, where a tap said it; "" for none
	Has     netip.Addr // the address that somebody says it has; the zero Addr for none
	MAC     string     // where that address is, by this word
	Asks    netip.Addr // the address that somebody asks for in a way that the kernel, a mere proxy, does not answer; or the zero Addr
	Lost    bool       // nothing was heard, but something may have been missed: of the device, or of any where IfIndex is 0

	frame frame.Frame
}

// Tap is a NIC of a routed network, with what an answer to its guest needs.
type Tap struct {
	spec.NIC
	Index   int
	MAC     string // of the host's end
	MTU     uint32
	Network *spec.Network

	claims  []Claim // what the node answers for when the guest runs here
	carrier bool    // somebody holds the tap's other end
}

// earlyGuest is a guest that was heard on what is no known tap.
type earlyGuest struct {
	mac string
	at  time.Time
}

// hear acts on what is heard until the channel ends. Nothing here waits for anybody: what is not read is taken for silence.
func (l *Loop) hear(ctx context.Context, heard <-chan Heard, wake chan<- struct{}) {
	l.heard = heard
	l.checks.Go(func() { l.visits(ctx) })
	for h := range heard {
		if h.Lost {
			l.missed(h.IfIndex)
			continue
		}
		l.mu.Lock()
		tap, isTap := l.taps[h.IfIndex]
		if !isTap && h.Guest != "" {
			l.early[h.IfIndex] = earlyGuest{h.Guest, time.Now()}
		}
		l.mu.Unlock()
		switch {
		case !isTap:
			l.answer(h)
			l.contested(ctx, h, wake)
		case h.Guest == tap.NIC.MAC:
			l.alive(tap)
			if tap.Prepared {
				l.arrive(ctx, tap, wake)
			}
		}
	}
}

// missed notes that something may have been missed of a device, or of any where that is 0, and says so now and then.
func (l *Loop) missed(ifindex int) {
	l.Stats.lost.Inc()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.losses[ifindex]++
	if time.Since(l.lossSaid) >= defendInterval {
		l.lossSaid = time.Now()
		dev := "any"
		if ifindex != 0 {
			dev = l.nameOf(ifindex)
		}
		l.log().Warn("ARP and neighbour discovery come faster than they are listened to: some is not heard", "dev", dev)
	}
}

// nameOf names a device of which something is claimed or heard. The caller holds mu.
func (l *Loop) nameOf(ifindex int) string {
	if tap, ok := l.taps[ifindex]; ok {
		return tap.Name
	}
	for dev, i := range l.index {
		if i == ifindex {
			return dev
		}
	}
	return fmt.Sprintf("index %d", ifindex)
}

// cameEarly returns the prepared NICs whose guests showed before their taps were known here: a guest may go on, and QEMU
// say so for the last time, before the round that learns of the tap has ended.
func (l *Loop) cameEarly() []Tap {
	l.mu.Lock()
	defer l.mu.Unlock()
	var came []Tap
	for index, tap := range l.taps {
		if tap.Prepared && l.early[index].mac == tap.NIC.MAC {
			came = append(came, tap)
		}
		delete(l.early, index) // from now on what is heard there is acted on at once
	}
	return came
}

// arrive claims the addresses of a guest that showed that it runs here, and does not wait for it: somebody else may have the
// lock. What fails is tried again when the guest is heard the next time, and not at once.
func (l *Loop) arrive(ctx context.Context, tap Tap, wake chan<- struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.arriving[tap.ID] {
		return
	}
	l.arriving[tap.ID] = true
	l.checks.Go(func() {
		begin := time.Now()
		switch claimed, err := l.claimNow(ctx, tap.ID); {
		case ctx.Err() != nil:
		case err != nil:
			l.log().Error("claim", "tap", tap.Name, "nic", tap.ID, "err", err)
			signal(wake)
			sleep(ctx, visitEvery)
		case claimed:
			l.Stats.claimed.Inc()
			l.log().Info("claimed", "tap", tap.Name, "nic", tap.ID, "instance", tap.Instance, "took", time.Since(begin))
			signal(wake)
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.arriving, tap.ID)
	})
}

// claimNow does what was worked out ahead: the intent first, then the kernel, then the announcement. What fails of it the
// next round does, and all of it where nothing was worked out. It reports whether the NIC was only prepared before.
func (l *Loop) claimNow(ctx context.Context, id string) (claimed bool, err error) {
	node := l.node()
	unlock, err := node.Store.Lock(ctx)
	if err != nil {
		return false, err
	}
	defer unlock()
	l.mu.Lock()
	worked := l.ahead[id]
	delete(l.ahead, id)
	l.mu.Unlock()
	file := node.Text
	if err := node.renew(); err != nil {
		return false, err
	}
	c, there, err := node.Store.Get(id)
	if err != nil || !there || !c.Prepared {
		return false, err // somebody else claimed it, or it went
	}
	// A verb may have had the lock, and made another NIC or node of it.
	planned := worked.nic.Equal(&c) && bytes.Equal(file, node.Text)
	c.Prepared = false
	if err := node.Store.Put(c); err != nil || !planned {
		return true, err
	}
	for _, op := range worked.ops {
		err = errors.Join(err, node.Target.Apply(ctx, op))
	}
	claims := Claims(node.Spec, []spec.NIC{c})
	l.mu.Lock()
	l.moves[id] = move{prepared: false, turn: l.turn}
	l.claims = append(l.claims, claims...)
	l.settling(claims)
	for i, t := range l.taps {
		if t.ID == id {
			t.Prepared = false
			l.taps[i] = t
		}
	}
	l.mu.Unlock()
	if l.Voice != nil {
		l.Voice.Announce(claims...)
		l.Stats.announced.Add(float64(len(claims)))
	}
	return true, err
}

// claimedOn returns the claim of an address on the device of this index, and whether there is one. The caller holds mu.
func (l *Loop) claimedOn(ifindex int, a netip.Addr) (Claim, bool) {
	i := slices.IndexFunc(l.claims, func(c Claim) bool { return c.Addr == a && l.index[c.Dev] == ifindex })
	if i < 0 {
		return Claim{}, false
	}
	return l.claims[i], true
}

// How many answers somebody on a VLAN gets of the agent: routers ask each of a node's guests once in half a minute. Whoever asks
// without end must not keep the agent from hearing others.
const (
	answersPerSecond = 100
	answersAtOnce    = 400
)

// answer answers somebody on a VLAN who asks for a guest's address in a way that the kernel leaves unanswered.
func (l *Loop) answer(h Heard) {
	if !h.Asks.IsValid() {
		return
	}
	l.mu.Lock()
	claim, ours := l.claimedOn(h.IfIndex, h.Asks)
	l.mu.Unlock()
	if !ours || !l.answers.Allow() {
		return
	}
	if err := l.Ears.Answer(h, claim.Dev); err != nil {
		l.log().Warn("answer", "addr", h.Asks, "dev", claim.Dev, "err", err)
	}
}

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default: // one is waiting already
	}
}
