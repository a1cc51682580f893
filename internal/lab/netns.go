// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// netnsDir is where ip netns keeps the names of namespaces.
const netnsDir = "/run/netns"

// Output is what a finished command left.
type Output struct {
	Stdout, Stderr string
	Code           int // exit code; 128 and the signal's number when a signal ended it
}

// Err is nil for exit code 0, and otherwise says what the command said.
func (o Output) Err() error {
	if o.Code == 0 {
		return nil
	}
	text := strings.TrimSpace(o.Stderr)
	if text == "" {
		text = strings.TrimSpace(o.Stdout)
	}
	if text == "" {
		return fmt.Errorf("exit code %d", o.Code)
	}
	return fmt.Errorf("exit code %d: %s", o.Code, text)
}

// onThread runs f in the network namespace of that name, on a thread that is thrown away after it:
// a thread that changed its namespace must not run anything else.
func onThread(netns string, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
		ns, err := os.Open(filepath.Join(netnsDir, netns))
		if err != nil {
			done <- fmt.Errorf("entering namespace %s: %w", netns, err)
			return
		}
		err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
		_ = ns.Close()
		if err != nil {
			done <- fmt.Errorf("entering namespace %s: %w", netns, err)
			return
		}
		done <- f()
	}()
	return <-done
}

// start starts cmd in the network namespace of that name.
func start(netns string, cmd *exec.Cmd) error {
	return onThread(netns, cmd.Start)
}

// output runs cmd, in netns unless that is "", and collects what it prints. The error is about
// running it; how it ended is in Output.Code.
func output(netns string, cmd *exec.Cmd) (Output, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	run := cmd.Start
	if netns != "" {
		run = func() error { return start(netns, cmd) }
	}
	if err := run(); err != nil {
		return Output{}, fmt.Errorf("running %s: %w", strings.Join(cmd.Args, " "), err)
	}
	err := cmd.Wait()
	out := Output{Stdout: stdout.String(), Stderr: stderr.String()}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		out.Code = exit.ExitCode()
		if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			out.Code = 128 + int(ws.Signal())
		}
	case err != nil:
		return out, fmt.Errorf("running %s: %w", strings.Join(cmd.Args, " "), err)
	}
	return out, nil
}

// batch runs lines of one iproute2 program ("ip" or "bridge") in a namespace, as one process.
func batch(ctx context.Context, netns, program string, lines []string) error {
	if len(lines) == 0 {
		return nil
	}
	cmd := exec.CommandContext(ctx, program, "-batch", "-")
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	out, err := output(netns, cmd)
	if err == nil {
		err = out.Err()
	}
	if err != nil {
		return fmt.Errorf("configuring namespace %s with %s: %w", netns, program, err)
	}
	return nil
}

// setSysctls writes settings below /proc/sys in a namespace. A setting that this kernel does not
// have is left out.
func setSysctls(netns string, values map[string]string) error {
	return onThread(netns, func() error {
		for name, value := range values {
			err := os.WriteFile(filepath.Join("/proc/sys", name), []byte(value), 0o644)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("setting %s in namespace %s: %w", name, netns, err)
			}
		}
		return nil
	})
}

// namespaces lists the names of namespaces with this prefix.
func namespaces(prefix string) ([]string, error) {
	entries, err := os.ReadDir(netnsDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing namespaces: %w", err)
	}
	var names []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), prefix) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// processes lists the processes whose network namespace is one of these.
func processes(netns []string) ([]int, error) {
	want := map[uint64]bool{}
	for _, name := range netns {
		var st unix.Stat_t
		if err := unix.Stat(filepath.Join(netnsDir, name), &st); err == nil {
			want[st.Ino] = true
		}
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("listing processes: %w", err)
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		var st unix.Stat_t
		if unix.Stat(filepath.Join("/proc", e.Name(), "ns/net"), &st) == nil && want[st.Ino] {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}
