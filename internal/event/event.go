// SPDX-License-Identifier: Apache-2.0

// Package event is what happens on a node, one thing at a time, for those who watch.
//
// It owns the form of an event and the desk at which events are handed to any number of watchers, none of which can hold up the
// node. It never keeps events for later: the journal does.
package event

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// Event is one thing that happened.
type Event struct {
	Time  time.Time         `json:"time"`
	Kind  string            `json:"kind"`          // the kernel's: link, bond, addr, route, rule, neigh, fdb, mdb, nftables; the agent's: agent; lost, for events that nobody saw
	Dev   string            `json:"dev,omitempty"` // the interface, where there is one
	Text  string            `json:"text"`          // in words, without the interface
	Attrs map[string]string `json:"attrs,omitempty"`
}

// String is the event as a line.
func (e Event) String() string {
	w := []string{e.Time.Format("15:04:05.000"), fmt.Sprintf("%-8s", e.Kind)}
	if e.Dev != "" {
		w = append(w, e.Dev+":")
	}
	w = append(w, e.Text)
	for _, k := range slices.Sorted(maps.Keys(e.Attrs)) {
		w = append(w, k+"="+quoted(e.Attrs[k]))
	}
	return strings.Join(w, " ")
}

func quoted(s string) string {
	if strings.ContainsAny(s, " \t\n\"=") || s == "" {
		return fmt.Sprintf("%q", s)
	}
	return s
}

// waiting is how many events a watcher may be behind before some are lost to it.
const waiting = 1024

// Desk hands events to watchers. The zero Desk has none.
type Desk struct {
	mu       sync.Mutex
	watchers map[*watcher]bool
}

type watcher struct {
	events chan Event
	lost   int
}

// Watch returns the events from now on. A watcher that reads too slowly loses some, and is told how many. Close ends it.
func (d *Desk) Watch() (events <-chan Event, closing func()) {
	w := &watcher{events: make(chan Event, waiting)}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.watchers == nil {
		d.watchers = map[*watcher]bool{}
	}
	d.watchers[w] = true
	return w.events, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.watchers[w] {
			delete(d.watchers, w)
			close(w.events)
		}
	}
}

// Put hands an event to all watchers and waits for none.
func (d *Desk) Put(e Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for w := range d.watchers {
		if w.lost > 0 {
			lost := Event{Time: e.Time, Kind: "lost", Text: fmt.Sprintf("%d events came faster than they were read", w.lost)}
			if !w.put(lost) {
				w.lost++
				continue
			}
			w.lost = 0
		}
		if !w.put(e) {
			w.lost++
		}
	}
}

func (w *watcher) put(e Event) bool {
	select {
	case w.events <- e:
		return true
	default:
		return false
	}
}
