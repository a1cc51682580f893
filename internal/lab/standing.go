// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"weft/internal/vm"
)

// consolePath is the socket of the VM of the lab that stands.
func consolePath() (string, error) {
	dir := os.Getenv("XDG_RUNTIME_DIR")
	if filepath.IsAbs(dir) {
		dir = filepath.Join(dir, "weft")
	} else {
		dir = vm.CacheDir()
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("making the lab's folder: %w", err)
	}
	return filepath.Join(dir, "lab.sock"), nil
}

// standingVM is the socket of the running VM of a lab, or "" when none runs.
func standingVM() (string, error) {
	if os.Getenv(envInside) == "1" {
		return "", nil
	}
	path, err := consolePath()
	if err != nil {
		return "", err
	}
	conn, err := net.Dial("unix", path)
	if err != nil {
		return "", nil // a missing or dead socket: no VM
	}
	return path, conn.Close()
}

// InStandingVM runs weft with these arguments in the VM of the standing lab, with this process's
// standard streams. found is false when no lab stands in a VM.
func InStandingVM(ctx context.Context, args []string) (code int, found bool, err error) {
	path, err := standingVM()
	if err != nil || path == "" {
		return 0, false, err
	}
	exe, err := os.Executable()
	if err != nil {
		return 0, true, fmt.Errorf("finding this program: %w", err)
	}
	argv := append([]string{"/usr/bin/env", envInside + "=1", exe}, args...)
	code, err = vm.Attach(ctx, path, argv)
	return code, true, err
}

// DownInVM ends the lab that stands in a VM, and returns when the VM is gone, too. found is false when none stands.
func DownInVM(ctx context.Context) (code int, found bool, err error) {
	code, found, err = InStandingVM(ctx, []string{"lab", "down"})
	if errors.Is(err, vm.ErrEnded) { // the VM was gone before the answer had left it
		code, err = 0, nil
	}
	if !found || err != nil || code != 0 {
		return code, found, err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		path, err := standingVM()
		if err != nil || path == "" {
			return 0, true, err
		}
		if !pause(ctx, retryPause) {
			return 0, true, fmt.Errorf("waiting for the lab's VM to end: %w", ctx.Err())
		}
	}
}

// upPipe is the descriptor on which KeepUp says that the lab is up.
const upPipe = 3

// StartUp starts weft with these arguments as a process that outlives this one and keeps the lab's
// VM, passes on what it prints, and returns when the lab is up or has failed.
func StartUp(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if path, err := standingVM(); err != nil || path != "" {
		return errors.Join(err, errors.New("a lab is up already; end it with: weft lab down"))
	}
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this program: %w", err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("starting the lab: %w", err)
	}
	defer func() { _ = r.Close() }()
	cmd := exec.Command(exe, args...) // not bound to ctx: it outlives this process
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.ExtraFiles = []*os.File{w}
	// Files are inherited as they are, so that a terminal is seen as one.
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.Env = os.Environ()
	err = cmd.Start()
	_ = w.Close()
	if err != nil {
		return fmt.Errorf("starting the lab: %w", err)
	}
	said := make(chan bool, 1)
	go func() {
		n, _ := r.Read(make([]byte, 1))
		said <- n == 1
	}()
	select {
	case up := <-said:
		if up {
			return cmd.Process.Release()
		}
		if err := cmd.Wait(); err != nil {
			return errors.New("the lab did not come up, see above")
		}
		return errors.New("the lab ended at once")
	case <-ctx.Done():
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		return ctx.Err()
	}
}

// KeepUp runs the VM of a lab that stays; it is what StartUp starts.
func KeepUp(ctx context.Context, v InVM) error {
	pipe := os.NewFile(upPipe, "up")
	if pipe == nil {
		return errors.New("keeping the lab's VM: not started by weft lab up")
	}
	var err error
	if v.Console, err = consolePath(); err != nil {
		return err
	}
	v.Out = &untilUp{out: v.Out, up: func() {
		// Whoever started it goes on; nothing is printed from here on.
		_, _ = pipe.Write([]byte{1})
		_ = pipe.Close()
		if null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0); err == nil {
			for fd := range 3 {
				_ = syscall.Dup3(int(null.Fd()), fd, 0)
			}
			_ = null.Close()
		}
	}}
	code, err := v.Run(ctx)
	if err == nil && code != 0 {
		err = fmt.Errorf("the lab in the VM ended with exit code %d", code)
	}
	return err
}
