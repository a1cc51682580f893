// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"weft/internal/netstate"
	"weft/internal/plan"
)

func TestUnmarshalRefuses(t *testing.T) {
	op := func(s string) string { return `{"version":1,"fingerprint":"f","summary":"","ops":[` + s + `]}` }
	change := func(s string) string { return op(`{"phase":"link","commands":[],"changes":[` + s + `]}`) }
	link := func(name string) string { return `{"kind":"link","new":{"name":"` + name + `"}}` }
	for _, test := range []struct{ name, in, err string }{
		{"version", `{"version":2}`, "version 2, this weft reads 1"},
		{"none", `{}`, "version 0"},
		{"null", `null`, "null"},
		{"unknown field", `{"version":1,"more":1}`, `unknown field "more"`},
		{"phase", op(`{"phase":"later","changes":[]}`), `unknown phase "later"`},
		{"no phase", op(`{"changes":[` + link("eth0") + `]}`), `phase "" with 1 changes`},
		{"no changes", op(`{"phase":"tap","changes":[]}`), `phase "tap" with 0 changes`},
		{"two at once", change(link("eth0") + `,` + link("eth1")), "2 changes at once"},
		{"kind", change(`{"kind":"tunnel","new":{}}`), `unknown kind "tunnel"`},
		{"neither", change(`{"kind":"link"}`), "neither old nor new"},
		{"null object", change(`{"kind":"link","new":null}`), "null"},
		{"unknown attribute", change(`{"kind":"link","new":{"name":"eth0","color":"red"}}`), `unknown field "color"`},
		{"no name", change(link("")), "incomplete"},
		{"long name", change(link("abcdefghijklmnop")), "incomplete or out of range"},
		{"other object", change(`{"kind":"link","old":{"name":"eth0"},"new":{"name":"eth1"}}`), "link eth0 cannot become link eth1"},
		{"address", change(`{"kind":"addr","new":{"prefix":"","dev":"eth0"}}`), "incomplete"},
		{"vid", change(`{"kind":"bridge-vlan","new":{"dev":"eth0","vid":4095}}`), "out of range"},
		{"family", change(`{"kind":"rule","new":{"family":5,"priority":1,"action":"lookup"}}`), "out of range"},
		{"outside", change(`{"kind":"sysctl","new":{"path":"../../etc/passwd","value":"0"}}`), "out of range"},
		{"shell", change(`{"kind":"link","old":{"name":"a;reboot"}}`), "cannot be a line for a shell"},
		{"shell line", change(`{"kind":"link","old":{"name":"a\nreboot"}}`), "cannot be a line for a shell"},
		{"shell value", change(`{"kind":"link","old":{"name":"a"},"new":{"name":"a","mac":"$(reboot)"}}`), "cannot be a line for a shell"},
		{"set of no table", change(`{"kind":"table","new":{"family":"arp","name":"weft","sets":[{"name":"a;b","key":["ifname"]}]}}`), "a;b"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var p plan.Plan
			err := json.Unmarshal([]byte(test.in), &p)
			if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("%s\n is: %v\nnot: … %s …", test.in, err, test.err)
			}
			if !p.Empty() {
				t.Errorf("half a plan: %v", p)
			}
		})
	}
}

// TestNamesAreWords plans for links whose names mean something to a shell: nothing of the text does.
func TestNamesAreWords(t *testing.T) {
	for _, name := range []string{"a;reboot", "$(reboot)", "`reboot`", "a b", "a'b", `a\`, "a\nreboot", "#a", "a>b", "\xff"} {
		have := &netstate.State{}
		have.Put(netstate.Link{Name: name, Kind: netstate.VRF, Group: new(netstate.GroupOwned), Up: new(true)})
		p, err := plan.Diff(&netstate.State{}, have, plan.Owned)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range p.Ops[0].Lines() {
			if name != "a b" && !strings.HasPrefix(line, "# ") || strings.Contains(line, "\n") {
				t.Errorf("%q: %q", name, line)
			}
		}
	}
}

// FuzzUnmarshal checks that what is accepted stays the same and prints as comments and commands that a shell can read.
func FuzzUnmarshal(f *testing.F) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		f.Fatal("no goldens", err)
	}
	for _, file := range files {
		f.Add(saved(f, file))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var p, q plan.Plan
		if json.Unmarshal(data, &p) != nil {
			return
		}
		again, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(again, &q); err != nil {
			t.Fatalf("%v in %s", err, again)
		}
		if script(p) != script(q) {
			t.Fatalf("was:\n%s\nis:\n%s", script(p), script(q))
		}
		for line := range strings.Lines(script(p)) {
			switch word, _, _ := strings.Cut(strings.TrimSpace(line), " "); word {
			case "ip", "bridge", "nft", "sysctl", "#":
			default:
				t.Fatalf("%q in %s", line, data)
			}
		}
	})
}

// saved returns the saved form of a golden's plan.
func saved(f *testing.F, file string) []byte {
	f.Helper()
	a, err := txtar.ParseFile(file)
	if err != nil {
		f.Fatal(err)
	}
	t := &testing.T{}
	states := map[string]*netstate.State{}
	for _, part := range a.Files {
		if part.Name == "have" || part.Name == "want" {
			states[part.Name] = state(t, part.Data)
		}
	}
	p, err := plan.Diff(states["want"], states["have"], plan.Owned)
	if err != nil {
		return []byte(`{"version":1,"ops":[]}`)
	}
	data, err := json.Marshal(p)
	if err != nil {
		f.Fatal(err)
	}
	return data
}

// TestScriptsAreShell lets a shell read every golden without running it.
func TestScriptsAreShell(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range txtar.Parse(data).Files {
			if part.Name != "plan" && part.Name != "back" {
				continue
			}
			sh := exec.CommandContext(t.Context(), "sh", "-n")
			sh.Stdin = bytes.NewReader(part.Data)
			if out, err := sh.CombinedOutput(); err != nil {
				t.Errorf("%s, %s: %v\n%s", file, part.Name, err, out)
			}
		}
	}
}
