// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/txtar"
)

// attack is one thing that a hostile guest tries, or one that an honest guest must be able to do.
type attack struct {
	name, what string
	tool       string // the program that does it; scapy runs the text as Python, all else as a shell script
	at         string // the machine that it runs on
	modes      []string
	honest     bool // what must pass, and pass unharmed: the script must end with exit code 0
	see        []sight
	count      string // "MACHINE COMMAND", whose output is a number, such as entries of a neighbour table; "" for none
	limit      int    // what may get through
	rate       int    // and so many more a second, from the first packet that did to the last
	alone      bool   // others wait meanwhile: it wants the whole machine
	script     string
}

// sight says where packets of an attack would be seen, and which they are.
type sight struct {
	points []string // names of the mode's points
	filter string   // tcpdump's; $NAME is a value of the mode
}

// pythonTool is the tool whose scripts are Python.
const pythonTool = "scapy"

// readAttacks reads the attacks of a txtar file: a file of it is an attack, and begins with lines "KEY: VALUE" up to an empty line.
//
//	what: what it is, in a line
//	tool: the program that does it
//	modes: the modes that it is played in
//	see: POINT[+POINT]... FILTER    (may come again; the counts are added)
//	count: MACHINE COMMAND...       (a shell command that prints a number, in place of see)
//	at: MACHINE                     (default g1)
//	limit: N [RATE/s]               (so many may get through, and RATE more in every second; default 0)
//	alone: yes                      (nothing is attacked in other datacenters meanwhile)
//	must: pass                      (it is no attack, but what must pass)
func readAttacks(file string) ([]attack, error) {
	archive, err := txtar.ParseFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading attacks: %w", err)
	}
	var list []attack
	for _, f := range archive.Files {
		a, err := parseAttack(f.Name, string(f.Data))
		if err != nil {
			return nil, fmt.Errorf("%s: attack %s: %w", file, f.Name, err)
		}
		if slices.ContainsFunc(list, func(b attack) bool { return b.name == a.name }) {
			return nil, fmt.Errorf("%s: attack %s is there twice", file, f.Name)
		}
		list = append(list, a)
	}
	return list, nil
}

func parseAttack(name, text string) (attack, error) {
	a := attack{name: name, at: "g1"}
	header, script, ok := strings.Cut(text, "\n\n")
	if !ok || strings.TrimSpace(script) == "" {
		return a, fmt.Errorf("no script: it begins after the first empty line")
	}
	a.script = script
	for line := range strings.SplitSeq(header, "\n") {
		key, value, ok := strings.Cut(line, ": ")
		if !ok {
			return a, fmt.Errorf("%q is not KEY: VALUE", line)
		}
		if err := a.set(key, strings.TrimSpace(value)); err != nil {
			return a, fmt.Errorf("%s: %w", key, err)
		}
	}
	switch {
	case a.what == "" || a.tool == "" || len(a.modes) == 0:
		return a, fmt.Errorf("what, tool and modes must be there")
	case a.honest && a.count != "":
		return a, fmt.Errorf("what must pass is seen by packets")
	case !a.honest && (len(a.see) == 0) == (a.count == ""):
		return a, fmt.Errorf("either see or count must be there")
	}
	return a, nil
}

// set reads a line of the header.
func (a *attack) set(key, value string) error {
	var err error
	switch key {
	case "what":
		a.what = value
	case "tool":
		a.tool = value
	case "at":
		a.at = value
	case "modes":
		a.modes = strings.Fields(value)
	case "count":
		if len(strings.Fields(value)) < 2 {
			return fmt.Errorf("%q is not MACHINE COMMAND", value)
		}
		a.count = value
	case "alone":
		if value != "yes" {
			return fmt.Errorf("%q: it is yes, or not there", value)
		}
		a.alone = true
	case "limit":
		limit, rate, more := strings.Cut(value, " ")
		if a.limit, err = strconv.Atoi(limit); err == nil && more {
			if rate, more = strings.CutSuffix(rate, "/s"); !more {
				return fmt.Errorf("%q is not N RATE/s", value)
			}
			a.rate, err = strconv.Atoi(rate)
		}
	case "must":
		if value != "pass" {
			return fmt.Errorf("%q: it is pass, or not there", value)
		}
		a.honest = true
	case "see":
		points, filter, ok := strings.Cut(value, " ")
		if !ok {
			return fmt.Errorf("%q is not POINT FILTER", value)
		}
		a.see = append(a.see, sight{strings.Split(points, "+"), filter})
	default:
		return fmt.Errorf("not a word of an attack's header")
	}
	return err
}

// attackFolder is a folder of attacks: what is below modes/ is a scenario that builds a mode and calls attacks in it.
type attackFolder struct {
	attacks []attack
	modes   []string // files
}

func readAttackFolder(dir string) (attackFolder, error) {
	var f attackFolder
	files, err := filepath.Glob(filepath.Join(dir, "*.txtar"))
	if err == nil {
		f.modes, err = filepath.Glob(filepath.Join(dir, "modes", "*.txtar"))
	}
	if err != nil {
		return f, fmt.Errorf("finding attacks: %w", err)
	}
	if len(files) == 0 || len(f.modes) == 0 {
		return f, fmt.Errorf("finding attacks in %s: needs *.txtar and modes/*.txtar: %w", dir, os.ErrNotExist)
	}
	seen := map[string]bool{}
	for _, file := range files {
		list, err := readAttacks(file)
		if err != nil {
			return f, err
		}
		for _, a := range list {
			if seen[a.name] {
				return f, fmt.Errorf("%s: attack %s is in another file, too", file, a.name)
			}
			seen[a.name] = true
			for _, m := range a.modes {
				if !slices.ContainsFunc(f.modes, func(file string) bool { return scenarioName(file) == m }) {
					return f, fmt.Errorf("%s: attack %s: there is no mode %s", file, a.name, m)
				}
			}
		}
		f.attacks = append(f.attacks, list...)
	}
	return f, f.readLike()
}

// readLike reads of which other mode a mode has the attacks, too, and which of these it has not: words of its file like.
func (f *attackFolder) readLike() error {
	for _, file := range f.modes {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			return fmt.Errorf("reading modes: %w", err)
		}
		for _, part := range archive.Files {
			words := strings.Fields(string(part.Data))
			if part.Name != "like" || len(words) == 0 {
				continue
			}
			for i, a := range f.attacks {
				if slices.Contains(a.modes, words[0]) && !slices.Contains(words[1:], a.name) {
					f.attacks[i].modes = append(slices.Clone(a.modes), scenarioName(file))
				}
			}
		}
	}
	return nil
}

// choose leaves what the words name: attacks, modes, or both; none is all.
func (f attackFolder) choose(wanted []string) (attackFolder, error) {
	names, modes := []string{}, []string{}
	for _, w := range wanted {
		switch {
		case slices.ContainsFunc(f.modes, func(file string) bool { return scenarioName(file) == w }):
			modes = append(modes, w)
		case slices.ContainsFunc(f.attacks, func(a attack) bool { return a.name == w }):
			names = append(names, w)
		default:
			return f, fmt.Errorf("%q is neither an attack nor a mode", w)
		}
	}
	var chosen attackFolder
	for _, file := range f.modes {
		if len(modes) == 0 || slices.Contains(modes, scenarioName(file)) {
			chosen.modes = append(chosen.modes, file)
		}
	}
	for _, a := range f.attacks {
		if len(names) == 0 || slices.Contains(names, a.name) {
			chosen.attacks = append(chosen.attacks, a)
		}
	}
	return chosen, nil
}
