// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// Exec runs a command in the VM whose console socket this is and returns its exit code (128+N when
// signal N ended it). Streams that are nil are /dev/null. When ctx ends, so does the command.
func Exec(ctx context.Context, socket string, argv []string, stdin io.Reader, stdout, stderr io.Writer) (int, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	if err != nil {
		return 0, fmt.Errorf("reaching the VM: %w", err)
	}
	code, err := runCommand(ctx, conn, command{Argv: argv, Dir: "/"}, streams{stdin: stdin, stdout: stdout, stderr: stderr})
	if err != nil {
		return 0, fmt.Errorf("running %q in the VM: %w", argv, err)
	}
	return code, nil
}

// Attach runs a command in the VM whose console socket this is, with the caller's standard
// streams, and returns its exit code. Without argv it is root's shell. Where standard input and
// output are a terminal the command gets one too, and the caller's is raw meanwhile. Any number of
// commands may run at once; when the caller ends, its command is ended.
func Attach(ctx context.Context, socket string, argv []string) (exitCode int, err error) {
	if len(argv) == 0 {
		argv = []string{"/bin/bash", "-l"}
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	if err != nil {
		return 0, fmt.Errorf("reaching the VM: %w", err)
	}
	c := command{Argv: argv, Dir: "/"}
	if dir, err := os.Getwd(); err == nil {
		c.Dir = dir
	}
	s := streams{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr}
	if in, out := int(os.Stdin.Fd()), int(os.Stdout.Fd()); term.IsTerminal(in) && term.IsTerminal(out) {
		restore, err := useTerminal(&c, &s, in, out)
		if err != nil {
			return 0, errors.Join(err, conn.Close())
		}
		defer func() { err = errors.Join(err, restore()) }()
	}
	code, err := runCommand(ctx, conn, c, s)
	if err != nil {
		return 0, fmt.Errorf("running %q in the VM: %w", argv, err)
	}
	return code, nil
}

// useTerminal makes the caller's terminal raw and passes its kind, its size and their changes on.
func useTerminal(c *command, s *streams, in, out int) (restore func() error, err error) {
	cols, rows, err := term.GetSize(out)
	if err != nil {
		return nil, fmt.Errorf("asking for the terminal's size: %w", err)
	}
	c.TTY, c.Rows, c.Cols = true, uint16(rows), uint16(cols)
	if t := os.Getenv("TERM"); t != "" {
		c.Env = append(c.Env, "TERM="+t)
	}
	old, err := term.MakeRaw(in)
	if err != nil {
		return nil, fmt.Errorf("setting the terminal up: %w", err)
	}
	winch := make(chan os.Signal, 1)
	signal.Notify(winch, unix.SIGWINCH)
	sizes, done := make(chan [2]uint16), make(chan struct{})
	s.resize = sizes
	go func() {
		for {
			select {
			case <-winch:
				cols, rows, err := term.GetSize(out)
				if err != nil {
					continue
				}
				select {
				case sizes <- [2]uint16{uint16(rows), uint16(cols)}:
				case <-done:
					return
				}
			case <-done:
				return
			}
		}
	}()
	return func() error {
		signal.Stop(winch)
		close(done)
		if err := term.Restore(in, old); err != nil {
			return fmt.Errorf("restoring the terminal: %w", err)
		}
		return nil
	}, nil
}
