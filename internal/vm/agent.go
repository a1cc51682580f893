// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// agent runs the guest's side of the sessions.
type agent struct {
	out      *frameWriter
	mu       sync.Mutex
	sessions map[uint32]*session
}

// runAgent takes sessions from the link until the host says to power off.
func runAgent() error {
	link, err := openLink()
	if err != nil {
		return err
	}
	return serveAgent(link)
}

// serveAgent is runAgent over any connection.
func serveAgent(link io.ReadWriter) error {
	a := &agent{out: &frameWriter{w: link}, sessions: map[uint32]*session{}}
	if err := a.out.write(frame{kind: kindReady}); err != nil {
		return fmt.Errorf("writing to the host: %w", err)
	}
	r := bufio.NewReaderSize(link, 64<<10)
	for {
		f, err := readFrame(r)
		if err != nil {
			return fmt.Errorf("reading from the host: %w", err)
		}
		if f.kind == kindOff {
			return nil
		}
		a.handle(f)
	}
}

// handle acts on one frame; it never blocks on a session.
func (a *agent) handle(f frame) {
	if f.kind == kindOpen {
		a.open(f)
		return
	}
	a.mu.Lock()
	s := a.sessions[f.session]
	a.mu.Unlock()
	if s == nil {
		return // it ended meanwhile
	}
	switch f.kind {
	case kindStdin:
		s.in.push(f.body)
	case kindStdinEOF:
		s.in.close()
	case kindAck:
		s.window.give(parseNumber(f.body))
	case kindResize:
		s.resize(f.body)
	case kindClose:
		go s.hangUp()
	}
}

// open starts a command and sees it through in the background.
func (a *agent) open(f frame) {
	fail := func(err error) {
		_ = a.out.write(frame{session: f.session, kind: kindFail, body: clip(err.Error())})
	}
	c, err := parseCommand(f.body)
	if err != nil {
		fail(err)
		return
	}
	s := &session{id: f.session, out: a.out, in: newQueue[[]byte](), window: newWindow(), ended: make(chan struct{})}
	// Known before it starts: input may follow at once.
	a.mu.Lock()
	a.sessions[f.session] = s
	a.mu.Unlock()
	go func() {
		code, err := s.run(c)
		a.mu.Lock()
		delete(a.sessions, f.session)
		a.mu.Unlock()
		if err != nil {
			fail(fmt.Errorf("running %s: %w", strings.Join(c.Argv, " "), err))
			return
		}
		_ = a.out.write(frame{session: f.session, kind: kindExit, body: number(code)})
	}()
}

// clip fits a text into a frame.
func clip(s string) []byte { return []byte(s[:min(len(s), maxBody)]) }

// session is one command of the guest.
type session struct {
	id     uint32
	out    *frameWriter
	in     *queue[[]byte]
	window *window // of the output

	mu    sync.Mutex
	cmd   *exec.Cmd
	tty   *os.File
	gone  bool
	ended chan struct{} // closed when the command has ended
}

// run starts the command, copies its streams, and returns its exit code after its last output.
func (s *session) run(c command) (int, error) {
	path, err := lookPath(c.Argv[0], c.Env)
	if err != nil {
		return 0, err
	}
	cmd := &exec.Cmd{Path: path, Args: c.Argv, Dir: c.Dir, Env: environment(c.Env)}
	if cmd.Dir == "" {
		cmd.Dir = "/"
	}
	p, err := makeStreams(cmd, c)
	if err != nil {
		return 0, err
	}
	defer p.close()
	s.mu.Lock()
	if s.gone {
		s.mu.Unlock()
		return 0, errors.New("nobody listens any more")
	}
	err = cmd.Start()
	s.cmd, s.tty = cmd, p.tty
	s.mu.Unlock()
	p.started()
	if err != nil {
		return 0, err
	}

	var copies sync.WaitGroup
	for _, o := range p.outputs {
		copies.Go(func() { s.copyOut(o.file, o.kind) })
	}
	if p.input != nil {
		go s.copyIn(p.input, !c.TTY)
	}
	err = cmd.Wait()
	close(s.ended)
	s.in.close()
	// A process left in the background may hold the streams open: what the command itself wrote is
	// there already, so wake the readers, which then take what there is and leave.
	for _, o := range p.outputs {
		_ = o.file.SetReadDeadline(time.Unix(1, 0))
	}
	copies.Wait()
	return exitCode(err)
}

