// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"net/netip"
	"strings"
	"testing"

	"weft/internal/netstate"
	"weft/internal/spec"
)

// otherGuest is a second guest of the network, on tap1.
func otherGuest() spec.NIC {
	c := routedGuest(false)
	c.ID, c.Name, c.MAC, c.Addresses = "2", "tap1", "aa:00:00:94:ed:41", []netip.Addr{netip.MustParseAddr("62.217.124.51"), netip.MustParseAddr("2001:db8:993::51")}
	return c
}

// TestLoopWithoutAMember: a card that died is no reason to leave the rest: the failover is announced, a guest that goes is
// forgotten, one that comes is claimed, and the card is taken back when it is there again.
func TestLoopWithoutAMember(t *testing.T) {
	keep(t, func(t *testing.T, k *kept) {
		k.plug(t, routedGuest(false))
		before := k.has(t)
		k.plug(t, otherGuest())
		k.air.take()
		var card netstate.Link
		k.host.Disturb(func(s *netstate.State) {
			card = *s.Link("eth1")
			vanish(t, s, "eth1")
			l := *s.Link("bond0")
			l.Status = &netstate.LinkStatus{Bond: &netstate.BondStatus{AggregatorID: 2, Ports: 1, PartnerMAC: "02:00:00:00:00:77"}}
			s.Put(l)
		})
		k.rest()
		k.expect(t, "announced", k.air.take(), append([]string{"2001:db8:993::51 bond0.993"}, append(itsClaims[:1:1], "62.217.124.51 bond0.993", itsClaims[1])...))
		k.host.Disturb(func(s *netstate.State) { vanish(t, s, "tap1") })
		k.rest()
		if nics, err := k.node.Store.List(); err != nil || len(nics) != 1 {
			t.Errorf("nics %v, %v", nics, err)
		}
		v, err := k.node.View(t.Context())
		if err != nil || v.Missing == nil || !strings.Contains(v.Missing.Error(), "bonds.bond0.members: no interface eth1 on this node") || v.Conflict != nil || !v.Plan.Empty() {
			t.Errorf("%v, missing %v, conflict %v, left %v", err, v.Missing, v.Conflict, v.Plan.Ops)
		}
		if err := k.node.Apply(t.Context()); err == nil || !strings.Contains(err.Error(), "no interface eth1 on this node") {
			t.Errorf("applied: %v", err)
		}
		card.Master, card.Up = new(""), new(false)
		k.host.Disturb(func(s *netstate.State) { s.Put(card) })
		k.rest()
		same(t, 0, before, k.has(t))
	})
}

// TestLoopAroundAConflict: what contradicts somebody else's waits; all else is done meanwhile.
func TestLoopAroundAConflict(t *testing.T) {
	keep(t, func(t *testing.T, k *kept) {
		k.plug(t, routedGuest(false))
		before := k.has(t)
		k.plug(t, otherGuest())
		var ours netstate.Route
		k.host.Disturb(func(s *netstate.State) {
			for r := range netstate.Of[netstate.Route](s) {
				if r.Dst == netip.MustParsePrefix("62.217.124.53/32") {
					ours = r
				}
			}
			theirs := ours
			theirs.Dev, theirs.Protocol = "bond0.993", 4
			s.Delete(ours.Key())
			s.Put(theirs)
			vanish(t, s, "tap1")
		})
		k.rest()
		have := mustObserve(t, k.host)
		for o := range have.All() {
			if strings.Contains(o.String(), "62.217.124.51") || strings.Contains(o.String(), "2001:db8:993::51") || strings.Contains(o.String(), "tap1") {
				t.Errorf("left of the guest that went: %s", o)
			}
		}
		if v, err := k.node.View(t.Context()); err != nil || v.Conflict == nil || !strings.Contains(v.Conflict.Error(), "62.217.124.53") {
			t.Errorf("%v, conflict %v", err, v.Conflict)
		}
		k.host.Disturb(func(s *netstate.State) { s.Delete(ours.Key()) })
		k.rest()
		same(t, 0, before, k.has(t))
	})
}

// TestForget: a NIC that was plugged in again since somebody saw it gone stays, and one whose tap is another VM's by now is
// neither claimed nor released.
func TestForget(t *testing.T) {
	keep(t, func(t *testing.T, k *kept) {
		k.plug(t, routedGuest(true))
		if err := k.node.Forget(t.Context(), routedGuest(true).ID); err != nil {
			t.Fatal(err)
		}
		nics, err := k.node.Store.List()
		if err != nil || len(nics) != 1 {
			t.Fatalf("nics %v, %v", nics, err)
		}
		// The name is another VM's by the time of the word; the loop does not see it before.
		was := nics[0]
		was.IfIndex += 100
		if err := k.node.Store.Put(was); err != nil {
			t.Fatal(err)
		}
		for verb, err := range map[string]error{"claimed": k.node.Claim(t.Context(), was.ID), "released": k.node.Release(t.Context(), was.ID)} {
			if err == nil || !strings.Contains(err.Error(), "tap0: its tap is gone") {
				t.Errorf("%s: %v", verb, err)
			}
		}
		if err := k.node.Forget(t.Context(), was.ID); err != nil {
			t.Fatal(err)
		}
		if nics, err := k.node.Store.List(); err != nil || len(nics) != 0 {
			t.Errorf("nics %v, %v", nics, err)
		}
	})
}
