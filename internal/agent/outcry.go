// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"slices"

	"weft/internal/netstate"
	"weft/internal/plan"
)

// outcry is what was said of hurts.
type outcry struct {
	lasting map[Hurt]bool         // those that were said, and are not over
	stood   map[netstate.Key]bool // what others could take away that stood after the last round
	failed  string                // the last error
}

// hurting says what hurts the node, each once while it lasts, and what does no more. A look that fails says nothing new.
func (l *Loop) hurting(ctx context.Context, n *Node, v *View) {
	o := &l.outcry
	hurts, err := n.Hurts(ctx, v)
	if err != nil {
		if ctx.Err() == nil && err.Error() != o.failed {
			o.failed = err.Error()
			l.log().Warn("it is not known what hurts", "err", err)
		}
		return
	}
	o.failed = ""
	now, said := map[Hurt]bool{}, map[string]int{}
	for _, h := range hurts {
		if now[h] = true; o.lasting[h] {
			continue
		}
		l.Stats.hurt.WithLabelValues(h.Name).Inc()
		if said[h.Name]++; said[h.Name] <= longest {
			l.log().Warn("what is not weft's hurts", words(h)...)
		}
	}
	for name, n := range said {
		if n > longest {
			l.log().Warn("what is not weft's hurts: and more of the same", "name", name, "more", n-longest)
		}
	}
	clear(said)
	for _, h := range over(o.lasting, now) {
		if said[h.Name]++; said[h.Name] <= longest {
			l.log().Info("hurts no more", "name", h.Name, "object", h.Object)
		}
	}
	o.lasting = now
	l.Stats.hurting(hurts)
	o.stood = standing(v)
}

// over returns what was and is no more, in the order in which it is said.
func over(was, is map[Hurt]bool) (gone []Hurt) {
	for h := range was {
		if !is[h] {
			gone = append(gone, h)
		}
	}
	slices.SortFunc(gone, Hurt.compare)
	return gone
}

// words are the attributes of a line of the log.
func words(h Hurt) []any {
	w := []any{"name", h.Name, "object", h.Object, "why", h.Why}
	if h.By != "" {
		w = append(w, "by", h.By)
	}
	return w
}

// standing returns what others could take away, and does stand: the guards and the settings that have the node forward.
func standing(v *View) map[netstate.Key]bool {
	stood := map[netstate.Key]bool{}
	for want := range v.Want.Kinds(netstate.KindTable) {
		stood[want.Key()] = v.Have.Get(want.Key()) != nil
	}
	for _, path := range forwardings {
		k := netstate.SysctlKey(path)
		want, have := v.Want.Get(k), v.Have.Get(k)
		stood[k] = want != nil && have != nil && have.Meets(want)
	}
	return stood
}

// undone says by name what somebody had taken away and an operation brought back, and who that was as far as the kernel tells: it
// keeps no word on who writes to a setting.
func (l *Loop) undone(op plan.Op) {
	for _, c := range op.Changes {
		if !l.outcry.stood[c.Key()] || c.New == nil || c.Key().Kind == netstate.KindTable && c.Old != nil {
			continue
		}
		gone := c.New
		if c.Old != nil {
			gone = c.Old
		}
		h := takenAway(gone)
		h.By = l.changer(c.Key().Kind)
		l.Stats.hurt.WithLabelValues(h.Name).Inc()
		l.log().Warn("what somebody took away hurt, and is back", words(h)...)
	}
}

// whoseTable returns who changed the guards, where an operation mends one: the kernel names him. "" for nobody.
func (l *Loop) whoseTable(op plan.Op) string {
	if !slices.ContainsFunc(op.Changes, func(c plan.Change) bool { return c.Key().Kind == netstate.KindTable }) {
		return ""
	}
	return l.changer(netstate.KindTable)
}

// changer returns who changed an object of this kind last, "" where nobody knows.
func (l *Loop) changer(kind netstate.Kind) string {
	if t, ok := l.Node.Target.(knowing); ok {
		return t.Changer(kind)
	}
	return ""
}
