// SPDX-License-Identifier: Apache-2.0

package spec

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"

	"github.com/google/jsonschema-go/jsonschema"
)

// Schema returns the JSON Schema (draft 2020-12) of a node file, for editors: with it they complete keys, show what they
// are for, and mark what cannot be. Whatever Parse takes is valid by it; what names mean to each other only Parse sees.
func Schema() ([]byte, error) {
	s := schemaOf(reflect.TypeFor[Node](), key{})
	s.Schema = "https://json-schema.org/draft/2020-12/schema"
	s.Title = "weft node file"
	s.Description = "The network of one node."
	compact, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("write the schema of node files: %w", err)
	}
	var out bytes.Buffer
	if err := json.Indent(&out, compact, "", "  "); err != nil {
		return nil, fmt.Errorf("indent the schema of node files: %w", err)
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}

// schemaOf returns the schema of one value of the file.
func schemaOf(t reflect.Type, k key) *jsonschema.Schema {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	s := &jsonschema.Schema{Description: k.doc}
	if k.example != nil {
		s.Examples = []any{k.example}
	}
	switch {
	case t == addrType:
		s.Type, s.Pattern = "string", `^[0-9a-fA-F:.]+$`
	case t == prefixType:
		s.Type, s.Pattern = "string", `^[0-9a-fA-F:.]+/[0-9]{1,3}$`
	case t.Kind() == reflect.Struct:
		structSchema(s, t)
	case t.Kind() == reflect.Map:
		s.Type = "object"
		s.PropertyNames = &jsonschema.Schema{}
		textSchema(s.PropertyNames, key{form: k.names})
		s.AdditionalProperties = schemaOf(t.Elem(), key{form: k.form})
	case t.Kind() == reflect.Slice:
		s.Type, s.UniqueItems = "array", k.unique
		s.Items = schemaOf(t.Elem(), key{form: k.form})
	case t.Kind() == reflect.Bool:
		s.Type = "boolean"
	case t.Kind() == reflect.String:
		s.Type = "string"
		textSchema(s, k)
	default:
		s.Type = "integer"
		lo, hi := float64(k.min), float64(k.max)
		if k.max == 0 {
			hi = maxU32
		}
		s.Minimum, s.Maximum = &lo, &hi
	}
	return s
}

func structSchema(s *jsonschema.Schema, t reflect.Type) {
	s.Type, s.Properties, s.AdditionalProperties = "object", map[string]*jsonschema.Schema{}, nothing()
	for _, f := range fields(t) {
		s.Properties[f.name] = schemaOf(f.typ, f.key)
		s.PropertyOrder = append(s.PropertyOrder, f.name)
		if f.key.required {
			s.Required = append(s.Required, f.name)
		}
	}
	if t == reflect.TypeFor[Network]() {
		s.AllOf = []*jsonschema.Schema{
			inMode(Bridged, []string{"ipv4", "ipv6", "table", "vrf", "policy", "conntrack", "mac_mask"}),
			inMode(Private, []string{"ipv4", "ipv6", "table", "vrf", "policy", "conntrack"}),
			inMode(Routed, []string{"bridge", "protect", "isolated", "mac_mask", "mcast_snooping"}),
		}
	}
}

// nothing is the schema that no value has.
func nothing() *jsonschema.Schema { return &jsonschema.Schema{Not: &jsonschema.Schema{}} }

// inMode says which keys a network of this mode cannot have.
func inMode(mode string, without []string) *jsonschema.Schema {
	var is any = mode
	then := &jsonschema.Schema{Properties: map[string]*jsonschema.Schema{}, PropertyOrder: without}
	for _, name := range without {
		then.Properties[name] = nothing()
	}
	return &jsonschema.Schema{
		If:   &jsonschema.Schema{Properties: map[string]*jsonschema.Schema{"mode": {Const: &is}}, Required: []string{"mode"}},
		Then: then,
	}
}

// textSchema says what a text may look like.
func textSchema(s *jsonschema.Schema, k key) {
	for _, w := range k.words {
		s.Enum = append(s.Enum, w)
	}
	length := func(least, most int) { s.MinLength, s.MaxLength = &least, &most }
	switch k.form {
	case ifName:
		s.Pattern = `^[A-Za-z0-9_+][A-Za-z0-9._+-]*$`
		length(1, maxIfName)
	case netName:
		s.Pattern = `^[A-Za-z0-9_+][A-Za-z0-9._+-]*$`
		length(1, maxNetName)
	case macText:
		s.Pattern = `^[0-9a-fA-F][02468aceACE](:[0-9a-fA-F]{2}){5}$`
	case maskText:
		s.Pattern = `^[fF]{2}(:[0-9a-fA-F]{2}){5}$`
	case groupText:
		s.Pattern = `^[a-z][a-z0-9_]*$`
		length(1, maxGroupName)
	case portText:
		s.Type, s.Types = "", []string{"string", "integer"}
		s.Pattern = `^[0-9]{1,5}(-[0-9]{1,5})?$`
	case fromText:
		s.Pattern = `^([0-9a-fA-F:.]+(/[0-9]{1,3})?|group:[a-z][a-z0-9_]*)$`
	case rateText:
		s.Pattern = `^[0-9.]+([kmgKMG][iI]?)?[bB][iI][tT]$`
	case sizeText:
		s.Pattern = `^[0-9.]+([kmgKMG]|[kmgKMG]?[bB])$`
	case destText:
		s.Pattern = `^(default|[0-9a-fA-F:.]+(/[0-9]{1,3})?)$`
	case sysctlText:
		if s.Type != "" { // a value; the name of a setting is always text
			s.Type, s.Types = "", []string{"string", "number"}
			return
		}
		s.Pattern = `^net[./]`
	}
}
