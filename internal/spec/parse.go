// SPDX-License-Identifier: Apache-2.0

package spec

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// maxFile is the largest node file in bytes. One with every VLAN there is has half of it.
const maxFile = 1 << 20

// Parse reads a node file. The error, if any, is an Errors with every mistake in it; the Node is then nil. The file name
// is only for messages.
//
// An empty file is refused, and so is a key without a value and a last line without its end: each is what a file that
// was cut off looks like, and taking it for the whole would take the node's network away.
func Parse(filename string, data []byte) (*Node, error) {
	root, err := load(filename, data)
	if err != nil {
		return nil, err
	}
	d := &decoder{src: &source{file: filename, at: map[path]place{}, bad: map[path]bool{}}}
	n := &Node{src: d.src}
	d.decode(root, n)
	c := &checker{node: n, src: d.src, errs: d.errs}
	c.check()
	if err := c.errs.err(); err != nil {
		return nil, err
	}
	return n, nil
}

// load returns the root of the only document in data.
func load(filename string, data []byte) (*yaml.Node, error) {
	if e := checkText(data); e != nil {
		e.File = filename
		return nil, Errors{*e}
	}
	loader, err := yaml.NewLoader(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", filename, err)
	}
	var doc, more yaml.Node
	err = loader.Load(&doc)
	if errors.Is(err, io.EOF) || err == nil && empty(&doc) {
		return nil, Errors{{File: filename, Line: 1, Column: 1, Msg: "the file is empty; for a node that wants nothing write {}"}}
	}
	if err != nil {
		return nil, Errors{syntaxError(filename, data, err)}
	}
	switch err := loader.Load(&more); {
	case err == nil:
		e := Error{File: filename, Line: more.Line, Column: more.Column, Msg: "a second document: a node file is one document"}
		return nil, Errors{e}
	case !errors.Is(err, io.EOF):
		return nil, Errors{syntaxError(filename, data, err)}
	}
	return doc.Content[0], nil
}

// empty reports whether the document holds nothing at all.
func empty(doc *yaml.Node) bool {
	if len(doc.Content) == 0 {
		return true
	}
	top := doc.Content[0]
	return top.Kind == yaml.ScalarNode && top.ShortTag() == "!!null" && top.Value == ""
}

// checkText refuses what is no text file, before anything is spent on it.
func checkText(data []byte) *Error {
	if len(data) > maxFile {
		return &Error{Msg: fmt.Sprintf("%d bytes; a node file has at most %d", len(data), maxFile)}
	}
	line, start := 1, 0
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		bad := ""
		switch {
		case r == utf8.RuneError && size <= 1:
			bad = fmt.Sprintf("byte %#02x is not UTF-8", data[i])
		case r == '\n':
			line, start = line+1, i+1
		case r < ' ' && r != '\t' && r != '\r', r == 0x7f:
			bad = fmt.Sprintf("control character %#02x", r)
		}
		if bad != "" {
			return &Error{Line: line, Column: utf8.RuneCount(data[start:i]) + 1, Msg: "not a text file: " + bad}
		}
		i += size
	}
	if start < len(data) {
		return &Error{Line: line, Column: utf8.RuneCount(data[start:]) + 1, Msg: "the last line has no end: is the file cut off?"}
	}
	return nil
}

// syntaxError spells the library's complaint as one of ours.
func syntaxError(filename string, data []byte, err error) Error {
	e := Error{File: filename, Msg: err.Error()}
	var le *yaml.LoadError
	if !errors.As(err, &le) {
		return e
	}
	e.Line, e.Column, e.Msg = le.Mark.Line, le.Mark.Column, le.Message
	if le.ContextMsg != "" {
		e.Msg = le.ContextMsg + ": " + le.Message
	}
	if e.Line == 0 && le.ContextMark.Line > 0 {
		e.Line, e.Column = le.ContextMark.Line, le.ContextMark.Column
	}
	if tabAt(data, e.Line, e.Column) {
		e.Msg = "a tab; YAML is indented with spaces"
	}
	return e
}

// tabAt reports whether the place holds a tab.
func tabAt(data []byte, line, column int) bool {
	for range line - 1 {
		i := bytes.IndexByte(data, '\n')
		if i < 0 {
			return false
		}
		data = data[i+1:]
	}
	return line > 0 && column > 0 && column <= len(data) && data[column-1] == '\t'
}
