// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"weft/internal/netstate"
)

// The colours of a terminal: what comes, what changes, what goes, what disrupts, and the way back.
const (
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	red    = "\x1b[31m"
	bold   = "\x1b[1m"
	plain  = "\x1b[0m"
)

// counts says how many objects come, change and go, and how many operations disrupt something. What is made and then
// set up counts once, and what is made anew has changed.
func (p Plan) counts() (add, change, remove, disrupt int) {
	was, is := map[netstate.Key]bool{}, map[netstate.Key]bool{}
	for _, op := range p.Ops {
		for _, c := range op.Changes {
			k := c.Key()
			if _, seen := was[k]; !seen {
				was[k] = c.Old != nil || k.Kind == netstate.KindSysctl
			}
			is[k] = c.New != nil
		}
		if op.Disrupts != "" {
			disrupt++
		}
	}
	for k := range was {
		switch {
		case was[k] && is[k]:
			change++
		case is[k]:
			add++
		case was[k]:
			remove++
		}
	}
	return add, change, remove, disrupt
}

// Summary says in one line how much there is to do.
func (p Plan) Summary() string {
	if p.Empty() {
		return "nothing to do"
	}
	add, change, remove, disrupt := p.counts()
	s := fmt.Sprintf("%d to add, %d to change, %d to remove", add, change, remove)
	switch disrupt {
	case 0:
		return s + "; nothing is disrupted"
	case 1:
		return s + "; 1 step disrupts"
	}
	return fmt.Sprintf("%s; %d steps disrupt", s, disrupt)
}

// WriteText prints the plan as a shell script: its lines, what each disrupts as a comment before it, and the summary.
// With color, for a terminal, what comes is green, what changes yellow, what goes red.
func (p Plan) WriteText(w io.Writer, color bool) error {
	b := bufio.NewWriter(w)
	paint := func(c, s string) string {
		if !color {
			return s
		}
		return c + s + plain
	}
	for _, op := range p.Ops {
		if op.Disrupts != "" {
			fmt.Fprintln(b, paint(bold, comment("disrupts: "+op.Disrupts)))
		}
		lines := op.Lines()
		if len(op.Changes) > 1 && len(lines) > 1 {
			fmt.Fprintf(b, "# one transaction of %d commands:\n", len(lines))
		}
		for _, line := range lines {
			fmt.Fprintln(b, paint(op.colour(), line))
		}
	}
	fmt.Fprintln(b, paint(bold, "# "+p.Summary()))
	return b.Flush()
}

func (op Op) colour() string {
	c := op.Changes[0]
	switch {
	case c.New == nil:
		return red
	case c.Old == nil:
		return green
	}
	return yellow
}

// String returns the operation's lines, for messages.
func (op Op) String() string { return strings.Join(op.Lines(), "; ") }
