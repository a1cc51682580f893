// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// inFlight is how many NICs come or go at a time beside those that are there.
const inFlight = 64

// Of so many cycles one each is done by weft nic add and del, and so many end with a tap that simply vanishes. The rest is the API's.
const (
	byCommand = 32
	vanishing = 5
)

// churn is a run.
type churn struct {
	*world
	options
	say    func(string, ...any)
	random *rand.Rand // the main goroutine's alone
	phase  string     // part of the NICs' IDs

	done atomic.Int64 // cycles that have come to their end
}

// slots are the places of the NICs: each has a tap's name, and the addresses that one NIC after another has.
type slots struct {
	mu       sync.Mutex
	full     *sync.Cond
	attached int
	begun    int // cycles
	count    int // that are to be begun
}

// turn attaches and detaches so many NICs. The first of them, in all slots, come at once, and the last go at once; between them a NIC
// goes only while atOnce others are there. step is called now and then; an error of it ends the whole.
func (c *churn) turn(ctx context.Context, count int, step func() error) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	s := &slots{count: count}
	s.full = sync.NewCond(&s.mu)
	stop := context.AfterFunc(ctx, func() { s.mu.Lock(); defer s.mu.Unlock(); s.full.Broadcast() })
	defer stop()
	if c.most > 0 {
		late := time.AfterFunc(c.most, func() { s.mu.Lock(); defer s.mu.Unlock(); s.count = min(s.count, s.begun); s.full.Broadcast() })
		defer late.Stop()
	}
	var all sync.WaitGroup
	for slot := range min(c.atOnce+inFlight, count) {
		random := rand.New(rand.NewPCG(c.seed, uint64(int(c.done.Load())+slot+1)))
		all.Go(func() {
			if err := c.slot(ctx, s, slot, random); err != nil {
				fail(err)
			}
		})
	}
	ended := make(chan struct{})
	go func() { all.Wait(); close(ended) }()
	for {
		select {
		case <-ended:
			return context.Cause(ctx)
		case <-time.After(20 * time.Millisecond):
			if err := step(); err != nil {
				fail(err)
			}
		}
	}
}

// slot is the life of one slot: one NIC after another.
func (c *churn) slot(ctx context.Context, s *slots, slot int, random *rand.Rand) error {
	for {
		s.mu.Lock()
		n := s.begun
		if n >= s.count || ctx.Err() != nil {
			s.mu.Unlock()
			return nil
		}
		s.begun++
		s.full.Broadcast() // it may have been the last
		s.mu.Unlock()
		v := c.nic(slot, fmt.Sprintf("%s-%d", c.phase, n), random)
		if err := v.attach(ctx); err != nil {
			return err
		}
		s.mu.Lock()
		s.attached++
		s.full.Broadcast()
		for s.attached <= c.atOnce && s.begun < s.count && ctx.Err() == nil {
			s.full.Wait()
		}
		s.attached--
		s.mu.Unlock()
		if err := v.detach(ctx); err != nil {
			return err
		}
		c.done.Add(1)
	}
}

// vnic is one NIC that comes and goes.
type vnic struct {
	c       *churn
	id, tap string
	mac     string
	network string
	addrs   []string
	command bool // by weft nic add and del
	vanish  bool // its tap goes, and nobody says so
	fd      int
}

// nic is the NIC of a slot: even ones are bridged, odd ones routed.
func (c *churn) nic(slot int, id string, random *rand.Rand) *vnic {
	v := &vnic{
		c: c, id: id, tap: fmt.Sprintf("tap%d", slot), mac: fmt.Sprintf("aa:00:00:00:%02x:%02x", slot>>8, slot&0xff),
		network: "tenants", addrs: []string{fmt.Sprintf("10.9.%d.%d", 1+slot>>8, slot&0xff)}, fd: -1,
		command: random.IntN(byCommand) == 0, vanish: random.IntN(vanishing) == 0,
	}
	if slot%2 == 1 {
		v.network = "public"
		v.addrs = []string{fmt.Sprintf("10.64.%d.%d", 1+slot>>8, slot&0xff), fmt.Sprintf("2001:db8:993::1:%x", slot)}
	}
	return v
}

// verbTime is how long a NIC's coming or going may take, however often the agent is killed meanwhile.
const verbTime = 10 * time.Minute

// attach makes the tap and plugs it in.
func (v *vnic) attach(ctx context.Context) (err error) {
	if v.fd, err = openTap(ctx, v.tap); err != nil {
		return err
	}
	if v.command {
		args := []string{"nic", "add", "--name", v.tap, "--mac", v.mac, "--network", v.network, "--id", v.id}
		for _, a := range v.addrs {
			args = append(args, "--ip", a)
		}
		_, err := v.c.run(ctx, args...)
		return err
	}
	body := map[string]any{"name": v.tap, "mac": v.mac, "network": v.network, "addresses": v.addrs}
	return v.until(ctx, http.MethodPut, body, http.StatusOK)
}

// detach unplugs it and takes the tap away, or the tap alone: then it is over when the intent is gone.
func (v *vnic) detach(ctx context.Context) error {
	switch {
	case v.vanish:
		if err := closeTap(v.fd); err != nil {
			return err
		}
		return v.forgotten(ctx)
	case v.command:
		if _, err := v.c.run(ctx, "nic", "del", v.id); err != nil {
			return err
		}
	default: // what an agent that was killed has done already is not there any more
		if err := v.until(ctx, http.MethodDelete, nil, http.StatusOK, http.StatusNotFound); err != nil {
			return err
		}
	}
	return closeTap(v.fd)
}

// until makes a request again until an agent has answered it.
func (v *vnic) until(ctx context.Context, method string, body any, want ...int) error {
	for began := time.Now(); ; {
		code, text, err := v.c.agent.ask(ctx, method, "/v1/nics/"+v.id, body)
		for _, w := range want {
			if err == nil && code == w {
				return nil
			}
		}
		if err == nil {
			return fmt.Errorf("%s %s (%s): %d %s", method, v.id, v.tap, code, text)
		}
		if !errors.Is(err, errGone) || ctx.Err() != nil || time.Since(began) > verbTime {
			return fmt.Errorf("%s %s (%s): %w", method, v.id, v.tap, err)
		}
		pause(ctx, 20*time.Millisecond)
	}
}

// forgotten returns when the agent has seen that the tap is gone.
func (v *vnic) forgotten(ctx context.Context) error {
	for began := time.Now(); time.Since(began) < verbTime; pause(ctx, 20*time.Millisecond) {
		if _, err := os.Stat(v.c.dir + "/run/nics/" + v.id + ".json"); errors.Is(err, fs.ErrNotExist) || ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return fmt.Errorf("%s is gone for %s, and its NIC %s is not forgotten", v.tap, verbTime, v.id)
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
