// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// These tests boot VMs, which takes a static test binary, QEMU and, once, fetching Debian's kernel.

// bootable returns the image, or skips where the lane did not ask for VMs.
func bootable(t *testing.T) Image {
	t.Helper()
	if !slices.Contains(strings.Split(os.Getenv("WEFT_TEST_REQUIRE"), ","), "vm") {
		t.Skip("boots a VM: runs with WEFT_TEST_REQUIRE=vm")
	}
	img, err := Prepare(t.Context(), "", func(s string) { t.Log(s) })
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func TestBoot(t *testing.T) {
	img := bootable(t)
	work, dir := t.TempDir(), t.TempDir()
	writeFile(t, filepath.Join(work, "in"), "from the host")
	script := `
set -e
uname -r
pwd
echo "$GREETING"
cat ` + work + `/in; echo
ip link show lo | grep -q 'LOOPBACK,UP' && echo lo is up
ip link add b0 type bond && ip link show b0 | grep -c bond0 || echo no stray bond
ip link add r0 type vrf table 9 && ip link add link b0 name v0 type vlan id 9 && echo links
ip tuntap add t0 mode tap && echo tap
nft add table inet t && echo nft
! modprobe br_netfilter 2>/dev/null && echo no br_netfilter
! touch ` + dir + `/scratch 2>/dev/null || echo scratch
echo to the host > ` + work + `/out
echo warning >&2
exit 42
`
	var out, msg bytes.Buffer
	began := time.Now()
	code, err := Run(t.Context(), Config{
		Image: img, Argv: []string{"bash", "-c", script}, Env: []string{"GREETING=hello there"},
		Dir: dir, WorkDir: work, Stdout: &out, Stderr: &msg,
	})
	t.Logf("the VM was up and down in %s", time.Since(began).Round(100*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Join([]string{img.Release, dir, "hello there", "from the host", "lo is up", "0", "no stray bond",
		"links", "tap", "nft", "no br_netfilter", "scratch", ""}, "\n")
	if code != 42 || out.String() != want || msg.String() != "warning\n" {
		t.Errorf("exit %d, stderr %q, stdout:\n%s\nwant exit 42, stderr \"warning\\n\", stdout:\n%s", code, &msg, &out, want)
	}
	if got, err := os.ReadFile(filepath.Join(work, "out")); err != nil || string(got) != "to the host\n" {
		t.Errorf("the work folder holds %q, error %v", got, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "scratch")); !os.IsNotExist(err) {
		t.Errorf("the guest wrote to the host outside the work folder (%v)", err)
	}
}

func TestConsole(t *testing.T) {
	img := bootable(t)
	socket := filepath.Join(t.TempDir(), "console")
	booted := make(chan struct{})
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		code, err := Run(ctx, Config{Image: img, Argv: []string{"bash", "-c", "until [ -e /run/enough ]; do sleep 0.2; done; exit 3"},
			Console: socket, Booted: func() { close(booted) }})
		if err == nil && code != 3 {
			err = errors.New("wrong exit code")
		}
		ended <- err
	}()
	select {
	case <-booted:
	case err := <-ended:
		t.Fatal(err)
	}
	dial := func(c command, s streams) (int, error) {
		conn, err := net.Dial("unix", socket)
		if err != nil {
			return 0, err
		}
		return runCommand(t.Context(), conn, c, s)
	}
	if info, err := os.Stat(socket); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the console is %v, error %v", info.Mode(), err)
	}
	var clients sync.WaitGroup
	for range 3 { // several at once
		clients.Go(func() {
			var out bytes.Buffer
			code, err := dial(command{Argv: []string{"sh", "-c", "hostname; tr a-z A-Z; exit 6"}},
				streams{stdin: strings.NewReader("input"), stdout: &out})
			if code != 6 || err != nil || out.String() != "weft-vm\nINPUT" {
				t.Errorf("exit %d, error %v, %q", code, err, &out)
			}
		})
	}
	clients.Wait()
	var out bytes.Buffer
	code, err := dial(command{Argv: []string{"bash", "-ic", "tty; stty size"}, TTY: true, Rows: 44, Cols: 99}, streams{stdout: &out})
	if code != 0 || err != nil || !strings.Contains(out.String(), "/dev/pts/") || !strings.Contains(out.String(), "44 99") {
		t.Errorf("a terminal: exit %d, error %v, %q", code, err, &out)
	}
	if code, err := dial(command{Argv: []string{"touch", "/run/enough"}}, streams{}); code != 0 || err != nil {
		t.Errorf("exit %d, error %v", code, err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(socket); !os.IsNotExist(err) {
		t.Errorf("the console socket outlived the VM (%v)", err)
	}
}

func TestVMThatFails(t *testing.T) {
	img := bootable(t)
	none := Image{Dir: t.TempDir(), Release: img.Release}
	if err := errors.Join(os.Symlink(filepath.Join(img.Dir, "lib"), filepath.Join(none.Dir, "lib")),
		os.WriteFile(filepath.Join(none.Dir, "vmlinuz"), []byte("no kernel"), 0o644)); err != nil {
		t.Fatal(err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	for name, test := range map[string]struct {
		ctx  context.Context
		cfg  Config
		is   error
		text string
	}{
		"kernel panic":     {cfg: Config{Argv: []string{"sh", "-c", "echo 1 > /proc/sys/kernel/sysrq; echo c > /proc/sysrq-trigger"}}, is: ErrDied, text: "sysrq triggered crash"},
		"no such program":  {cfg: Config{Argv: []string{"no-such-program"}}, text: "no-such-program"},
		"timeout":          {cfg: Config{Argv: []string{"sleep", "1000"}, Timeout: 15 * time.Second}, is: ErrTimeout, text: "after 15s"},
		"cancelled":        {ctx: cancelled, cfg: Config{Argv: []string{"sleep", "1000"}, Booted: cancel}, is: context.Canceled, text: "canceled"},
		"no kernel":        {cfg: Config{Image: none, Argv: []string{"true"}}, is: ErrBoot, text: "QEMU said"},
		"boots too slowly": {cfg: Config{Argv: []string{"true"}, Boot: 10 * time.Millisecond}, is: ErrBoot, text: "within 10ms"},
		"QEMU refuses":     {cfg: Config{Argv: []string{"true"}, CPUs: 100000}, is: ErrBoot, text: "QEMU said"},
	} {
		t.Run(name, func(t *testing.T) {
			if test.cfg.Image.Dir == "" {
				test.cfg.Image = img
			}
			if test.ctx == nil {
				test.ctx = t.Context()
			}
			code, err := Run(test.ctx, test.cfg)
			if err == nil || test.is != nil && !errors.Is(err, test.is) || !strings.Contains(err.Error(), test.text) {
				t.Errorf("exit %d, error %v; want %v with %q", code, err, test.is, test.text)
			}
		})
	}
}
