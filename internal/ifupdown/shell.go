// SPDX-License-Identifier: Apache-2.0

package ifupdown

import (
	"regexp"
	"strings"
)

// simple is one command without its redirections to nowhere.
type simple struct {
	words []string
	to    string // the file that its output goes to
}

// maxCommands bounds what a for loop may expand to.
const maxCommands = 256

var forLoop = regexp.MustCompile(`^for\s+([A-Za-z_]\w*)\s+in\s+([^;$` + "`" + `*?]*);\s*do\s+(.*?);?\s*done\s*;?$`)

// commands takes a shell line apart into simple commands that all run. It reports false for everything of which only a
// shell can tell what it does: conditions, pipes, substitutions. A last "|| true" says nothing.
func commands(line string, variables map[string]string) ([]simple, bool) {
	line = strings.TrimSpace(line)
	if m := forLoop.FindStringSubmatch(line); m != nil {
		var all []simple
		for _, word := range strings.Fields(m[2]) {
			inner := map[string]string{m[1]: word}
			for k, v := range variables {
				if k != m[1] {
					inner[k] = v
				}
			}
			some, ok := commands(m[3], inner)
			if all = append(all, some...); !ok || len(all) > maxCommands {
				return nil, false
			}
		}
		return all, true
	}
	words, ok := split(line, variables)
	if !ok {
		return nil, false
	}
	var all []simple
	var c simple
	for k := 0; k < len(words); k++ {
		w := words[k]
		switch {
		case !w.operator:
			c.words = append(c.words, w.text)
		case w.text == ";" || w.text == "&&":
			if len(c.words) > 0 {
				all = append(all, c)
			}
			c = simple{}
		case w.text == "||":
			if !harmless(words[k+1:]) {
				return nil, false
			}
			k = len(words)
		default: // a redirection
			k++
			if k >= len(words) || words[k].operator || !c.redirect(w.text, words[k].text) {
				return nil, false
			}
		}
	}
	if len(c.words) > 0 {
		all = append(all, c)
	}
	return all, len(all) > 0
}

// redirect notes where output goes. To nowhere, or errors to where output goes, is nothing.
func (c *simple) redirect(operator, to string) bool {
	switch {
	case to == "/dev/null" || strings.HasPrefix(to, "&"):
		return true
	case (operator == ">" || operator == ">>") && c.to == "":
		c.to = to
		return true
	}
	return false
}

// harmless reports whether what stands behind "||" does nothing.
func harmless(words []token) bool {
	var text []string
	for _, w := range words {
		text = append(text, w.text)
	}
	switch strings.Join(text, " ") {
	case "true", ":", "/bin/true", "exit 0":
		return true
	}
	return false
}

type token struct {
	text     string
	operator bool
}

// split reads the words and operators of a line: quotes and backslashes as the shell has them, the given variables put
// in. It reports false for what it does not know.
func split(line string, variables map[string]string) ([]token, bool) {
	s := &splitter{in: line, variables: variables}
	for s.in != "" {
		if !s.next() {
			return nil, false
		}
	}
	s.flush()
	return s.out, true
}

type splitter struct {
	in        string
	out       []token
	word      strings.Builder
	inWord    bool
	variables map[string]string
}

func (s *splitter) flush() {
	if s.inWord {
		s.out = append(s.out, token{text: s.word.String()})
	}
	s.word.Reset()
	s.inWord = false
}

func (s *splitter) add(text string) {
	s.word.WriteString(text)
	s.inWord = true
}

func (s *splitter) next() bool {
	c := s.in[0]
	switch c {
	case ' ', '\t', '\n', '\r', '\v', '\f':
		s.flush()
		s.in = s.in[1:]
	case '#':
		if s.inWord {
			s.add("#")
			s.in = s.in[1:]
			break
		}
		s.in = ""
	case '\\':
		if len(s.in) < 2 {
			return false
		}
		s.add(s.in[1:2])
		s.in = s.in[2:]
	case '\'':
		text, rest, ok := strings.Cut(s.in[1:], "'")
		s.add(text)
		s.in = rest
		return ok
	case '"':
		return s.quoted()
	case '$':
		return s.variable()
	case '`', '(', ')', '*', '?', '{', '}', '~', '!':
		return false
	case ';', '&', '|', '<', '>':
		return s.operator()
	default:
		s.add(s.in[:1])
		s.in = s.in[1:]
	}
	return true
}

// quoted reads what stands between double quotes, at the first of which the input is.
func (s *splitter) quoted() bool {
	s.add("")
	for s.in = s.in[1:]; s.in != ""; {
		switch s.in[0] {
		case '"':
			s.in = s.in[1:]
			return true
		case '$':
			if !s.variable() {
				return false
			}
			continue
		case '`', '\\':
			return false
		}
		s.add(s.in[:1])
		s.in = s.in[1:]
	}
	return false
}

var variableName = regexp.MustCompile(`^\$(?:\{([A-Za-z_]\w*)\}|([A-Za-z_]\w*))`)

func (s *splitter) variable() bool {
	m := variableName.FindStringSubmatch(s.in)
	if m == nil {
		return false
	}
	value, ok := s.variables[m[1]+m[2]]
	s.add(value)
	s.in = s.in[len(m[0]):]
	return ok
}

// operator reads ; && || and redirections. A number before > is the stream; 2>&1 has its target in the operator's word.
func (s *splitter) operator() bool {
	if s.in[0] == '>' || strings.HasPrefix(s.in, "&>") {
		stream := s.word.String()
		if s.inWord && (stream == "1" || stream == "2") {
			s.word.Reset()
			s.inWord = false
		}
		s.flush()
		op := ">"
		s.in = strings.TrimPrefix(s.in, "&")
		s.in = s.in[1:]
		if strings.HasPrefix(s.in, ">") {
			op, s.in = ">>", s.in[1:]
		}
		if strings.HasPrefix(s.in, "&") {
			if len(s.in) < 2 || s.in[1] != '1' && s.in[1] != '2' {
				return false
			}
			s.out = append(s.out, token{text: op, operator: true}, token{text: s.in[:2]})
			s.in = s.in[2:]
			return true
		}
		if stream == "2" && strings.TrimLeft(s.in, " \t") != "" && !strings.HasPrefix(strings.TrimLeft(s.in, " \t"), "/dev/null") {
			return false
		}
		s.out = append(s.out, token{text: op, operator: true})
		return true
	}
	s.flush()
	for _, op := range []string{"&&", "||", ";"} {
		if rest, ok := strings.CutPrefix(s.in, op); ok {
			s.out = append(s.out, token{text: op, operator: true})
			s.in = rest
			return true
		}
	}
	return false
}
