// SPDX-License-Identifier: Apache-2.0

package ganeti

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

// files writes the files, each with its folders. In a command line | stands for the zero byte between arguments.
func files(t *testing.T, dir string, all map[string]string) {
	t.Helper()
	for name, text := range all {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if filepath.Base(name) == "cmdline" {
			text = strings.ReplaceAll(strings.TrimSpace(text), "|", "\x00") + "\x00"
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestContext: the moments that Ganeti does not tell, by its files and by the process.
func TestContext(t *testing.T) {
	const conf, note, pid, qemu = "run/conf/web1.runtime", "run/nic/web1/0", "run/pid/web1", "proc/7/cmdline"
	const running = "/usr/bin/kvm|-name|web1,debug-threads=on|-m|64"
	for _, test := range []struct {
		name  string
		files map[string]string
		phase string
		want  Context
	}{
		{"cold start", map[string]string{conf: "[]"}, "", ColdStart},
		{"cold start, old pid file", map[string]string{conf: "[]", pid: "7\n"}, "", ColdStart},
		{"cold start, pid of another process", map[string]string{conf: "[]", pid: "7\n", qemu: "/usr/bin/kvm|-name|web10"}, "", ColdStart},
		{"cold start, QEMU is a zombie", map[string]string{conf: "[]", pid: "7\n", qemu: ""}, "", ColdStart},
		{"cold start, pid file is none", map[string]string{conf: "[]", pid: "-1\n"}, "", ColdStart},
		{"soft reboot", map[string]string{conf: "[]", note: "tap7"}, "", SoftReboot},
		{"soft reboot, same name", map[string]string{conf: "[]", note: "tap0"}, "", SoftReboot},
		{"start after QEMU crashed", map[string]string{conf: "[]", note: "tap7", pid: "7\n"}, "", SoftReboot},
		{"start after QEMU crashed, its pid is another's", map[string]string{conf: "[]", note: "tap0", pid: "7", qemu: "/bin/sh|-name|web10"}, "", SoftReboot},
		{"hotplug", map[string]string{conf: "[]", pid: "7", qemu: running}, "", Hotplug},
		{"hotplug at a place that was used", map[string]string{conf: "[]", pid: "7", qemu: running, note: "tap7"}, "", Hotplug},
		{"migration, bridged", nil, "", MigrationBefore},
		{"migration, routed", map[string]string{note: "tap0", pid: "7", qemu: running}, "", MigrationAfter},
		{"migration, routed, runtime file of a failed start", map[string]string{conf: "[]", note: "tap0", pid: "7", qemu: running}, "", MigrationAfter},
		{"3.2 before", map[string]string{conf: "[]"}, "pre", MigrationBefore},
		{"3.2 after", nil, "post", MigrationAfter},
	} {
		dir := t.TempDir()
		files(t, dir, test.files)
		r := Runtime{Dir: filepath.Join(dir, "run"), Proc: filepath.Join(dir, "proc")}
		if got := r.Context(Environment{Instance: "web1", Interface: "tap0", Phase: test.phase}); got != test.want {
			t.Errorf("%s: taken for %s", test.name, got)
		}
	}
}

func TestAdopt(t *testing.T) {
	archive, err := txtar.ParseFile("testdata/adopt.txtar")
	if err != nil {
		t.Fatal(err)
	}
	all, want := map[string]string{}, ""
	for _, f := range archive.Files {
		if f.Name == "want" {
			want = string(f.Data)
			continue
		}
		all[f.Name] = strings.TrimSuffix(string(f.Data), "\n")
	}
	dir := t.TempDir()
	files(t, dir, all)
	found, err := Runtime{Dir: filepath.Join(dir, "run"), Proc: filepath.Join(dir, "proc")}.Adopt()
	var got strings.Builder
	for _, e := range found {
		fmt.Fprintf(&got, "%s nic %d %s %s on %s: %s %s", e.Instance, e.Index, e.ID, e.MAC, e.Interface, e.Mode, e.Link)
		if !e.VLAN.IsZero() {
			fmt.Fprintf(&got, " vlan %d", e.VLAN.Untagged)
		}
		if e.IP.IsValid() {
			fmt.Fprintf(&got, " %s", e.IP)
		}
		if n := e.Network; n != nil {
			fmt.Fprintf(&got, " in %s %v %s %s", n.Name, n.Tags, n.Subnet, n.Subnet6)
		}
		got.WriteString("\n")
	}
	if err != nil {
		for line := range strings.Lines(err.Error() + "\n") {
			got.WriteString("error: " + line)
		}
	}
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Error(diff)
	}
}

func TestAdoptNothing(t *testing.T) {
	if all, err := (Runtime{Dir: filepath.Join(t.TempDir(), "none"), Proc: "/proc"}).Adopt(); err != nil || len(all) > 0 {
		t.Errorf("%v, %v", all, err)
	}
}
