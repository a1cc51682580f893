// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"slices"
	"strings"
	"sync"

	"weft/internal/netstate"
	"weft/internal/plan"
	"weft/internal/spec"
)

// togetherMost is how many changes are made as one: a failure among them costs all a second try.
const togetherMost = 64

// Together has changes of NICs that wait for the lock at the same time made as one: a node takes as long to look, to compile and to look
// again for fifty NICs as for one, and a host that starts starts all of its VMs. If that fails, each is made alone, and fails alone.
// The zero value is ready for use.
type Together struct {
	mu      sync.Mutex
	waiting []*request // in the order in which they came
	led     bool       // one of them makes changes, or is about to
}

// request is one change of a NIC.
type request struct {
	id     string
	likely *spec.NIC // what it will be, for all that is known before a look; nil for none
	was    *spec.NIC // what it was; nil for none
	edit   edit
	done   func(plan.Op) // called after each operation, or what of it is about this NIC; nil for nobody

	turn  chan struct{} // this one is to lead
	ended chan error
}

func idsOf(all []*request) map[string]bool {
	ids := map[string]bool{}
	for _, r := range all {
		ids[r.id] = true
	}
	return ids
}

// change makes the change, with what others wait for.
func (t *Together) change(ctx context.Context, n *Node, r *request) error {
	r.turn, r.ended = make(chan struct{}, 1), make(chan error, 1)
	t.mu.Lock()
	t.waiting = append(t.waiting, r)
	if !t.led {
		t.led = true
		r.turn <- struct{}{}
	}
	t.mu.Unlock()
	select {
	case err := <-r.ended:
		return err
	case <-r.turn:
	}
	defer t.pass()
	unlock, err := n.Store.Lock(ctx)
	if err != nil {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.waiting = slices.DeleteFunc(t.waiting, func(o *request) bool { return o == r })
		return err
	}
	defer unlock()
	t.perform(ctx, n, t.take(r))
	return <-r.ended
}

// take takes the one that leads and those that can be made with it off the queue: of a NIC that somebody wants two things of the first.
func (t *Together) take(leader *request) []*request {
	t.mu.Lock()
	defer t.mu.Unlock()
	all, seen := []*request{leader}, map[string]bool{leader.id: true}
	t.waiting = slices.DeleteFunc(t.waiting, func(r *request) bool {
		if r == leader {
			return true
		}
		if seen[r.id] || len(all) == togetherMost {
			seen[r.id] = true // and none that came later overtakes it
			return false
		}
		seen[r.id] = true
		all = append(all, r)
		return true
	})
	return all
}

// perform makes the changes, as one or else each alone, and ends the requests. The caller holds the lock.
func (t *Together) perform(ctx context.Context, n *Node, all []*request) {
	node := *n
	if len(all) > 1 {
		var who owners // the NICs are known as they were by the time of the first operation
		node.Done = func(op plan.Op) {
			if who == nil {
				who = whose(all)
			}
			who.tell(op)
		}
	}
	if err := node.changes(ctx, all...); err == nil || len(all) == 1 {
		for _, r := range all {
			r.ended <- err
		}
		return
	}
	for _, r := range all {
		node.Done = r.done
		r.ended <- node.changes(ctx, r)
	}
}

// pass makes the next one lead.
func (t *Together) pass() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.led = len(t.waiting) > 0; t.led {
		t.waiting[0].turn <- struct{}{}
	}
}

// owners tells by the names in an object which of several NICs it belongs to.
type owners map[string]*request

func whose(all []*request) owners {
	who := owners{}
	for _, r := range all {
		for _, c := range []*spec.NIC{r.likely, r.was} {
			if c == nil {
				continue
			}
			who[c.Name], who[c.MAC] = r, r
			for _, a := range c.Addresses {
				who[a.String()] = r
			}
		}
	}
	return who
}

// tell calls done of each request with what of an operation is about its NIC.
func (who owners) tell(op plan.Op) {
	parts := map[*request][]plan.Change{}
	for _, c := range op.Changes {
		o := c.New
		if o == nil {
			o = c.Old
		}
		if r := who.of(o); r != nil && r.done != nil {
			parts[r] = append(parts[r], c)
		}
	}
	for r, changes := range parts {
		own := op
		own.Changes = changes
		r.done(own)
	}
}

// of returns whose an object is: it hangs on the tap or a VLAN of it, or names the tap or an address.
func (who owners) of(o netstate.Object) *request {
	dev, _, _ := strings.Cut(netstate.DevOf(o), ".")
	if r := who[dev]; r != nil {
		return r
	}
	apart := func(char rune) bool { return strings.ContainsRune(` {},"`, char) }
	for _, word := range strings.FieldsFunc(o.String(), apart) {
		if r := who[word]; r != nil {
			return r
		}
	}
	return nil
}
