// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// TestHold: the tables that keep taps closed are what nft lists, stay when everything is flushed, and go with their owner. Weft
// itself does not see them.
func TestHold(t *testing.T) {
	s := newNftSpace(t)
	h, err := Open(fmt.Sprintf("/proc/self/fd/%d", s.fd))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = h.Close() }()
	closed, err := h.Hold()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Hold(); !errors.Is(err, ErrHeld) {
		t.Errorf("held a second time: %v", err)
	}
	list := func() string {
		out, err := s.run("", "nft", "--stateless", "list", "ruleset")
		if err != nil {
			t.Fatal(err, out)
		}
		return out
	}
	stands := list()
	for _, family := range []string{"bridge", "inet", "arp"} {
		if !strings.Contains(stands, "table "+family+" "+ClosedTable+" {") {
			t.Errorf("no table of family %s:\n%s", family, stands)
		}
	}
	for line, times := range map[string]int{
		"flags owner": 3, "comment \"drops what": 3,
		"iifgroup 8700000-8799999 meta priority != root counter drop": 3,
		"iifgroup 8700000-8799999 meta priority set none":             3,
		"hook prerouting priority dstnat - 9; policy accept;":         1,
		"hook prerouting priority raw - 9; policy accept;":            1,
		"hook input priority filter + 1; policy accept;":              1,
	} {
		if got := strings.Count(stands, line); got != times {
			t.Errorf("%q is there %d times, want %d:\n%s", line, got, times, stands)
		}
	}
	for _, away := range []string{"flush ruleset", "delete table bridge " + ClosedTable} {
		_, _ = s.run("", "nft", away) // may be refused
		if now := list(); now != stands {
			t.Errorf("after nft %s:\n%s", away, now)
		}
	}
	if have := s.observe(); have.Len() != 0 {
		t.Errorf("weft sees %d objects", have.Len())
	}
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	if left := list(); left != "" {
		t.Errorf("left behind:\n%s", left)
	}
	if again, err := h.Hold(); err != nil {
		t.Error(err)
	} else if err := again.Close(); err != nil {
		t.Error(err)
	}
}
