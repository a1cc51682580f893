// SPDX-License-Identifier: Apache-2.0

// Command vm runs the tests in lanes, and any command inside a VM with Debian's stock kernel:
// run it with -h for its usage. It owns the counting of tests and the lanes' reports; the VM itself
// is package internal/vm's.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"weft/internal/vm"
)

func main() {
	if vm.IsInit() {
		vm.Init()
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	code, err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		say(err.Error())
		code = max(code, 1)
	}
	os.Exit(code)
}

// say tells people what goes on, apart from the results on standard output.
func say(s string) { fmt.Fprintln(os.Stderr, "vm:", s) }

// run does what the command line asks for and returns the exit status.
func run(ctx context.Context, args []string) (int, error) {
	if len(args) == 2 && args[0] == insideFlag {
		return 0, runInside(ctx, args[1])
	}
	if len(args) > 1 && args[0] == enterFlag {
		return 0, enter(args[1:])
	}
	o, err := parseArgs(args)
	if err != nil {
		fmt.Fprint(os.Stderr, usage)
		return 2, err
	}
	if o.help {
		fmt.Print(usage)
		return 0, nil
	}
	if usesCgo() {
		return runStatic(ctx, args)
	}
	if len(o.exec) > 0 {
		return execInVM(ctx, o)
	}
	return runLanes(ctx, o)
}

// usesCgo reports whether this program was built with cgo: then it cannot be a VM's init program.
func usesCgo() bool {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return false
	}
	for _, s := range info.Settings {
		if s.Key == "CGO_ENABLED" {
			return s.Value == "1"
		}
	}
	return false
}

// runStatic builds this program again, static, and runs that.
func runStatic(ctx context.Context, args []string) (int, error) {
	tmp, err := os.MkdirTemp("", "weft-hack-vm-")
	if err != nil {
		return 1, fmt.Errorf("building this program without cgo: %w", err)
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	build := exec.CommandContext(ctx, "go", "build", "-o", tmp+"/vm", "weft/hack/vm")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return 1, fmt.Errorf("building this program without cgo: %w\n%s", err, out)
	}
	cmd := exec.CommandContext(ctx, tmp+"/vm", args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() > 0 {
		return exit.ExitCode(), nil
	}
	return 0, err
}

// execInVM runs one command in a VM.
func execInVM(ctx context.Context, o options) (int, error) {
	img, err := vm.Prepare(ctx, "", say)
	if err != nil {
		return 1, err
	}
	dir, err := os.Getwd()
	if err != nil {
		return 1, fmt.Errorf("finding the working folder: %w", err)
	}
	return vm.Run(ctx, vm.Config{
		Image: img, Argv: o.exec, Dir: dir, WorkDir: o.work, Memory: o.memory, Timeout: o.timeout, Instructions: o.icount,
		Stdout: os.Stdout, Stderr: os.Stderr,
	})
}
