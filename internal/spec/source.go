// SPDX-License-Identifier: Apache-2.0

package spec

import (
	"fmt"
	"strings"
)

// path is the way from the top of a node file to a value: keys, and "[i]" for the elements of lists, each ended by a
// NUL, so that a dot in an interface's name leads nowhere else.
type path string

func at(keys ...string) path {
	var p path
	for _, k := range keys {
		p = p.key(k)
	}
	return p
}

func (p path) key(k string) path { return p + path(k) + "\x00" }

func (p path) index(i int) path { return p.key(fmt.Sprintf("[%d]", i)) }

// parent returns the path without its last part.
func (p path) parent() path {
	s := strings.TrimSuffix(string(p), "\x00")
	return path(s[:strings.LastIndexByte(s, 0)+1])
}

// String spells the path with dots. The place of a scalar in a list is left out: line and column tell it.
func (p path) String() string {
	parts := strings.Split(strings.TrimSuffix(string(p), "\x00"), "\x00")
	if last := len(parts) - 1; last > 1 && strings.HasPrefix(parts[last], "[") {
		parts = parts[:last]
	}
	return strings.ReplaceAll(strings.Join(parts, "."), ".[", "[")
}

// place is a line and a column of the file.
type place struct{ line, column int }

// source is where the parts of a Node stand in the file that it came from.
type source struct {
	file string
	at   map[path]place
	bad  map[path]bool // values that could not be read: their absence from the Node is not a second mistake
}

// place returns where the value at p stands, or the nearest thing around it that the file has.
func (s *source) place(p path) place {
	for {
		if here, ok := s.at[p]; ok || p == "" {
			return here
		}
		p = p.parent()
	}
}

// errorAt returns a mistake at p. A nil source, of a Node that came from no file, gives one without a place.
func (s *source) errorAt(p path, format string, args ...any) Error {
	e := Error{Path: p.String(), Msg: fmt.Sprintf(format, args...)}
	if s != nil {
		here := s.place(p)
		e.File, e.Line, e.Column = s.file, here.line, here.column
	}
	return e
}
