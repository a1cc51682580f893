// SPDX-License-Identifier: Apache-2.0

// Package trial keeps the record of a change that is undone unless somebody confirms it in time.
//
// It owns one file in a folder that survives a reboot, and the clock that its deadline is of. What goes back, and how, is in
// the record: the node file of before, and what of the kernel's the change took that was nobody's of weft. A record is on the
// disk before the change begins, so that whoever finds it, after a crash or a reboot too, can end it and put the old file in its place.
//
// It never touches a kernel, and decides nothing.
package trial

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"
)

// Trial is one change on trial. Its end is told by Verdict.
type Trial struct {
	ID       string          `json:"id"`
	Boot     string          `json:"boot"`           // the boot in which it began
	Began    time.Time       `json:"began"`          // for people
	Deadline time.Duration   `json:"deadline"`       // on the clock of Now, ns
	File     string          `json:"file"`           // the operator's node file, absolute
	Old      *string         `json:"old"`            // the node file that was applied before; nil where none was
	New      string          `json:"new"`            // the one on trial
	Undo     json.RawMessage `json:"undo,omitempty"` // a plan: how to put back what the change does, by what was there before
	Probes   []string        `json:"probes,omitempty"`
	Applied  bool            `json:"applied"` // the change has come to its end; the waiting begins
	Verdict  Verdict         `json:"verdict,omitempty"`
	Why      string          `json:"why,omitempty"`   // of the verdict, in words
	Aside    string          `json:"aside,omitempty"` // where the reverted node file is kept
}

// Verdict is how a trial ended.
type Verdict string

// The verdicts; "" while it goes on.
const (
	Confirmed Verdict = "confirmed"
	Reverted  Verdict = "reverted"
)

// Pending reports whether t is a trial that has not ended.
func (t *Trial) Pending() bool { return t != nil && t.Verdict == "" }

// Left is how long there is until the deadline; negative after it.
func (t *Trial) Left() time.Duration { return t.Deadline - Now() }

// Store is the folder of the record, such as /var/lib/weft.
type Store struct {
	Dir  string
	Boot string // the boot of now: see BootID
}

// FileName is the record's file in the folder.
const FileName = "trial.json"

// Path is the record's file.
func (s Store) Path() string { return filepath.Join(s.Dir, FileName) }

// Get returns the last trial, nil where there never was one.
func (s Store) Get() (*Trial, error) {
	data, err := os.ReadFile(s.Path())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the trial: %w", err)
	}
	var t Trial
	if err := json.Unmarshal(data, &t); err != nil {
		return nil, fmt.Errorf("read the trial %s: %w", s.Path(), err)
	}
	return &t, nil
}

// Put writes the record in place of the last one; it is on the disk when Put returns.
func (s Store) Put(t *Trial) error {
	data, err := json.MarshalIndent(t, "", "\t")
	if err != nil {
		return fmt.Errorf("write the trial: %w", err)
	}
	if err := os.MkdirAll(s.Dir, 0o755); err != nil {
		return fmt.Errorf("write the trial: %w", err)
	}
	if err := WriteFile(s.Path(), append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("write the trial: %w", err)
	}
	return nil
}

// Begin returns a trial of this boot that ends after window. It is not written yet.
func (s Store) Begin(id string, window time.Duration) *Trial {
	return &Trial{ID: id, Boot: s.Boot, Began: time.Now(), Deadline: Now() + window}
}

// Stale reports whether t is pending and was when the machine restarted.
func (s Store) Stale(t *Trial) bool { return t.Pending() && t.Boot != s.Boot }

// PutBack puts the node file of before in the place of the operator's, and that one beside it, as Aside says then. Where none was
// applied before, none is left. Done twice, it does nothing the second time.
func (t *Trial) PutBack() error {
	name, err := filepath.EvalSymlinks(t.File)
	if err != nil {
		name = t.File
	}
	now, err := os.ReadFile(name)
	mode := fs.FileMode(0o644)
	switch info, infoErr := os.Stat(name); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return fmt.Errorf("put the node file back: %w", err)
	case t.Old != nil && string(now) == *t.Old:
		return nil
	case infoErr == nil:
		mode = info.Mode().Perm()
		fallthrough
	default:
		t.Aside = name + ".reverted-" + t.Began.Format("20060102T150405")
		if err := WriteFile(t.Aside, now, mode); err != nil {
			return fmt.Errorf("keep the reverted node file: %w", err)
		}
	}
	if t.Old != nil {
		err = WriteFile(name, []byte(*t.Old), mode)
	} else if err = os.Remove(name); err == nil {
		err = SyncDir(filepath.Dir(name))
	} else if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err != nil {
		return fmt.Errorf("put the node file back: %w", err)
	}
	return nil
}

// WriteFile writes a file whole or not at all, and returns when its content and its name are on the disk.
func WriteFile(name string, data []byte, mode fs.FileMode) error {
	if err := renameio.WriteFile(name, data, mode); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(name))
}

// SyncDir returns when the names in a folder are on the disk: a rename may be lost with the power until then.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Now is the time since the machine started, sleep included (CLOCK_BOOTTIME): nobody sets that clock.
func Now() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic(err) // every Linux since 2.6.39 has it
	}
	return time.Duration(ts.Nano())
}

// BootID is what the kernel calls this boot.
func BootID() (string, error) {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read which boot this is: %w", err)
	}
	return strings.TrimSpace(string(data)), nil
}
