// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// How much more the agent may have after the last cycles than after the first: noise of the garbage collector.
const (
	spareRSS   = 6 << 10 // KiB
	spareFiles = 2       // somebody asks at the moment
)

// each is after how many cycles a line is printed, and memory looked at.
const each = 1000

// all is the whole of a run.
func (c *churn) all(ctx context.Context) error {
	if err := c.settled(ctx); err != nil {
		return err
	}
	before, err := c.dump()
	for err == nil && slices.ContainsFunc(before, func(l string) bool { return strings.Contains(l, " tentative") }) { // link-local addresses
		pause(ctx, 100*time.Millisecond)
		if before, err = c.dump(); ctx.Err() != nil {
			err = ctx.Err()
		}
	}
	if err != nil {
		return err
	}
	if err := c.undisturbed(ctx); err != nil {
		return err
	}
	if err := c.clean(ctx, before); err != nil {
		return err
	}
	if c.kills > 0 {
		if err := c.killing(ctx); err != nil {
			return err
		}
		if err := c.clean(ctx, before); err != nil {
			return err
		}
	}
	if c.idle > 0 {
		if err := c.resting(ctx); err != nil {
			return err
		}
		if err := c.clean(ctx, before); err != nil {
			return err
		}
	}
	return c.unharmed()
}

// unharmed fails if a lasting guest has lost a ping.
func (c *churn) unharmed() error {
	answered, lost := c.lost()
	c.say("lasting guests: %d pings answered, %d lost", answered, lost)
	if lost > 0 {
		return fmt.Errorf("guests that nobody touched have lost %d pings", lost)
	}
	return nil
}

// undisturbed churns under one agent, whose memory must not grow.
func (c *churn) undisturbed(ctx context.Context) error {
	c.phase = "one"
	start, err := c.agent.figures(ctx)
	if err != nil {
		return err
	}
	c.say("before: %s", start)
	var steps []figures
	began, at := time.Now(), time.Now()
	err = c.turn(ctx, c.cycles, func() error {
		if c.done.Load() < int64(each*(len(steps)+1)) {
			return nil
		}
		f, err := c.agent.figures(ctx)
		if err != nil {
			return err
		}
		steps = append(steps, f)
		answered, lost := c.lost()
		c.say("%d cycles, %.1f a second; %s; pings %d, lost %d", c.done.Load(), each/time.Since(at).Seconds(), f, answered, lost)
		at = time.Now()
		return nil
	})
	if err != nil {
		return err
	}
	end, err := c.agent.figures(ctx)
	if err != nil {
		return err
	}
	took, count := time.Since(began), int(c.done.Load())
	c.say("%d cycles in %s, %.1f a second; the agent took %d ms of processor time for each", count, took.Round(time.Second),
		float64(count)/took.Seconds(), 10*(end.ticks-start.ticks)/count)
	c.say("after: %s", end)
	if len(steps) < 2 {
		return nil
	}
	if first := steps[0]; end.rss > first.rss+spareRSS || end.files > first.files+spareFiles {
		return fmt.Errorf("the agent has grown: after the first %d cycles %s, after the last %s", each, first, end)
	}
	return nil
}

// killing churns under agents that are killed at random moments, each after it has converged. Where the cycles end before that was done as
// often as it is to be, because many NICs go at once, there are as many cycles again.
func (c *churn) killing(ctx context.Context) error {
	c.phase = "killed"
	base := c.done.Load()
	var took []time.Duration
	for turns := 0; len(took) == 0 || len(took) < c.kills && c.most == 0; turns++ {
		if turns > c.kills {
			return fmt.Errorf("the agent was killed %d times, not %d: too few cycles", len(took), c.kills)
		}
		if err := c.turn(ctx, c.killed, c.killer(ctx, &took)); err != nil {
			return err
		}
	}
	slices.Sort(took)
	c.say("killed %d times during %d cycles; converged again after %s at the median, %s at most", len(took), c.done.Load()-base,
		took[len(took)/2].Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond))
	return nil
}

