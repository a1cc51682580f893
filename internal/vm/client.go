// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// streams are the host's ends of a command's standard streams.
type streams struct {
	stdin          io.Reader // nil: the command reads from /dev/null
	stdout, stderr io.Writer
	resize         <-chan [2]uint16 // rows and columns of the terminal, nil without one
}

// ErrEnded is what a client gets when the VM ends below a running command.
var ErrEnded = errors.New("the VM ended while the command was running")

// runCommand runs one command over a connection that speaks frames and returns its exit code.
func runCommand(ctx context.Context, conn io.ReadWriteCloser, c command, s streams) (int, error) {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	defer func() { _ = conn.Close() }()

	c.Stdin = s.stdin != nil
	open, err := json.Marshal(c)
	if err != nil {
		return 0, fmt.Errorf("writing the command %q: %w", c.Argv, err)
	}
	out := &frameWriter{w: conn}
	if err := out.write(frame{kind: kindOpen, body: open}); err != nil {
		return 0, fmt.Errorf("sending the command %q to the VM: %w", c.Argv, err)
	}
	in := newWindow()
	defer in.close()
	if s.stdin != nil {
		go sendInput(out, in, s.stdin)
	}
	if s.resize != nil {
		done := make(chan struct{})
		defer close(done)
		go sendSizes(out, s.resize, done)
	}

	code, err := receive(conn, out, in, s)
	if ctx.Err() != nil {
		return 0, context.Cause(ctx)
	}
	return code, err
}

// receive copies a command's output until its last frame.
func receive(conn io.Reader, out *frameWriter, in *window, s streams) (int, error) {
	for {
		f, err := readFrame(conn)
		switch {
		case errors.Is(err, io.EOF):
			return 0, ErrEnded
		case err != nil:
			return 0, fmt.Errorf("%w: %w", ErrEnded, err)
		}
		w := s.stdout
		switch f.kind {
		case kindExit:
			return parseNumber(f.body), nil
		case kindFail:
			return 0, errors.New(string(f.body))
		case kindAck:
			in.give(parseNumber(f.body))
			continue
		case kindStderr:
			w = s.stderr
		}
		if w != nil {
			if _, err := w.Write(f.body); err != nil {
				return 0, fmt.Errorf("writing the command's output: %w", err)
			}
		}
		// An acknowledgement that cannot be sent shows as the end of the connection.
		_ = out.write(frame{kind: kindAck, body: number(len(f.body))})
	}
}

// sendInput copies standard input to the guest as fast as the command reads it.
func sendInput(out *frameWriter, w *window, r io.Reader) {
	buf := make([]byte, maxBody)
	for {
		n, err := r.Read(buf)
		if n > 0 && (!w.take(n) || out.write(frame{kind: kindStdin, body: buf[:n]}) != nil) {
			return
		}
		if err != nil {
			_ = out.write(frame{kind: kindStdinEOF})
			return
		}
	}
}

// sendSizes tells the guest every new size of the terminal.
func sendSizes(out *frameWriter, sizes <-chan [2]uint16, done <-chan struct{}) {
	for {
		select {
		case s := <-sizes:
			if out.write(frame{kind: kindResize, body: size(s[0], s[1])}) != nil {
				return
			}
		case <-done:
			return
		}
	}
}
