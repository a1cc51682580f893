// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
)

// hostile is what no environment of Ganeti's has.
var hostile = map[string]string{
	"metacharacters": "INSTANCE=web1;touch ran", "substitution": "INTERFACE=$(touch ran)", "path": "INTERFACE=../../etc/passwd",
	"newline": "INSTANCE=web1\nMODE=bridged", "bytes": "TAGS=\xff\xfe", "huge": "TAGS=" + strings.Repeat("x ", 40<<10),
	"uuid": "INTERFACE_UUID=../../../etc/cron.d/x", "link": "LINK=br0`touch ran`", "empty": "MODE=", "escape": "MAC=\x1b[31m",
	"tag": "NETWORK_TAGS=a$(touch ran)",
}

// TestGanetiHookRefuses: a value that Ganeti would not give ends with status 1 and one line that names its variable; nothing is
// run and nothing is written.
func TestGanetiHookRefuses(t *testing.T) {
	for name, entry := range hostile {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			t.Chdir(dir)
			environ := append([]string{
				"INSTANCE=web1.example.org", "INTERFACE=weft-none0", "INTERFACE_INDEX=0", "INTERFACE_UUID=4459df43-ec64-4a7b-865d-c2967eafb045",
				"MAC=aa:00:00:cc:89:76", "MODE=bridged", "LINK=weft-none1", "TAGS=", "VLAN=",
			}, entry)
			o := options{file: filepath.Join(dir, "node.yaml"), run: filepath.Join(dir, "run")}
			variable, _, _ := strings.Cut(entry, "=")
			err := runGaneti(t.Context(), &o, "/etc/ganeti/kvm-vif-bridge", environ)
			if err == nil || !strings.HasPrefix(err.Error(), variable+": ") {
				t.Fatalf("%v, want an error of %s", err, variable)
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
				t.Errorf("it left %v, %v", left, err)
			}
		})
	}
}

// TestGanetiHookSaysOneLine: what Ganeti puts into a job's error is one line of text, whatever went wrong.
func TestGanetiHookSaysOneLine(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "node.yaml")
	if err := os.WriteFile(file, []byte("bonds:\n  bond0: {memebers: [eth0], mode: lacp}\nvlans:\n  bond0.4095: {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"INSTANCE": "web1.example.org", "INTERFACE": "weft-none0", "INTERFACE_INDEX": "0", "MAC": "aa:00:00:cc:89:76", "MODE": "bridged", "LINK": "weft-none1",
	} {
		t.Setenv(name, value)
	}
	status, stdout, stderr := weft(t, "ganeti", "hook", "--file", file, "--run", filepath.Join(dir, "run"), "/etc/ganeti/kvm-vif-bridge")
	if status != 1 || stdout != "" || strings.Count(stderr, "\n") != 1 || !strings.HasPrefix(stderr, "weft: ") || !strings.Contains(stderr, "bond0.4095") {
		t.Errorf("status %d, %q, %q", status, stdout, stderr)
	}
	for _, text := range []string{"a\nb\r\nc", "a\x00\x1b[31mb", "\xff\xfe", strings.Repeat("é", 4000)} {
		if got := oneLine(text); len(got) > 1010 || strings.ContainsFunc(got, unicode.IsControl) || strings.ToValidUTF8(got, "") != got {
			t.Errorf("%.20q becomes %q", text, got)
		}
	}
}

// TestGanetiCommunication: the taps of Ganeti's instance communication are Ganeti's, whatever else the environment has.
func TestGanetiCommunication(t *testing.T) {
	o := options{file: "/nonexistent/node.yaml", run: "/nonexistent/run"}
	if err := runGaneti(t.Context(), &o, "/etc/ganeti/kvm-vif-bridge", []string{"INTERFACE=gnt.com.0", "MODE=routed"}); err != nil {
		t.Error(err)
	}
}

func TestGanetiInstall(t *testing.T) {
	root := t.TempDir()
	if status, _, stderr := weft(t, "ganeti", "install", "--root", root); status != 1 || !strings.Contains(stderr, "is Ganeti installed here?") {
		t.Errorf("no Ganeti: %d, %q", status, stderr)
	}
	if err := os.MkdirAll(filepath.Join(root, "etc/ganeti"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		args   string
		status int
		lines  int
	}{{"install --check", 1, 11}, {"install", 0, 11}, {"install", 0, 0}, {"install --check", 0, 0}, {"uninstall", 0, 16}, {"uninstall", 0, 0}, {"install --check", 1, 11}} {
		status, stdout, stderr := weft(t, append(append([]string{"ganeti"}, strings.Fields(step.args)...), "--root", root)...)
		if status != step.status || strings.Count(stdout, "\n") != step.lines || stderr != "" {
			t.Errorf("%s: status %d, %q, %q", step.args, status, stdout, stderr)
		}
	}
}

func TestGanetiImport(t *testing.T) {
	file := filepath.Join(t.TempDir(), "gnt-networking")
	if status, stdout, _ := weft(t, "ganeti", "import", file); status != 0 || !strings.Contains(stdout, "defaults hold") {
		t.Errorf("no file: %d, %q", status, stdout)
	}
	for text, want := range map[string]int{"STATE_DIR=/x\n": 0, "STATE_DIR=/x\nMASQ_TAG=masq\n": 2} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if status, stdout, stderr := weft(t, "ganeti", "import", file); status != want || strings.Count(stdout, "\n") != strings.Count(text, "\n") {
			t.Errorf("%q: %d, %q, %q", text, status, stdout, stderr)
		}
	}
}

// TestGanetiXenTells: Xen's tools learn from xenstore what came of a vif, in words and by their own key.
func TestGanetiXenTells(t *testing.T) {
	dir := t.TempDir()
	told := filepath.Join(dir, "told")
	for name, text := range map[string]string{
		"xenstore-read": "#!/bin/sh\n[ \"$*\" = /local/domain/3/name ] && echo web1.example.org\n", "xenstore-write": "#!/bin/sh\nprintf '%s\\n' \"$@\" >> " + told + "\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+":/usr/bin:/bin")
	t.Setenv("XENBUS_PATH", "backend/vif/3/0")
	t.Setenv("vif", "vif3.0")
	o := options{file: filepath.Join(dir, "node.yaml"), run: filepath.Join(dir, "run")}
	nics := filepath.Join(dir, "nic", "web1.example.org")
	if err := os.MkdirAll(nics, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(nics, "0"), []byte("MAC=aa:00:00:cc:89:76\nINTERFACE_INDEX=0\nMODE=$(reboot)\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct{ args, err, told string }{
		{"offline type_if=vif", "", ""},
		{"frobnicate", "neither online nor offline", ""},
		{"online type_if=tap", "emulated network cards", "backend/vif/3/0/hotplug-error\nvif script: emulated"},
		{"online type_if=vif", "MODE: ", "backend/vif/3/0/hotplug-error\nMODE: "},
	} {
		if err := os.RemoveAll(told); err != nil {
			t.Fatal(err)
		}
		err := xenGaneti(t.Context(), &o, filepath.Join(dir, "nic"), strings.Fields(step.args))
		if (err == nil) != (step.err == "") || err != nil && !strings.Contains(err.Error(), step.err) {
			t.Errorf("%s: %v, want %q", step.args, err, step.err)
		}
		text, _ := os.ReadFile(told)
		if !strings.HasPrefix(string(text), step.told) || step.told != "" && !strings.HasSuffix(string(text), "backend/vif/3/0/hotplug-status\nerror\n") || step.told == "" && len(text) > 0 {
			t.Errorf("%s: xenstore was told %q", step.args, text)
		}
	}
}
