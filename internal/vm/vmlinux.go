// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// An emulated CPU takes five seconds to decompress a kernel, the host less than one. So the kernel
// file is taken apart once, when it is fetched, as Documentation/arch/x86/boot.rst describes it.

// compressedKernel returns the compressed kernel inside an x86 bzImage, and the program whose
// option -dc decompresses it; "" when it is none that is known.
func compressedKernel(image []byte) (payload []byte, tool string) {
	const (
		setupSects, magic, version = 0x1f1, 0x202, 0x206
		payloadOffset, payloadLen  = 0x248, 0x24c
	)
	if len(image) < payloadLen+4 || string(image[magic:magic+4]) != "HdrS" ||
		binary.LittleEndian.Uint16(image[version:]) < 0x208 {
		return nil, ""
	}
	sects := int64(image[setupSects])
	if sects == 0 {
		sects = 4
	}
	start := (sects+1)*512 + int64(binary.LittleEndian.Uint32(image[payloadOffset:]))
	end := start + int64(binary.LittleEndian.Uint32(image[payloadLen:]))
	if end > int64(len(image)) || end-start < 8 {
		return nil, ""
	}
	payload = image[start : end-4] // the last four bytes are the decompressed size
	for prefix, tool := range map[string]string{
		"\xfd7zXZ\x00": "xz", "\x28\xb5\x2f\xfd": "zstd", "\x1f\x8b": "gzip",
	} {
		if bytes.HasPrefix(payload, []byte(prefix)) {
			return payload, tool
		}
	}
	return nil, ""
}

// bootsDirectly reports whether QEMU can start an ELF kernel without a boot loader: whether it has
// the note XEN_ELFNOTE_PHYS32_ENTRY of the PVH boot protocol.
func bootsDirectly(vmlinux []byte) bool {
	const phys32Entry = 18
	f, err := elf.NewFile(bytes.NewReader(vmlinux))
	if err != nil {
		return false
	}
	for _, p := range f.Progs {
		if p.Type != elf.PT_NOTE || p.Filesz > 1<<20 {
			continue
		}
		b := make([]byte, p.Filesz)
		if _, err := p.ReadAt(b, 0); err != nil {
			return false
		}
		for len(b) >= 12 {
			name, desc := f.ByteOrder.Uint32(b), f.ByteOrder.Uint32(b[4:])
			next := 12 + (int64(name)+3)&^3 + (int64(desc)+3)&^3
			if next > int64(len(b)) {
				break
			}
			if f.ByteOrder.Uint32(b[8:]) == phys32Entry && strings.TrimRight(string(b[12:12+name]), "\x00") == "Xen" {
				return true
			}
			b = b[next:]
		}
	}
	return false
}

// writeVMLinux writes the decompressed kernel beside the compressed one. Where that cannot be done
// the compressed one boots as well, later.
func writeVMLinux(ctx context.Context, vmlinuz, vmlinux string) error {
	image, err := os.ReadFile(vmlinuz)
	if err != nil {
		return fmt.Errorf("reading the kernel: %w", err)
	}
	payload, tool := compressedKernel(image)
	if tool == "" {
		return nil
	}
	if _, err := exec.LookPath(findTool(tool)); err != nil {
		return nil
	}
	var msg bytes.Buffer
	cmd := exec.CommandContext(ctx, findTool(tool), "-dc")
	cmd.Stdin, cmd.Stderr = bytes.NewReader(payload), &msg
	kernel, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("decompressing the kernel: %w: %s", err, strings.TrimSpace(msg.String()))
	}
	if !bootsDirectly(kernel) {
		return nil
	}
	if err := os.WriteFile(vmlinux, kernel, 0o644); err != nil {
		return fmt.Errorf("storing the decompressed kernel: %w", err)
	}
	return nil
}
