// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"

	"weft/internal/nic"
	"weft/internal/plan"
	"weft/internal/spec"
	"weft/internal/trial"
)

// Terms say how a change is tried.
type Terms struct {
	Window time.Duration // from the beginning of the change
	File   string        // the operator's node file, absolute: the old one is put in its place when the change is undone
	Saved  *plan.Plan    // the plan to apply; nil for what the file says
	Probes []string      // kept in the record for whoever judges the trial
	// Guard starts what ends the trial should nobody else: it must not depend on this process. Nothing was changed yet.
	Guard func(*trial.Trial) error
}

// What a trial is refused for.
var (
	ErrNoTrial = errors.New("no change waits to be confirmed")
	ErrLate    = errors.New("too late to confirm: the time is over, and the change is being undone")
)

// Try is Apply, or ApplyPlan, of a change that is undone unless somebody confirms it. A change that fails, or is not through by
// the deadline, is undone at once. It returns nil where there is nothing to do.
func (n *Node) Try(ctx context.Context, terms Terms) (*trial.Trial, error) {
	unlock, err := n.Store.Lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := n.untried(); err != nil {
		return nil, err
	}
	t, first, err := n.begin(ctx, terms)
	if err != nil || t == nil {
		return nil, err
	}
	if err := n.Trials.Put(t); err != nil {
		return nil, err
	}
	if err := terms.Guard(t); err != nil {
		t.Verdict, t.Why = trial.Reverted, "nothing was changed: "+err.Error()
		return nil, errors.Join(err, n.Trials.Put(t))
	}
	within, cancel := context.WithTimeoutCause(ctx, t.Left(), errors.New("the time to confirm it is over"))
	defer cancel()
	err = n.converge(within, func() (plan.Plan, error) {
		if p := first; p != nil {
			first = nil
			return *p, nil
		}
		return n.next(within)
	})
	if err == nil {
		err = n.applied()
	}
	if err != nil {
		return t, errors.Join(err, n.revert(context.WithoutCancel(ctx), t, "it failed: "+err.Error()))
	}
	t.Applied = true
	return t, n.Trials.Put(t)
}

// begin plans a change and writes down what it takes to undo it. It returns no trial where nothing is to be done.
func (n *Node) begin(ctx context.Context, terms Terms) (*trial.Trial, *plan.Plan, error) {
	v, err := n.View(ctx)
	if err == nil {
		err = errors.Join(v.Missing, v.Conflict)
	}
	if err != nil {
		return nil, nil, err
	}
	if terms.Saved != nil && terms.Saved.Fingerprint != v.Plan.Fingerprint {
		return nil, nil, ErrMoved
	}
	old, err := n.Store.File()
	if err != nil {
		return nil, nil, err
	}
	if v.Plan.Empty() && string(old) == string(n.Text) {
		return nil, nil, nil
	}
	undo, err := v.Plan.Inverse(v.Have)
	if err != nil {
		return nil, nil, fmt.Errorf("plan the way back: %w", err)
	}
	t := n.Trials.Begin(uuid.NewString(), terms.Window)
	t.File, t.New, t.Probes = terms.File, string(n.Text), terms.Probes
	if old != nil {
		t.Old = new(string(old))
	}
	if t.Undo, err = json.Marshal(undo); err != nil {
		return nil, nil, fmt.Errorf("write down the way back: %w", err)
	}
	return t, &v.Plan, nil
}

// untried returns an error while a change waits to be confirmed: there is one way back, and it is that change's.
func (n *Node) untried() error {
	if n.Trials == nil {
		return nil
	}
	t, err := n.Trials.Get()
	if err != nil || !t.Pending() {
		return err
	}
	return fmt.Errorf("a change of %s waits to be confirmed (%s left): weft confirm, or weft revert, first",
		t.Began.Format(time.TimeOnly), max(t.Left(), 0).Round(time.Second))
}

// Confirm ends the pending trial: the change stays. With an ID only the trial of that ID is meant.
func (n *Node) Confirm(ctx context.Context, id, why string) (*trial.Trial, error) {
	return n.end(ctx, id, func(t *trial.Trial) error {
		if t.Left() <= 0 {
			return ErrLate
		}
		if !t.Applied {
			return errors.New("the change has not come to its end: wait for weft apply, or weft revert")
		}
		t.Verdict, t.Why = trial.Confirmed, why
		return n.Trials.Put(t)
	})
}

