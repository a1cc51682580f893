// SPDX-License-Identifier: Apache-2.0

// Package agent makes a node's network what its file and its NICs say.
//
// It owns the one way in which anything of weft's changes a kernel: take the lock, observe, compile, diff, apply step by
// step, observe again, and end only when a fresh look gives an empty plan. It joins the pure core with the edges (the
// kernel, the NIC intents), which do not know each other.
//
// It never talks to a kernel itself (a Target does) and never prints.
package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"weft/internal/compile"
	"weft/internal/netstate"
	"weft/internal/nic"
	"weft/internal/plan"
	"weft/internal/spec"
	"weft/internal/trial"
)

// Target is a network namespace's kernel, or a model of one.
type Target interface {
	// Observe returns what is there. want (nil for none) names the sysctls that matter; all else is observed whole.
	Observe(ctx context.Context, want *netstate.State) (*netstate.State, error)
	// Apply does one operation. It is idempotent.
	Apply(ctx context.Context, op plan.Op) error
	// Watch sends a value whenever something may have changed, until ctx ends.
	Watch(ctx context.Context) (<-chan struct{}, error)
}

// passes is how often a node is observed and mended before what is left is called an error: the kernel has side effects
// that a plan may not foresee, but none that need more.
const passes = 3

// Node is one node: its file, its NICs, its kernel.
type Node struct {
	Spec   *spec.Node
	Store  nic.Store
	Target Target
	// Done, when set, is called after each operation that was applied.
	Done func(plan.Op)
	// Air, when set, is asked whether somebody else has an address before it is claimed, and told once it is.
	Air Air
	// Repeat, when set, sees to it that what was announced for a NIC once is announced again.
	Repeat func(c spec.NIC) error
	// Force claims an address also where somebody else seems to have it.
	Force bool
	// Text is what Spec was read from. The node keeps it as the one that was applied last.
	Text []byte
	// Together, when set, is what this node shares with others of the same process, whose changes of NICs are made in one go with its own.
	Together *Together
	// Trials, when set, keeps the change that waits to be confirmed, as long as which there is no other.
	Trials *trial.Store
	// Log takes what is worth knowing and no error. Nil for nobody.
	Log *slog.Logger
}

func (n *Node) log() *slog.Logger {
	if n.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return n.Log
}

// Air is the wire beside the kernel's own traffic: how a node asks and tells the VLANs of routed networks.
type Air interface {
	// Ask returns who else answers for, or claims, each of these addresses. On a device that is missing or down nobody does.
	Ask(ctx context.Context, claims []Claim) ([]Holder, error)
	// Tell announces the addresses once.
	Tell(ctx context.Context, claims []Claim) error
}

// View is a node at one moment: what is wanted, what is there, and what lies between.
type View struct {
	NICs       []spec.NIC        // all that are plugged in by intent
	Absent     map[string]bool   // by ID: the NICs whose tap is not there, or is another one of that name
	Lacking    map[string]string // devices that networks which are not managed need and that nobody made, and the network of each
	Want, Have *netstate.State
	Plan       plan.Plan
	Missing    error // interfaces that the file takes for existing, and that are not there: all but what needs them is planned
	Conflict   error // why there is no plan: what is wanted contradicts what is not weft's
}

// View observes the node and plans, and changes nothing.
func (n *Node) View(ctx context.Context) (*View, error) {
	nics, err := n.Store.List()
	if err != nil {
		return nil, err
	}
	if err := spec.CheckNICs(n.Spec, nics); err != nil {
		return nil, err
	}
	all, err := compile.Compile(n.Spec, nics) // with the absent ones too: it only names the sysctls to read
	if err != nil {
		return nil, err
	}
	v := &View{NICs: nics, Absent: map[string]bool{}}
	if v.Have, err = n.Target.Observe(ctx, all); err != nil {
		return nil, fmt.Errorf("observe: %w", err)
	}
	var absent []string
	absent, v.Missing = spec.CheckAgainst(n.Spec, func(name string) bool { return v.Have.Link(name) != nil })
	var present []spec.NIC
	for _, c := range nics {
		if there(v.Have, c) {
			present = append(present, c)
		} else {
			v.Absent[c.ID] = true
		}
	}
	if v.Want = all; len(v.Absent) > 0 {
		if v.Want, err = compile.Compile(n.Spec, present); err != nil {
			return nil, err
		}
	}
	if v.Lacking, err = n.lacking(nics, v.Have); err != nil {
		return nil, err
	}
	waive(v.Want, v.Lacking)
	for _, dev := range absent {
		dropAll(v.Want, dev)
	}
	v.Plan, v.Conflict = plan.Diff(v.Want, v.Have, plan.Owned)
	return v, nil
}

// there reports whether the NIC's tap is there, and is the one that was plugged in.
func there(have *netstate.State, c spec.NIC) bool {
	l := have.Link(c.Name)
	return l != nil && (c.IfIndex == 0 || l.Status == nil || l.Status.Index == 0 || l.Status.Index == c.IfIndex)
}

