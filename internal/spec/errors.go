// SPDX-License-Identifier: Apache-2.0

package spec

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Error is one mistake, with its place. Line and Column count from 1; they are 0 where the mistake is not in a file (a
// NIC) or of the file as a whole.
type Error struct {
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
	Path   string `json:"path,omitempty"` // such as "bonds.bond0.members"
	Msg    string `json:"message"`
}

// Error spells the mistake as file:line:column: path: message, without the parts that it does not have.
func (e Error) Error() string {
	var b strings.Builder
	if e.File != "" {
		b.WriteString(e.File)
		if e.Line > 0 {
			fmt.Fprintf(&b, ":%d:%d", e.Line, e.Column)
		}
		b.WriteString(": ")
	}
	if e.Path != "" {
		b.WriteString(e.Path + ": ")
	}
	return b.String() + e.Msg
}

// Errors are all mistakes of a file, in its order.
type Errors []Error

// Error spells the mistakes, one on each line.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, one := range e {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// maxErrors bounds what a file of garbage is answered with.
const maxErrors = 100

// err returns the mistakes sorted by place, at most maxErrors of them and a count of the others, or nil for none.
func (e Errors) err() error {
	if len(e) == 0 {
		return nil
	}
	slices.SortStableFunc(e, func(a, b Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	e = slices.Compact(e)
	if n := len(e) - maxErrors; n > 0 {
		last := e[maxErrors]
		e = append(e[:maxErrors:maxErrors], Error{File: last.File, Line: last.Line, Column: last.Column, Msg: fmt.Sprintf("and %d more mistakes from here on", n)})
	}
	return e
}
