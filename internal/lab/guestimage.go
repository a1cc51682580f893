// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"

	"github.com/cavaliergopher/cpio"

	"weft/internal/vm"
)

// guestInit is the init script of a QEMU guest; busybox runs it.
//
//go:embed guestinit.sh
var guestInit []byte

// busyboxPath is where Debian's package busybox-static puts it.
const busyboxPath = "/bin/busybox"

// guestImage returns the kernel of the VM cache and an initramfs for guests, which it writes into
// the lab's folder once: busybox, the modules of a virtio network card, and the init script.
func (l *Lab) guestImage(ctx context.Context) (kernel, initrd string, err error) {
	img, err := vm.Prepare(ctx, l.opt.Cache, nil)
	if err != nil {
		return "", "", err
	}
	initrd = filepath.Join(l.dir, "guest.cpio")
	if _, err := os.Stat(initrd); err == nil {
		return img.Kernel(), initrd, nil
	}
	data, err := guestInitramfs(ctx, img)
	if err != nil {
		return "", "", err
	}
	if err := os.WriteFile(initrd, data, 0o644); err != nil {
		return "", "", fmt.Errorf("writing the guest's initramfs: %w", err)
	}
	return img.Kernel(), initrd, nil
}

// guestInitramfs is the archive, not compressed: unpacking it would cost an emulated CPU more.
func guestInitramfs(ctx context.Context, img vm.Image) ([]byte, error) {
	busybox, err := os.ReadFile(busyboxPath)
	if err != nil {
		return nil, fmt.Errorf("a QEMU guest takes the package busybox-static: %w", err)
	}
	files, err := img.ModuleFiles("virtio_pci", "virtio_net")
	if err != nil {
		return nil, err
	}
	var buf bytes.Buffer
	w := cpio.NewWriter(&buf)
	for _, dir := range []string{"bin", "dev", "proc", "sys", "modules"} {
		if err := w.WriteHeader(&cpio.Header{Name: dir, Mode: cpio.TypeDir | 0o755}); err != nil {
			return nil, fmt.Errorf("writing the guest's initramfs: %w", err)
		}
	}
	add := func(name string, mode cpio.FileMode, data []byte) error {
		if err := w.WriteHeader(&cpio.Header{Name: name, Mode: cpio.TypeReg | mode, Size: int64(len(data)), Links: 1}); err != nil {
			return fmt.Errorf("writing %s into the guest's initramfs: %w", name, err)
		}
		_, err := w.Write(data)
		return err
	}
	var order []string
	for _, file := range files {
		data, err := moduleText(ctx, filepath.Join(img.Dir, "lib/modules", img.Release, file))
		if err != nil {
			return nil, err
		}
		name, _, _ := strings.Cut(path.Base(file), ".ko")
		order = append(order, name+".ko")
		if err := add("modules/"+name+".ko", 0o644, data); err != nil {
			return nil, err
		}
	}
	err = errors.Join(
		add("modules/order", 0o644, []byte(strings.Join(order, "\n")+"\n")),
		add("bin/busybox", 0o755, busybox),
		add("init", 0o755, guestInit),
		w.Close())
	return buf.Bytes(), err
}

// moduleText reads a kernel module, decompressed.
func moduleText(ctx context.Context, file string) ([]byte, error) {
	if !strings.HasSuffix(file, ".xz") {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("reading a module for the guest: %w", err)
		}
		return data, nil
	}
	out, err := exec.CommandContext(ctx, "xz", "-dc", file).Output()
	if err != nil {
		return nil, fmt.Errorf("decompressing the module %s for the guest: %w", file, err)
	}
	return out, nil
}
