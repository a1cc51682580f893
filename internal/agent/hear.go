// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"weft/internal/compile"
	"weft/internal/frame"
	"weft/internal/netstate"
	"weft/internal/plan"
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
	// Knock asks the guest behind the tap for its address, so that it is heard if it lives.
	Knock(ctx context.Context, tap Tap, addr netip.Addr) error
}

// Heard is one thing that was heard.
type Heard struct {
	IfIndex int
	Guest   string     // the MAC of the guest that shows by it that it runs, where a tap said it; "" for none
	Has     netip.Addr // the address that somebody says it has; the zero Addr for none
	MAC     string     // where that address is, by this word
	Asks    netip.Addr // the address that somebody asks for in a way that the kernel, a mere proxy, does not answer; or the zero Addr
	Lost    bool       // nothing was heard, but something may have been missed

	frame frame.Frame
}

// Tap is a NIC of a routed network, with what an answer to its guest needs.
type Tap struct {
	spec.NIC
	Index   int
	MAC     string // of the host's end
	MTU     uint32
	Network *spec.Network
}

// Patience with a claim that was just made, and with a guest that may have gone: how long it has to answer a knock, and how long a claim is left alone after
// it was defended (RFC 5227 section 2.4, DEFEND_INTERVAL).
const (
	settleTime     = 2 * time.Second
	knocks         = 3
	knockWait      = 100 * time.Millisecond
	defendInterval = 10 * time.Second
)

// tapsOf returns the NICs of routed networks by the index of their taps.
func tapsOf(node *spec.Node, v *View) map[int]Tap {
	taps := map[int]Tap{}
	node, err := spec.WithNICs(node, v.NICs)
	if err != nil {
		return taps
	}
	for _, c := range v.NICs {
		n, l := node.Networks[c.Network], v.Have.Link(c.Name)
		if n == nil || n.Mode != spec.Routed || l == nil || l.Status == nil {
			continue
		}
		taps[l.Status.Index] = Tap{NIC: c, Index: l.Status.Index, MAC: l.MAC, MTU: l.MTU, Network: n}
	}
	return taps
}

// aheadOf works out what claiming each prepared NIC takes, so that nothing but that is done once its guest shows.
func (l *Loop) aheadOf(node *spec.Node, v *View) map[string][]plan.Op {
	ahead := map[string][]plan.Op{}
	for i, c := range v.NICs {
		if !c.Prepared || v.Absent[c.ID] {
			continue
		}
		nics := slices.DeleteFunc(slices.Clone(v.NICs), func(o spec.NIC) bool { return v.Absent[o.ID] && o.ID != c.ID })
		i = slices.IndexFunc(nics, func(o spec.NIC) bool { return o.ID == c.ID })
		nics[i].Prepared = false
		want, err := compile.Compile(node, nics)
		if err != nil {
			l.log().Error("plan ahead", "nic", c.ID, "err", err)
			continue
		}
		p, err := plan.Diff(want, v.Have, plan.Owned)
		if err != nil {
			l.log().Error("plan ahead", "nic", c.ID, "err", err)
			continue
		}
		ahead[c.ID] = p.Ops
	}
	return ahead
}