// killer returns what kills the agent at random moments of the cycles that follow, until it was killed as often as it is to be, and notes
// how long each next one took to converge.
func (c *churn) killer(ctx context.Context, took *[]time.Duration) func() error {
	base := c.done.Load()
	moments := make([]int64, c.kills-len(*took))
	for i := range moments {
		moments[i] = base + int64(c.random.IntN(c.killed*9/10))
	}
	slices.Sort(moments)
	return func() error {
		if len(moments) == 0 || c.done.Load() < moments[0] {
			return nil
		}
		moments = moments[1:]
		pause(ctx, time.Duration(c.random.IntN(200))*time.Millisecond)
		if err := c.agent.kill(); err != nil {
			return err
		}
		if err := c.agent.start(); err != nil {
			return err
		}
		d, err := c.agent.ready(ctx)
		if err != nil {
			return err
		}
		if *took = append(*took, d); len(*took)%20 == 0 {
			answered, lost := c.lost()
			c.say("killed %d times, %d cycles; pings %d, lost %d", len(*took), c.done.Load()-base, answered, lost)
		}
		return nil
	}
}

// resting attaches many NICs and says what the agent takes while nothing happens, beside what it took with few.
func (c *churn) resting(ctx context.Context) error {
	if err := c.agent.kill(); err != nil { // figures of an agent with no past
		return err
	}
	if err := c.agent.start(); err != nil {
		return err
	}
	if _, err := c.agent.ready(ctx); err != nil {
		return err
	}
	few, err := c.measure(ctx, len(c.guests))
	if err != nil {
		return err
	}
	nics := make([]*vnic, c.idle)
	for i := range nics {
		nics[i] = c.nic(i, fmt.Sprintf("idle-%d", i), c.random)
		nics[i].command, nics[i].vanish = false, false
	}
	began := time.Now()
	if err := together(ctx, nics, func(v *vnic) error { return v.attach(ctx) }); err != nil {
		return err
	}
	c.say("%d NICs attached in %s", c.idle, time.Since(began).Round(time.Second))
	many, err := c.measure(ctx, len(c.guests)+c.idle)
	if err != nil {
		return err
	}
	began = time.Now()
	if err := together(ctx, nics, func(v *vnic) error { return v.detach(ctx) }); err != nil {
		return err
	}
	c.say("%d NICs detached in %s", c.idle, time.Since(began).Round(time.Second))
	if many.rss > mostRSS {
		return fmt.Errorf("with %d NICs the agent has %s: more than %d MiB", c.idle, many, mostRSS>>10)
	}
	if most := max(2*few.ticks, few.ticks+int(c.minute/time.Second)); many.ticks > most {
		return fmt.Errorf("with %d NICs the idle agent takes %d ticks of processor time in %s, with %d it takes %d", c.idle, many.ticks, c.minute, len(c.guests), few.ticks)
	}
	return nil
}

// mostRSS is what the agent of a node with many NICs may have resident, in KiB.
const mostRSS = 40 << 10

// measure says what the agent takes while nothing happens.
func (c *churn) measure(ctx context.Context, nics int) (figures, error) {
	if err := c.settled(ctx); err != nil {
		return figures{}, err
	}
	before, err := c.agent.figures(ctx)
	if err != nil {
		return before, err
	}
	pause(ctx, c.minute)
	after, err := c.agent.figures(ctx)
	after.ticks -= before.ticks
	c.say("%d NICs, idle for %s: %d ticks of 10 ms; %s", nics, c.minute, after.ticks, after)
	return after, err
}

// together does something with all NICs, some at a time.
func together(ctx context.Context, nics []*vnic, do func(*vnic) error) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var all sync.WaitGroup
	var next atomic.Int64
	for range 2 * inFlight {
		all.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(nics)) && ctx.Err() == nil; i = next.Add(1) - 1 {
				if err := do(nics[i]); err != nil {
					fail(err)
				}
			}
		})
	}
	all.Wait()
	return context.Cause(ctx)
}
