// SPDX-License-Identifier: Apache-2.0

package ifupdown

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"weft/internal/spec"
)

var update = flag.Bool("update", false, "write what Import gives into testdata")

// TestImport runs every testdata/*.txtar: the files below etc/ in, node.yaml and notes out.
func TestImport(t *testing.T) {
	names, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(names) < 25 {
		t.Fatalf("%d cases found, %v", len(names), err)
	}
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			fsys, want := split2(archive)
			got := imported(t, fsys)
			if *update {
				rewrite(t, name, archive, got)
				return
			}
			for _, file := range []string{"node.yaml", "notes"} {
				if diff := cmp.Diff(want[file], got[file]); diff != "" {
					t.Errorf("%s (-want +got):\n%s", file, diff)
				}
			}
		})
	}
}

// split2 separates the input of a case from what is expected of it.
func split2(a *txtar.Archive) (fstest.MapFS, map[string]string) {
	fsys, want := fstest.MapFS{}, map[string]string{"node.yaml": "", "notes": ""}
	for _, f := range a.Files {
		if strings.HasPrefix(f.Name, "etc/") {
			fsys[f.Name] = &fstest.MapFile{Data: f.Data, Mode: 0o644}
		} else {
			want[f.Name] = string(f.Data)
		}
	}
	return fsys, want
}

// imported returns what is made of a machine's files. A node file is expected to be one that weft takes; what it says
// against it is among the notes.
func imported(t *testing.T, fsys fstest.MapFS) map[string]string {
	t.Helper()
	tables := map[string]uint32{}
	if f, ok := fsys["etc/iproute2/rt_tables"]; ok {
		var err error
		if tables, err = ReadTables(bytes.NewReader(f.Data)); err != nil {
			t.Fatal(err)
		}
	}
	config, err := Read(fsys, "/etc/network/interfaces")
	if err != nil {
		return map[string]string{"node.yaml": "", "notes": "error: " + err.Error() + "\n"}
	}
	node, notes := Import(config, tables)
	text, err := spec.Write(node, nil)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for _, n := range notes {
		fmt.Fprintln(&out, n)
	}
	if len(text) > 3 {
		if _, err := spec.Parse("node.yaml", text); err != nil {
			fmt.Fprintln(&out, err)
		}
	}
	return map[string]string{"node.yaml": string(text), "notes": out.String()}
}

func rewrite(t *testing.T, name string, a *txtar.Archive, got map[string]string) {
	t.Helper()
	out := &txtar.Archive{Comment: a.Comment}
	for _, f := range a.Files {
		if strings.HasPrefix(f.Name, "etc/") {
			out.Files = append(out.Files, f)
		}
	}
	for _, file := range []string{"node.yaml", "notes"} {
		if got[file] != "" {
			out.Files = append(out.Files, txtar.File{Name: file, Data: []byte(got[file])})
		}
	}
	if err := os.WriteFile(name, txtar.Format(out), 0o644); err != nil {
		t.Fatal(err)
	}
}
