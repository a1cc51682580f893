// SPDX-License-Identifier: Apache-2.0

package rig

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"weft/internal/vm"
)

// Command is a test's command line.
type Command struct {
	Name  string // go run ./hack/NAME
	Usage string // the first part of what -h prints
	Steps string // the letters of all steps
	// Start makes what the VMs need in the fleet's folder and boots them. Run runs the steps of these letters.
	Start func(ctx context.Context, f *Fleet, say func(string)) error
	Run   func(ctx context.Context, f *Fleet, t *Transcript, steps string)
}

type options struct {
	dir, steps, on string
	stay, use      bool
}

// Main does what the command line asks for and exits. It belongs at the beginning of main: the program is the VMs' init, too.
func Main(c Command) {
	if vm.IsInit() {
		vm.Init()
	}
	var o options
	flag.StringVar(&o.dir, "dir", "", "the run's folder (default: a temporary one)")
	flag.StringVar(&o.steps, "steps", c.Steps, "the steps to run")
	flag.BoolVar(&o.stay, "stay", false, "boot the VMs and leave them up until interrupted, without running steps")
	flag.BoolVar(&o.use, "use", false, "run the steps in the VMs that -stay left up")
	flag.StringVar(&o.on, "on", "", "run a command (default: a shell) in a VM that -stay left up")
	flag.Usage = func() {
		fmt.Fprintf(flag.CommandLine.Output(), "usage: go run ./hack/%s [-steps LETTERS] [-dir DIR [-stay | -use | -on VM [CMD [ARG...]]]]\n\n%s Options:\n", c.Name, c.Usage)
		flag.PrintDefaults()
	}
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	code, err := c.run(ctx, o, flag.Args())
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", c.Name, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// run returns the exit status.
func (c Command) run(ctx context.Context, o options, args []string) (code int, err error) {
	began := time.Now()
	say := func(s string) { fmt.Printf("[%5.1f min] %s\n", time.Since(began).Minutes(), s) }
	if o.dir == "" && (o.use || o.on != "" || o.stay) {
		return 2, errors.New("-use, -on and -stay take -dir")
	}
	if o.dir == "" {
		if o.dir, err = os.MkdirTemp("", "weft-"+c.Name+"-"); err != nil {
			return 1, err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(o.dir)) }()
	}
	if o.dir, err = filepath.Abs(o.dir); err != nil {
		return 1, err
	}
	if o.on != "" {
		return vm.Attach(ctx, filepath.Join(o.dir, o.on+".sock"), args)
	}
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	f := &Fleet{Dir: o.dir, fail: fail}
	if !o.use {
		if err := os.MkdirAll(o.dir, 0o755); err != nil {
			return 1, fmt.Errorf("making the run's folder: %w", err)
		}
		defer f.End()
		if err := c.Start(ctx, f, say); err != nil {
			return 1, err
		}
	}
	if o.stay {
		say("the VMs are up; go run ./hack/" + c.Name + " -dir " + o.dir + " -on VM")
		<-ctx.Done()
		return 0, nil
	}
	t := &Transcript{Dir: o.dir, Began: began}
	c.Run(ctx, f, t, o.steps)
	if err := context.Cause(ctx); err != nil {
		t.Check(false, "the run goes to its end: %v", err)
	}
	return t.Report(), nil
}
