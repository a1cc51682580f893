// SPDX-License-Identifier: Apache-2.0

// Package weft holds no code: its tests are the rules of the house, so that they fail before a reviewer has to say them.
package weft

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// imports says which packages of ours a package may import. What is not listed may import none.
var imports = map[string][]string{
	"cmd/weft":                   {"internal/agent", "internal/api", "internal/event", "internal/ganeti", "internal/ifupdown", "internal/kernel", "internal/lab", "internal/libvirt", "internal/netstate", "internal/nic", "internal/plan", "internal/qemu", "internal/qmp", "internal/spec", "internal/status", "internal/trial", "internal/vm"},
	"hack/deb":                   {"hack/rig", "internal/vm"},
	"hack/ganeti":                {"hack/rig", "internal/vm"},
	"hack/rig":                   {"internal/vm"},
	"hack/vm":                    {"internal/vm"},
	"internal/agent":             {"internal/announce", "internal/compile", "internal/foreign", "internal/frame", "internal/guest", "internal/netstate", "internal/nic", "internal/plan", "internal/spec", "internal/trial", "internal/wire"},
	"internal/announce":          {"internal/frame", "internal/wire"},
	"internal/api":               {"internal/agent", "internal/event", "internal/plan", "internal/spec", "internal/status", "internal/trial"},
	"internal/compile":           {"internal/frame", "internal/netstate", "internal/nft", "internal/spec"},
	"internal/guest":             {"internal/frame", "internal/wire"},
	"internal/ganeti":            {"internal/netstate", "internal/spec"},
	"internal/ifupdown":          {"internal/spec"},
	"internal/kernel":            {"internal/event", "internal/foreign", "internal/netstate", "internal/nft", "internal/plan"},
	"internal/kernel/kerneltest": {"internal/kernel", "internal/netstate", "internal/nft", "internal/plan"},
	"internal/lab":               {"internal/vm"},
	"internal/libvirt":           {"internal/spec"},
	"internal/nft":               {"internal/netstate"},
	"internal/nic":               {"internal/spec"},
	"internal/plan":              {"internal/netstate", "internal/nft"},
	"internal/status":            {"internal/agent", "internal/netstate", "internal/spec", "internal/trial"},
	"internal/wire":              {"internal/frame"},
	"internal/wire/wiretest":     {"internal/wire"},
}

// pure names the packages that do no I/O, and what they must therefore not import.
var pure = []string{"internal/netstate", "internal/nft", "internal/spec", "internal/compile", "internal/plan", "internal/foreign", "internal/frame"}

var impure = []string{"os", "os/exec", "net/http", "io/ioutil", "syscall", "golang.org/x/sys/unix", "path/filepath"}

// pureNet is what of package net does no I/O.
var pureNet = []string{"HardwareAddr", "ParseMAC"}

// only names libraries that are one package's business, by the prefix of their import path.
var only = map[string]string{
	"github.com/mdlayher/ndp":      "internal/frame",
	"github.com/mdlayher/netlink":  "internal/kernel",
	"github.com/mdlayher/socket":   "internal/wire",
	"github.com/cilium/ebpf":       "internal/wire",
	"github.com/google/nftables":   "internal/kernel",
	"github.com/spf13/cobra":       "cmd/weft",
	"go.yaml.in/yaml":              "internal/spec",
	"github.com/google/jsonschema": "internal/spec",
}

// Size budgets: a file, a function, the share of functions above the usual, a package's exported names.
const (
	maxFile     = 500
	maxFunc     = 80
	usualFunc   = 45
	usualShare  = 0.90
	maxExported = 40
)

type source struct {
	pkg, path string
	file      *ast.File
	lines     int
	test      bool
}

func sources(t *testing.T) (*token.FileSet, []source) {
	t.Helper()
	fset := token.NewFileSet()
	var all []source
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") {
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		f, err := parser.ParseFile(fset, path, data, parser.ParseComments)
		if err != nil {
			return err
		}
		all = append(all, source{filepath.Dir(path), path, f, strings.Count(string(data), "\n"), strings.HasSuffix(path, "_test.go")})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 20 {
		t.Fatalf("only %d Go files found: is this the root of the repository?", len(all))
	}
	return fset, all
}

func TestImports(t *testing.T) {
	_, all := sources(t)
	for _, s := range all {
		for _, i := range s.file.Imports {
			path := strings.Trim(i.Path.Value, `"`)
			if ours, ok := strings.CutPrefix(path, "weft/"); ok && !s.test && !slices.Contains(imports[s.pkg], ours) {
				t.Errorf("%s imports %s: not a direction of this house (see DESIGN.md)", s.path, ours)
			}
			if !s.test && slices.Contains(pure, s.pkg) && slices.Contains(impure, path) {
				t.Errorf("%s imports %s, but %s does no I/O", s.path, path, s.pkg)
			}
			for lib, owner := range only {
				if strings.HasPrefix(path, lib) && !s.test && s.pkg != owner {
					t.Errorf("%s imports %s, which is %s's alone", s.path, path, owner)
				}
			}
		}
	}
}

