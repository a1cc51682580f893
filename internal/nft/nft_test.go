// SPDX-License-Identifier: Apache-2.0

package nft_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"weft/internal/netstate"
	"weft/internal/nft"
)

// document is the JSON of a test file.
type document struct {
	Tables   []nft.Table   `json:"tables"`
	Elements []nft.Element `json:"elements"`
}

func (d document) state() *netstate.State {
	var s netstate.State
	for _, t := range d.Tables {
		s.Put(t)
	}
	for _, e := range d.Elements {
		s.Put(e)
	}
	return &s
}

// TestGolden runs testdata/*.txtar: "have" and "want" are JSON documents (have may be missing), "lines" is the
// transaction that leads from one to the other, "list" the text of what is wanted, "errors" what Check says of it.
// With WEFT_UPDATE=1 it writes the outputs.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no test files", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			docs := make(map[string]document)
			for _, f := range archive.Files {
				if f.Name == "have" || f.Name == "want" {
					var d document
					if err := json.Unmarshal(f.Data, &d); err != nil {
						t.Fatalf("%s: %v", f.Name, err)
					}
					docs[f.Name] = d
				}
			}
			outputs := map[string]string{
				"lines": lines(t, docs["have"], docs["want"]), "list": list(docs["want"]), "errors": "",
			}
			if err := nft.Check(docs["want"].state()); err != nil {
				outputs["errors"] = err.Error() + "\n"
			}
			for i, f := range archive.Files {
				have, ok := outputs[f.Name]
				if !ok {
					continue
				}
				if os.Getenv("WEFT_UPDATE") != "" {
					archive.Files[i].Data = []byte(have)
				} else if diff := cmp.Diff(string(f.Data), have); diff != "" {
					t.Errorf("%s (-want +have):\n%s", f.Name, diff)
				}
				delete(outputs, f.Name)
			}
			if outputs["errors"] != "" {
				t.Errorf("no mistake was expected: %s", outputs["errors"])
			}
			if os.Getenv("WEFT_UPDATE") != "" {
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// lines are the lines of the transaction from have to want.
func lines(t *testing.T, have, want document) string {
	var changes []nft.Change
	h, w := have.state(), want.state()
	for o := range h.All() {
		if n := w.Get(o.Key()); n == nil || !o.Meets(n) {
			changes = append(changes, nft.Change{Old: o, New: n})
		}
	}
	for o := range w.All() {
		if h.Get(o.Key()) == nil {
			changes = append(changes, nft.Change{New: o})
		}
	}
	commands, err := nft.Transaction(changes)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, line := range nft.Lines(commands) {
		fmt.Fprintln(&b, line)
	}
	return b.String()
}

func list(d document) string {
	var b strings.Builder
	for _, table := range d.Tables {
		b.WriteString(table.Ruleset(d.Elements))
	}
	return b.String()
}

func TestMeets(t *testing.T) {
	a := nft.Table{
		Family: nft.Inet, Name: "weft",
		Sets:   []nft.Set{{Name: "b", Key: []string{"ifname"}}, {Name: "a", Key: []string{"ifname"}}},
		Chains: []nft.Chain{{Name: "y", Hook: "input", Rules: []nft.Rule{}}, {Name: "x"}},
	}
	if have := a.Canonical(); !have.Meets(a) || !a.Meets(have) {
		t.Error("the order of sets and chains matters")
	}
	if a.Sets[0].Name != "b" || a.Chains[0].Policy != "" {
		t.Error("Canonical changed its receiver")
	}
	for name, change := range map[string]func(*nft.Table){
		"policy":   func(t *nft.Table) { t.Chains[1].Policy = "drop" },
		"priority": func(t *nft.Table) { t.Chains[1].Priority = 1 },
		"rule":     func(t *nft.Table) { t.Chains[0].Rules = []nft.Rule{{Exprs: []nft.Expr{"drop"}}} },
		"unknown":  func(t *nft.Table) { t.Chains[0].Rules = []nft.Rule{{Exprs: []nft.Expr{"unknown(socket)"}}} },
		"set":      func(t *nft.Table) { t.Sets[0].Key = []string{"ether_addr"} },
		"more":     func(t *nft.Table) { t.Sets = append(t.Sets, nft.Set{Name: "c", Key: []string{"ifname"}}) },
		"dormant":  func(t *nft.Table) { t.Dormant = true },
		"name":     func(t *nft.Table) { t.Name = "other" },
	} {
		b := a.Canonical()
		b.Sets, b.Chains = slices.Clone(b.Sets), slices.Clone(b.Chains)
		change(&b)
		if b.Meets(a) || a.Meets(b) {
			t.Errorf("%s does not matter", name)
		}
	}
	e := nft.Element{Family: nft.Inet, Table: "weft", Set: "a", Parts: []string{`"tap0"`}}
	valued := e
	valued.Value = "drop"
	if !e.Meets(e) || e.Meets(valued) || e.Meets(a) || !e.Owned() || e.Key().String() != `element inet weft a "tap0"` {
		t.Errorf("%s: Meets, Owned or Key", e)
	}
}

func TestTransactionRefuses(t *testing.T) {
	if c, err := nft.Transaction([]nft.Change{{New: netstate.Sysctl{Path: "net/x", Value: "1"}}}); err == nil {
		t.Errorf("made %v of a sysctl", c)
	}
}
