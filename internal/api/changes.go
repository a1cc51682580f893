// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"weft/internal/agent"
	"weft/internal/plan"
	"weft/internal/spec"
	"weft/internal/trial"
)

// errNoNIC says that no NIC has the ID of the path.
var errNoNIC = errors.New("no such nic")

// Apply is what an apply is asked for.
type Apply struct {
	Plan    json.RawMessage `json:"plan,omitempty" doc:"a plan of GET /v1/plan, refused if the node has moved since; without it, what the node file says"`
	Confirm string          `json:"confirm,omitempty" doc:"undo the change after this time, such as 60s, unless it is confirmed" example:"60s"`
	Probes  []string        `json:"probes,omitempty" doc:"what confirms it, as weft apply --probe has it"`
}

// Done is what was done.
type Done struct {
	Steps []string   `json:"steps" doc:"a line for a shell each; of what was done for several NICs at once, its own lines"`
	Trial *TrialInfo `json:"trial,omitempty" doc:"where the change waits to be confirmed"`
}

// TrialInfo is a change on trial.
type TrialInfo struct {
	ID      string        `json:"id"`
	Left    float64       `json:"left" doc:"seconds until it is undone"`
	Verdict trial.Verdict `json:"verdict,omitempty"`
	Why     string        `json:"why,omitempty"`
	Kept    string        `json:"kept,omitempty" doc:"where the undone node file is"`
}

func trialInfo(t *trial.Trial) *TrialInfo {
	if t == nil {
		return nil
	}
	return &TrialInfo{ID: t.ID, Left: max(t.Left(), 0).Seconds(), Verdict: t.Verdict, Why: t.Why, Kept: t.Aside}
}

// NIC is what a NIC is to be.
type NIC struct {
	Name      string      `json:"name" doc:"the tap, which must exist"`
	MAC       string      `json:"mac" doc:"the guest's"`
	Network   string      `json:"network"`
	Addresses []string    `json:"addresses,omitempty"`
	Prefixes  []string    `json:"prefixes,omitempty" doc:"routed to the guest"`
	Tagged    []string    `json:"tagged,omitempty" doc:"bridged: further networks by their VLAN tags"`
	Trust     []string    `json:"trust,omitempty" doc:"bridged: parts of port security that do not hold for it"`
	Groups    []string    `json:"groups,omitempty" doc:"what may come in"`
	Rates     *spec.Rates `json:"rates,omitempty"`
	Instance  string      `json:"instance,omitempty"`
	Prepared  bool        `json:"prepared,omitempty" doc:"the guest does not run here yet"`
	Force     bool        `json:"force,omitempty" doc:"also where somebody else seems to have its addresses"`
}

type nicInput struct {
	ID string `path:"id" maxLength:"64" doc:"the NIC's ID"`
}

// arrivedBefore keeps huma from giving a body a time of its own, which would go on after it has come: see Server.bounded.
const arrivedBefore = -1

func post(id, path, summary string) huma.Operation {
	return huma.Operation{OperationID: id, Method: http.MethodPost, Path: path, Summary: summary, BodyReadTimeout: arrivedBefore}
}

