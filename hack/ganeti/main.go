// SPDX-License-Identifier: Apache-2.0

// Command ganeti tests weft under a real Ganeti: Debian's packages in two VMs, which a third connects to
// each other and to an internet of its own. It makes the nodes' root file system (once), boots the
// VMs, runs the steps, prints a transcript of them, and ends the VMs. It owns the folder of one run; it
// opens no port and makes no interface on this machine. The VM itself is package internal/vm's. The nodes are emulated (never
// this machine's KVM), and so is the virtualization of their CPUs, by which KVM runs the instances in them.
package main

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

const usage = `usage: go run ./hack/ganeti [-weft FILE] [-steps LETTERS] [-dir DIR [-stay]]
       go run ./hack/ganeti -dir DIR -use [-steps LETTERS]
       go run ./hack/ganeti -dir DIR -on net|node1|node2 [CMD [ARG...]]

Tests weft under Debian's Ganeti 3.0 in VMs (QEMU, emulated). Prints what it ran and what it saw, with
PASS or FAIL for each thing that was asked, and exits 1 unless all passed. Options:
`

type options struct {
	weft, dir, steps, on string
	stay, use            bool
}

func main() {
	if vm.IsInit() {
		vm.Init()
	}
	var o options
	flag.StringVar(&o.weft, "weft", "bin/weft", "the weft binary that the nodes get")
	flag.StringVar(&o.dir, "dir", "", "the run's folder (default: a temporary one)")
	flag.StringVar(&o.steps, "steps", allSteps, "the steps to run")
	flag.BoolVar(&o.stay, "stay", false, "boot the VMs and leave them up until interrupted, without running steps")
	flag.BoolVar(&o.use, "use", false, "run the steps in the VMs that -stay left up")
	flag.StringVar(&o.on, "on", "", "run a command (default: a shell) in a VM that -stay left up")
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), usage)
		flag.PrintDefaults()
	}
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	code, err := run(ctx, o, flag.Args())
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "ganeti:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// run does what the command line asks for and returns the exit status.
func run(ctx context.Context, o options, args []string) (code int, err error) {
	began := time.Now()
	say := func(s string) { fmt.Printf("[%5.1f min] %s\n", time.Since(began).Minutes(), s) }
	if o.dir == "" && (o.use || o.on != "" || o.stay) {
		return 2, errors.New("-use, -on and -stay take -dir")
	}
	if o.dir == "" {
		if o.dir, err = os.MkdirTemp("", "weft-ganeti-"); err != nil {
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
	l := &lab{dir: o.dir}
	if !o.use {
		if err := l.start(ctx, o.weft, say); err != nil {
			return 1, err
		}
		defer l.end()
	}
	if o.stay {
		say("the VMs are up; go run ./hack/ganeti -dir " + o.dir + " -on node1")
		<-ctx.Done()
		return 0, nil
	}
	t := &test{lab: l, began: began}
	t.run(ctx, o.steps)
	return t.report(), nil
}

// start makes the lab's folder and boots.
func (l *lab) start(ctx context.Context, weft string, say func(string)) (err error) {
	if err := os.MkdirAll(l.dir, 0o755); err != nil {
		return fmt.Errorf("making the run's folder: %w", err)
	}
	if l.img, err = vm.Prepare(ctx, "", say); err != nil {
		return err
	}
	if l.root, err = nodeRoot(ctx, say); err != nil {
		return err
	}
	if err := l.prepare(ctx, weft); err != nil {
		return err
	}
	say("booting node1, node2 and the network between them")
	if err := l.up(ctx); err != nil {
		l.end()
		return err
	}
	return nil
}
