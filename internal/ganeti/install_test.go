// SPDX-License-Identifier: Apache-2.0

package ganeti

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// tree lists a folder: mode, path, content or target, and the time of what is a file.
func tree(t *testing.T, root string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(root, path)
		line := fmt.Sprintf("%s %s", info.Mode(), name)
		switch {
		case info.Mode().IsRegular():
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" %s %q", info.ModTime().UTC().Format(time.RFC3339Nano), data)
		case info.Mode().Type() == fs.ModeSymlink:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			line += " -> " + target
		}
		all = append(all, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// node is a machine with gnt-networking on it.
func node(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for _, dir := range []string{"etc/ganeti/network/bridged", "etc/xen/scripts", "var/lib"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	files(t, root, map[string]string{"etc/ganeti/kvm-ifup-custom": "#!/bin/bash\nold\n", "etc/ganeti/kvm-ifdown-custom": "#!/bin/bash\nold\n", "etc/ganeti/file": "x"})
	at := time.Date(2017, 11, 3, 4, 5, 6, 789, time.UTC)
	old := filepath.Join(root, "etc/ganeti/kvm-ifup-custom")
	if err := os.Chmod(old, 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(old, at, at); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("kvm-ifup-custom", filepath.Join(root, "etc/ganeti/kvm-vif-bridge")); err != nil {
		t.Fatal(err)
	}
	return root
}

func install(root string) (Install, *[]string) {
	var said []string
	return Install{Root: root, Say: func(line string) { said = append(said, line) }}, &said
}

func TestInstallAndBack(t *testing.T) {
	root := node(t)
	before := tree(t, root)
	i, said := install(root)
	if n, err := i.Check(); err != nil || n != 12 {
		t.Errorf("check of a node without weft: %d, %v", n, err)
	}
	for range 2 { // the second does nothing
		*said = nil
		if err := i.Put(); err != nil {
			t.Fatal(err)
		}
	}
	if len(*said) != 0 {
		t.Errorf("the second install did %q", *said)
	}
	if n, err := i.Check(); err != nil || n != 0 {
		t.Errorf("check: %d, %v, %q", n, err, *said)
	}
	for _, path := range i.places() {
		info, err := os.Lstat(filepath.Join(root, path))
		if err != nil || !info.Mode().IsRegular() || info.Mode().Perm() != 0o755 {
			t.Errorf("%s: %v, %v", path, info, err)
		}
	}
	installed := tree(t, root)
	for range 2 {
		if err := i.Remove(); err != nil {
			t.Fatal(err)
		}
	}
	// What is left of weft's own is the folder of what it kept, empty.
	after := slices.DeleteFunc(tree(t, root), func(line string) bool { return strings.Contains(line, " var/lib/weft") })
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("not as it was:\n%s", diff)
	}
	if err := i.Put(); err != nil {
		t.Fatal(err)
	}
	if again := tree(t, root); len(again) != len(installed) {
		t.Errorf("the next install is another one: %q", again)
	}
}

func TestInstallKeepsTheFirst(t *testing.T) {
	root := node(t)
	i, said := install(root)
	if err := i.Put(); err != nil {
		t.Fatal(err)
	}
	// Somebody installs gnt-networking again, another version.
	place := filepath.Join(root, "etc/ganeti/kvm-ifup-custom")
	if err := os.WriteFile(place, []byte("new"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(root, "etc/ganeti/kvm-vif-bridge")); err != nil {
		t.Fatal(err)
	}
	before := tree(t, root)
	if err := i.Put(); err == nil || !strings.Contains(err.Error(), "kvm-ifup-custom is not weft's") {
		t.Errorf("install over a second one: %v", err)
	}
	if diff := cmp.Diff(before, tree(t, root)); diff != "" {
		t.Errorf("a refused install changed something:\n%s", diff)
	}
	*said = nil
	if err := i.Remove(); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(place); err != nil || string(data) != "new" {
		t.Errorf("what somebody put there is gone: %q, %v", data, err)
	}
	if target, err := os.Readlink(filepath.Join(root, "etc/ganeti/kvm-vif-bridge")); err != nil || target != "kvm-ifup-custom" {
		t.Errorf("a shim that somebody removed: %q, %v", target, err)
	}
	if !slices.ContainsFunc(*said, func(line string) bool { return strings.Contains(line, "left as it is") }) {
		t.Errorf("it said %q", *said)
	}
}

// TestInstallOverAnother: the shim of another version of weft is nothing to keep.
func TestInstallOverAnother(t *testing.T) {
	root := node(t)
	before := tree(t, root)
	i, _ := install(root)
	if err := i.Put(); err != nil {
		t.Fatal(err)
	}
	older := []byte(strings.Replace(string(shim), "exec weft", "exec  weft", 1))
	for _, path := range i.places() {
		if err := os.WriteFile(filepath.Join(root, path), older, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := i.Put(); err != nil {
		t.Fatal(err)
	}
	if n, err := i.Check(); err != nil || n != 0 {
		t.Errorf("check: %d, %v", n, err)
	}
	if err := i.Remove(); err != nil {
		t.Fatal(err)
	}
	after := slices.DeleteFunc(tree(t, root), func(line string) bool { return strings.Contains(line, " var/lib/weft") })
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("not as it was:\n%s", diff)
	}
}

func TestInstallNeedsGaneti(t *testing.T) {
	root := t.TempDir()
	i, _ := install(root)
	if err := i.Put(); err == nil || !strings.Contains(err.Error(), "no /etc/ganeti") {
		t.Error(err)
	}
	if got := tree(t, root); len(got) != 1 {
		t.Errorf("it made %q", got)
	}
}

// TestShim runs the shim: it hands its own path to weft and its status back, and has one line where there is no weft.
func TestShim(t *testing.T) {
	dir := t.TempDir()
	place := filepath.Join(dir, "kvm-vif-bridge")
	// The paths of a real machine may have a weft: the test's own stand in their place.
	text := strings.Replace(string(shim), "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "PATH="+dir, 1)
	if text == string(shim) {
		t.Fatal("the shim has another PATH")
	}
	if err := os.WriteFile(place, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	run := func() (string, int) {
		cmd := exec.Command("/bin/sh", place, "b'tap0'")
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState == nil {
			t.Fatal(err)
		}
		return string(out), cmd.ProcessState.ExitCode()
	}
	if out, status := run(); status != 1 || out != place+": weft is not installed on this node\n" {
		t.Errorf("without weft: %d, %q", status, out)
	}
	if err := os.WriteFile(filepath.Join(dir, "weft"), []byte("#!/bin/sh\necho \"$@\"\nexit 3\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if out, status := run(); status != 3 || out != "ganeti hook -- "+place+" b'tap0'\n" {
		t.Errorf("with weft: %d, %q", status, out)
	}
	if bytes.Count(shim, []byte("\n")) > 12 {
		t.Error("the shim has grown: it must never have to change")
	}
}
