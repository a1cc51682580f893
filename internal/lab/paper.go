// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

// envTerminal, set to 1, says that what is printed ends on a terminal although it goes through a
// pipe: out of the VM.
const envTerminal = "WEFT_LAB_TERMINAL"

// paper is what the lab writes on for people: colour and a moving line of progress on a terminal,
// plain lines otherwise.
type paper struct {
	mu       sync.Mutex
	out      io.Writer
	terminal bool
	colour   bool
	moving   bool // the line of progress is on the screen
}

func newPaper(out io.Writer) *paper {
	p := &paper{out: out}
	if u, ok := out.(*untilUp); ok {
		out = u.out
	}
	if f, ok := out.(*os.File); ok {
		p.terminal = term.IsTerminal(int(f.Fd()))
	}
	if os.Getenv(envTerminal) == "1" {
		p.terminal = true
	}
	p.colour = p.terminal && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	return p
}

// printf prints text above the line of progress.
func (p *paper) printf(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wipe()
	fmt.Fprintf(p.out, format, args...)
}

// wipe removes the line of progress; the caller has the lock.
func (p *paper) wipe() {
	if p.moving {
		fmt.Fprint(p.out, "\r\x1b[K")
		p.moving = false
	}
}

// progress shows that something goes on until stop is called: a moving line on a terminal, a line
// every five seconds otherwise.
func (p *paper) progress(what string) (stop func()) {
	interval := 5 * time.Second
	if p.terminal {
		interval = 200 * time.Millisecond
	}
	begin := time.Now()
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			seconds := int(time.Since(begin).Seconds())
			p.mu.Lock()
			if p.terminal {
				p.wipe()
				fmt.Fprintf(p.out, "%c %s (%d s)", `|/-\`[n%4], what, seconds)
				p.moving = true
			} else {
				fmt.Fprintf(p.out, "... %s (%d s)\n", what, seconds)
			}
			p.mu.Unlock()
		}
	}()
	return sync.OnceFunc(func() {
		close(done)
		<-ended
		p.mu.Lock()
		defer p.mu.Unlock()
		p.wipe()
	})
}

func (p *paper) paint(code, text string) string {
	if !p.colour {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (p *paper) green(text string) string { return p.paint("32", text) }
func (p *paper) red(text string) string   { return p.paint("31;1", text) }
func (p *paper) bold(text string) string  { return p.paint("1", text) }
func (p *paper) dim(text string) string   { return p.paint("2", text) }

// block prints lines with something before each.
func (p *paper) block(before, text string) {
	text = strings.TrimRight(text, "\n")
	if text == "" {
		return
	}
	var b strings.Builder
	for line := range strings.SplitSeq(text, "\n") {
		b.WriteString(strings.TrimRight(before+line, " ") + "\n")
	}
	p.printf("%s", b.String())
}
