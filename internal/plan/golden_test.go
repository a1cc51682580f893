// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"weft/internal/netstate"
	"weft/internal/nft"
	"weft/internal/plan"
)

var update = flag.Bool("update", false, "write the goldens anew")

func state(t *testing.T, text []byte) *netstate.State {
	t.Helper()
	s := &netstate.State{}
	for line := range strings.Lines(string(text)) {
		kind, data, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok {
			continue
		}
		s.Put(decode(t, kind, data))
	}
	return s
}

func decode(t *testing.T, kind, data string) netstate.Object {
	t.Helper()
	switch kind {
	case "link":
		return read[netstate.Link](t, data)
	case "addr":
		return read[netstate.Addr](t, data)
	case "route":
		return read[netstate.Route](t, data).Canonical()
	case "rule":
		return read[netstate.Rule](t, data)
	case "neigh":
		return read[netstate.Neigh](t, data)
	case "fdb":
		return read[netstate.FDB](t, data)
	case "bridge-vlan":
		return read[netstate.BridgeVLAN](t, data)
	case "sysctl":
		return read[netstate.Sysctl](t, data)
	case "table":
		return read[nft.Table](t, data)
	case "element":
		return read[nft.Element](t, data)
	}
	t.Fatalf("unknown kind %q", kind)
	return nil
}

func read[T any](t *testing.T, data string) (o T) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&o); err != nil {
		t.Fatalf("%v in %s", err, data)
	}
	return o
}

// TestGolden plans from the file's have to its want, and back: the sections plan and back, or error.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no goldens: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			sections := map[string][]byte{}
			for _, f := range a.Files {
				sections[f.Name] = f.Data
			}
			have, want := state(t, sections["have"]), state(t, sections["want"])
			got := outcome(t, want, have)
			if *update {
				write(t, file, a, got)
				return
			}
			for _, f := range got {
				if d := cmp.Diff(string(sections[f.Name]), string(f.Data)); d != "" {
					t.Errorf("%s (-golden +now):\n%s", f.Name, d)
				}
				delete(sections, f.Name)
			}
			delete(sections, "have")
			delete(sections, "want")
			for name := range sections {
				t.Errorf("there is no %s any more", name)
			}
		})
	}
}

func outcome(t *testing.T, want, have *netstate.State) []txtar.File {
	t.Helper()
	p, err := plan.Diff(want, have, plan.Owned)
	if err != nil {
		return []txtar.File{{Name: "error", Data: fmt.Appendln(nil, err)}}
	}
	back, err := p.Inverse(have)
	if err != nil {
		t.Fatal(err)
	}
	var there, again bytes.Buffer
	if err := p.WriteText(&there, false); err != nil {
		t.Fatal(err)
	}
	if err := back.WriteText(&again, false); err != nil {
		t.Fatal(err)
	}
	return []txtar.File{{Name: "plan", Data: there.Bytes()}, {Name: "back", Data: again.Bytes()}}
}

func write(t *testing.T, file string, a *txtar.Archive, got []txtar.File) {
	t.Helper()
	var files []txtar.File
	for _, f := range a.Files {
		if f.Name == "have" || f.Name == "want" {
			files = append(files, f)
		}
	}
	a.Files = append(files, got...)
	if err := os.WriteFile(file, txtar.Format(a), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestColour(t *testing.T) {
	have, want := &netstate.State{}, &netstate.State{}
	have.Put(netstate.Link{Name: "eth0", MTU: 1500, Up: new(true)}, netstate.Addr{Prefix: prefix("192.0.2.1/24"), Dev: "eth0", Protocol: mark})
	want.Put(netstate.Link{Name: "eth0", MTU: 9000}, netstate.Addr{Prefix: prefix("192.0.2.2/32"), Dev: "eth0", Protocol: mark})
	p, err := plan.Diff(want, have, plan.Owned)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := p.WriteText(&b, true); err != nil {
		t.Fatal(err)
	}
	const golden = "\x1b[1m# disrupts: MTU of eth0 from 1500 to 9000: some drivers reset the link\x1b[0m\n" +
		"\x1b[33mip link set dev eth0 mtu 9000\x1b[0m\n" +
		"\x1b[32mip address add 192.0.2.2/32 dev eth0\x1b[0m\n" +
		"\x1b[1m# disrupts: eth0 loses 192.0.2.1/24\x1b[0m\n" +
		"\x1b[31mip address del 192.0.2.1/24 dev eth0\x1b[0m\n" +
		"\x1b[1m# 1 to add, 1 to change, 1 to remove; 2 steps disrupt\x1b[0m\n"
	if d := cmp.Diff(golden, b.String()); d != "" {
		t.Errorf("-golden +now:\n%s", d)
	}
}
