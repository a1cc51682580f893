// SPDX-License-Identifier: Apache-2.0

package spec

import (
	"bytes"
	"cmp"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Comments are remarks for a node file that is written, by the path of the key that they stand above, spelled as in
// errors: "bonds.bond0.mode", "routes[0]". The path "" is the head of the file.
type Comments map[string]string

// Write returns the text of a node file that says what the Node says: sections in a fixed order with an empty line
// between them, names in natural order. Parse reads the same Node out of it.
func Write(n *Node, comments Comments) ([]byte, error) {
	var out bytes.Buffer
	if head := comments[""]; head != "" {
		out.WriteString(hashed(head) + "\n\n")
	}
	w := writer{comments}
	top := w.mapping(reflect.ValueOf(n).Elem(), "")
	if len(top.Content) == 0 {
		out.WriteString("{}\n")
	}
	for i := 0; i < len(top.Content); i += 2 {
		section := &yaml.Node{Kind: yaml.MappingNode, Content: top.Content[i : i+2]}
		text, err := yaml.Dump(section, yaml.WithIndent(2), yaml.WithCompactSeqIndent(false), yaml.WithLineWidth(-1))
		if err != nil {
			return nil, fmt.Errorf("write %s: %w", top.Content[i].Value, err)
		}
		if i > 0 {
			out.WriteByte('\n')
		}
		out.Write(text)
	}
	return out.Bytes(), nil
}

// writer makes the tree of a file out of a Node, the way back of decoder.
type writer struct{ comments Comments }

// mapping writes the keys of a struct that say something.
func (w writer) mapping(v reflect.Value, p path) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode}
	for _, f := range fields(v.Type()) {
		value := v.FieldByIndex(f.index)
		if says(value) || f.key.required {
			w.add(n, f.name, value, f.key, p.key(f.name))
		}
	}
	return emptyFlow(n)
}

// says reports whether a value is not that of an absent key.
func says(v reflect.Value) bool {
	if v.Kind() == reflect.Map || v.Kind() == reflect.Slice {
		return v.Len() > 0
	}
	return !v.IsZero()
}

func (w writer) add(n *yaml.Node, name string, v reflect.Value, k key, p path) {
	kn := text(name)
	if c := w.comments[p.String()]; c != "" {
		kn.HeadComment = hashed(c)
	}
	n.Content = append(n.Content, kn, w.value(v, k, p))
}

func (w writer) value(v reflect.Value, k key, p path) *yaml.Node {
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	switch one := v.Interface().(type) {
	case netip.Addr:
		return text(one.String())
	case netip.Prefix:
		return text(one.String())
	}
	switch v.Kind() {
	case reflect.Struct:
		return w.mapping(v, p)
	case reflect.Map:
		n := &yaml.Node{Kind: yaml.MappingNode}
		names := v.MapKeys()
		slices.SortFunc(names, func(a, b reflect.Value) int { return natural(a.String(), b.String()) })
		for _, name := range names {
			w.add(n, name.String(), v.MapIndex(name), key{form: k.form}, p.key(name.String()))
		}
		return emptyFlow(n)
	case reflect.Slice:
		return w.list(v, k, p)
	case reflect.String:
		if (k.form == sysctlText || k.form == portText) && decimal(v.String()) {
			return &yaml.Node{Kind: yaml.ScalarNode, Value: v.String()}
		}
		return text(v.String())
	}
	return w.number(v, k)
}

// list writes addresses and names in a line, and routes and the like below each other.
func (w writer) list(v reflect.Value, k key, p path) *yaml.Node {
	n := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
	for i := range v.Len() {
		e := w.value(v.Index(i), k, p.index(i))
		if e.Kind == yaml.MappingNode {
			n.Style = 0
			if c := w.comments[p.index(i).String()]; c != "" {
				e.HeadComment = hashed(c)
			}
		}
		n.Content = append(n.Content, e)
	}
	return n
}

// number writes a number or a truth value.
func (w writer) number(v reflect.Value, k key) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Value: fmt.Sprint(v.Interface())}
	if k.hex {
		n.Value = fmt.Sprintf("%#x", v.Interface())
	}
	return n
}

// text is a scalar that is read back as text, quoted where it has to be.
func text(s string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s} }

func emptyFlow(n *yaml.Node) *yaml.Node {
	if len(n.Content) == 0 {
		n.Style = yaml.FlowStyle
	}
	return n
}

// hashed makes lines of a comment out of a text.
func hashed(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	for i, line := range lines {
		lines[i] = strings.TrimRight("# "+strings.TrimSpace(line), " ")
	}
	return strings.Join(lines, "\n")
}

// decimal reports whether the text is a number as the decoder takes it, so that it needs no quotes.
func decimal(s string) bool {
	n, err := strconv.ParseUint(s, 10, 63)
	return err == nil && strconv.FormatUint(n, 10) == s
}

// natural orders names so that numbers in them count as numbers: eth2 is before eth10.
func natural(a, b string) int {
	for a != "" && b != "" {
		da, db := digits(a), digits(b)
		if da > 0 && db > 0 {
			x, y := strings.TrimLeft(a[:da], "0"), strings.TrimLeft(b[:db], "0")
			if c := cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(x, y), cmp.Compare(da, db)); c != 0 {
				return c
			}
			a, b = a[da:], b[db:]
			continue
		}
		if a[0] != b[0] {
			return cmp.Compare(a[0], b[0])
		}
		a, b = a[1:], b[1:]
	}
	return cmp.Compare(len(a), len(b))
}

// digits returns how many digits the text begins with.
func digits(s string) int {
	return len(s) - len(strings.TrimLeft(s, "0123456789"))
}

// Equal reports whether two Nodes say the same, wherever they come from.
func (n *Node) Equal(other *Node) bool {
	a, b := *n, *other
	a.src, b.src = nil, nil
	return reflect.DeepEqual(a, b)
}
