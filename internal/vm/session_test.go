// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	if IsInit() {
		Init()
	}
	os.Exit(m.Run())
}

// startAgent runs the guest's side on this machine, and the host's on the other end of a pipe.
func startAgent(t *testing.T) *mux {
	t.Helper()
	host, guest := net.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- serveAgent(guest) }()
	m := newMux(host)
	go func() { _ = m.run(host) }()
	<-m.ready
	t.Cleanup(func() {
		if err := m.link.write(frame{kind: kindOff}); err != nil {
			t.Errorf("powering off: %v", err)
		}
		if err := <-ended; err != nil {
			t.Errorf("the agent: %v", err)
		}
		_ = host.Close()
	})
	return m
}

// connect makes a client's connection.
func connect(m *mux) net.Conn {
	ours, theirs := net.Pipe()
	go m.serve(theirs)
	return ours
}

// sh runs a shell script in the "guest".
func sh(t *testing.T, m *mux, c command, script, input string) (code int, stdout, stderr string) {
	t.Helper()
	c.Argv = []string{"sh", "-c", script}
	var out, msg bytes.Buffer
	s := streams{stdout: &out, stderr: &msg}
	if input != "" {
		s.stdin = strings.NewReader(input)
	}
	code, err := runCommand(t.Context(), connect(m), c, s)
	if err != nil {
		t.Fatalf("%s: %v", script, err)
	}
	return code, out.String(), msg.String()
}

func TestSession(t *testing.T) {
	t.Parallel()
	m := startAgent(t)
	dir := t.TempDir()
	for name, test := range map[string]struct {
		command        command
		script, input  string
		code           int
		stdout, stderr string
	}{
		"streams apart":      {script: "echo out; echo err >&2", stdout: "out\n", stderr: "err\n"},
		"exit code":          {script: "exit 77", code: 77},
		"exit code 255":      {script: "exit 255", code: 255},
		"signal":             {script: "kill -TERM $$", code: 128 + 15},
		"environment":        {command: command{Env: []string{"A=b c", "TERM=xterm"}}, script: "echo $A $TERM $HOME | cut -d' ' -f1-3", stdout: "b c xterm\n"},
		"folder":             {command: command{Dir: dir}, script: "pwd", stdout: dir + "\n"},
		"no folder is root":  {script: "pwd", stdout: "/\n"},
		"no input":           {script: "wc -c", stdout: "0\n"},
		"input":              {script: "tr a-z A-Z", input: "abc\n", stdout: "ABC\n"},
		"input nobody reads": {script: "exec <&-; echo done", input: strings.Repeat("x", 3*windowSize), stdout: "done\n"},
		"much input":         {script: "wc -c", input: strings.Repeat("x", 3*windowSize+1), stdout: "1572865\n"},
		"no newline":         {script: "printf abc", stdout: "abc"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, stdout, stderr := sh(t, m, test.command, test.script, test.input)
			if code != test.code || stdout != test.stdout || stderr != test.stderr {
				t.Errorf("exit %d, stdout %q, stderr %q; want %d, %q, %q",
					code, stdout, stderr, test.code, test.stdout, test.stderr)
			}
		})
	}
}

func TestSessionCarriesMuchOutput(t *testing.T) {
	t.Parallel()
	m := startAgent(t)
	_, stdout, _ := sh(t, m, command{}, "head -c 5000000 /dev/zero; echo end", "")
	if want := strings.Repeat("\x00", 5000000) + "end\n"; stdout != want {
		t.Errorf("got %d bytes that end in %q, want %d", len(stdout), stdout[max(0, len(stdout)-8):], len(want))
	}
}

// slowWriter takes output only when it is let.
type slowWriter struct {
	open chan struct{}
	n    int
}

func (w *slowWriter) Write(b []byte) (int, error) {
	<-w.open
	w.n += len(b)
	return len(b), nil
}

func TestSlowClientHoldsUpNobodyElse(t *testing.T) {
	t.Parallel()
	m := startAgent(t)
	slow := &slowWriter{open: make(chan struct{})}
	done := make(chan error, 1)
	go func() {
		_, err := runCommand(context.Background(), connect(m), command{Argv: []string{"head", "-c", "3000000", "/dev/zero"}}, streams{stdout: slow})
		done <- err
	}()
	for range 20 {
		if code, out, _ := sh(t, m, command{}, "echo quick", ""); code != 0 || out != "quick\n" {
			t.Fatalf("beside a slow client: exit %d, %q", code, out)
		}
	}
	close(slow.open)
	if err := <-done; err != nil || slow.n != 3000000 {
		t.Errorf("the slow client got %d bytes, error %v", slow.n, err)
	}
}

func TestSessionThatCannotStart(t *testing.T) {
	t.Parallel()
	m := startAgent(t)
	for _, c := range []command{
		{Argv: []string{"no-such-program"}},
		{Argv: []string{"/no/such/program"}},
		{Argv: []string{"true"}, Dir: "/no/such/folder"},
	} {
		code, err := runCommand(t.Context(), connect(m), c, streams{})
		if err == nil || !strings.Contains(err.Error(), c.Argv[0]) {
			t.Errorf("%v: exit %d, error %v; want an error that names it", c, code, err)
		}
	}
}