// changes adds what root may do.
func (s *Server) changes(a huma.API) {
	huma.Register(a, post("apply", "/v1/apply", "Make the node what its file says"), func(ctx context.Context, in *body[Apply]) (*body[Done], error) {
		return s.does(s.Open, func(n *agent.Node) (*trial.Trial, error) { return s.apply(ctx, n, in.Body) })
	})
	huma.Register(a, post("confirm", "/v1/confirm", "Keep the change that waits to be confirmed"), func(ctx context.Context, _ *struct{}) (*body[Done], error) {
		return s.does(s.Held, func(n *agent.Node) (*trial.Trial, error) { return n.Confirm(ctx, "", "by request") })
	})
	huma.Register(a, post("revert", "/v1/revert", "Undo the change that waits to be confirmed"), func(ctx context.Context, _ *struct{}) (*body[Done], error) {
		return s.does(s.Held, func(n *agent.Node) (*trial.Trial, error) { return n.Revert(ctx, "", "by request") })
	})
	put := huma.Operation{OperationID: "plug", Method: http.MethodPut, Path: "/v1/nics/{id}", Summary: "Plug a NIC in, or make it what it is to be", BodyReadTimeout: arrivedBefore}
	huma.Register(a, put, func(ctx context.Context, in *struct {
		ID   string `path:"id" maxLength:"64" doc:"the NIC's ID"`
		Body NIC
	}) (*body[Done], error) {
		return s.does(s.Held, func(n *agent.Node) (*trial.Trial, error) { return nil, plug(ctx, n, in.ID, in.Body) })
	})
	del := huma.Operation{OperationID: "unplug", Method: http.MethodDelete, Path: "/v1/nics/{id}", Summary: "Unplug a NIC"}
	huma.Register(a, del, s.aboutNIC(func(ctx context.Context, n *agent.Node, id string) error { return n.Unplug(ctx, id) }))
	huma.Register(a, post("claim", "/v1/nics/{id}/claim", "Answer for a prepared NIC's addresses: its guest runs here now"),
		s.aboutNIC(func(ctx context.Context, n *agent.Node, id string) error { return n.Claim(ctx, id) }))
	huma.Register(a, post("release", "/v1/nics/{id}/release", "Answer for a NIC's addresses no more"),
		s.aboutNIC(func(ctx context.Context, n *agent.Node, id string) error { return n.Release(ctx, id) }))
	huma.Register(a, post("announce", "/v1/nics/{id}/announce", "Tell the VLAN where a NIC's addresses are"),
		s.aboutNIC(func(ctx context.Context, n *agent.Node, id string) error { _, err := n.Announce(ctx, id); return err }))
}

// does changes the node, and returns the steps that it took. What was begun is brought to its end also when the client leaves.
func (s *Server) does(open func() (*agent.Node, func(), error), do func(*agent.Node) (*trial.Trial, error)) (*body[Done], error) {
	return with(open, func(n *agent.Node) (Done, error) {
		d := Done{Steps: []string{}}
		n.Together = &s.together
		n.Done = func(op plan.Op) { d.Steps = append(d.Steps, op.Lines()...) }
		t, err := do(n)
		d.Trial = trialInfo(t)
		return d, err
	})
}

// aboutNIC is a request about a NIC that has to be there.
func (s *Server) aboutNIC(do func(context.Context, *agent.Node, string) error) func(context.Context, *nicInput) (*body[Done], error) {
	return func(ctx context.Context, in *nicInput) (*body[Done], error) {
		ctx = context.WithoutCancel(ctx)
		return s.does(s.Held, func(n *agent.Node) (*trial.Trial, error) {
			if _, there, err := n.Store.Get(in.ID); err != nil || !there {
				return nil, errors.Join(err, fmt.Errorf("%s: %w", in.ID, errNoNIC))
			}
			return nil, do(ctx, n, in.ID)
		})
	}
}

func (s *Server) apply(ctx context.Context, n *agent.Node, a Apply) (*trial.Trial, error) {
	ctx = context.WithoutCancel(ctx)
	saved, err := readPlan(a.Plan)
	if err != nil {
		return nil, err
	}
	if a.Confirm == "" {
		if len(a.Probes) > 0 {
			return nil, errors.New("probes go with confirm")
		}
		if saved != nil {
			return nil, n.ApplyPlan(ctx, *saved)
		}
		return nil, n.Apply(ctx)
	}
	window, err := time.ParseDuration(a.Confirm)
	if err != nil || window <= 0 {
		return nil, fmt.Errorf("confirm %q: want a time, such as 60s", a.Confirm)
	}
	for _, p := range a.Probes {
		if _, err := agent.ParseProbe(p); err != nil {
			return nil, fmt.Errorf("probe %w", err)
		}
	}
	return n.Try(ctx, agent.Terms{Window: window, File: s.File, Saved: saved, Probes: a.Probes, Guard: s.Guard})
}

func plug(ctx context.Context, n *agent.Node, id string, in NIC) error {
	c, err := spec.ParseNIC(id, in.Name, in.MAC, in.Network, in.Addresses, in.Prefixes)
	if err != nil {
		return err
	}
	c.Tagged, c.Trust, c.Groups, c.Rates, c.Instance, c.Prepared = in.Tagged, in.Trust, in.Groups, in.Rates, in.Instance, in.Prepared
	n.Force = in.Force
	return n.Plug(context.WithoutCancel(ctx), c)
}
