// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"weft/internal/netstate"
)

// driftReport is how long repairs took, and what guests lost.
type driftReport struct {
	all  []repair
	said []string
}

type repair struct {
	fault
	took time.Duration
	lost int // pings, all guests together
}

func (r *driftReport) add(f fault, took time.Duration, lost int) {
	r.all = append(r.all, repair{f, took, lost})
}

func (r *driftReport) say(format string, args ...any) {
	r.said = append(r.said, fmt.Sprintf(format, args...))
}

// complete fails where nothing was done to a kind of object.
func (r *driftReport) complete(t testing.TB) {
	t.Helper()
	kinds := map[netstate.Kind]bool{}
	for _, a := range r.all {
		kinds[a.key.Kind] = true
	}
	for k := netstate.Kind(1); k.String() != ""; k++ {
		if !kinds[k] {
			t.Errorf("nothing was done to a %s", k)
		}
	}
}

// String is the report: a line for each sort of object and what was done to it.
func (r *driftReport) String() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprint(w, "\nOBJECT\tFAULT\tTIMES\tP50\tP99\tMAX\tLOST\n")
	line := func(name string, of []repair) {
		if len(of) == 0 {
			return
		}
		slices.SortFunc(of, func(a, b repair) int { return cmp.Compare(a.took, b.took) })
		lost := 0
		for _, a := range of {
			lost += a.lost
		}
		at := func(percent int) string {
			return fmt.Sprintf("%.1f ms", of[(len(of)*percent+99)/100-1].took.Seconds()*1000)
		}
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%d\n", name, len(of), at(50), at(99), at(100), lost)
	}
	for _, quiet := range []bool{false, true} {
		rows := map[string][]repair{}
		var all []repair
		for _, a := range r.all {
			if a.quiet == quiet {
				name := a.sort + "\t" + a.class
				rows[name], all = append(rows[name], a), append(all, a)
			}
		}
		var names []string
		for name := range rows {
			names = append(names, name)
		}
		for _, name := range slices.Sorted(slices.Values(names)) {
			line(name, rows[name])
		}
		line(map[bool]string{false: "all that the kernel tells of\t", true: "all that it does not tell of\t"}[quiet], all)
		if !quiet {
			for i := len(all) - 1; i >= 0 && i >= len(all)-12; i-- {
				r.say("slowest: %.1f ms: %s", all[i].took.Seconds()*1000, all[i].words())
			}
		}
	}
	_ = w.Flush() // into memory
	return b.String() + strings.Join(r.said, "\n")
}
