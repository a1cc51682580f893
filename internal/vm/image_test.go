// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cavaliergopher/cpio"
	"github.com/google/go-cmp/cmp"
)

const (
	testDep = `kernel/fs/netfs/netfs.ko.xz:
kernel/fs/fscache/fscache.ko.xz: kernel/fs/netfs/netfs.ko.xz
kernel/net/9p/9pnet.ko:
kernel/fs/9p/9p.ko: kernel/fs/fscache/fscache.ko.xz kernel/fs/netfs/netfs.ko.xz kernel/net/9p/9pnet.ko
kernel/drivers/a-b.ko: kernel/drivers/loop1.ko
kernel/drivers/loop1.ko: kernel/drivers/loop2.ko
kernel/drivers/loop2.ko: kernel/drivers/loop1.ko
`
	testBuiltin = "kernel/drivers/virtio/virtio_pci.ko\nkernel/lib/crc-itu-t.ko\n"
)

func TestModuleOrder(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		want  []string
		order []string
		err   string
	}{
		"needs first, each once": {
			want: []string{"9p", "9pnet", "9p"},
			order: []string{"kernel/fs/netfs/netfs.ko.xz", "kernel/fs/fscache/fscache.ko.xz",
				"kernel/net/9p/9pnet.ko", "kernel/fs/9p/9p.ko"},
		},
		"built in":                {want: []string{"virtio_pci", "crc_itu_t"}},
		"dash is underscore":      {want: []string{"a_b"}, order: []string{"kernel/drivers/loop2.ko", "kernel/drivers/loop1.ko", "kernel/drivers/a-b.ko"}},
		"there is no such module": {want: []string{"9p", "bonding"}, err: "no module bonding"},
	} {
		order, err := moduleOrder(strings.NewReader(testDep), strings.NewReader(testBuiltin), test.want)
		if test.err != "" {
			if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("%s: error %v, want one with %q", name, err, test.err)
			}
			continue
		}
		if diff := cmp.Diff(test.order, order); diff != "" || err != nil {
			t.Errorf("%s: error %v (-want +got):\n%s", name, err, diff)
		}
	}
	if _, err := moduleOrder(strings.NewReader("garbage"), strings.NewReader(""), nil); err == nil {
		t.Error("a modules.dep without colons was taken")
	}
}

// testImage makes a folder like a fetched kernel's.
func testImage(t *testing.T) Image {
	t.Helper()
	img := Image{Dir: t.TempDir(), Release: "6.1.0-test"}
	files := map[string]string{"modules.dep": "", "modules.builtin": ""}
	for _, m := range bootModules(true) {
		file := "kernel/" + m + ".ko"
		files[file] = "module " + m
		files["modules.dep"] += file + ":\n"
	}
	for name, data := range files {
		writeFile(t, filepath.Join(img.modules(), name), data)
	}
	return img
}

func writeFile(t *testing.T, file, data string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(data), 0o755); err != nil {
		t.Fatal(err)
	}
}

// elfFile is the head of an executable, with or without a dynamic loader.
func elfFile(interp bool) string {
	h := make([]byte, 64+56)
	copy(h, "\x7fELF\x02\x01\x01")
	h[16], h[18], h[20] = 2, 62, 1 // ET_EXEC, EM_X86_64, EV_CURRENT
	h[32], h[52], h[54], h[56] = 64, 64, 56, 1
	h[58] = 64
	h[64] = 1 // PT_LOAD
	if interp {
		h[64] = 3 // PT_INTERP
	}
	return string(h)
}

func TestInitramfs(t *testing.T) {
	t.Parallel()
	img := testImage(t)
	exe := filepath.Join(t.TempDir(), "prog")
	writeFile(t, exe, elfFile(false))
	var b bytes.Buffer
	cfg := initConfig{Release: img.Release, ModulesDir: img.modules(), Exe: exe, WorkDir: "/work", Disk: true, Init: "/sbin/init"}
	if err := writeInitramfs(context.Background(), &b, img, cfg); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	modes := map[string]cpio.FileMode{}
	for r := cpio.NewReader(&b); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		got[h.Name], modes[h.Name] = string(data), h.Mode
	}
	if got["init"] != elfFile(false) || modes["init"]&0o777 != 0o755 {
		t.Errorf("init is not the program: %d bytes, mode %o", len(got["init"]), modes["init"])
	}
	if modes["proc"] != cpio.TypeDir|0o755 {
		t.Errorf("proc is no folder: mode %o", modes["proc"])
	}
	var c initConfig
	if err := json.Unmarshal([]byte(got["config.json"]), &c); err != nil {
		t.Fatal(err)
	}
	for _, m := range bootModules(true) {
		cfg.Modules = append(cfg.Modules, m+".ko")
		if got["modules/"+m+".ko"] != "module "+m {
			t.Errorf("module %s holds %q", m, got["modules/"+m+".ko"])
		}
	}
	if diff := cmp.Diff(cfg, c); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}
}

