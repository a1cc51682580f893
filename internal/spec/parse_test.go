// SPDX-License-Identifier: Apache-2.0

package spec

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/jsonschema-go/jsonschema"
	"github.com/rogpeppe/go-internal/txtar"
	"go.yaml.in/yaml/v4"
)

var update = flag.Bool("update", false, "write the results into testdata")

// cases runs each with every NAME.yaml of an archive, and compares what it returns with NAME.ext.
func cases(t *testing.T, archive, ext string, each func(t *testing.T, name string, data []byte) string) {
	t.Helper()
	file := filepath.Join("testdata", archive+".txtar")
	a, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for _, f := range a.Files {
		want[f.Name] = string(f.Data)
	}
	out := &txtar.Archive{Comment: a.Comment}
	for _, f := range a.Files {
		if !strings.HasSuffix(f.Name, ".yaml") {
			continue
		}
		result := strings.TrimSuffix(f.Name, "yaml") + ext
		got := ""
		t.Run(f.Name, func(t *testing.T) {
			got = each(t, f.Name, f.Data)
			if !*update {
				if diff := cmp.Diff(want[result], got); diff != "" {
					t.Errorf("%s (-want +got):\n%s", result, diff)
				}
			}
		})
		out.Files = append(out.Files, f, txtar.File{Name: result, Data: []byte(got)})
	}
	if *update {
		if err := os.WriteFile(file, txtar.Format(out), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// resolved is the schema, ready to validate.
var resolved = sync.OnceValues(func() (*jsonschema.Resolved, error) {
	raw, err := Schema()
	if err != nil {
		return nil, err
	}
	var s jsonschema.Schema
	if err := json.Unmarshal(raw, &s); err != nil {
		return nil, err
	}
	return s.Resolve(nil)
})

// valid reports what the schema says of a file.
func valid(t *testing.T, data []byte) error {
	t.Helper()
	var v any
	if err := yaml.Load(data, &v); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	r, err := resolved()
	if err != nil {
		t.Fatal(err)
	}
	return r.Validate(v)
}

func TestGoodFiles(t *testing.T) {
	cases(t, "good", "out", func(t *testing.T, name string, data []byte) string {
		n, err := Parse(name, data)
		if err != nil {
			t.Fatal(err)
		}
		if err := valid(t, data); err != nil {
			t.Errorf("the schema refuses it: %v", err)
		}
		out, err := Write(n, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := valid(t, out); err != nil {
			t.Errorf("the schema refuses what Write makes of it: %v", err)
		}
		again, err := Parse(name, out)
		if err != nil {
			t.Fatalf("what Write makes of it: %v\n%s", err, out)
		}
		if !n.Equal(again) {
			t.Errorf("Write changes it:\n%s", out)
		}
		return string(out)
	})
}

// wrong parses a file that has mistakes, and returns them as an operator sees them.
func wrong(t *testing.T, name string, data []byte) string {
	t.Helper()
	n, err := Parse(name, data)
	var errs Errors
	if n != nil || !errors.As(err, &errs) {
		t.Fatalf("Parse = %v, %v", n, err)
	}
	for _, e := range errs {
		if e.File != name || e.Line < 1 || e.Column < 1 || e.Msg == "" {
			t.Errorf("without its place: %+v", e)
		}
	}
	return err.Error() + "\n"
}

func TestMistakesOfShape(t *testing.T) {
	cases(t, "shape", "err", func(t *testing.T, name string, data []byte) string {
		if valid(t, data) == nil {
			t.Error("the schema lets it through")
		}
		return wrong(t, name, data)
	})
}

func TestMistakesOfSense(t *testing.T) { cases(t, "sense", "err", wrong) }

func TestMistakesOfText(t *testing.T) { cases(t, "text", "err", wrong) }

func TestNotText(t *testing.T) {
	for _, c := range []struct{ name, data, want string }{
		{"cut", "node: hv1\nbonds: {bond0: {members: [eth0]}}\nlinks: {et", `f:3:11: the last line has no end: is the file cut off?`},
		{"binary", "node: a\nx: \x00\x01\n", `f:2:4: not a text file: control character 0x00`},
		{"latin1", "node: gr\xfc\xdf\n", `f:1:9: not a text file: byte 0xfc is not UTF-8`},
		{"large", strings.Repeat("# x\n", maxFile/4+1), fmt.Sprintf("f: %d bytes; a node file has at most %d", maxFile+4, maxFile)},
	} {
		t.Run(c.name, func(t *testing.T) {
			n, err := Parse("f", []byte(c.data))
			if n != nil || err == nil || err.Error() != c.want {
				t.Errorf("Parse = %v, %v, want %s", n, err, c.want)
			}
		})
	}
}

// TestCutOff cuts a file at every byte: what is left must be refused, or be what whole entries at its beginning say.
func TestCutOff(t *testing.T) {
	whole := "bonds:\n  bond0:\n    mode: 802.3ad\n    mtu: 9000\n    members: [eth0, eth1]\n    addresses: [10.0.0.2/24]\nnetworks:\n  a:\n    mode: bridged\n    uplink: bond0\n    vlan: 992\n"
	for i := range len(whole) {
		n, err := Parse("f", []byte(whole[:i]))
		if err == nil && (whole[i-1] != '\n' || len(n.Bonds["bond0"].Members) != 2) {
			t.Errorf("cut at %d, after %q: %+v", i, whole[max(0, i-10):i], n)
		}
	}
}

// TestGarbage answers a file as large as is read, and larger, in bounded time: each of these kept some YAML reader busy.
func TestGarbage(t *testing.T) {
	for name, unit := range map[string]string{
		"flow": "[", "flow map": "{a: ", "sequence": "- a\n", "nested": "- ", "questions": "? ", "anchors": "&a ", "commas": "[a,a]\n", "null": "?\n", "word": "x", "aliases": "- *a\n",
	} {
		t.Run(name, func(t *testing.T) {
			for _, size := range []int{maxFile / 4, 10 << 20} {
				data := []byte(strings.Repeat(unit, size/len(unit)))
				data[len(data)-1] = '\n'
				n, err := Parse("f", data)
				if n != nil || err == nil {
					t.Fatalf("%d bytes: Parse = %v, %v", size, n, err)
				}
				if got := strings.Count(err.Error(), "\n"); got > maxErrors {
					t.Errorf("%d lines of mistakes", got)
				}
			}
		})
	}
}

// TestEveryKeyIsDescribed keeps the table and the types together.
func TestEveryKeyIsDescribed(t *testing.T) {
	used := map[string]bool{}
	var walk func(reflect.Type)
	walk = func(typ reflect.Type) {
		for i := range typ.NumField() {
			f := typ.Field(i)
			if name, _, _ := strings.Cut(f.Tag.Get("yaml"), ","); name != "" {
				k := typ.Name() + "." + name
				used[k] = true
				if keys[k].doc == "" {
					t.Errorf("%s has no description", k)
				}
			}
			in := f.Type
			for in.Kind() == reflect.Pointer || in.Kind() == reflect.Slice || in.Kind() == reflect.Map {
				in = in.Elem()
			}
			if in.Kind() == reflect.Struct && in.PkgPath() == typ.PkgPath() && in != reflect.TypeFor[source]() {
				walk(in)
			}
		}
	}
	walk(reflect.TypeFor[Node]())
	for k := range keys {
		if !used[k] {
			t.Errorf("%s is described, but no key", k)
		}
	}
}
