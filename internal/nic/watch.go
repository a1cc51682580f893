// SPDX-License-Identifier: Apache-2.0

package nic

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"
)

// Watch returns a channel that has a value whenever an intent or the applied node file may have changed since the last
// value was taken. It is closed when ctx ends.
func (s Store) Watch(ctx context.Context) (<-chan struct{}, error) {
	if err := os.MkdirAll(s.nics(), 0o700); err != nil {
		return nil, fmt.Errorf("watch the nics: %w", err)
	}
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watch the nics: %w", err)
	}
	for _, dir := range []string{s.Dir, s.nics()} {
		if err := w.Add(dir); err != nil {
			return nil, errors.Join(fmt.Errorf("watch %s: %w", dir, err), w.Close())
		}
	}
	changed := make(chan struct{}, 1)
	go func() {
		defer close(changed)
		defer func() { _ = w.Close() }()
		for {
			select {
			case <-ctx.Done():
				return
			case e, open := <-w.Events:
				if !open {
					return
				}
				if name := filepath.Base(e.Name); name != FileName && filepath.Ext(name) != ".json" || name[0] == '.' {
					continue
				}
			case _, open := <-w.Errors: // events were lost: that is a change
				if !open {
					return
				}
			}
			select {
			case changed <- struct{}{}:
			default:
			}
		}
	}()
	return changed, nil
}

// ErrAgent says that an agent is at work on this run folder already.
var ErrAgent = errors.New("another agent keeps this node")

// LockAgent makes the caller the node's only agent until unlock is called or the process ends. It does not wait.
func (s Store) LockAgent() (unlock func(), err error) {
	f, err := s.openLock("agent.lock")
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, ErrAgent
		}
		return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	return func() { _ = f.Close() }, nil
}

func (s Store) openLock(name string) (*os.File, error) {
	if err := os.MkdirAll(s.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(s.Dir, name), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	return f, nil
}
