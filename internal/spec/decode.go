// SPDX-License-Identifier: Apache-2.0

package spec

import (
	"fmt"
	"net/netip"
	"reflect"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// decoder fills a Node from the tree of its file, remembers where everything stands, and collects what does not fit.
type decoder struct {
	src  *source
	errs Errors
}

// field is one key of a struct.
type field struct {
	name  string
	index []int
	key   key
	typ   reflect.Type
}

// fields returns the keys of a struct in the file's order: its own, then those of what it embeds.
func fields(t reflect.Type) []field {
	var own, embedded []field
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous {
			for _, e := range fields(f.Type) {
				e.index = append([]int{i}, e.index...)
				embedded = append(embedded, e)
			}
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if name == "" {
			continue
		}
		own = append(own, field{name, []int{i}, keys[t.Name()+"."+name], f.Type})
	}
	return append(own, embedded...)
}

var (
	addrType   = reflect.TypeFor[netip.Addr]()
	prefixType = reflect.TypeFor[netip.Prefix]()
)

func (d *decoder) decode(root *yaml.Node, n *Node) {
	d.mark("", root)
	d.value(root, "", key{}, reflect.ValueOf(n).Elem())
}

func (d *decoder) mark(p path, n *yaml.Node) { d.src.at[p] = place{n.Line, n.Column} }

// fail notes that the value at p, where n stands, is not what it has to be.
func (d *decoder) fail(n *yaml.Node, p path, format string, args ...any) {
	d.src.bad[p] = true
	d.errs = append(d.errs, Error{File: d.src.file, Line: n.Line, Column: n.Column, Path: p.String(), Msg: fmt.Sprintf(format, args...)})
}

// value reads n into v. A value that does not fit leaves v as it is.
func (d *decoder) value(n *yaml.Node, p path, k key, v reflect.Value) {
	switch {
	case n.Kind == yaml.AliasNode:
		d.fail(n, p, "an alias (*%s); write the value out", n.Value)
		return
	case n.Style&yaml.TaggedStyle != 0:
		d.fail(n, p, "a tag (%s); write the value alone", n.Tag)
		return
	case n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null":
		here := d.src.place(p)
		d.fail(&yaml.Node{Line: here.line, Column: here.column}, p, "has no value: take the key out or write one%s", emptyOf(v.Type()))
		return
	}
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		v = v.Elem()
	}
	switch {
	case v.Type() == addrType || v.Type() == prefixType:
		d.scalar(n, p, k, v)
	case v.Kind() == reflect.Struct:
		d.structure(n, p, v)
	case v.Kind() == reflect.Map:
		d.table(n, p, k, v)
	case v.Kind() == reflect.Slice:
		d.list(n, p, k, v)
	default:
		d.scalar(n, p, k, v)
	}
}

// emptyOf says how an empty value of this type is written, where there is such a thing.
func emptyOf(t reflect.Type) string {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t == addrType || t == prefixType:
	case t.Kind() == reflect.Struct || t.Kind() == reflect.Map:
		return " ({} for none)"
	case t.Kind() == reflect.Slice:
		return " ([] for none)"
	}
	return ""
}

// entries calls each with every key and value of the mapping n, and refuses keys that are no text or come twice.
func (d *decoder) entries(n *yaml.Node, p path, each func(k, v *yaml.Node)) bool {
	if n.Kind != yaml.MappingNode {
		d.fail(n, p, "want keys and values, not %s", spelled(n))
		return false
	}
	seen := make(map[string]int, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i]
		if k.Kind != yaml.ScalarNode || k.ShortTag() != "!!str" || k.Style&yaml.TaggedStyle != 0 {
			d.fail(k, p, "a key must be text, not %s", spelled(k))
			continue
		}
		if line, twice := seen[k.Value]; twice {
			d.fail(k, p, "%q is here twice, first in line %d", k.Value, line)
			continue
		}
		seen[k.Value] = k.Line
		each(k, n.Content[i+1])
	}
	return true
}

func (d *decoder) structure(n *yaml.Node, p path, v reflect.Value) {
	all := fields(v.Type())
	names := make([]string, len(all))
	for i, f := range all {
		names[i] = f.name
	}
	ok := d.entries(n, p, func(kn, vn *yaml.Node) {
		for _, f := range all {
			if f.name != kn.Value {
				continue
			}
			q := p.key(f.name)
			d.mark(q, kn)
			if vn.Kind == yaml.ScalarNode && vn.ShortTag() != "!!null" {
				d.mark(q, vn)
			}
			d.value(vn, q, f.key, v.FieldByIndex(f.index))
			return
		}
		where, hint := "", ""
		if p != "" {
			where = " in " + p.String()
		}
		if meant := closest(kn.Value, names); meant != "" {
			hint = fmt.Sprintf(" (did you mean %q?)", meant)
			d.src.bad[p.key(meant)] = true
		}
		d.errs = append(d.errs, Error{File: d.src.file, Line: kn.Line, Column: kn.Column, Msg: fmt.Sprintf("unknown key %q%s%s", kn.Value, where, hint)})
	})
	if !ok {
		return
	}
	for _, f := range all {
		q := p.key(f.name)
		if _, here := d.src.at[q]; f.key.required && !here && !d.src.bad[q] {
			d.src.bad[q] = true
			d.errs = append(d.errs, d.src.errorAt(p, "%s is missing", f.name))
		}
	}
}

