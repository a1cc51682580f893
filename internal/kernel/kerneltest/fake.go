// SPDX-License-Identifier: Apache-2.0

// Package kerneltest says what a kernel must do for weft, as tests that any target can be held to, and has a kernel made
// of nothing but the model for tests that need none.
//
// It owns the conformance suite and the Fake. Both the Fake and the real kernel pass the suite: what the model believes
// of the kernel is checked there. It is for tests only.
package kerneltest

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"weft/internal/netstate"
	"weft/internal/plan"
)

// Host is what the suite tests: a kernel's network namespace, or something that behaves like one.
type Host interface {
	Observe(ctx context.Context, want *netstate.State) (*netstate.State, error)
	Apply(ctx context.Context, op plan.Op) error
	Watch(ctx context.Context) (<-chan struct{}, error)
}

// Fake is a Host without a kernel. Its side effects are those that package plan believes a kernel to have. It may be
// used by several goroutines.
type Fake struct {
	mu      sync.Mutex
	state   netstate.State
	applied []plan.Op
	failAt  int // 1: the next; 0: none
	failure error
	watch   []chan struct{}
}

var _ Host = (*Fake)(nil)

// NewFake returns a host that has the loopback device, the kernel's own rules, and physical links of these names: down,
// of MTU 1500, the n-th (from 1) with the MAC 02:00:00:00:00:nn.
func NewFake(nics ...string) *Fake {
	f := &Fake{}
	f.state.Put(physical("lo", "00:00:00:00:00:00", 65536))
	for i, name := range nics {
		f.state.Put(physical(name, fmt.Sprintf("02:00:00:00:00:%02x", i+1), 1500))
	}
	const kernel = 2 // RTPROT_KERNEL
	for _, family := range []int{4, 6} {
		f.state.Put(
			netstate.Rule{Family: family, Priority: 0, Table: netstate.TableLocal, Action: "lookup", Protocol: kernel},
			netstate.Rule{Family: family, Priority: 32766, Table: netstate.TableMain, Action: "lookup", Protocol: kernel})
	}
	f.state.Put(netstate.Rule{Family: 4, Priority: 32767, Table: netstate.TableDefault, Action: "lookup", Protocol: kernel})
	return f
}

// physical returns a link as it is when its driver has made it.
func physical(name, mac string, mtu uint32) netstate.Link {
	return netstate.Link{
		Name: name, MAC: mac, MTU: mtu, Up: new(bool), Group: new(uint32), Alias: new(string), Master: new(string),
		Status: &netstate.LinkStatus{OperState: "down", MinMTU: 68, MaxMTU: 9216},
	}
}

// Observe returns the state, and of the sysctls those that want names.
func (f *Fake) Observe(ctx context.Context, want *netstate.State) (*netstate.State, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s := &netstate.State{}
	for o := range f.state.All() {
		if _, sysctl := o.(netstate.Sysctl); !sysctl {
			s.Put(o)
		}
	}
	if want == nil {
		return s, nil
	}
	for w := range netstate.Of[netstate.Sysctl](want) {
		if dev := w.Dev(); dev != "" && f.state.Link(dev) == nil {
			continue
		}
		if o := f.state.Get(w.Key()); o != nil {
			s.Put(o)
		} else {
			s.Put(netstate.Sysctl{Path: w.Path, Value: defaultSetting(w.Path)})
		}
	}
	return s, nil
}

// defaultSetting is the kernel's own value of a setting of the network, as far as weft asks for it.
func defaultSetting(path string) string {
	switch path[strings.LastIndexByte(path, '/')+1:] {
	case "accept_ra", "autoconf", "accept_redirects", "send_redirects", "dad_transmits", "accept_dad":
		return "1"
	case "proxy_delay":
		return "80"
	case "gc_thresh1":
		return "128"
	case "gc_thresh2":
		return "512"
	case "gc_thresh3":
		return "1024"
	}
	return "0"
}

// Apply does the operation as package plan simulates it, unless it is the one that is to fail.
func (f *Fake) Apply(ctx context.Context, op plan.Op) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if f.failAt > 0 {
		if f.failAt--; f.failAt == 0 {
			return f.failure
		}
	}
	if err := plan.Simulate(&f.state, op); err != nil {
		return err
	}
	f.applied = append(f.applied, op)
	f.signal()
	return nil
}

// FailAt makes the i-th Apply from now on (the next is 1) return err and do nothing; 0 takes that back.
func (f *Fake) FailAt(i int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failAt, f.failure = i, err
}

// Applied returns the operations that succeeded, in order.
func (f *Fake) Applied() []plan.Op {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]plan.Op(nil), f.applied...)
}

// Disturb lets somebody else change the state.
func (f *Fake) Disturb(change func(*netstate.State)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(&f.state)
	f.signal()
}

// Watch returns a channel that has a value after changes, until ctx ends.
func (f *Fake) Watch(ctx context.Context) (<-chan struct{}, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := make(chan struct{}, 1)
	f.watch = append(f.watch, c)
	context.AfterFunc(ctx, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		for i, w := range f.watch {
			if w == c {
				f.watch = append(f.watch[:i], f.watch[i+1:]...)
			}
		}
		close(c)
	})
	return c, nil
}

func (f *Fake) signal() {
	for _, c := range f.watch {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}
