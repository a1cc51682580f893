// SPDX-License-Identifier: Apache-2.0

package netstate

import "reflect"

// Missing returns a copy of want with every field cleared that have already satisfies, and whether anything is left.
// A zero field of want (nil pointer, empty string, 0) asks for nothing. Pointers to structs are compared field by field,
// other pointers and slices by value. Fields tagged `key:"-"` identify the object and are kept as they are;
// fields tagged `status:"-"` are only ever observed and are dropped.
func Missing[T any](have, want T) (left T, any bool) {
	v := reflect.ValueOf(&left).Elem()
	return left, missing(reflect.ValueOf(have), reflect.ValueOf(want), v) // left is filled through v
}

func missing(have, want, left reflect.Value) bool {
	some := false
	for i := range want.NumField() {
		f := want.Type().Field(i)
		w := want.Field(i)
		if _, ok := f.Tag.Lookup("key"); ok {
			left.Field(i).Set(w)
			continue
		}
		if _, ok := f.Tag.Lookup("status"); ok || w.IsZero() {
			continue
		}
		h := have.Field(i)
		if w.Kind() == reflect.Pointer && w.Type().Elem().Kind() == reflect.Struct {
			if h.IsNil() {
				h = reflect.New(w.Type().Elem())
			}
			sub := reflect.New(w.Type().Elem())
			if missing(h.Elem(), w.Elem(), sub.Elem()) {
				left.Field(i).Set(sub)
				some = true
			}
			continue
		}
		if !reflect.DeepEqual(h.Interface(), w.Interface()) {
			left.Field(i).Set(w)
			some = true
		}
	}
	return some
}

// Merge returns base with every field replaced that over asks for: what an object is after over was set on it.
func Merge[T any](base, over T) T {
	merge(reflect.ValueOf(&base).Elem(), reflect.ValueOf(over))
	return base
}

func merge(base, over reflect.Value) {
	for i := range over.NumField() {
		o := over.Field(i)
		if o.IsZero() {
			continue
		}
		if o.Kind() == reflect.Pointer && o.Type().Elem().Kind() == reflect.Struct {
			sub := reflect.New(o.Type().Elem())
			if !base.Field(i).IsNil() {
				sub.Elem().Set(base.Field(i).Elem())
			}
			merge(sub.Elem(), o.Elem())
			base.Field(i).Set(sub)
			continue
		}
		base.Field(i).Set(o)
	}
}

// Pick returns the fields of from that like asks for (its non-zero fields), as they are in from; key fields are kept.
// It is how the previous value of a partial change is remembered.
func Pick[T any](from, like T) T {
	var out T
	pick(reflect.ValueOf(from), reflect.ValueOf(like), reflect.ValueOf(&out).Elem())
	return out
}

func pick(from, like, out reflect.Value) {
	for i := range like.NumField() {
		_, key := like.Type().Field(i).Tag.Lookup("key")
		l := like.Field(i)
		if l.IsZero() && !key {
			continue
		}
		f := from.Field(i)
		if !key && l.Kind() == reflect.Pointer && l.Type().Elem().Kind() == reflect.Struct && !f.IsNil() {
			sub := reflect.New(l.Type().Elem())
			pick(f.Elem(), l.Elem(), sub.Elem())
			out.Field(i).Set(sub)
			continue
		}
		out.Field(i).Set(f)
	}
}
