// SPDX-License-Identifier: Apache-2.0

package main

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

// guestInit is the init script of an instance; busybox runs it.
//
//go:embed files/guestinit.sh
var guestInit []byte

// guestArchive is an instance's initramfs: busybox, the modules of its network card and the init
// script. It is not compressed: unpacking it would cost an emulated CPU more.
func guestArchive(ctx context.Context, img vm.Image, root string) ([]byte, error) {
	busybox, err := os.ReadFile(filepath.Join(root, "bin/busybox"))
	if err != nil {
		return nil, fmt.Errorf("making the instances' initramfs: %w", err)
	}
	files, err := img.ModuleFiles("virtio_pci", "virtio_net")
	if err != nil {
		return nil, err
	}
	var buf bytes.Buffer
	w := cpio.NewWriter(&buf)
	for _, dir := range []string{"bin", "dev", "proc", "sys", "modules"} {
		if err := w.WriteHeader(&cpio.Header{Name: dir, Mode: cpio.TypeDir | 0o755}); err != nil {
			return nil, fmt.Errorf("making the instances' initramfs: %w", err)
		}
	}
	add := func(name string, mode cpio.FileMode, data []byte) error {
		err := w.WriteHeader(&cpio.Header{Name: name, Mode: cpio.TypeReg | mode, Size: int64(len(data)), Links: 1})
		if err == nil {
			_, err = w.Write(data)
		}
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
			return nil, fmt.Errorf("making the instances' initramfs: %w", err)
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
		return os.ReadFile(file)
	}
	out, err := exec.CommandContext(ctx, "xz", "-dc", file).Output()
	if err != nil {
		return nil, fmt.Errorf("decompressing the module %s: %w", file, err)
	}
	return out, nil
}
