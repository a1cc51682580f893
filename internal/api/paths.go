// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"path"
	"reflect"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/danielgtaylor/huma/v2/sse"

	"weft/internal/agent"
	"weft/internal/event"
	"weft/internal/plan"
	"weft/internal/spec"
	"weft/internal/status"
)

const eventsPath = "/v1/events"

// body is an answer with nothing beside it.
type body[T any] struct{ Body T }

func answer[T any](v T, err error) (*body[T], error) {
	if err != nil {
		return nil, failed(err)
	}
	return &body[T]{v}, nil
}

// failed is the answer where something could not be done, with every mistake of a node file as one of its details.
func failed(err error) error {
	var mistakes spec.Errors
	if errors.As(err, &mistakes) {
		var details []error
		for _, line := range strings.Split(mistakes.Error(), "\n") {
			details = append(details, errors.New(line))
		}
		return huma.NewError(http.StatusUnprocessableEntity, "mistakes in what is wanted", details...)
	}
	switch {
	case errors.Is(err, agent.ErrNoTrial), errors.Is(err, agent.ErrMoved), errors.Is(err, agent.ErrLate):
		return huma.NewError(http.StatusConflict, err.Error())
	case errors.Is(err, errNoNIC):
		return huma.NewError(http.StatusNotFound, err.Error())
	}
	return huma.NewError(http.StatusUnprocessableEntity, err.Error())
}

func refuse(w http.ResponseWriter, code int, why string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(huma.NewError(code, why)) // whoever asked may be gone
}

// Handler answers all paths, whoever asks.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	s.describe(mux)
	if s.Metrics != nil {
		mux.Handle("GET /metrics", s.Metrics)
	}
	return mux
}

// describe adds the paths to mux, and returns what they are made of.
func (s *Server) describe(mux *http.ServeMux) huma.API {
	config := huma.DefaultConfig("weft", s.Version)
	config.Info.Description = "The agent of one node. Root may do everything, the socket's group may read."
	config.DocsPath, config.SchemasPath = "", ""
	config.CreateHooks = nil // no $schema in answers
	config.Components.Schemas = huma.NewMapRegistry("#/components/schemas/", named)
	a := humago.New(mux, config)
	s.reads(a)
	s.changes(a)
	sse.Register(a, huma.Operation{
		OperationID: "events", Method: http.MethodGet, Path: eventsPath, Summary: "What happens from now on, as server-sent events",
	}, map[string]any{"message": event.Event{}}, s.events)
	return a
}

// named names a type in the document: packages have types of one name.
func named(t reflect.Type, hint string) string {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	name := huma.DefaultSchemaNamer(t, hint)
	if pkg := path.Base(t.PkgPath()); strings.HasPrefix(t.PkgPath(), "weft/") && pkg != "api" {
		name = strings.ToUpper(pkg[:1]) + pkg[1:] + name
	}
	return name
}

func get(id, at, summary string) huma.Operation {
	return huma.Operation{OperationID: id, Method: http.MethodGet, Path: at, Summary: summary}
}

// reads adds what only looks.
func (s *Server) reads(a huma.API) {
	huma.Register(a, get("status", "/v1/status", "How the node is"), func(ctx context.Context, _ *struct{}) (*body[status.Status], error) {
		return with(s.Open, func(n *agent.Node) (status.Status, error) {
			st, _, err := status.Of(ctx, n)
			return st, err
		})
	})
	huma.Register(a, get("plan", "/v1/plan", "What an apply of the node file would do"), func(ctx context.Context, _ *struct{}) (*body[Plan], error) {
		return with(s.Open, func(n *agent.Node) (Plan, error) { return planOf(ctx, n) })
	})
	huma.Register(a, get("nics", "/v1/nics", "The NICs that are plugged in"), func(ctx context.Context, _ *struct{}) (*body[[]status.NIC], error) {
		return with(s.Held, func(n *agent.Node) ([]status.NIC, error) {
			v, err := n.View(ctx)
			if err != nil {
				return nil, err
			}
			return status.NICs(v), nil
		})
	})
	huma.Register(a, get("snapshot", "/v1/snapshot", "All that is known of the node at one moment"), func(ctx context.Context, _ *struct{}) (*body[Snapshot], error) {
		return with(s.Held, func(n *agent.Node) (Snapshot, error) { return snapshotOf(ctx, n) })
	})
}

// with opens the node, does something with it, and closes it.
func with[T any](open func() (*agent.Node, func(), error), do func(*agent.Node) (T, error)) (*body[T], error) {
	n, closing, err := open()
	if err != nil {
		return nil, failed(err)
	}
	defer closing()
	return answer(do(n))
}

// Plan is what would be done.
type Plan struct {
	Summary string          `json:"summary" doc:"how much, in words"`
	Text    string          `json:"text" doc:"a shell script that does the same"`
	Plan    json.RawMessage `json:"plan" doc:"what POST /v1/apply and weft apply take"`
}

func planOf(ctx context.Context, n *agent.Node) (Plan, error) {
	v, err := n.View(ctx)
	if err == nil {
		err = errors.Join(v.Missing, v.Conflict)
	}
	if err != nil {
		return Plan{}, err
	}
	var text strings.Builder
	if err := v.Plan.WriteText(&text, false); err != nil {
		return Plan{}, err
	}
	raw, err := json.Marshal(v.Plan)
	return Plan{v.Plan.Summary(), text.String(), raw}, err
}

// Snapshot is all that is known of a node at one moment.
type Snapshot struct {
	Time    time.Time        `json:"time"`
	File    string           `json:"file" doc:"the applied node file"`
	NICs    []spec.NIC       `json:"nics"`
	Want    map[string][]any `json:"want" doc:"what is wanted in the kernel, by kind"`
	Have    map[string][]any `json:"have" doc:"what is there, by kind, whoever's it is"`
	Pending []string         `json:"pending" doc:"what is left to do, a line each"`
}

func snapshotOf(ctx context.Context, n *agent.Node) (Snapshot, error) {
	v, err := n.View(ctx)
	if err != nil {
		return Snapshot{}, err
	}
	s := Snapshot{Time: time.Now(), File: string(n.Text), NICs: v.NICs, Want: map[string][]any{}, Have: map[string][]any{}}
	for o := range v.Want.All() {
		k := o.Key().Kind.String()
		s.Want[k] = append(s.Want[k], o)
	}
	for o := range v.Have.All() {
		k := o.Key().Kind.String()
		s.Have[k] = append(s.Have[k], o)
	}
	for _, op := range v.Plan.Ops {
		s.Pending = append(s.Pending, op.Lines()...)
	}
	return s, nil
}

// events sends what happens until the client leaves: what the agent says, and what the kernel does.
func (s *Server) events(ctx context.Context, _ *struct{}, send sse.Sender) {
	events, closing := s.Events.Watch()
	defer closing()
	seen := &event.Desk{} // the kernel's, followed only while somebody watches
	kernels, done := seen.Watch()
	defer done()
	go func() {
		if err := s.Follow(ctx, seen.Put); err != nil {
			seen.Put(event.Event{Time: time.Now(), Kind: "lost", Text: err.Error()})
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-events:
			if send.Data(e) != nil {
				return
			}
		case e := <-kernels:
			if send.Data(e) != nil {
				return
			}
		}
	}
}

// readPlan reads a plan as strictly as weft apply does.
func readPlan(raw json.RawMessage) (*plan.Plan, error) {
	if len(raw) == 0 {
		return nil, nil
	}
	var p plan.Plan
	if err := json.Unmarshal(raw, &p); err != nil {
		return nil, err
	}
	return &p, nil
}
