// SPDX-License-Identifier: Apache-2.0

package libvirt

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestInstall(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "hooks")
	for i, test := range []struct {
		folders bool
		weft    string
		file    string
		changed bool
	}{
		{true, "/usr/bin/weft", "qemu.d/weft", true},
		{true, "/usr/bin/weft", "qemu.d/weft", false},
		{true, "/usr/local/bin/weft", "qemu.d/weft", true},
		{false, "/usr/bin/weft", "qemu", true},
		{false, "/usr/bin/weft", "qemu", false},
	} {
		file, changed, err := Install(dir, test.weft, test.folders)
		if err != nil || file != filepath.Join(dir, test.file) || changed != test.changed {
			t.Errorf("%d: %s, changed %v, error %v", i, file, changed, err)
		}
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o755 {
			t.Errorf("%d: %v, error %v", i, info, err)
		}
	}
	if err := os.Chmod(filepath.Join(dir, "qemu"), 0o644); err != nil { // libvirt would pass it over
		t.Fatal(err)
	}
	if _, changed, err := Install(dir, "/usr/bin/weft", false); err != nil || !changed {
		t.Errorf("a hook that nobody can run: changed %v, error %v", changed, err)
	}
}

func TestInstallKeepsHooksOfOthers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	theirs := "#!/bin/sh\nexit 0\n"
	file := filepath.Join(dir, "qemu")
	if err := os.WriteFile(file, []byte(theirs), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Install(dir, "/usr/bin/weft", false); err == nil || !strings.Contains(err.Error(), "add this to it") {
		t.Errorf("error %v", err)
	}
	if _, _, err := Install(dir, "/usr/bin/weft", true); err != nil {
		t.Error(err)
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != theirs {
		t.Errorf("the hook that was there is now %q, %v", text, err)
	}
	if _, _, err := Install(dir, "weft", true); err == nil {
		t.Error("a hook with a relative path was installed")
	}
}

// TestScript runs the script with a weft that fails: libvirt would kill the guest if reconnect did.
func TestScript(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "it's here")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	weft, hook := filepath.Join(dir, "weft"), filepath.Join(dir, "hook")
	if err := os.WriteFile(hook, []byte(Script(weft)), 0o755); err != nil {
		t.Fatal(err)
	}
	run := func(op string) (code int, stdout, stderr string) {
		var out, errs strings.Builder
		cmd := exec.Command(hook, "g 1", op, "begin", "-")
		cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader("<domain/>"), &out, &errs
		_ = cmd.Run()
		return cmd.ProcessState.ExitCode(), out.String(), errs.String()
	}
	for _, op := range []string{"start", "reconnect"} {
		code, out, errs := run(op)
		if (code == 0) != (op == "reconnect") || out != "" || errs == "" {
			t.Errorf("no weft, %s: exit %d, %q, %q", op, code, out, errs)
		}
	}
	if err := os.WriteFile(weft, []byte("#!/bin/sh\ncat\necho \"$# $*\" >&2\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, op := range []string{"start", "reconnect"} {
		code, out, errs := run(op)
		if (code == 0) != (op == "reconnect") || out != "" || errs != "6 libvirt hook g 1 "+op+" begin -\n" {
			t.Errorf("%s: exit %d, %q, %q", op, code, out, errs)
		}
	}
}

func TestFolders(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]bool{
		"libvirtd (libvirt) 9.0.0\n": true, "virtqemud (libvirt) 10.0.0": true, "libvirtd (libvirt) 6.5.0": true,
		"libvirtd (libvirt) 6.4.0": false, "libvirtd (libvirt) 5.10.0": false, "": true, "something": true,
		"libvirtd (libvirt) 99999999999999999999.0.0": true,
	} {
		if got := Folders(version); got != want {
			t.Errorf("%q: %v", version, got)
		}
	}
}
