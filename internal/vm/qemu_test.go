// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"strings"
	"testing"
)

func TestDefaultCPUs(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		load string
		host int
		want int
	}{
		{"0.10 0.29 0.19 1/99 1", 2, 2},
		{"2.90 2.00 1.00 1/99 1", 2, 2},
		{"17.01 18.25 13.97 9/99 1", 2, 1},
		{"17.01 18.25 13.97 9/99 1", 32, 2},
		{"0.00 0.00 0.00 1/99 1", 1, 1},
		{"garbage", 4, 2},
	} {
		if got := defaultCPUs(test.load, test.host); got != test.want {
			t.Errorf("load %s on %d CPUs: %d, want %d", test.load, test.host, got, test.want)
		}
	}
}

func TestQEMUArgs(t *testing.T) {
	cfg := Config{Image: Image{Dir: "/k"}, CPUs: 3, Memory: 77, WorkDir: "/a,b"}
	m := machines()["amd64"]
	t.Setenv("WEFT_ACCEL", "")
	line := strings.Join(qemuArgs(m, cfg, "/i", "/log"), " ")
	for _, want := range []string{
		"-accel tcg,thread=multi -cpu max", "-smp 3 ", "-m 77 ", "-nic none", "-kernel /k/vmlinuz ", "-initrd /i ", "mitigations=off",
		initEnv + "=1", "path=/,security_model=none,readonly=on", "path=/a,,b,security_model=none,multidevs", "bonding.max_bonds=0",
	} {
		if !strings.Contains(line, want) {
			t.Errorf("the arguments lack %q:\n%s", want, line)
		}
	}
	cfg.WorkDir = ""
	if line := strings.Join(qemuArgs(m, cfg, "/i", "/log"), " "); strings.Contains(line, workTag) {
		t.Errorf("an export without a work folder:\n%s", line)
	}
	cfg.Root, cfg.Devices = "/r,s", []string{"-device", "card"}
	line = strings.Join(qemuArgs(m, cfg, "/i", "/log"), " ")
	for _, want := range []string{"path=/r,,s,security_model=none,readonly=on", "mount_tag=" + modsTag, "-device card"} {
		if !strings.Contains(line, want) {
			t.Errorf("the arguments of a VM with a root of its own lack %q:\n%s", want, line)
		}
	}
	cfg.Root, cfg.Disk = "", "/d,e"
	line = strings.Join(qemuArgs(m, cfg, "/i", "/log"), " ")
	if !strings.Contains(line, "format=raw,file=/d,,e ") || strings.Contains(line, "virtio-9p") {
		t.Errorf("the arguments of a VM with a disk have none, or another root:\n%s", line)
	}
	cfg.Instructions = true
	if line := strings.Join(qemuArgs(m, cfg, "/i", "/log"), " "); !strings.Contains(line, "-accel tcg,thread=single -icount shift=0,sleep=off") {
		t.Errorf("instructions were to be counted:\n%s", line)
	}
	cfg.Instructions = false
	t.Setenv("WEFT_ACCEL", "kvm")
	if line := strings.Join(qemuArgs(m, cfg, "/i", "/log"), " "); !strings.Contains(line, "-accel kvm -cpu host") {
		t.Errorf("KVM was asked for:\n%s", line)
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	if _, err := (Config{}).complete(); err == nil {
		t.Error("a VM without a command")
	}
	for _, dir := range []string{"/no/such/folder", "/etc/passwd"} {
		if _, err := (Config{Argv: []string{"x"}, WorkDir: dir}).complete(); err == nil || !strings.Contains(err.Error(), dir) {
			t.Errorf("work folder %s: error %v", dir, err)
		}
		if _, err := (Config{Argv: []string{"x"}, Root: dir}).complete(); err == nil || !strings.Contains(err.Error(), dir) {
			t.Errorf("root folder %s: error %v", dir, err)
		}
	}
	cfg, err := Config{Argv: []string{"x"}, Console: "sock"}.complete()
	if err != nil || cfg.Memory != 3072 || cfg.CPUs < 1 || cfg.Boot == 0 || !strings.HasPrefix(cfg.Console, "/") {
		t.Errorf("completed to %+v, error %v", cfg, err)
	}
}
