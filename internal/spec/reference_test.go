// SPDX-License-Identifier: Apache-2.0

package spec

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestReference: docs/node-file.md is what the table of keys says; -update writes it.
func TestReference(t *testing.T) {
	const file = "../../docs/node-file.md"
	want := reference()
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("%s is out of date (go test ./internal/spec -update):\n%s", file, diff)
	}
	for name := range keys {
		if kind, field, _ := strings.Cut(name, "."); !strings.Contains(want, "| `"+field+"` |") || !slices.ContainsFunc(sections, func(s section) bool { return s.kind == kind }) {
			t.Errorf("%s is not in the reference", name)
		}
	}
}

type section struct{ kind, title, note string }

// sections are the chapters of the reference, in the order in which a reader needs them.
var sections = []section{
	{"Node", "The file", ""},
	{"Bond", "bonds", "And what every link can have (below)."},
	{"VLAN", "vlans", "And what every link can have (below)."},
	{"Bridge", "bridges", "And what every link can have (below)."},
	{"VRF", "vrfs", "And what every link can have (below)."},
	{"Link", "Every link", "Also all that `links` can say of a device that exists already."},
	{"Network", "networks", ""},
	{"Prefix", "ipv4 and ipv6 of a network", ""},
	{"Rates", "rates of a network", ""},
	{"Group", "groups", ""},
	{"Allow", "allow of a group", ""},
	{"Route", "routes", ""},
	{"Rule", "rules", ""},
	{"Neighbour", "neighbours", ""},
}

func reference() string {
	var b strings.Builder
	b.WriteString(`# The node file

Every key that node.yaml can have. The same is in the JSON schema that ` + "`weft schema`" + ` prints, from which an editor completes and checks. Names and words are
iproute2's and the kernel's. A file that weft does not understand completely changes nothing, and all its mistakes are listed at once.
`)
	for _, s := range sections {
		fmt.Fprintf(&b, "\n## %s\n\n", s.title)
		if s.note != "" {
			fmt.Fprintf(&b, "%s\n\n", s.note)
		}
		b.WriteString("| key | what it says | values |\n|---|---|---|\n")
		var names []string
		for name := range keys {
			if kind, field, _ := strings.Cut(name, "."); kind == s.kind {
				names = append(names, field)
			}
		}
		slices.Sort(names)
		for _, field := range names {
			k := keys[s.kind+"."+field]
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", field, k.doc, k.values())
		}
	}
	return b.String()
}

// asYAML spells an example in flow style, as a person would.
func asYAML(example any) string {
	switch e := example.(type) {
	case []any:
		var items []string
		for _, i := range e {
			items = append(items, fmt.Sprint(i))
		}
		return "[" + strings.Join(items, ", ") + "]"
	case map[string]any:
		var items []string
		for k, v := range e {
			items = append(items, fmt.Sprintf("%s: %q", k, v))
		}
		slices.Sort(items)
		return "{" + strings.Join(items, ", ") + "}"
	}
	return fmt.Sprint(example)
}

// values says what a key can hold.
func (k key) values() string {
	var parts []string
	if k.required {
		parts = append(parts, "required")
	}
	if len(k.words) > 0 {
		parts = append(parts, "`"+strings.Join(k.words, "`, `")+"`")
	}
	if k.max != 0 {
		parts = append(parts, fmt.Sprintf("%d to %d", k.min, k.max))
	}
	if k.example != nil {
		parts = append(parts, "such as `"+asYAML(k.example)+"`")
	}
	return strings.Join(parts, "; ")
}