// Apply makes the node what its file and NICs say. It returns after a fresh look found nothing left to do.
func (n *Node) Apply(ctx context.Context) error {
	unlock, err := n.Store.Lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := n.untried(); err != nil {
		return err
	}
	if err := n.converge(ctx, func() (plan.Plan, error) { return n.next(ctx) }); err != nil {
		return err
	}
	return n.applied()
}

// applied keeps the file that the node was made from: it is what an agent holds the node to, while the operator may be
// editing the next one.
func (n *Node) applied() error {
	if n.Text == nil {
		return nil
	}
	return n.Store.PutFile(n.Text)
}

// next says what is left to do.
func (n *Node) next(ctx context.Context) (plan.Plan, error) {
	v, err := n.View(ctx)
	if err != nil {
		return plan.Plan{}, err
	}
	if v.Missing != nil {
		return plan.Plan{}, v.Missing
	}
	return v.Plan, v.Conflict
}

// ErrMoved says that the world is not the one that a saved plan was made for.
var ErrMoved = errors.New("the node, its file or its nics changed since the plan was made: plan again")

// ApplyPlan applies a saved plan, if the world is still the one that it was made for, and then makes sure that nothing is left.
func (n *Node) ApplyPlan(ctx context.Context, saved plan.Plan) error {
	unlock, err := n.Store.Lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := n.untried(); err != nil {
		return err
	}
	now, err := n.next(ctx)
	if err != nil {
		return err
	}
	if now.Fingerprint != saved.Fingerprint {
		return ErrMoved
	}
	first := true
	if err := n.converge(ctx, func() (plan.Plan, error) {
		if first {
			first = false
			return saved, nil
		}
		return n.next(ctx)
	}); err != nil {
		return err
	}
	return n.applied()
}

// keep is one round of an agent, which holds the lock: NICs whose tap is gone are forgotten, and the node is made what its file and the others
// say. It returns the node as it is then, and the NICs that went.
//
// An agent does what can be done. An interface that has gone, a bond's member for one, is no reason to leave the rest: what
// needs it waits. The same holds for what contradicts somebody else's; that is an error in the end all the same.
//
// What is at rest, as resting says at each look, stays as it is.
func (n *Node) keep(ctx context.Context, resting func() map[netstate.Key]bool) (v *View, gone []spec.NIC, err error) {
	if v, err = n.View(ctx); err != nil {
		return nil, nil, err
	}
	for _, c := range v.NICs {
		if v.Absent[c.ID] {
			gone = append(gone, c)
			if err := n.Store.Delete(c.ID); err != nil {
				return nil, nil, err
			}
		}
	}
	first := true
	err = n.converge(ctx, func() (plan.Plan, error) {
		if !first {
			if v, err = n.View(ctx); err != nil {
				return plan.Plan{}, err
			}
		}
		first = false
		return v.without(resting())
	})
	if err == nil {
		err = v.Conflict
	}
	return v, gone, err
}

// around plans what can be done while some of what is wanted contradicts what is not weft's: all else. Nothing goes that
// would be wanted but for that.
func (v *View) around(want *netstate.State, err error, rest map[netstate.Key]bool) (plan.Plan, error) {
	for {
		keys := plan.Contradicted(err)
		before := want.Len()
		for _, k := range keys {
			if l, ok := want.Get(k).(netstate.Link); ok {
				dropAll(want, l.Name)
			}
			want.Delete(k)
		}
		if want.Len() == before {
			return plan.Plan{}, err
		}
		var p plan.Plan
		if p, err = plan.Diff(want, v.Have, v.unwanted(rest)); err == nil {
			return p, nil
		}
	}
}

// converge applies what next says until it says nothing.
func (n *Node) converge(ctx context.Context, next func() (plan.Plan, error)) error {
	for range passes {
		p, err := next()
		if err != nil {
			return err
		}
		if p.Empty() {
			return nil
		}
		if err := n.run(ctx, p); err != nil {
			return err
		}
	}
	p, err := next()
	if err != nil || p.Empty() {
		return err
	}
	var left []string
	for _, op := range p.Ops {
		left = append(left, op.Lines()...)
	}
	return fmt.Errorf("the node does not stay as it was made; still to do after %d passes:\n\t%s", passes, strings.Join(left, "\n\t"))
}

// run applies a plan's operations in order and stops at the first that fails.
func (n *Node) run(ctx context.Context, p plan.Plan) error {
	for i, op := range p.Ops {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("stopped after %d of %d steps: %w", i, len(p.Ops), context.Cause(ctx))
		}
		if err := n.Target.Apply(ctx, op); err != nil {
			return fmt.Errorf("step %d of %d: %w", i+1, len(p.Ops), err)
		}
		if n.Done != nil {
			n.Done(op)
		}
	}
	return nil
}
