// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"slices"
	"strings"
	"sync"
)

// attackResult is how an attack ended.
type attackResult struct {
	count  int
	limit  int  // what may get through
	unseen bool // at one of the sights nothing was seen
	failed bool // its script said so
	said   string
}

// attackPair is an attack in a mode.
type attackPair struct{ attack, mode string }

// attackTable is what all attacks did.
type attackTable struct {
	modes   []string
	mu      sync.Mutex // of the maps, while modes are attacked
	on, off map[attackPair]attackResult
}

func (t *attackTable) add(attack, mode string, on bool, res attackResult) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.on == nil {
		t.on, t.off = map[attackPair]attackResult{}, map[attackPair]attackResult{}
	}
	if on {
		t.on[attackPair{attack, mode}] = res
	} else {
		t.off[attackPair{attack, mode}] = res
	}
}

// Verdicts about an attack in a mode; "" is as it should be.
const (
	gotThrough = "got through"
	noBite     = "does not bite"
	mustPass   = "did not pass"
	notPlayed  = "was not played"
)

func (t *attackTable) verdict(a attack, mode string) string {
	key := attackPair{a.name, mode}
	on, played := t.on[key]
	off, playedOff := t.off[key]
	switch {
	case !played || !playedOff && !a.honest:
		return notPlayed
	case a.honest && (on.failed || on.unseen):
		return mustPass
	case a.honest:
		return ""
	case on.count > on.limit:
		return gotThrough
	case off.count <= off.limit:
		return noBite
	}
	return ""
}

// good says whether all is as it should be.
func (t *attackTable) good(attacks []attack) bool {
	for _, a := range attacks {
		for _, m := range t.modes {
			if slices.Contains(a.modes, m) && t.verdict(a, m) != "" {
				return false
			}
		}
	}
	return true
}

// text is the table: a line an attack, and of each mode the packets with port security on and with it off.
func (t *attackTable) text(attacks []attack, p *paper) string {
	var b strings.Builder
	var wrong []string
	counts := map[string]int{}
	name, tool := 0, 0
	for _, a := range attacks {
		name, tool = max(name, len(a.name)), max(tool, len(a.tool))
	}
	for _, honest := range []bool{false, true} {
		title := "attack"
		if honest {
			title = "must pass"
		}
		row := fmt.Sprintf("%-*s  %-*s", name, title, tool, "tool")
		for _, m := range t.modes {
			row += fmt.Sprintf("  %16s", m)
		}
		head := p.bold(row) + "\n"
		for _, a := range attacks {
			if a.honest != honest || !slices.ContainsFunc(a.modes, func(m string) bool { return slices.Contains(t.modes, m) }) {
				continue
			}
			b.WriteString(head)
			head = ""
			line := fmt.Sprintf("%-*s  %-*s", name, a.name, tool, a.tool)
			for _, m := range t.modes {
				cell, verdict := t.cell(a, m)
				if verdict != "" {
					wrong = append(wrong, t.wrong(a, m, verdict))
				}
				if cell != "" && !honest {
					counts[verdict]++
				}
				line += "  " + paintCell(p, fmt.Sprintf("%16s", cell), verdict)
			}
			b.WriteString(strings.TrimRight(line, " ") + "\n")
		}
	}
	b.WriteString("Packets that got through: with port security on / off.\n")
	for _, w := range wrong {
		b.WriteString(p.red(w) + "\n")
	}
	total := counts[""] + counts[gotThrough] + counts[noBite] + counts[notPlayed]
	fmt.Fprintf(&b, "%d pairs of attack and mode: %d got through, %d do not bite ", total, counts[gotThrough], counts[noBite])
	return b.String()
}

func paintCell(p *paper, text, verdict string) string {
	if verdict != "" {
		return p.red(text)
	}
	return text
}

// cell is a field of the table, and the verdict about it.
func (t *attackTable) cell(a attack, mode string) (text, verdict string) {
	if !slices.Contains(a.modes, mode) {
		return "", ""
	}
	key := attackPair{a.name, mode}
	verdict = t.verdict(a, mode)
	switch {
	case a.honest && verdict == "":
		return "passes", verdict
	case a.honest:
		return "FAILS", verdict
	}
	return fmt.Sprintf("%d / %d", t.on[key].count, t.off[key].count), verdict
}

// wrong is a line about an attack that is not as it should be.
func (t *attackTable) wrong(a attack, mode, verdict string) string {
	key := attackPair{a.name, mode}
	res := t.on[key]
	if verdict == noBite {
		res = t.off[key]
	}
	text := fmt.Sprintf("%s, %s: %s", mode, a.name, verdict)
	if res.limit > 0 {
		text += fmt.Sprintf(" (%d, and %d may)", res.count, res.limit)
	}
	if said := strings.TrimSpace(res.said); said != "" && verdict != gotThrough {
		text += ":\n    " + strings.ReplaceAll(said, "\n", "\n    ")
	}
	return text
}
