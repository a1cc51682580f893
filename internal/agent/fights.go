// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"weft/internal/netstate"
	"weft/internal/plan"
)

// When a repair counts as fought: as many of one object within so long. From then on the object is left alone for a while, doubled
// each time that it was altered again meanwhile, while everything else is kept as ever.
const (
	fightRepairs = 5
	fightWithin  = 10 * time.Second
	fightFirst   = time.Second
	fightMost    = time.Minute
)

// stretch is how many times as long as a round took the loop rests while somebody fights: each of his changes wakes it.
const stretch = 10

// fight is what somebody does to one object of weft's.
type fight struct {
	repairs []time.Time   // the last of them, fightRepairs at most
	rest    time.Duration // 0 before it counts as one
	until   time.Time     // left alone
	said    time.Time
	total   int
}

// knowing is a Target that knows who, other than this process, has changed objects of a kind lately.
type knowing interface {
	Changer(kind netstate.Kind) string // "" for nobody known
}

// fights are those of a loop. Its goroutine's alone.
type fights map[netstate.Key]*fight

// note takes note of a repair. It returns the fight if the object is left alone from now on, or longer than before.
func (f fights) note(k netstate.Key, now time.Time) *fight {
	x := f[k]
	if x == nil {
		x = &fight{}
		f[k] = x
	}
	x.total++
	x.repairs = append(x.repairs, now)
	if len(x.repairs) > fightRepairs {
		x.repairs = slices.Delete(x.repairs, 0, len(x.repairs)-fightRepairs)
	}
	switch {
	case x.rest > 0: // it was altered as soon as it was mended again
		x.rest = min(2*x.rest, fightMost)
	case len(x.repairs) == fightRepairs && now.Sub(x.repairs[0]) < fightWithin:
		x.rest = fightFirst
	default:
		return nil
	}
	x.until = now.Add(x.rest)
	return x
}

// over forgets what is long past, and returns the fights that ended: nobody has altered the object for as long again as it was left alone.
func (f fights) over(now time.Time) (ended []netstate.Key) {
	for k, x := range f {
		switch last := x.repairs[len(x.repairs)-1]; {
		case x.rest > 0 && now.After(x.until.Add(max(x.rest, fightWithin))):
			ended = append(ended, k)
			delete(f, k)
		case x.rest == 0 && now.Sub(last) > fightWithin:
			delete(f, k)
		}
	}
	slices.SortFunc(ended, netstate.Key.Compare)
	return ended
}

// resting returns the objects that are left alone at the moment. Guards never are: what they keep out would get in.
func (f fights) resting(now time.Time) map[netstate.Key]bool {
	rest := map[netstate.Key]bool{}
	for k, x := range f {
		if now.Before(x.until) && k.Kind != netstate.KindTable && k.Kind != netstate.KindElement {
			rest[k] = true
		}
	}
	return rest
}

// on reports whether somebody fights at the moment.
func (f fights) on(now time.Time) bool {
	for _, x := range f {
		if now.Before(x.until) {
			return true
		}
	}
	return false
}

// due is how long it is until the next object that is left alone is looked after again; most, if there is none.
func (f fights) due(now time.Time, most time.Duration) time.Duration {
	for k := range f.resting(now) {
		most = min(most, f[k].until.Sub(now))
	}
	return max(most, 0)
}

// fought reports what an operation mended if somebody undoes it again and again, and by whom as far as anybody knows.
func (l *Loop) fought(op plan.Op) {
	keys, tables := map[netstate.Key]bool{}, false
	for _, c := range op.Changes {
		tables = tables || c.Key().Kind == netstate.KindTable
	}
	for _, c := range op.Changes {
		if k := c.Key(); k.Kind == netstate.KindTable || !tables { // its elements went with it
			keys[k] = true
		}
	}
	for _, k := range slices.SortedFunc(maps.Keys(keys), netstate.Key.Compare) {
		x := l.fights.note(k, time.Now())
		now := time.Now()
		if x == nil || x.rest != fightFirst && (x.rest != fightMost || now.Sub(x.said) < fightMost) {
			continue
		}
		x.said = now
		if x.rest == fightFirst {
			l.Stats.fought.Inc()
		}
		by := cmp.Or(l.changer(k.Kind), "nobody that the kernel names")
		switch {
		case k.Kind == netstate.KindTable || k.Kind == netstate.KindElement:
			l.log().Error("somebody undoes repairs of a guard: it is mended again and again", "object", k, "times", x.total, "by", by)
		case x.rest == fightMost:
			l.log().Error("gives up for a minute each time: somebody undoes every repair", "object", k, "times", x.total, "by", by)
		default:
			l.log().Warn("somebody undoes repairs: left alone for a while", "object", k, "times", x.total, "by", by)
		}
	}
}

// without plans what is left to do but for these objects: they, and what stands on them, stay as they are.
func (v *View) without(rest map[netstate.Key]bool) (plan.Plan, error) {
	touched := slices.ContainsFunc(v.Plan.Ops, func(op plan.Op) bool {
		return slices.ContainsFunc(op.Changes, func(c plan.Change) bool { return rest[c.Key()] })
	})
	if v.Conflict == nil && !touched {
		return v.Plan, nil
	}
	want := v.Want.Clone()
	for k := range rest {
		if l, ok := want.Get(k).(netstate.Link); ok {
			dropAll(want, l.Name)
		}
		want.Delete(k)
	}
	p, err := plan.Diff(want, v.Have, v.unwanted(rest))
	if err != nil {
		return v.around(want, err, rest)
	}
	return p, nil
}

// unwanted is the scope of what is weft's and wanted by nobody, but for what is left alone.
func (v *View) unwanted(rest map[netstate.Key]bool) plan.Scope {
	return func(o netstate.Object) bool { return o.Owned() && v.Want.Get(o.Key()) == nil && !rest[o.Key()] }
}