func TestSessionWithTerminal(t *testing.T) {
	t.Parallel()
	m := startAgent(t)
	code, out, _ := sh(t, m, command{TTY: true, Rows: 33, Cols: 111}, "tty >/dev/null && stty size; read a; echo got $a; exit 5", "line\n")
	if code != 5 || !strings.Contains(out, "33 111\r\n") || !strings.Contains(out, "got line\r\n") {
		t.Errorf("exit %d, %q", code, out)
	}
	// Control-C is the terminal's business.
	in, keys := io.Pipe()
	screen := newLineWriter()
	done := make(chan int, 1)
	go func() {
		code, err := runCommand(t.Context(), connect(m), command{
			Argv: []string{"sh", "-c", "trap 'echo trapped; exit 9' INT; echo up; while :; do read x; done"}, TTY: true,
		}, streams{stdin: in, stdout: screen})
		if err != nil {
			t.Error(err)
		}
		done <- code
	}()
	screen.wait("up")
	if _, err := keys.Write([]byte{3}); err != nil {
		t.Fatal(err)
	}
	screen.wait("trapped")
	if code := <-done; code != 9 {
		t.Errorf("after Control-C: exit %d", code)
	}
}

func TestBackgroundProcessHoldsNothingUp(t *testing.T) {
	t.Parallel()
	m := startAgent(t)
	code, out, _ := sh(t, m, command{}, "sleep 1000 & echo $!", "")
	pid, err := strconv.Atoi(strings.TrimSpace(out))
	if err != nil || code != 0 {
		t.Fatalf("exit %d, %q", code, out)
	}
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Errorf("the command's end ended what it left in the background: %v", err)
	}
}

func TestResize(t *testing.T) {
	t.Parallel()
	m := startAgent(t)
	sizes := make(chan [2]uint16)
	out := newLineWriter()
	done := make(chan error, 1)
	go func() {
		_, err := runCommand(t.Context(), connect(m), command{
			Argv: []string{"bash", "-c", `trap 'stty size; exit' WINCH; echo up; while :; do sleep 0.05; done`}, TTY: true, Rows: 1, Cols: 1,
		}, streams{stdout: out, resize: sizes})
		done <- err
	}()
	out.wait("up")
	sizes <- [2]uint16{50, 132}
	out.wait("50 132")
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// lineWriter lets a test wait for output.
type lineWriter struct {
	mu   sync.Mutex
	cond *sync.Cond
	text string
}

func newLineWriter() *lineWriter {
	w := &lineWriter{}
	w.cond = sync.NewCond(&w.mu)
	return w
}

func (w *lineWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text += string(b)
	w.cond.Broadcast()
	return len(b), nil
}

func (w *lineWriter) wait(s string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for !strings.Contains(w.text, s) {
		w.cond.Wait()
	}
}

func TestClientThatLeavesEndsItsCommand(t *testing.T) {
	t.Parallel()
	m := startAgent(t)
	for name, tty := range map[string]bool{"pipes": false, "terminal": true} {
		// The FIFO's reader sees the end when the last process of the command is gone.
		fifo := t.TempDir() + "/" + name
		if code, _, _ := sh(t, m, command{}, "mkfifo "+fifo, ""); code != 0 {
			t.Fatal("mkfifo failed")
		}
		out := newLineWriter()
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() {
			_, err := runCommand(ctx, connect(m), command{Argv: []string{"sh", "-c", "trap '' TERM HUP; exec 3>" + fifo + "; echo up; while :; do sleep 0.1; done"}, TTY: tty}, streams{stdout: out, stderr: out})
			done <- err
		}()
		f, err := os.Open(fifo)
		if err != nil {
			t.Fatal(err)
		}
		out.wait("up")
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("%s: the client ended with %v", name, err)
		}
		if err := f.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(f); err != nil {
			t.Errorf("%s: the command still runs: %v", name, err)
		}
		_ = f.Close()
	}
}

func TestLinkThatEndsEndsClients(t *testing.T) {
	t.Parallel()
	host, guest := net.Pipe()
	m := newMux(host)
	go func() { _ = m.run(host) }()
	go func() {
		_ = (&frameWriter{w: guest}).write(frame{kind: kindReady})
		_, _ = readFrame(guest)
		_ = guest.Close()
	}()
	<-m.ready
	if _, err := runCommand(t.Context(), connect(m), command{Argv: []string{"x"}}, streams{}); !errors.Is(err, ErrEnded) {
		t.Errorf("error %v, want %v", err, ErrEnded)
	}
	if _, err := runCommand(t.Context(), connect(m), command{Argv: []string{"x"}}, streams{}); err == nil {
		t.Error("a client of a dead VM got through")
	}
}
