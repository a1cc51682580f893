// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"bytes"
	"encoding/json"
	"fmt"

	"weft/internal/netstate"
	"weft/internal/nft"
)

// version is that of the saved form. A plan of another version is refused.
const version = 1

type savedPlan struct {
	Version     int       `json:"version"`
	Fingerprint string    `json:"fingerprint"`
	Summary     string    `json:"summary"` // for people; not read back
	Ops         []savedOp `json:"ops"`
}

type savedOp struct {
	Phase    Phase         `json:"phase"`
	Commands []string      `json:"commands"` // for people; not read back
	Disrupts string        `json:"disrupts,omitempty"`
	Changes  []savedChange `json:"changes"`
}

type savedChange struct {
	Kind string          `json:"kind"`
	Old  json.RawMessage `json:"old,omitempty"`
	New  json.RawMessage `json:"new,omitempty"`
}

// MarshalJSON encodes the plan for a file.
func (p Plan) MarshalJSON() ([]byte, error) {
	s := savedPlan{Version: version, Fingerprint: p.Fingerprint, Summary: p.Summary(), Ops: []savedOp{}}
	for _, op := range p.Ops {
		so := savedOp{Phase: op.Phase, Commands: op.Lines(), Disrupts: op.Disrupts}
		for _, c := range op.Changes {
			sc := savedChange{Kind: c.Key().Kind.String()}
			for _, half := range []struct {
				o  netstate.Object
				at *json.RawMessage
			}{{c.Old, &sc.Old}, {c.New, &sc.New}} {
				if half.o == nil {
					continue
				}
				data, err := json.Marshal(half.o)
				if err != nil {
					return nil, fmt.Errorf("encode %s: %w", half.o.Key(), err)
				}
				*half.at = data
			}
			so.Changes = append(so.Changes, sc)
		}
		s.Ops = append(s.Ops, so)
	}
	return json.Marshal(s)
}

// UnmarshalJSON decodes a plan, strictly: what it does not understand it refuses.
func (p *Plan) UnmarshalJSON(data []byte) error {
	var s savedPlan
	if err := strict(data, &s); err != nil {
		return fmt.Errorf("decode plan: %w", err)
	}
	if s.Version != version {
		return fmt.Errorf("decode plan: version %d, this weft reads %d", s.Version, version)
	}
	out := Plan{Fingerprint: s.Fingerprint}
	for i, so := range s.Ops {
		op := Op{Phase: so.Phase, Disrupts: so.Disrupts}
		if op.Phase < PhaseGuard || op.Phase > PhaseRemove || len(so.Changes) == 0 {
			return fmt.Errorf("decode plan: operation %d: phase %d with %d changes", i, op.Phase, len(so.Changes))
		}
		for _, sc := range so.Changes {
			c, err := sc.decode()
			if err != nil {
				return fmt.Errorf("decode plan: operation %d: %w", i, err)
			}
			op.Changes = append(op.Changes, c)
		}
		out.Ops = append(out.Ops, op)
	}
	*p = out
	return nil
}

func (s savedChange) decode() (c Change, err error) {
	decode, ok := decoders[s.Kind]
	if !ok {
		return c, fmt.Errorf("unknown kind %q", s.Kind)
	}
	if len(s.Old) == 0 && len(s.New) == 0 {
		return c, fmt.Errorf("a %s with neither old nor new", s.Kind)
	}
	if len(s.Old) > 0 {
		if c.Old, err = decode(s.Old); err != nil {
			return c, err
		}
	}
	if len(s.New) > 0 {
		if c.New, err = decode(s.New); err != nil {
			return c, err
		}
	}
	if c.Old != nil && c.New != nil && c.Old.Key() != c.New.Key() {
		return c, fmt.Errorf("%s cannot become %s", c.Old.Key(), c.New.Key())
	}
	return c, nil
}

var decoders = map[string]func(json.RawMessage) (netstate.Object, error){
	"sysctl": object[netstate.Sysctl], "link": object[netstate.Link], "bridge-vlan": object[netstate.BridgeVLAN],
	"addr": object[netstate.Addr], "rule": object[netstate.Rule], "route": object[netstate.Route],
	"neigh": object[netstate.Neigh], "fdb": object[netstate.FDB], "table": object[nft.Table], "element": object[nft.Element],
}

func object[T netstate.Object](data json.RawMessage) (netstate.Object, error) {
	var o T
	if err := strict(data, &o); err != nil {
		return nil, err
	}
	return o, nil
}

func strict(data []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	return d.Decode(into)
}
