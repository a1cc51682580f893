// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
)

// How a trial is judged: probes are asked once a second, each has so long, and so many rounds in a row have to succeed: a gateway
// that answers once while a bond comes up proves little.
const (
	judgeEvery  = time.Second
	probeTime   = 3 * time.Second
	probeStreak = 3
	watchEvery  = 200 * time.Millisecond
)

// overdueGrace is how long past a deadline an agent leaves a trial to the process that was started for it.
const overdueGrace = time.Second

// Judge waits for the end of the trial of this ID, and brings it about: its probes confirm it, the deadline undoes it. When ctx ends
// before, an agent takes over; where none runs, the change is undone at once.
func (n *Node) Judge(ctx context.Context, id string) error {
	probes, last, streak := []Probe(nil), error(nil), 0
	for asked := (time.Time{}); ; {
		t, err := n.Trials.Get()
		if err != nil {
			n.log().Error("judge the change", "err", err)
		}
		if err == nil && (!t.Pending() || t.ID != id) {
			return nil
		}
		switch {
		case err != nil:
		case t.Left() <= 0:
			n.undo(ctx, id, overdue(last))
		case t.Applied && len(t.Probes) > 0 && time.Since(asked) >= judgeEvery:
			asked = time.Now()
			if probes == nil {
				probes = parsed(t.Probes)
			}
			if last = n.ask(ctx, probes); last != nil {
				streak = 0
			} else if streak++; streak >= probeStreak {
				if _, err := n.Confirm(ctx, id, strings.Join(t.Probes, " and ")); err != nil {
					n.log().Error("confirm the change", "err", err)
				}
				continue
			}
		}
		if !sleep(ctx, watchEvery) {
			return n.handOver(id)
		}
	}
}

// handOver leaves the trial to the agent, or undoes it where there is none.
func (n *Node) handOver(id string) error {
	unlock, err := n.Store.LockAgent()
	if err != nil {
		return nil // there is one
	}
	unlock()
	ctx := context.Background()
	n.undo(ctx, id, "the process that was to judge it was ended, and no agent runs")
	return nil
}

// undo reverts a trial and says so.
func (n *Node) undo(ctx context.Context, id, why string) {
	switch t, err := n.Revert(ctx, id, why); {
	case errors.Is(err, ErrNoTrial):
	case err != nil:
		n.log().Error("undo the change", "why", why, "err", err)
	default:
		n.log().Warn("the change was undone", "why", why, "file", t.File, "kept", t.Aside)
	}
}

func overdue(last error) string {
	if last != nil {
		return "the time is over and " + last.Error()
	}
	return "nobody confirmed it in time"
}

// Overdue undoes trials whose time is over, until ctx ends: what an agent does, should nobody else.
func (n *Node) Overdue(ctx context.Context) {
	for said := ""; sleep(ctx, judgeEvery); {
		switch t, err := n.Trials.Get(); {
		case err != nil && err.Error() != said:
			said = err.Error()
			n.log().Error("the change that waits to be confirmed", "err", err)
		case err == nil && t.Pending() && t.Left() < -overdueGrace:
			n.undo(ctx, t.ID, overdue(nil))
		}
	}
}

// ask asks all probes at once, and returns what failed.
func (n *Node) ask(ctx context.Context, probes []Probe) error {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	errs := make([]error, len(probes))
	var all sync.WaitGroup
	for i, p := range probes {
		all.Go(func() {
			if err := p.ask(ctx, n); err != nil {
				errs[i] = fmt.Errorf("%s: %w", p, err)
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}