func TestInitramfsRefusesDynamicProgram(t *testing.T) {
	t.Parallel()
	exe := filepath.Join(t.TempDir(), "prog")
	for content, want := range map[string]string{elfFile(true): "CGO_ENABLED=0", "#!/bin/sh\n": "init program"} {
		writeFile(t, exe, content)
		err := writeInitramfs(context.Background(), io.Discard, testImage(t), initConfig{Exe: exe})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
}

func TestKernelPackage(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"linux-image-amd64\n  Depends: linux-image-6.1.0-56-amd64\n":                                  "linux-image-6.1.0-56-amd64",
		"linux-image-amd64\n PreDepends: x\n |Depends: linux-image-6.12.48+deb13-amd64\n  Depends: y": "linux-image-6.12.48+deb13-amd64",
		"": "", "N: Unable to locate package": "", "linux-image-amd64\n  Recommends: linux-image-1": "",
	} {
		got, err := kernelPackage(in)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: package %q, error %v; want %q", in, got, err, want)
		}
	}
}

func TestPrintedURI(t *testing.T) {
	t.Parallel()
	const line = "'http://deb.debian.org/debian/pool/l/linux-image-6.1.0-56-amd64_6.1.192-2_amd64.deb' " +
		"linux-image-6.1.0-56-amd64_6.1.192-2_amd64.deb 70550672 SHA256:a86e\n"
	file, size, err := printedURI("Reading package lists...\n" + line)
	if file != "linux-image-6.1.0-56-amd64_6.1.192-2_amd64.deb" || size != 70550672 || err != nil {
		t.Errorf("read %q, %d, %v", file, size, err)
	}
	for _, in := range []string{"", "E: nothing", "'u' ../evil.deb 12 SHA256:x", "'u' a.deb many SHA256:x"} {
		if file, _, err := printedURI(in); err == nil {
			t.Errorf("%q was read as %q", in, file)
		}
	}
}

func TestDebianRelease(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "os-release")
	for in, want := range map[string]string{
		"PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID=\"12\"\nID=debian\n": "debian-12",
		"ID=debian\nVERSION_CODENAME=trixie\n":                                           "debian-trixie",
		"ID=fedora\nVERSION_ID=40\n":                                                     "",
	} {
		writeFile(t, file, in)
		got, err := debianRelease(file)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v; want %q", in, got, err, want)
		}
	}
}

func TestNewestImage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if img, ok := newestImage(dir); ok {
		t.Errorf("an empty cache holds %v", img)
	}
	// What a killed process leaves is no kernel.
	writeFile(t, filepath.Join(dir, ".new-1/vmlinuz"), "half")
	writeFile(t, filepath.Join(dir, "6.2-empty/lib/x"), "")
	if img, ok := newestImage(dir); ok {
		t.Errorf("a half cache holds %v", img)
	}
	writeFile(t, filepath.Join(dir, "6.1-whole/vmlinuz"), "kernel")
	if img, ok := newestImage(dir); !ok || img.Release != "6.1-whole" || img.String() != "Debian 6.1-whole" {
		t.Errorf("found %v, %v", img, ok)
	}
}

func TestLockExcludes(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "lock")
	unlock, err := lock(context.Background(), file, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	waiting, got := make(chan string, 1), make(chan error, 1)
	go func() {
		unlock2, err := lock(context.Background(), file, func(s string) { waiting <- s })
		if err == nil {
			unlock2()
		}
		got <- err
	}()
	<-waiting
	select {
	case err := <-got:
		t.Fatalf("locked twice (%v)", err)
	default:
	}
	unlock()
	if err := <-got; err != nil {
		t.Error(err)
	}

	unlock, err = lock(context.Background(), file, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	ctx, cancel := context.WithCancel(context.Background())
	if _, err := lock(ctx, file, func(string) { cancel() }); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled wait for the lock: %v", err)
	}
}
