// SPDX-License-Identifier: Apache-2.0

package ifupdown

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// Limits on what is read. ifupdown reads every file once, so only a file system without end exceeds them.
const (
	maxFiles = 4096
	maxDepth = 64
	maxBytes = 4 << 20 // of one file
)

// Read reads the interfaces file of this absolute path in a file system that is rooted at /, and what it sources.
// Its error names every mistake for which ifupdown would refuse the configuration, one FILE:LINE: message per line.
func Read(fsys fs.FS, name string) (*Config, error) {
	r := &reader{fsys: fsys, seen: make(map[string]bool), config: &Config{}}
	name = path.Clean("/" + name)
	if err := r.file(name, 0); err != nil {
		return nil, err
	}
	if err := errors.Join(r.errs...); err != nil {
		return nil, err
	}
	return r.config, nil
}

type reader struct {
	fsys   fs.FS
	seen   map[string]bool
	config *Config
	errs   []error

	iface   *Iface // the stanza that options belong to
	mapping bool   // or a mapping
}

func (r *reader) mistake(p Pos, format string, args ...any) {
	r.errs = append(r.errs, fmt.Errorf("%s: "+format, append([]any{p}, args...)...))
}

// file reads one file. A file that was read already is left out, as ifupdown does.
func (r *reader) file(name string, depth int) error {
	if r.seen[name] {
		return nil
	}
	r.seen[name] = true
	if len(r.seen) > maxFiles || depth > maxDepth {
		return fmt.Errorf("read %s: too many files source each other", name)
	}
	f, err := r.fsys.Open(strings.TrimPrefix(name, "/"))
	if err != nil {
		return fmt.Errorf("read %s: %w", name, reason(err))
	}
	defer f.Close()
	data, err := readAll(f)
	if err != nil {
		return fmt.Errorf("read %s: %w", name, reason(err))
	}
	r.config.files = append(r.config.files, name)
	r.iface, r.mapping = nil, false
	for p, text := range lines(name, string(data)) {
		if err := r.line(p, text, depth); err != nil {
			return err
		}
	}
	r.iface, r.mapping = nil, false
	return nil
}

// reason strips the operation and the path of a file system's error: the caller says them better.
func reason(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	return err
}

func (r *reader) line(p Pos, text string, depth int) error {
	word, rest := nextWord(text)
	switch {
	case strings.HasPrefix(word, "%") || strings.HasPrefix(word, "<%"):
		r.mistake(p, "a template: expand it first (ifquery -a of ifupdown2 prints the result): %s", text)
	case word == "iface":
		r.iface, r.mapping = nil, false
		r.stanza(p, rest, text)
	case word == "mapping":
		r.iface, r.mapping = nil, true
		r.config.Lines = append(r.config.Lines, Line{p, text, "the script of a mapping is not run: name the interface's stanza by the interface"})
	case word == "source" || strings.HasPrefix(word, "source-dir"):
		r.iface, r.mapping = nil, false
		return r.source(p, word, rest, text, depth)
	case isSelection(word):
		r.selection(p, word, rest, text)
	case r.iface != nil:
		r.option(p, word, rest, text)
	case r.mapping && (word == "script" || word == "map"):
		r.config.Lines = append(r.config.Lines, Line{p, text, "belongs to a mapping"})
		if word == "map" {
			r.config.Mapped = append(r.config.Mapped, strings.Fields(rest)...)
		}
	default:
		r.mistake(p, "belongs to no stanza: %s", text)
	}
	return nil
}

// stanza begins an iface stanza: iface NAME [FAMILY [METHOD]] [inherits OTHER].
func (r *reader) stanza(p Pos, rest, text string) {
	s := &Iface{Pos: p, Text: text}
	r.iface = s // so that after a mistake here the options below it are none
	words := strings.Fields(rest)
	if len(words) == 0 {
		r.mistake(p, "iface needs the name of an interface")
		return
	}
	s.Name, words = words[0], words[1:]
	for _, to := range []*string{&s.Family, &s.Method} {
		if len(words) > 0 && words[0] != "inherits" {
			*to, words = words[0], words[1:]
		}
	}
	if len(words) > 0 && words[0] == "inherits" {
		if len(words) < 2 {
			r.mistake(p, "inherits needs the name of a stanza")
			return
		}
		s.Inherits, words = words[1], words[2:]
		if !r.inherit(s) {
			r.mistake(p, "no stanza %s above to inherit from", s.Inherits)
			return
		}
	}
	switch s.Family {
	case "", "inet", "inet6", "ipx", "can":
	default:
		r.mistake(p, "unknown address family %q", s.Family)
		return
	}
	if len(words) > 0 {
		r.config.Lines = append(r.config.Lines, Line{p, text, fmt.Sprintf("the words %q are not understood", strings.Join(words, " "))})
	}
	r.config.Ifaces = append(r.config.Ifaces, s)
}

// inherit copies the options of the first stanza of that name, and of that family if one was given.
func (r *reader) inherit(s *Iface) bool {
	for _, other := range r.config.Ifaces {
		if other.Name != s.Inherits || s.Family != "" && other.Family != s.Family {
			continue
		}
		other.template = true
		s.Options = append(s.Options, other.Options...)
		s.inherited = len(s.Options)
		if s.Family == "" {
			s.Family = other.Family
		}
		if s.Method == "" {
			s.Method = other.Method
		}
		return true
	}
	return false
}

func (r *reader) option(p Pos, word, rest, text string) {
	if rest == "" {
		r.mistake(p, "the option %s has no value", word)
		return
	}
	switch word {
	case "post-up":
		word = "up"
	case "pre-down":
		word = "down"
	}
	r.iface.Options = append(r.iface.Options, Option{p, word, rest, text})
}

// selection reads auto and its like. Without a name it means the stanza that it stands in.
func (r *reader) selection(p Pos, word, rest, text string) {
	names := strings.Fields(rest)
	if len(names) == 0 && r.iface != nil && word != "rename" {
		r.config.Selections = append(r.config.Selections, Selection{Pos: p, Keyword: word, Name: r.iface.Name, Text: text})
		return
	}
	r.iface, r.mapping = nil, false
	for _, name := range names {
		name, logical, _ := strings.Cut(name, "=")
		r.config.Selections = append(r.config.Selections, Selection{p, word, name, logical, text})
	}
}

func isSelection(word string) bool {
	return word == "auto" || word == "no-auto-down" || word == "no-scripts" || word == "rename" || isAllow(word)
}

func isAllow(word string) bool { return strings.HasPrefix(word, "allow-") && len(word) > len("allow-") }

// selects reports whether a line that begins with auto, or one of its like, means this interface.
func selects(s Selection, name string) bool {
	pattern, ok := strings.CutPrefix(s.Name, "/")
	if !ok {
		return s.Name == name
	}
	pattern, _, _ = strings.Cut(pattern, "/")
	match, err := path.Match(shellPattern(pattern), name)
	return err == nil && match
}
