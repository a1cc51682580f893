// SPDX-License-Identifier: Apache-2.0

// Package rig is what the tests that boot whole Debian machines have in common: a root file system that is made once, VMs
// that run in the background, and a transcript of what was run in them with a verdict on each thing that was asked.
//
// It owns the roots in the cache folder and the sockets and logs in the folder of one run. What is installed, which machines
// there are and what is asked is each test's own.
package rig

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"weft/internal/vm"
)

// Fleet is VMs that run in the background. Each has NAME.sock, where it takes commands, NAME.log and NAME.kernel in the
// folder, which they share, at the same path.
type Fleet struct {
	Dir  string
	fail context.CancelCauseFunc // ends the run
	stop []context.CancelFunc
	mu   sync.Mutex
	runs sync.WaitGroup // one per VM that was started, until it has ended
}

// Boot starts a VM whose command goes on, and returns when that has said a text. The channel says when the VM has ended, and why.
func (f *Fleet) Boot(ctx context.Context, name string, cfg vm.Config, text string) (<-chan error, error) {
	ctx, stop := context.WithCancel(ctx)
	f.mu.Lock()
	f.stop = append(f.stop, stop)
	f.mu.Unlock()
	cfg.WorkDir, cfg.Console, cfg.KernelLog = f.Dir, filepath.Join(f.Dir, name+".sock"), filepath.Join(f.Dir, name+".kernel")
	booted := make(chan struct{})
	cfg.Booted = func() { close(booted) }
	log, err := os.Create(filepath.Join(f.Dir, name+".log"))
	if err != nil {
		return nil, fmt.Errorf("booting %s: %w", name, err)
	}
	cfg.Stdout, cfg.Stderr = log, log
	ended := make(chan error, 1)
	f.runs.Go(func() {
		code, err := vm.Run(ctx, cfg)
		if err == nil {
			err = fmt.Errorf("its boot script ended with status %d", code)
		}
		ended <- errors.Join(fmt.Errorf("%s: %w", name, err), log.Close())
	})
	select {
	case <-booted:
	case err := <-ended:
		return nil, fmt.Errorf("booting %w", err)
	}
	return ended, await(ctx, log.Name(), text, ended)
}

// Need ends the run when that VM ends, and says what its kernel said last: nothing that is asked later has an answer without it.
func (f *Fleet) Need(name string, ended <-chan error) {
	go func() {
		err := <-ended
		if said, e := os.ReadFile(filepath.Join(f.Dir, name+".kernel")); e == nil {
			err = fmt.Errorf("%w; its kernel's last words:\n%s", err, LastLines(string(said), 25))
		}
		f.fail(err)
	}()
}

// await waits until a file holds a text, or the VM that writes it has ended.
func await(ctx context.Context, file, text string, ended <-chan error) error {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	limit := time.NewTimer(5 * time.Minute)
	defer limit.Stop()
	for {
		data, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("waiting for %q: %w", text, err)
		}
		if bytes.Contains(data, []byte(text)) {
			return nil
		}
		select {
		case <-tick.C:
		case <-limit.C:
			return fmt.Errorf("%s never said %q, but:\n%s", file, text, LastLines(string(data), 10))
		case err := <-ended:
			return fmt.Errorf("%w:\n%s", err, LastLines(string(data), 10))
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// End ends the VMs that were started.
func (f *Fleet) End() {
	f.mu.Lock()
	for _, stop := range f.stop {
		stop()
	}
	f.mu.Unlock()
	f.runs.Wait()
}