func TestPureNet(t *testing.T) {
	fset, all := sources(t)
	for _, s := range all {
		if s.test || !slices.Contains(pure, s.pkg) {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if pkg, ok := sel.X.(*ast.Ident); ok && pkg.Name == "net" && pkg.Obj == nil && !slices.Contains(pureNet, sel.Sel.Name) {
				t.Errorf("%s: net.%s, but %s does no I/O", fset.Position(sel.Pos()), sel.Sel.Name, s.pkg)
			}
			return true
		})
	}
}

func TestPackageComments(t *testing.T) {
	_, all := sources(t)
	docs := map[string][]string{}
	for _, s := range all {
		if _, seen := docs[s.pkg]; !seen {
			docs[s.pkg] = nil
		}
		if s.file.Doc != nil && strings.TrimSpace(stripSPDX(s.file.Doc.Text())) != "" {
			docs[s.pkg] = append(docs[s.pkg], s.path)
		}
	}
	for pkg, files := range docs {
		if len(files) != 1 {
			t.Errorf("%s has %d package comments, wants one: %v", pkg, len(files), files)
		}
	}
}

func stripSPDX(s string) string {
	if strings.HasPrefix(s, "SPDX-") {
		_, s, _ = strings.Cut(s, "\n")
	}
	return s
}

func TestSPDX(t *testing.T) {
	_, all := sources(t)
	for _, s := range all {
		data, err := os.ReadFile(s.path)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(string(data), "// SPDX-License-Identifier: Apache-2.0\n\n") {
			t.Errorf("%s does not begin with its licence and an empty line", s.path)
		}
	}
}

func TestExportedNamesAreDocumented(t *testing.T) {
	fset, all := sources(t)
	for _, s := range all {
		if s.test {
			continue
		}
		for _, d := range s.file.Decls {
			for _, n := range undocumented(d) {
				t.Errorf("%s: %s has no doc comment", fset.Position(n.Pos()), n.Name)
			}
		}
	}
}

// undocumented returns the exported names that a declaration makes without saying what they are.
func undocumented(d ast.Decl) []*ast.Ident {
	var names []*ast.Ident
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Name.IsExported() && d.Doc == nil && (d.Recv == nil || receiverExported(d)) {
			names = append(names, d.Name)
		}
	case *ast.GenDecl:
		for _, s := range d.Specs {
			switch s := s.(type) {
			case *ast.TypeSpec:
				if s.Name.IsExported() && d.Doc == nil && s.Doc == nil {
					names = append(names, s.Name)
				}
			case *ast.ValueSpec:
				if d.Doc == nil && s.Doc == nil && s.Comment == nil && s.Names[0].IsExported() {
					names = append(names, s.Names[0])
				}
			}
		}
	}
	return names
}

func receiverExported(d *ast.FuncDecl) bool {
	t := d.Recv.List[0].Type
	if p, ok := t.(*ast.StarExpr); ok {
		t = p.X
	}
	id, ok := t.(*ast.Ident)
	return ok && id.IsExported()
}

func TestSizes(t *testing.T) {
	fset, all := sources(t)
	exported := map[string]int{}
	funcs, long := 0, 0
	for _, s := range all {
		if s.test {
			continue
		}
		if s.lines > maxFile {
			t.Errorf("%s has %d lines, the budget is %d", s.path, s.lines, maxFile)
		}
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok {
				exported[s.pkg] += exportedTypes(d)
				continue
			}
			if f.Recv == nil && f.Name.IsExported() {
				exported[s.pkg]++
			}
			n := fset.Position(f.End()).Line - fset.Position(f.Pos()).Line + 1
			if n > maxFunc {
				t.Errorf("%s: %s has %d lines, the budget is %d", fset.Position(f.Pos()), f.Name.Name, n, maxFunc)
			}
			funcs++
			if n > usualFunc {
				long++
			}
		}
	}
	if short := 1 - float64(long)/float64(funcs); short < usualShare {
		t.Errorf("%.0f%% of functions are at most %d lines long, the budget is %.0f%%", 100*short, usualFunc, 100*usualShare)
	}
	for pkg, n := range exported {
		if n > maxExported {
			t.Errorf("%s exports %d types and functions, the budget is %d", pkg, n, maxExported)
		}
	}
}

func exportedTypes(d ast.Decl) int {
	n := 0
	if g, ok := d.(*ast.GenDecl); ok {
		for _, s := range g.Specs {
			if t, ok := s.(*ast.TypeSpec); ok && t.Name.IsExported() {
				n++
			}
		}
	}
	return n
}

func TestNoGrabBagPackages(t *testing.T) {
	_, all := sources(t)
	for _, s := range all {
		switch filepath.Base(s.pkg) {
		case "util", "utils", "common", "helpers", "misc", "base":
			t.Errorf("%s: a package is named for what it does", s.path)
		}
	}
}
