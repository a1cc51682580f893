// SPDX-License-Identifier: Apache-2.0

// Package nic keeps the intents to have a VM's interface plugged in: one JSON file per NIC in a folder under /run.
//
// It owns those files, a copy of the node file that was applied last, and the lock that makes a node have one writer at a
// time. A file is written whole or not at all (temporary file, fsync, rename), so that a crash leaves no half intent; the
// folder is on a tmpfs, so that a reboot, which takes every VM, takes every intent as well.
//
// It never looks at the kernel and never decides whether a NIC makes sense: package spec does.
package nic

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"

	"weft/internal/spec"
)

// Store is a run folder, such as /run/weft.
type Store struct {
	Dir string
}

func (s Store) nics() string { return filepath.Join(s.Dir, "nics") }

func (s Store) file(id string) string { return filepath.Join(s.nics(), id+".json") }

// List returns all NICs in the order of their tap names, then IDs. A folder that does not exist holds none.
func (s Store) List() ([]spec.NIC, error) {
	entries, err := os.ReadDir(s.nics())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list nics: %w", err)
	}
	var nics []spec.NIC
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".json") || strings.HasPrefix(e.Name(), ".") {
			continue // renameio's temporary files
		}
		n, err := s.read(filepath.Join(s.nics(), e.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // it went since the folder was read: those who only look have no lock
		}
		if err != nil {
			return nil, err
		}
		nics = append(nics, n)
	}
	slices.SortFunc(nics, func(a, b spec.NIC) int {
		return strings.Compare(a.Name+"\x00"+a.ID, b.Name+"\x00"+b.ID)
	})
	return nics, nil
}

// Get returns the NIC with this ID, and whether there is one.
func (s Store) Get(id string) (spec.NIC, bool, error) {
	n, err := s.read(s.file(id))
	if errors.Is(err, fs.ErrNotExist) {
		return n, false, nil
	}
	return n, err == nil, err
}

func (s Store) read(file string) (spec.NIC, error) {
	var n spec.NIC
	data, err := os.ReadFile(file)
	if err != nil {
		return n, fmt.Errorf("read nic: %w", err)
	}
	if err := json.Unmarshal(data, &n); err != nil {
		return n, fmt.Errorf("read nic %s: %w", file, err)
	}
	if n.ID != strings.TrimSuffix(filepath.Base(file), ".json") {
		return n, fmt.Errorf("read nic %s: it says id %q", file, n.ID)
	}
	return n, nil
}

// Put writes a NIC's intent, in place of the one with the same ID if there is one.
func (s Store) Put(n spec.NIC) error {
	if n.ID == "" || n.ID != filepath.Base(n.ID) || strings.HasPrefix(n.ID, ".") {
		return fmt.Errorf("write nic %s: unusable id %q", n.Name, n.ID)
	}
	if err := os.MkdirAll(s.nics(), 0o700); err != nil {
		return fmt.Errorf("write nic %s: %w", n.Name, err)
	}
	data, err := json.MarshalIndent(n, "", "\t")
	if err != nil {
		return fmt.Errorf("write nic %s: %w", n.Name, err)
	}
	if err := renameio.WriteFile(s.file(n.ID), append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("write nic %s: %w", n.Name, err)
	}
	return nil
}

// Delete removes a NIC's intent. One that is not there is not an error.
func (s Store) Delete(id string) error {
	if err := os.Remove(s.file(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete nic %s: %w", id, err)
	}
	return nil
}

// queues have those of this process wait for a lock one after the other: each that waited for the kernel would take a thread, of which
// it would wake all to give it to one of them.
var queues sync.Map // by the lock's file: a chan struct{} with room for one

// Lock makes the caller the node's only writer until unlock is called or the process ends. It waits for another one.
func (s Store) Lock(ctx context.Context) (unlock func(), err error) {
	f, err := s.openLock("lock")
	if err != nil {
		return nil, err
	}
	q, _ := queues.LoadOrStore(f.Name(), make(chan struct{}, 1))
	queue := q.(chan struct{})
	busy := func() error { return fmt.Errorf("lock %s: another weft is at work: %w", f.Name(), context.Cause(ctx)) }
	select {
	case queue <- struct{}{}:
	case <-ctx.Done():
		return nil, errors.Join(busy(), f.Close())
	}
	leave := func() { _ = f.Close(); <-queue } // closing the last descriptor lets go of the lock
	got := make(chan error, 1)
	go func() { got <- flock(f) }()
	select {
	case err := <-got:
		if err != nil {
			leave()
			return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
		}
		return sync.OnceFunc(leave), nil
	case <-ctx.Done():
		go func() { <-got; leave() }()
		return nil, busy()
	}
}

func flock(f *os.File) error {
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