// hear acts on what is heard until the channel ends.
func (l *Loop) hear(ctx context.Context, heard <-chan Heard, wake chan<- struct{}) {
	for h := range heard {
		if h.Lost {
			l.Stats.lost.Inc()
			continue
		}
		l.mu.Lock()
		tap, isTap := l.taps[h.IfIndex]
		if !isTap && h.Guest != "" {
			l.early[h.IfIndex] = h.Guest
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

// cameEarly returns the prepared NICs whose guests showed before their taps were known here: a guest may go on, and QEMU
// say so for the last time, before the round that learns of the tap has ended.
func (l *Loop) cameEarly() []Tap {
	l.mu.Lock()
	defer l.mu.Unlock()
	var came []Tap
	for index, tap := range l.taps {
		if tap.Prepared && l.early[index] == tap.NIC.MAC {
			came = append(came, tap)
		}
		delete(l.early, index) // from now on what is heard there is acted on at once
	}
	return came
}

// arrive claims the addresses of a guest that showed that it runs here.
func (l *Loop) arrive(ctx context.Context, tap Tap, wake chan<- struct{}) {
	begin := time.Now()
	if err := l.claimNow(ctx, tap.ID); err != nil {
		l.log().Error("claim", "tap", tap.Name, "nic", tap.ID, "err", err)
	} else {
		l.Stats.claimed.Inc()
		l.log().Info("claimed", "tap", tap.Name, "nic", tap.ID, "instance", tap.Instance, "took", time.Since(begin))
	}
	signal(wake)
}

// claimNow does what was worked out ahead: the intent first, then the kernel, then the announcement. What fails of it the
// next round does.
func (l *Loop) claimNow(ctx context.Context, id string) error {
	node := l.node()
	unlock, err := node.Store.Lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	l.mu.Lock()
	ops := l.ahead[id]
	delete(l.ahead, id)
	l.mu.Unlock()
	c, there, err := node.Store.Get(id)
	if err != nil || !there || !c.Prepared {
		return err // somebody else claimed it, or it went
	}
	c.Prepared = false
	if err := node.Store.Put(c); err != nil {
		return err
	}
	for _, op := range ops {
		err = errors.Join(err, node.Target.Apply(ctx, op))
	}
	claims := Claims(node.Spec, []spec.NIC{c})
	l.mu.Lock()
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
	return err
}

// alive notes that the guest behind a tap was heard.
func (l *Loop) alive(tap Tap) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, waiting := range l.doors[tap.ID] {
		close(waiting)
	}
	delete(l.doors, tap.ID)
}

// claimedOn returns the claim of an address on the device of this index, and whether there is one. The caller holds mu.
func (l *Loop) claimedOn(ifindex int, a netip.Addr) (Claim, bool) {
	i := slices.IndexFunc(l.claims, func(c Claim) bool { return c.Addr == a && l.index[c.Dev] == ifindex })
	if i < 0 {
		return Claim{}, false
	}
	return l.claims[i], true
}

// answer answers somebody on a VLAN who asks for a guest's address in a way that the kernel leaves unanswered.
func (l *Loop) answer(h Heard) {
	if !h.Asks.IsValid() {
		return
	}
	l.mu.Lock()
	claim, ours := l.claimedOn(h.IfIndex, h.Asks)
	l.mu.Unlock()
	if !ours {
		return
	}
	if err := l.Ears.Answer(h, claim.Dev); err != nil {
		l.log().Warn("answer", "addr", h.Asks, "dev", claim.Dev, "err", err)
	}
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
		return // being looked at, or claimed just now
	}
	for _, tap := range l.taps {
		if !tap.Prepared && slices.Contains(tap.Addresses, claim.Addr) {
			l.alarms[claim] = time.Now()
			l.checks.Go(func() { l.check(ctx, tap, claim, h.MAC, wake) })
			return
		}
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
	if l.knock(ctx, tap, claim.Addr) {
		l.Stats.conflicts.Inc()
		l.log().Error("address conflict: somebody else claims the address of a guest that runs here",
			"addr", claim.Addr, "dev", claim.Dev, "mac", other, "tap", tap.Name, "instance", tap.Instance)
		l.mu.Lock()
		defend := time.Since(l.defended[claim]) >= defendInterval
		if defend {
			l.defended[claim] = time.Now()
		}
		l.mu.Unlock()
		if defend && l.Voice != nil {
			l.Voice.Announce(claim)
		}
		return
	}
	if ctx.Err() != nil {
		return
	}
	l.silence(tap)
	node := l.node()
	node.Air = nil
	if err := node.Release(ctx, tap.ID); err != nil {
		if _, there, _ := node.Store.Get(tap.ID); there { // else it departed in the meantime, with all that it had
			l.log().Error("release", "tap", tap.Name, "nic", tap.ID, "err", err)
		}
		signal(wake)
		return
	}
	l.Stats.released.Inc()
	l.log().Info("released: announced by another node, and the guest is silent here",
		"addr", claim.Addr, "dev", claim.Dev, "mac", other, "tap", tap.Name, "nic", tap.ID, "instance", tap.Instance)
	signal(wake)
}

// silence ends the announcements of a guest that has moved, at once: the release may wait for the lock and for a busy
// machine, and what is announced meanwhile would contest the address where the guest is now.
func (l *Loop) silence(tap Tap) {
	l.mu.Lock()
	var gone []Claim
	l.claims = slices.DeleteFunc(slices.Clone(l.claims), func(c Claim) bool {
		its := slices.Contains(tap.Addresses, c.Addr)
		if its {
			gone = append(gone, c)
		}
		return its
	})
	if t, ok := l.taps[tap.Index]; ok && t.ID == tap.ID {
		t.Prepared = true
		l.taps[tap.Index] = t
	}
	l.mu.Unlock()
	if l.Voice != nil {
		l.Voice.Withdraw(gone...)
	}
}

// knock asks a guest for its address and reports whether it was heard.
func (l *Loop) knock(ctx context.Context, tap Tap, addr netip.Addr) bool {
	door := make(chan struct{})
	l.mu.Lock()
	l.doors[tap.ID] = append(l.doors[tap.ID], door)
	l.mu.Unlock()
	for range knocks {
		if err := l.Ears.Knock(ctx, tap, addr); err != nil {
			l.log().Debug("knock", "tap", tap.Name, "err", err) // the tap is going
		}
		select {
		case <-door:
			return true
		case <-ctx.Done():
			return true // not known: nothing is released
		case <-time.After(knockWait):
		}
	}
	return false
}

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default: // one is waiting already
	}
}

// arrived returns the NICs as if every guest ran here.
func arrived(nics []spec.NIC) []spec.NIC {
	nics = slices.Clone(nics)
	for i := range nics {
		nics[i].Prepared = false
	}
	return nics
}

// standing returns the claims that the node can answer for: the route to the guest is there.
func standing(claims []Claim, have *netstate.State) []Claim {
	routes := make(map[netip.Prefix]bool)
	for r := range netstate.Of[netstate.Route](have) {
		if r.Dst.IsSingleIP() && r.Owned() {
			routes[r.Dst] = true
		}
	}
	return slices.DeleteFunc(claims, func(c Claim) bool { return !routes[netip.PrefixFrom(c.Addr, c.Addr.BitLen())] })
}

// places returns the indexes and MACs of the devices that claims are made on.
func places(have *netstate.State, claims []Claim) (index map[string]int, macs map[string]string) {
	index, macs = map[string]int{}, map[string]string{}
	for _, c := range claims {
		if l := have.Link(c.Dev); l != nil && l.Status != nil {
			index[c.Dev], macs[c.Dev] = l.Status.Index, l.MAC
		}
	}
	return index, macs
}
