// SPDX-License-Identifier: Apache-2.0

package rig

import (
	"fmt"
	"strings"
	"time"
)

// Pings is what one run of ping shows.
type Pings struct {
	Sent, Answered int
	Lost           int           // unanswered ones before the last that was answered: those after it may be under way
	Gap            time.Duration // the longest row of unanswered ones
	Last           bool          // one of the last ten was answered
}

// String says how many were lost, and for how long.
func (p Pings) String() string {
	return fmt.Sprintf("%d sent, %d lost; the longest row of lost ones is %.1f s", p.Sent, p.Sent-p.Answered, p.Gap.Seconds())
}

// CountPings reads the output of a ping that sent one in every such time.
func CountPings(out string, every time.Duration) Pings {
	var p Pings
	seen := map[int]bool{}
	for line := range strings.Lines(out) {
		var seq, sent, answered int
		if _, rest, ok := strings.Cut(line, "icmp_seq="); ok && strings.Contains(line, "bytes from") {
			if _, err := fmt.Sscanf(rest, "%d", &seq); err == nil {
				seen[seq] = true
			}
		}
		if n, err := fmt.Sscanf(line, "%d packets transmitted, %d received", &sent, &answered); err == nil && n == 2 {
			p.Sent = sent
		}
	}
	p.Answered = len(seen)
	row, unanswered := 0, 0
	for seq := 1; seq <= p.Sent; seq++ {
		row++
		if !seen[seq] {
			unanswered++
		} else {
			row, p.Lost = 0, unanswered
			p.Last = p.Last || seq > p.Sent-10
		}
		p.Gap = max(p.Gap, time.Duration(row)*every)
	}
	return p
}