func (d *decoder) table(n *yaml.Node, p path, k key, v reflect.Value) {
	out := reflect.MakeMap(v.Type())
	d.entries(n, p, func(kn, vn *yaml.Node) {
		q := p.key(kn.Value)
		d.mark(q, kn)
		if why := misspelled(kn.Value, k.names); why != "" {
			d.fail(kn, q, "%s", why)
		}
		e := reflect.New(v.Type().Elem()).Elem()
		if e.Kind() == reflect.Pointer {
			e.Set(reflect.New(e.Type().Elem())) // the name exists for those who refer to it, whatever its value
		}
		d.value(vn, q, key{form: k.form}, e)
		out.SetMapIndex(reflect.ValueOf(kn.Value), e)
	})
	v.Set(out)
}

func (d *decoder) list(n *yaml.Node, p path, k key, v reflect.Value) {
	if n.Kind != yaml.SequenceNode {
		d.fail(n, p, "want a list, not %s", spelled(n))
		return
	}
	first := map[any]int{}
	for i, en := range n.Content {
		q := p.index(i)
		d.mark(q, en)
		e := reflect.New(v.Type().Elem()).Elem()
		d.value(en, q, k, e)
		if k.unique && !d.src.bad[q] {
			if j, twice := first[e.Interface()]; twice {
				d.fail(en, q, "%v is here twice, first in line %d", e.Interface(), n.Content[j].Line)
			} else {
				first[e.Interface()] = i
			}
		}
		v.Set(reflect.Append(v, e)) // even if bad, so that the indexes are those of the file
	}
}

// scalar reads a text, a number, a truth value, an address or a prefix.
func (d *decoder) scalar(n *yaml.Node, p path, k key, v reflect.Value) {
	if n.Kind != yaml.ScalarNode {
		d.fail(n, p, "want %s, not %s", wanted(v.Type()), spelled(n))
		return
	}
	tag := n.ShortTag()
	isText := tag == "!!str" || k.form == sysctlText && (tag == "!!int" || tag == "!!float") || k.form == portText && tag == "!!int"
	var why string
	switch v.Kind() {
	case reflect.Bool:
		if tag == "!!bool" {
			v.SetBool(strings.EqualFold(n.Value, "true"))
			return
		}
		why = "want true or false, not " + spelled(n)
	case reflect.Int, reflect.Uint32:
		why = setNumber(n, k, v)
	default:
		if !isText {
			why = fmt.Sprintf("want %s, not %s; quote it if it is meant", wanted(v.Type()), spelled(n))
			break
		}
		why = setText(n.Value, k, v)
	}
	if why != "" {
		d.fail(n, p, "%s", why)
	}
}

func wanted(t reflect.Type) string {
	switch {
	case t == addrType:
		return "an address"
	case t == prefixType:
		return "an address with its prefix length"
	case t.Kind() == reflect.String:
		return "text"
	case t.Kind() == reflect.Bool:
		return "true or false"
	}
	return "a number"
}

// setNumber reads a whole number: decimal without leading zeros, or 0x….
func setNumber(n *yaml.Node, k key, v reflect.Value) string {
	text := n.Value
	plain := n.ShortTag() == "!!int" && (text == "0" || !strings.HasPrefix(text, "0") || strings.HasPrefix(text, "0x")) && !strings.ContainsAny(text, "_+")
	if !plain {
		return "want a whole number, not " + spelled(n)
	}
	i, err := strconv.ParseInt(text, 0, 64)
	lo, hi := k.min, k.max
	if hi == 0 {
		hi = maxU32
	}
	if err != nil || i < lo || i > hi {
		return fmt.Sprintf("%s is not within %d to %d", clipped(text), lo, hi)
	}
	if v.Kind() == reflect.Int {
		v.SetInt(i)
	} else {
		v.SetUint(uint64(i))
	}
	return ""
}

// setText reads a text, an address or a prefix.
func setText(text string, k key, v reflect.Value) string {
	switch v.Type() {
	case addrType:
		a, why := parseAddr(text)
		if why == "" {
			v.Set(reflect.ValueOf(a))
		}
		return why
	case prefixType:
		p, why := parsePrefix(text, k.form)
		if why == "" {
			v.Set(reflect.ValueOf(p))
		}
		return why
	}
	if len(k.words) > 0 {
		if !contains(k.words, text) {
			return fmt.Sprintf("%s is not one of %s", clipped(strconv.Quote(text)), strings.Join(k.words, ", "))
		}
	} else if why := misspelled(text, k.form); why != "" {
		return why
	}
	if k.form == macText {
		text = strings.ToLower(text)
	}
	v.SetString(text)
	return ""
}

// spelled names what stands in the file, for messages.
func spelled(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "keys and values"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias"
	}
	if n.ShortTag() == "!!null" {
		return "nothing"
	}
	if n.ShortTag() == "!!str" {
		return "the text " + clipped(strconv.Quote(n.Value))
	}
	return clipped(n.Value)
}

// clipped shortens a text for a message.
func clipped(s string) string {
	if r := []rune(s); len(r) > 60 {
		return string(r[:57]) + "..."
	}
	return s
}
