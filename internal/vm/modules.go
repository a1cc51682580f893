// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bufio"
	"fmt"
	"io"
	"path"
	"strings"
)

// bootModules is what the initramfs loads before the host's files are there; the rest is then
// loaded by the kernel and modprobe from the cache folder.
func bootModules(disk bool) []string {
	list := []string{"virtio_pci", "virtio_console", "virtio_rng", "9pnet_virtio", "9p", "overlay"}
	if disk { // ext4 asks for its checksum's module by a name that no file has
		list = append(list, "virtio_blk", "crc32c_generic", "ext4")
	}
	return list
}

// moduleName is the kernel's name of a module file: kernel/fs/9p/9p.ko.xz is 9p.
func moduleName(file string) string {
	name, _, _ := strings.Cut(path.Base(file), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

// moduleOrder returns the files that load the wanted modules, each after those it depends on, once.
// dep is modules.dep as depmod writes it; builtin is modules.builtin, whose modules need no file.
func moduleOrder(dep, builtin io.Reader, want []string) ([]string, error) {
	files, needs := map[string]string{}, map[string][]string{}
	sc := bufio.NewScanner(dep)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		file, list, ok := strings.Cut(sc.Text(), ":")
		if !ok {
			return nil, fmt.Errorf("reading modules.dep: no colon in %q", sc.Text())
		}
		files[moduleName(file)] = file
		needs[moduleName(file)] = strings.Fields(list)
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("reading modules.dep: %w", err)
	}
	isBuiltin := map[string]bool{}
	sc = bufio.NewScanner(builtin)
	for sc.Scan() {
		isBuiltin[moduleName(sc.Text())] = true
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("reading modules.builtin: %w", err)
	}

	var order []string
	seen := map[string]bool{}
	var visit func(name string) error
	visit = func(name string) error {
		if seen[name] || isBuiltin[name] {
			return nil
		}
		seen[name] = true // before its needs: a loop in the file ends
		file, ok := files[name]
		if !ok {
			return fmt.Errorf("the kernel has no module %s, neither as a file nor built in", name)
		}
		for _, n := range needs[name] {
			if err := visit(moduleName(n)); err != nil {
				return err
			}
		}
		order = append(order, file)
		return nil
	}
	for _, name := range want {
		if err := visit(name); err != nil {
			return nil, err
		}
	}
	return order, nil
}
