// SPDX-License-Identifier: Apache-2.0

package ifupdown

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"path"
	"strings"
)

// lines yields the lines of a file that say something, trimmed, with those that a backslash continues joined. As in
// ifupdown a comment is a line of its own, and inside a continued line there is none.
func lines(file, data string) iter.Seq2[Pos, string] {
	return func(yield func(Pos, string) bool) {
		number := 0
		for data != "" {
			var line string
			line, data, _ = strings.Cut(data, "\n")
			number++
			p := Pos{file, number}
			line = strings.TrimLeft(strings.TrimSuffix(line, "\r"), " \t\v\f\r")
			if line == "" || line[0] == '#' {
				continue
			}
			for strings.HasSuffix(line, `\`) {
				var next string
				next, data, _ = strings.Cut(data, "\n")
				number++
				line = line[:len(line)-1] + strings.TrimSuffix(next, "\r")
			}
			if line = strings.TrimRight(line, " \t\v\f\r"); line != "" && !yield(p, line) {
				return
			}
		}
	}
}

// nextWord splits a line at its first blank.
func nextWord(s string) (word, rest string) {
	i := strings.IndexAny(s, " \t\v\f\r")
	if i < 0 {
		return s, ""
	}
	return s[:i], strings.TrimLeft(s[i:], " \t\v\f\r")
}

func readAll(f fs.File) ([]byte, error) {
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return nil, errors.New("it is a folder")
	}
	data, err := io.ReadAll(io.LimitReader(f, maxBytes+1))
	if err == nil && len(data) > maxBytes {
		err = fmt.Errorf("it is larger than %d bytes", maxBytes)
	}
	return data, err
}

// source reads what a source or source-directory line names: shell patterns, relative to the file that the line is in.
// A pattern that nothing matches is nothing; a file that is named and is not there is worth a note.
func (r *reader) source(p Pos, word, rest, text string, depth int) error {
	if rest == "" {
		r.mistake(p, "%s needs a path", word)
		return nil
	}
	if strings.ContainsAny(rest, "$`~\"'\\") {
		r.config.Lines = append(r.config.Lines, Line{p, text, "only the shell can expand this path: nothing of it was read"})
		return nil
	}
	for _, pattern := range strings.Fields(rest) {
		if !path.IsAbs(pattern) {
			pattern = path.Join(path.Dir(p.File), pattern)
		}
		names, err := r.glob(path.Clean(pattern))
		if err != nil {
			r.mistake(p, "%s: %v", pattern, err)
			continue
		}
		if len(names) == 0 && !strings.ContainsAny(pattern, "*?[") {
			r.config.Lines = append(r.config.Lines, Line{p, text, "no such file"})
		}
		for _, name := range names {
			if err := r.sourceOne(p, word, name, text, depth); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *reader) sourceOne(p Pos, word, name, text string, depth int) error {
	info, err := fs.Stat(r.fsys, strings.TrimPrefix(name, "/"))
	if err != nil {
		return fmt.Errorf("%s: read %s: %w", p, name, reason(err))
	}
	if word == "source" {
		if info.IsDir() {
			r.config.Lines = append(r.config.Lines, Line{p, text, name + " is a folder: nothing of it was read"})
			return nil
		}
		return r.file(name, depth+1)
	}
	entries, err := fs.ReadDir(r.fsys, strings.TrimPrefix(name, "/"))
	if err != nil {
		return fmt.Errorf("%s: read %s: %w", p, name, reason(err))
	}
	for _, e := range entries {
		if strings.ContainsFunc(e.Name(), notInFileName) || e.IsDir() {
			continue
		}
		if err := r.file(path.Join(name, e.Name()), depth+1); err != nil {
			return err
		}
	}
	return nil
}

// notInFileName tells the characters that keep source-directory from reading a file, such as the dot of eth0.dpkg-old.
func notInFileName(c rune) bool {
	return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-')
}

// glob returns the existing paths that a shell pattern matches.
func (r *reader) glob(pattern string) ([]string, error) {
	found, err := fs.Glob(r.fsys, strings.TrimPrefix(shellPattern(pattern), "/"))
	if err != nil {
		return nil, fmt.Errorf("not a pattern: %w", err)
	}
	var names []string
	hidden := strings.HasPrefix(path.Base(pattern), ".")
	for _, name := range found {
		if hidden || !strings.HasPrefix(path.Base(name), ".") { // * and ? do not match a leading dot
			names = append(names, "/"+name)
		}
	}
	return names, nil
}

// shellPattern spells a shell pattern in the words of path.Match.
func shellPattern(s string) string { return strings.ReplaceAll(s, "[!", "[^") }
