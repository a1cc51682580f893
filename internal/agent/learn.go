// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"weft/internal/compile"
	"weft/internal/netstate"
	"weft/internal/plan"
	"weft/internal/spec"
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
		if n == nil || n.Mode != spec.Routed || l == nil || l.Status == nil || v.Absent[c.ID] {
			continue
		}
		running := c
		running.Prepared = false
		taps[l.Status.Index] = Tap{
			NIC: c, Index: l.Status.Index, MAC: l.MAC, MTU: l.MTU, Network: n,
			claims: Claims(node, []spec.NIC{running}), carrier: l.Status.Carrier,
		}
	}
	return taps
}

// claiming is what it takes to claim a prepared NIC.
type claiming struct {
	nic spec.NIC // as it was when this was worked out
	ops []plan.Op
}

// aheadOf works out what claiming each prepared NIC takes, so that nothing but that is done once its guest shows.
func (l *Loop) aheadOf(node *spec.Node, v *View) map[string]claiming {
	ahead := map[string]claiming{}
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
		ahead[c.ID] = claiming{c, p.Ops}
	}
	return ahead
}

// move is what the loop itself made of a NIC, and what a look at the node from before that does not show.
type move struct {
	prepared bool
	pending  bool // the release still waits for the lock
	turn     int  // of the round in which it came to its end
}

// learn takes over what the node answers for now, and announces what is new or goes another way.
func (l *Loop) learn(node *spec.Node, v *View) {
	taps, ahead, ways := tapsOf(node, v), l.aheadOf(node, v), map[string]string{}
	for _, tap := range taps {
		for _, c := range tap.claims {
			if _, seen := ways[c.Dev]; !seen {
				ways[c.Dev] = wayOut(v.Have, c.Dev)
			}
		}
	}
	index, macs := places(v.Have, ways)
	l.mu.Lock()
	claims := l.standing(taps, ahead, v.Have)
	var fresh []Claim
	old := make(map[Claim]bool, len(l.claims))
	for _, c := range l.claims {
		old[c] = true
	}
	for _, c := range claims {
		if ways[c.Dev] != "" && (!old[c] || l.ways[c.Dev] != ways[c.Dev]) {
			fresh = append(fresh, c)
		}
		delete(old, c)
	}
	l.settling(fresh)
	for dev, way := range ways {
		if before, known := l.ways[dev]; known && before != way {
			l.log().Info("uplink changed", "dev", dev, "from", before, "to", way)
		}
	}
	l.claims, l.ways, l.index, l.macs, l.taps, l.ahead = claims, ways, index, macs, taps, ahead
	l.prune(v.Have)
	l.mu.Unlock()
	if l.Ears != nil {
		l.Ears.Guests(slices.Collect(maps.Values(taps)))
	}
	if l.Voice == nil {
		return
	}
	l.Voice.Withdraw(slices.Collect(maps.Keys(old))...)
	l.Voice.Announce(fresh...)
	l.Stats.announced.Add(float64(len(fresh)))
}

// standing returns the claims that the node can answer for: the guest runs here and the route to it is there. What the loop
// itself did since the round began counts, and not what the round saw; the taps and the plans are mended accordingly. The
// caller holds mu.
func (l *Loop) standing(taps map[int]Tap, ahead map[string]claiming, have *netstate.State) []Claim {
	type way struct {
		to  netip.Prefix
		tap string
	}
	routes := map[way]bool{}
	for r := range netstate.Of[netstate.Route](have) {
		if r.Dst.IsSingleIP() && r.Owned() {
			routes[way{r.Dst, r.Dev}] = true
		}
	}
	maps.DeleteFunc(l.moves, func(_ string, m move) bool { return !m.pending && m.turn < l.turn })
	var claims []Claim
	for _, i := range slices.Sorted(maps.Keys(taps)) {
		tap := taps[i]
		m, moved := l.moves[tap.ID]
		if moved {
			delete(ahead, tap.ID)
			tap.Prepared = m.prepared
			taps[i] = tap
		}
		for _, c := range tap.claims {
			if !tap.Prepared && (moved || routes[way{netip.PrefixFrom(c.Addr, c.Addr.BitLen()), tap.Name}]) {
				claims = append(claims, c)
			}
		}
	}
	return claims
}

// prune forgets what was noted of claims and devices that are gone. The caller holds mu.
func (l *Loop) prune(have *netstate.State) {
	claimed, ids, links := map[Claim]bool{}, map[string]bool{}, map[int]bool{}
	for _, c := range l.claims {
		claimed[c] = true
	}
	for _, tap := range l.taps {
		ids[tap.ID] = true
	}
	for link := range netstate.Of[netstate.Link](have) {
		if link.Status != nil {
			links[link.Status.Index] = true
		}
	}
	past := func(c Claim, at time.Time) bool { return !claimed[c] && time.Since(at) > defendInterval }
	maps.DeleteFunc(l.alarms, past)
	maps.DeleteFunc(l.defended, past)
	maps.DeleteFunc(l.early, func(i int, g earlyGuest) bool { return !links[i] && time.Since(g.at) > defendInterval })
	maps.DeleteFunc(l.losses, func(i, _ int) bool { return i != 0 && !links[i] })
	maps.DeleteFunc(l.frames, func(id string, _ uint64) bool { return !ids[id] })
}

// places returns the indexes and MACs of the devices that claims are made on.
func places(have *netstate.State, ways map[string]string) (index map[string]int, macs map[string]string) {
	index, macs = map[string]int{}, map[string]string{}
	for dev := range ways {
		if l := have.Link(dev); l != nil && l.Status != nil {
			index[dev], macs[dev] = l.Status.Index, l.MAC
		}
	}
	return index, macs
}
