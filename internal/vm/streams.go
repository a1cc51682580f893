// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// stdStreams is the agent's side of a command's standard streams.
type stdStreams struct {
	outputs []outStream
	input   *os.File   // nil: the command reads from /dev/null
	tty     *os.File   // nil without a terminal
	theirs  []*os.File // the command's ends
}

// outStream is one stream that the command writes.
type outStream struct {
	file *os.File
	kind kind
}

// makeStreams connects a command, that leads a session of its own, to a terminal or to pipes.
func makeStreams(cmd *exec.Cmd, c command) (*stdStreams, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	p := &stdStreams{}
	var err error
	if c.TTY {
		err = p.makeTTY(cmd, c)
	} else {
		err = p.makePipes(cmd, c)
	}
	if err != nil {
		p.started()
		p.close()
		return nil, fmt.Errorf("making the command's streams: %w", err)
	}
	return p, nil
}

// makePipes makes a pipe per stream.
func (p *stdStreams) makePipes(cmd *exec.Cmd, c command) error {
	for _, k := range []kind{kindStdout, kindStderr} {
		r, w, err := os.Pipe()
		if err != nil {
			return err
		}
		p.outputs = append(p.outputs, outStream{r, k})
		p.theirs = append(p.theirs, w)
		if k == kindStdout {
			cmd.Stdout = w
		} else {
			cmd.Stderr = w
		}
	}
	if !c.Stdin {
		return nil
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	p.input, cmd.Stdin = w, r
	p.theirs = append(p.theirs, r)
	return nil
}

// makeTTY makes a pseudo-terminal, the command's controlling one.
func (p *stdStreams) makeTTY(cmd *exec.Cmd, c command) error {
	ptmx, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	p.tty, p.outputs = ptmx, []outStream{{ptmx, kindStdout}}
	if c.Stdin {
		p.input = ptmx
	}
	var n int
	if err := control(ptmx, func(fd int) (err error) {
		if err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err == nil {
			n, err = unix.IoctlGetInt(fd, unix.TIOCGPTN)
		}
		return err
	}); err != nil {
		return fmt.Errorf("unlocking a terminal: %w", err)
	}
	pts, err := os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return err
	}
	p.theirs = append(p.theirs, pts)
	if err := setSize(ptmx, c.Rows, c.Cols); err != nil {
		return err
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = pts, pts, pts
	cmd.SysProcAttr.Setctty = true // of descriptor 0
	return nil
}

// setSize sets a terminal's size.
func setSize(tty *os.File, rows, cols uint16) error {
	return control(tty, func(fd int) error {
		return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: cols})
	})
}

// control calls f with the descriptor of a file and leaves the file non-blocking.
func control(file *os.File, f func(fd int) error) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		return err
	}
	return inner
}

// started closes the command's ends, which it has now.
func (p *stdStreams) started() {
	for _, f := range p.theirs {
		_ = f.Close()
	}
	p.theirs = nil
}

// close closes the agent's ends.
func (p *stdStreams) close() {
	for _, o := range p.outputs {
		_ = o.file.Close()
	}
	if p.input != nil {
		_ = p.input.Close()
	}
}