// exitCode is the shell's number of how a command ended.
func exitCode(err error) (int, error) {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return 0, err
	}
	if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal()), nil
	}
	return exit.ExitCode(), nil
}

// environment is the default one with env added.
func environment(env []string) []string {
	home := "/root"
	if unix.Access(home, unix.R_OK|unix.X_OK) != nil {
		home = "/" // the host's user may not read it
	}
	return append([]string{"PATH=" + guestPath, "HOME=" + home, "TERM=dumb", "LANG=C.UTF-8", "USER=root"}, env...)
}

// guestPath is root's PATH on Debian.
const guestPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// lookPath finds a program along the PATH of env, or along the guest's own.
func lookPath(name string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	path := guestPath
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, "PATH="); ok {
			path = v + ":" + guestPath
		}
	}
	for dir := range strings.SplitSeq(path, ":") {
		file := dir + "/" + name
		if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return file, nil
		}
	}
	return "", fmt.Errorf("%w in %s", exec.ErrNotFound, path)
}

// copyOut sends what the command writes, as fast as the client reads it.
func (s *session) copyOut(f *os.File, k kind) {
	buf := make([]byte, maxBody)
	for {
		n, err := f.Read(buf)
		if n > 0 {
			s.send(k, buf[:n])
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			s.drain(f, k, buf)
			return
		}
		if err != nil {
			return // EOF, or EIO of a terminal that nobody holds any more
		}
	}
}

// drain sends what is in the pipe now: at most as much as a pipe can hold.
func (s *session) drain(f *os.File, k kind, buf []byte) {
	raw, err := f.SyscallConn()
	if err != nil || f.SetReadDeadline(time.Time{}) != nil {
		return
	}
	for total := 0; total < 1<<20; {
		n := 0
		err := raw.Read(func(fd uintptr) bool {
			n, _ = unix.Read(int(fd), buf)
			return true // whatever it was: never wait
		})
		if err != nil || n <= 0 {
			return
		}
		s.send(k, buf[:n])
		total += n
	}
}

// send sends output within the window.
func (s *session) send(k kind, b []byte) {
	if s.window.take(len(b)) {
		_ = s.out.write(frame{session: s.id, kind: k, body: b})
	}
}

// copyIn writes the client's input to the command. At its end a pipe is closed; a terminal gets
// the end-of-file character.
func (s *session) copyIn(f *os.File, closeIt bool) {
	for {
		b, ok := s.in.pop()
		if !ok {
			break
		}
		if _, err := f.Write(b); err != nil {
			break // the command does not read any more: swallow the rest
		}
		_ = s.out.write(frame{session: s.id, kind: kindAck, body: number(len(b))})
	}
	if closeIt {
		_ = f.Close()
		return
	}
	select {
	case <-s.ended:
	default:
		_, _ = f.Write([]byte{4})
	}
}

// resize sets the size of the terminal.
func (s *session) resize(b []byte) {
	rows, cols, ok := parseSize(b)
	s.mu.Lock()
	defer s.mu.Unlock()
	if ok && s.tty != nil {
		_ = setSize(s.tty, rows, cols)
	}
}

// hangUp ends the command and what it started: the client is gone.
func (s *session) hangUp() {
	s.mu.Lock()
	s.gone = true
	cmd := s.cmd
	s.mu.Unlock()
	s.window.close()
	s.in.close()
	if cmd == nil || cmd.Process == nil {
		return
	}
	// It is the leader of its own session and group.
	_ = unix.Kill(-cmd.Process.Pid, unix.SIGHUP)
	_ = unix.Kill(-cmd.Process.Pid, unix.SIGTERM)
	patience := time.NewTimer(2 * time.Second)
	defer patience.Stop()
	select {
	case <-s.ended:
	case <-patience.C:
	}
	_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
}