// Revert ends the pending trial: the node becomes what it was before. With an ID only the trial of that ID is meant.
func (n *Node) Revert(ctx context.Context, id, why string) (*trial.Trial, error) {
	return n.end(ctx, id, func(t *trial.Trial) error { return n.revert(ctx, t, why) })
}

func (n *Node) end(ctx context.Context, id string, how func(*trial.Trial) error) (*trial.Trial, error) {
	unlock, err := n.Store.Lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	t, err := n.Trials.Get()
	if err != nil {
		return nil, err
	}
	if !t.Pending() || id != "" && id != t.ID {
		return t, ErrNoTrial
	}
	return t, how(t)
}

// revertTries is how often the way back is tried; an agent goes on after that by itself, and weft apply does as well.
const revertTries = 5

// revert undoes a change: the files first, so that whatever dies from here on comes back as the old node, then the kernel, and
// last what the change took that was never weft's. The caller holds the lock.
func (n *Node) revert(ctx context.Context, t *trial.Trial, why string) error {
	files := putBack(t, n.Store)
	back, err := n.before(t)
	if err != nil {
		return errors.Join(files, err)
	}
	for try := range revertTries {
		if err = back.unmake(ctx, t); err == nil {
			break
		}
		if try < revertTries-1 && !sleep(ctx, time.Second) {
			return errors.Join(files, err)
		}
	}
	t.Verdict, t.Why = trial.Reverted, why
	if err = errors.Join(files, err); err != nil {
		err = fmt.Errorf("going back to what was before: %w", err)
		t.Why += "; " + err.Error()
	}
	return errors.Join(err, n.Trials.Put(t))
}

// before returns the node of before a trial.
func (n *Node) before(t *trial.Trial) (*Node, error) {
	back := *n
	back.Spec, back.Text = &spec.Node{}, nil
	if t.Old != nil {
		s, err := spec.Parse(filepath.Join(n.Store.Dir, nic.FileName), []byte(*t.Old))
		if err != nil {
			return nil, fmt.Errorf("going back to the file of before: %w", err)
		}
		back.Spec, back.Text = s, []byte(*t.Old)
	}
	return &back, nil
}

// unmake makes the node what it was, with the NICs that fit.
func (n *Node) unmake(ctx context.Context, t *trial.Trial) error {
	nics, err := n.Store.List()
	if err != nil {
		return err
	}
	for _, c := range nics {
		if err := spec.CheckNICs(n.Spec, []spec.NIC{c}); err != nil {
			n.log().Warn("unplugged: it came with the change that is undone", "tap", c.Name, "nic", c.ID, "instance", c.Instance, "why", err)
			if err := n.Store.Delete(c.ID); err != nil {
				return err
			}
		}
	}
	v, err := n.View(ctx)
	if err != nil {
		return err
	}
	if err := n.giveBack(ctx, t, v.Want, isLink); err != nil { // what weft has taken over would go with its own
		return err
	}
	if err := n.converge(ctx, func() (p plan.Plan, err error) {
		if v, err = n.View(ctx); err != nil {
			return p, err
		}
		return v.without(nil)
	}); err != nil {
		return err
	}
	return n.giveBack(ctx, t, v.Want, anything)
}

// putBack puts the node file of before in the place of the operator's, which is kept beside it, and in that of the applied one.
// Done twice, it does nothing the second time.
func putBack(t *trial.Trial, store nic.Store) error {
	err := t.PutBack()
	if t.Old == nil {
		return errors.Join(err, store.DropFile())
	}
	return errors.Join(err, store.PutFile([]byte(*t.Old)))
}

// Settle ends a trial that the restart of the machine cut short: the node comes up on the file of before. It returns the trial
// that it ended, nil for none.
func Settle(ctx context.Context, trials trial.Store, store nic.Store) (*trial.Trial, error) {
	t, err := trials.Get()
	if errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0 {
		return nil, nil // who may not read it may not end it either
	}
	if err != nil || !trials.Stale(t) {
		return nil, err
	}
	unlock, err := store.Lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if t, err = trials.Get(); err != nil || !trials.Stale(t) {
		return nil, err
	}
	if err := t.PutBack(); err != nil {
		return nil, fmt.Errorf("put the node file of before back: %w", err)
	}
	t.Verdict, t.Why = trial.Reverted, "the machine restarted before anybody confirmed it"
	return t, trials.Put(t)
}
