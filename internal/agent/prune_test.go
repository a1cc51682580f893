// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"maps"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"weft/internal/netstate"
	"weft/internal/spec"
)

// TestPrune: of what is gone, what was noted goes too, and not before it can matter no more.
func TestPrune(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kept, gone := Claim{Dev: "vlan1", Addr: netip.MustParseAddr("192.0.2.1")}, Claim{Dev: "vlan1", Addr: netip.MustParseAddr("192.0.2.2")}
		now := time.Now()
		both := map[Claim]time.Time{kept: now, gone: now}
		l := &Loop{
			claims: []Claim{kept}, alarms: both, defended: maps.Clone(both),
			taps:   map[int]Tap{5: {NIC: spec.NIC{ID: "here"}}},
			early:  map[int]earlyGuest{6: {at: now}, 7: {at: now}},
			Stats:  NewStats(),
			frames: map[string]uint64{"here": 1, "gone": 1},
			losses: map[int]int{0: 1, 6: 1, 7: 1},
		}
		have := &netstate.State{}
		have.Put(netstate.Link{Name: "tap6", Status: &netstate.LinkStatus{Index: 6}})
		l.prune(have)
		if len(l.alarms) != 2 || len(l.defended) != 2 || len(l.early) != 2 {
			t.Errorf("at once: %v, %v, %v", l.alarms, l.defended, l.early)
		}
		time.Sleep(defendInterval + 1) // of the bubble's own time
		l.prune(have)
		for what, claims := range map[string]map[Claim]time.Time{"alarms": l.alarms, "defended": l.defended} {
			if left := slices.Collect(maps.Keys(claims)); len(left) != 1 || left[0] != kept {
				t.Errorf("%s: %v", what, left)
			}
		}
		if _, there := l.early[6]; !there || len(l.early) != 1 {
			t.Errorf("early: %v", l.early)
		}
		if l.frames["here"] != 1 || len(l.frames) != 1 {
			t.Errorf("frames: %v", l.frames)
		}
		if l.losses[0] != 1 || l.losses[6] != 1 || len(l.losses) != 2 {
			t.Errorf("losses: %v", l.losses)
		}
		// With each round.
		l.Node = &Node{}
		l.alarms[gone] = now
		l.learn(&spec.Node{}, &View{Have: have})
		if n := len(l.alarms) + len(l.defended) + len(l.frames); n != 0 || len(l.early) != 1 {
			t.Errorf("without a NIC: %v, %v, %v, %v", l.alarms, l.defended, l.frames, l.early)
		}
	})
}
