// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"testing"
	"time"

	"weft/internal/netstate"
)

// TestFights plays somebody who undoes each repair at once, until he stops.
func TestFights(t *testing.T) {
	f, now := fights{}, time.Unix(1000, 0)
	mine, other := netstate.LinkKey("vlan992"), netstate.LinkKey("bond0")
	f.note(other, now)
	repairs := 0
	for end := now.Add(5 * time.Minute); now.Before(end); now = now.Add(100 * time.Millisecond) {
		if !f.resting(now)[mine] {
			f.note(mine, now)
			repairs++
		}
		if f.resting(now)[other] {
			t.Fatal("what nobody undoes is left alone")
		}
		if ended := f.over(now); len(ended) > 0 {
			t.Fatalf("%v ended while it goes on", ended)
		}
	}
	if repairs < 10 || repairs > 20 {
		t.Errorf("%d repairs in five minutes", repairs)
	}
	if due := f.due(now, time.Hour); due <= 0 || due > fightMost {
		t.Errorf("looked after again in %s", due)
	}
	begin := now
	for ; len(f) > 0; now = now.Add(time.Second) {
		ended := f.over(now)
		if now.Sub(begin) > 3*fightMost {
			t.Fatalf("still there: %v", f)
		}
		if len(f) == 0 && (len(ended) != 1 || ended[0] != mine) {
			t.Errorf("ended: %v", ended)
		}
	}
}

// TestFightsSeldom: what is undone now and then is mended at once each time.
func TestFightsSeldom(t *testing.T) {
	f, now := fights{}, time.Unix(1000, 0)
	for range 100 {
		now = now.Add(3 * time.Second)
		if x := f.note(netstate.LinkKey("eth0"), now); x != nil {
			t.Fatalf("left alone for %s", x.rest)
		}
		f.over(now)
	}
}

// TestFightsForGuards: a guard is never left alone, and whoever takes it away is known for it.
func TestFightsForGuards(t *testing.T) {
	f, now := fights{}, time.Unix(1000, 0)
	guard := netstate.Key{Kind: netstate.KindTable, ID: "inet weft"}
	for range 50 {
		now = now.Add(100 * time.Millisecond)
		f.note(guard, now)
		if len(f.resting(now)) > 0 {
			t.Fatal("left alone")
		}
	}
	if !f.on(now) {
		t.Error("not taken note of")
	}
}
