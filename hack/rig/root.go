// SPDX-License-Identifier: Apache-2.0

package rig

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"weft/internal/vm"
)

// The release that every root is of.
const (
	suite  = "bookworm"
	mirror = "http://deb.debian.org/debian"
)

// Root is a Debian root file system for VMs: a minimal system, and what is said here.
type Root struct {
	Name     string   // its folder in the cache; make test-NAME makes it
	Packages []string // beside Debian's minimal system
	Options  []string // further ones of mmdebstrap's
	Hooks    []string // run with the new root as $1, once all packages are there
}

// args is the command that makes the root in a folder.
func (r Root) args(dir string) []string {
	args := []string{
		"--mode=root", "--variant=minbase", "--format=directory",
		`--aptopt=APT::Install-Recommends "false"`, `--aptopt=Acquire::Languages "none"`,
	}
	args = append(args, r.Options...)
	args = append(args, "--include="+strings.Join(r.Packages, ","))
	for _, hook := range r.Hooks {
		args = append(args, "--customize-hook="+hook)
	}
	return append(args, suite, dir, mirror)
}

// Make returns the folder with the root, which is made once and kept in the cache folder: another list of
// packages makes another one. It is never written to afterwards.
func (r Root) Make(ctx context.Context, say func(string)) (string, error) {
	sum := sha256.Sum256([]byte(strings.Join(r.args(""), "\x00")))
	parent := filepath.Join(vm.CacheDir(), r.Name)
	dir := filepath.Join(parent, suite+"-"+hex.EncodeToString(sum[:6]))
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("looking for the nodes' root: %w", err)
	}
	if os.Geteuid() != 0 {
		return "", fmt.Errorf("making the nodes' root file system takes root: run make test-%s as root", r.Name)
	}
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return "", fmt.Errorf("making the nodes' root: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(parent, ".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return "", fmt.Errorf("locking the nodes' root: %w", err)
	}
	defer func() { _ = lock.Close() }()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", fmt.Errorf("locking the nodes' root: %w", err)
	}
	if _, err := os.Stat(dir); err == nil { // another process made it meanwhile
		return dir, nil
	}
	tmp := dir + ".new"
	if err := os.RemoveAll(tmp); err != nil {
		return "", fmt.Errorf("removing a half made root: %w", err)
	}
	say("installing Debian for the nodes into " + dir + " (a few minutes, once)")
	cmd := exec.CommandContext(ctx, "mmdebstrap", r.args(tmp)...)
	// Asked to end, it unmounts what it has mounted in the folder; killed, it would not.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("mmdebstrap: %w\n%s", err, LastLines(string(out), 20))
	}
	if err := os.Rename(tmp, dir); err != nil {
		return "", fmt.Errorf("keeping the nodes' root: %w", err)
	}
	return dir, nil
}

// LastLines is the end of a text.
func LastLines(s string, n int) string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
