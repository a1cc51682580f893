// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"

	"github.com/cavaliergopher/cpio"
)

// The layout of the initramfs.
const (
	initPath   = "init"
	configPath = "config.json"
	modulesDir = "modules"
)

// initConfig is what Run tells the init process, as a file of the initramfs.
type initConfig struct {
	// Release is the kernel's; ModulesDir is the host's folder of its modules, "" where they are an
	// export of their own.
	Release    string `json:"release"`
	ModulesDir string `json:"modules_dir"`
	// Modules are the files below /modules to load, in this order.
	Modules []string `json:"modules"`
	// Exe is the host's path of the init program, WorkDir the folder shared for writing ("" for none).
	Exe     string `json:"exe"`
	WorkDir string `json:"work_dir"`
	// Disk says that the root is on one; Init is the program that takes over, "" for none.
	Disk bool   `json:"disk"`
	Init string `json:"init"`
}

// writeInitramfs writes the initramfs of a VM as a plain cpio archive: decompressing costs an
// emulated CPU more than loading it. cfg.Modules is filled in.
func writeInitramfs(ctx context.Context, w io.Writer, img Image, cfg initConfig) error {
	dir := img.modules()
	order, err := img.ModuleFiles(bootModules(cfg.Disk)...)
	if err != nil {
		return err
	}
	if err := checkStatic(cfg.Exe); err != nil {
		return err
	}
	exe, err := os.ReadFile(cfg.Exe)
	if err != nil {
		return fmt.Errorf("reading the VM's init program: %w", err)
	}
	cw := cpio.NewWriter(w)
	for _, d := range []string{"dev", "proc", "sys", modulesDir} {
		if err := cw.WriteHeader(&cpio.Header{Name: d, Mode: cpio.TypeDir | 0o755}); err != nil {
			return fmt.Errorf("writing the initramfs: %w", err)
		}
	}
	for _, file := range order {
		data, err := readModule(ctx, filepath.Join(dir, file))
		if err != nil {
			return err
		}
		name := moduleName(file) + ".ko"
		cfg.Modules = append(cfg.Modules, name)
		if err := addFile(cw, path.Join(modulesDir, name), 0o644, data); err != nil {
			return err
		}
	}
	config, err := json.Marshal(cfg)
	if err != nil {
		return fmt.Errorf("writing the initramfs: %w", err)
	}
	if err := errors.Join(addFile(cw, configPath, 0o644, config), addFile(cw, initPath, 0o755, exe)); err != nil {
		return err
	}
	if err := cw.Close(); err != nil {
		return fmt.Errorf("writing the initramfs: %w", err)
	}
	return nil
}

// addFile appends one regular file to the archive.
func addFile(cw *cpio.Writer, name string, mode cpio.FileMode, data []byte) error {
	err := cw.WriteHeader(&cpio.Header{Name: name, Mode: cpio.TypeReg | mode, Size: int64(len(data)), Links: 1})
	if err == nil {
		_, err = cw.Write(data)
	}
	if err != nil {
		return fmt.Errorf("writing %s into the initramfs: %w", name, err)
	}
	return nil
}

// readModule reads a module file; the init process loads plain ones only.
func readModule(ctx context.Context, file string) ([]byte, error) {
	switch {
	case strings.HasSuffix(file, ".ko"):
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("reading a kernel module: %w", err)
		}
		return data, nil
	case strings.HasSuffix(file, ".ko.xz"):
		var out, msg bytes.Buffer
		cmd := exec.CommandContext(ctx, findTool("xz"), "-dc", file)
		cmd.Stdout, cmd.Stderr = &out, &msg
		if err := cmd.Run(); err != nil {
			return nil, fmt.Errorf("decompressing the kernel module %s: %w: %s", file, err, strings.TrimSpace(msg.String()))
		}
		return out.Bytes(), nil
	}
	return nil, fmt.Errorf("reading the kernel module %s: neither .ko nor .ko.xz", file)
}

// checkStatic refuses an executable that needs a dynamic loader: it runs before any library is there.
func checkStatic(exe string) error {
	f, err := elf.Open(exe)
	if err != nil {
		return fmt.Errorf("reading the VM's init program %s: %w", exe, err)
	}
	defer func() { _ = f.Close() }()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return fmt.Errorf("the VM's init program is this executable, %s, and must be static: build it with CGO_ENABLED=0", exe)
		}
	}
	return nil
}
