// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"weft/internal/frame"
	"weft/internal/netstate"
	"weft/internal/nft"
	"weft/internal/spec"
)

var update = flag.Bool("update", false, "write the golden parts of testdata anew")

// listing spells a state, one object per line.
func listing(s *netstate.State) string {
	var b strings.Builder
	for o := range s.All() {
		b.WriteString(o.Key().Kind.String() + " ")
		if r, ok := o.(netstate.Rule); ok && r.Family == 6 {
			b.WriteString("-6 ")
		}
		b.WriteString(strings.ReplaceAll(o.String(), "\n", "\n\t") + "\n")
	}
	return b.String()
}

// input reads the node and the NICs of an archive.
func input(t *testing.T, name string, a *txtar.Archive) (*spec.Node, []spec.NIC) {
	t.Helper()
	var node *spec.Node
	var nics []spec.NIC
	for _, f := range a.Files {
		var err error
		switch f.Name {
		case "node.yaml":
			node, err = spec.Parse(name, f.Data)
		case "nics.json":
			err = json.Unmarshal(f.Data, &nics)
		}
		if err != nil {
			t.Fatalf("%s: %v", f.Name, err)
		}
	}
	if node == nil {
		t.Fatal("no node.yaml in the archive")
	}
	return node, nics
}

// forEach runs test on every archive of testdata.
func forEach(t *testing.T, test func(t *testing.T, file string, a *txtar.Archive)) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no testdata: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			test(t, file, a)
		})
	}
}

func TestGolden(t *testing.T) {
	forEach(t, func(t *testing.T, file string, a *txtar.Archive) {
		node, nics := input(t, file, a)
		s, err := Compile(node, nics)
		if err != nil {
			t.Fatal(err)
		}
		got := listing(s)
		i := len(a.Files) - 1
		if a.Files[i].Name != "want" {
			a.Files = append(a.Files, txtar.File{Name: "want"})
			i++
		}
		if diff := cmp.Diff(string(a.Files[i].Data), got); diff != "" {
			if !*update {
				t.Fatalf("-want +got:\n%s", diff)
			}
			a.Files[i].Data = []byte(got)
			if err := os.WriteFile(file, txtar.Format(a), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestSame: the same input gives the same state, whatever order maps are walked in.
func TestSame(t *testing.T) {
	forEach(t, func(t *testing.T, file string, a *txtar.Archive) {
		node, nics := input(t, file, a)
		first, err := Compile(node, nics)
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			s, err := Compile(node, nics)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(first, s) {
				t.Fatal("two states of one input differ")
			}
		}
	})
}

// TestWithoutNIC: taking a NIC away takes away what names its tap or its addresses, and nothing else; what stays is
// the same.
func TestWithoutNIC(t *testing.T) {
	forEach(t, func(t *testing.T, file string, a *txtar.Archive) {
		node, nics := input(t, file, a)
		with, err := Compile(node, nics)
		if err != nil {
			t.Fatal(err)
		}
		for i, nic := range nics {
			rest := append(append([]spec.NIC{}, nics[:i]...), nics[i+1:]...)
			without, err := Compile(node, rest)
			if err != nil {
				t.Fatal(err)
			}
			for o := range without.All() {
				if got := with.Get(o.Key()); !reflect.DeepEqual(got, o) {
					t.Errorf("without %s: %s, with it %v", nic.Name, o, got)
				}
			}
			gone := 0
			for o := range with.All() {
				if without.Get(o.Key()) != nil {
					continue
				}
				gone++
				if !mentions(o, nic) {
					t.Errorf("%s goes with %s", o.Key(), nic.Name)
				}
			}
			if gone == 0 {
				t.Errorf("%s makes no difference", nic.Name)
			}
		}
	})
}

// mentions reports whether the object is the tap's, or about an address of the guest's.
func mentions(o netstate.Object, nic spec.NIC) bool {
	if e, ok := o.(nft.Element); ok && slices.ContainsFunc(nic.Prefixes, func(p netip.Prefix) bool { return slices.Contains(e.Parts, p.String()) }) {
		return true
	}
	about := []string{nic.Name}
	if mac, err := frame.ParseMAC(nic.MAC); err == nil {
		about = append(about, frame.LinkLocal(mac).String(), nft.Target(frame.LinkLocal(mac)))
	}
	for _, a := range append(nic.Addresses, nic.Sources...) {
		about = append(about, a.String(), nft.Target(a))
	}
	if nic.Net != nil {
		about = append(about, fmt.Sprint(netstate.GroupTap+nic.Net.Number()), fmt.Sprint(netstate.GroupUplink+nic.Net.Number()))
	}
	words := strings.FieldsFunc(o.Key().ID, func(r rune) bool { return r == ' ' || r == '/' })
	for _, w := range words {
		if slices.Contains(about, strings.Trim(w, `"`)) {
			return true
		}
	}
	if len(nic.Tagged) > 0 && strings.Contains(o.Key().ID, nic.Name+".") || len(nic.Tagged) > 0 && strings.Contains(o.Key().ID, nic.Name+"/") {
		return true
	}
	r, ok := o.(netstate.Route)
	return ok && r.Dev == nic.Name
}
