// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path"

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

// UnmarshalJSON decodes a plan, strictly: it refuses what it does not understand, what no Diff makes, and what could not
// be printed as lines for a shell.
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
		op, err := so.decode()
		if err != nil {
			return fmt.Errorf("decode plan: operation %d: %w", i+1, err)
		}
		out.Ops = append(out.Ops, op)
	}
	*p = out
	return nil
}

func (s savedOp) decode() (Op, error) {
	op := Op{Phase: s.Phase, Disrupts: s.Disrupts}
	if op.Phase == 0 || len(s.Changes) == 0 {
		return Op{}, fmt.Errorf("phase %q with %d changes", op.Phase, len(s.Changes))
	}
	rules := 0
	for _, sc := range s.Changes {
		c, err := sc.decode()
		if err != nil {
			return Op{}, err
		}
		if k := c.Key().Kind; k == netstate.KindTable || k == netstate.KindElement {
			rules++
		}
		op.Changes = append(op.Changes, c)
	}
	if n := len(op.Changes); n > 1 && rules < n {
		return Op{}, fmt.Errorf("%d changes at once, %d of them of nftables: only those can be one step", n, rules)
	}
	lines, err := op.lines()
	if err != nil {
		return Op{}, err
	}
	for _, l := range lines {
		if !spellable(l) {
			return Op{}, fmt.Errorf("%q cannot be a line for a shell", l)
		}
	}
	return op, nil
}

func (s savedChange) decode() (c Change, err error) {
	decode, ok := decoders[s.Kind]
	if !ok {
		return c, fmt.Errorf("unknown kind %q", s.Kind)
	}
	for _, half := range []struct {
		data json.RawMessage
		at   *netstate.Object
	}{{s.Old, &c.Old}, {s.New, &c.New}} {
		if len(half.data) == 0 {
			continue
		}
		o, err := decode(half.data)
		if err != nil {
			return c, fmt.Errorf("%s: %w", s.Kind, err)
		}
		if err := whole(o); err != nil {
			return c, fmt.Errorf("%s %s: %w", s.Kind, half.data, err)
		}
		*half.at = o
	}
	switch {
	case c.Old == nil && c.New == nil:
		return c, fmt.Errorf("a %s with neither old nor new", s.Kind)
	case c.Old != nil && c.New != nil && c.Old.Key() != c.New.Key():
		return c, fmt.Errorf("%s cannot become %s", c.Old.Key(), c.New.Key())
	}
	return c, nil
}

// whole checks that an object has what identifies it.
func whole(o netstate.Object) error {
	ok := true
	switch o := o.(type) {
	case netstate.Link:
		ok = o.Name != "" && len(o.Name) < 16
	case netstate.BridgeVLAN:
		ok = o.Dev != "" && o.VID > 0 && o.VID < 4095
	case netstate.Addr:
		ok = o.Dev != "" && o.Prefix.IsValid()
	case netstate.Rule:
		ok = o.Family == 4 || o.Family == 6
	case netstate.Route:
		ok = o.Dst.IsValid() && o.Table > 0
	case netstate.Neigh:
		ok = o.Dev != "" && o.IP.IsValid() && o.Proxy == (o.MAC == "")
	case netstate.FDB:
		ok = o.Dev != "" && o.MAC != ""
	case netstate.MDB:
		ok = o.Bridge != "" && o.Dev != "" && o.Group.IsMulticast()
	case netstate.Limit:
		ok = o.Dev != "" && (o.Rate >= 8 && o.Burst > 0 || o.Foreign != "")
	case netstate.Sysctl:
		ok = o.Path != "" && path.Clean("/"+o.Path) == "/"+o.Path
	case nft.Table:
		return o.Check()
	}
	if !ok {
		return errors.New("it is incomplete or out of range")
	}
	return nil
}

var decoders = map[string]func(json.RawMessage) (netstate.Object, error){
	"sysctl": object[netstate.Sysctl], "link": object[netstate.Link], "bridge-vlan": object[netstate.BridgeVLAN],
	"addr": object[netstate.Addr], "rule": object[netstate.Rule], "route": object[netstate.Route],
	"neigh": object[netstate.Neigh], "fdb": object[netstate.FDB], "mdb": object[netstate.MDB], "limit": object[netstate.Limit], "table": object[nft.Table], "element": object[nft.Element],
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
	if bytes.Equal(bytes.TrimSpace(data), []byte("null")) {
		return errors.New("null")
	}
	return d.Decode(into)
}
