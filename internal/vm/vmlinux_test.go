// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"encoding/binary"
	"strings"
	"testing"
)

// bzImage is a kernel file around a payload.
func bzImage(payload string, length int) []byte {
	b := make([]byte, 512*3+16)
	b[0x1f1] = 2
	copy(b[0x202:], "HdrS")
	binary.LittleEndian.PutUint16(b[0x206:], 0x20f)
	binary.LittleEndian.PutUint32(b[0x248:], 16)
	binary.LittleEndian.PutUint32(b[0x24c:], uint32(length))
	return append(b, payload...)
}

func TestCompressedKernel(t *testing.T) {
	t.Parallel()
	old := bzImage("\x1f\x8b12345678", 10)
	old[0x206], old[0x207] = 7, 2
	for name, test := range map[string]struct {
		image         []byte
		payload, tool string
	}{
		"xz":           {bzImage("\xfd7zXZ\x00data1234", 14), "\xfd7zXZ\x00data", "xz"},
		"zstd":         {bzImage("\x28\xb5\x2f\xfddata1234rest", 12), "\x28\xb5\x2f\xfddata", "zstd"},
		"gzip":         {bzImage("\x1f\x8bdata1234", 10), "\x1f\x8bdata", "gzip"},
		"unknown":      {bzImage("LZ!!data1234", 12), "", ""},
		"too long":     {bzImage("\x1f\x8bdata1234", 1000), "", ""},
		"huge":         {bzImage("\x1f\x8bdata1234", 0xffffffff), "", ""},
		"empty":        {bzImage("", 0), "", ""},
		"old protocol": {old, "", ""},
		"ELF":          {[]byte(elfFile(false) + strings.Repeat("x", 1000)), "", ""},
		"nothing":      {nil, "", ""},
	} {
		payload, tool := compressedKernel(test.image)
		if string(payload) != test.payload || tool != test.tool {
			t.Errorf("%s: %q by %q, want %q by %q", name, payload, tool, test.payload, test.tool)
		}
	}
}

// elfWithNote is an executable with one note.
func elfWithNote(owner string, kind uint32, descLen uint32) []byte {
	b := []byte(elfFile(false))
	b[64] = 4 // PT_NOTE
	note := binary.LittleEndian.AppendUint32(nil, uint32(len(owner)))
	note = binary.LittleEndian.AppendUint32(note, descLen)
	note = binary.LittleEndian.AppendUint32(note, kind)
	note = append(note, owner...)
	note = append(note, make([]byte, 8)...)
	binary.LittleEndian.PutUint64(b[64+8:], uint64(len(b)))
	binary.LittleEndian.PutUint64(b[64+32:], uint64(len(note)))
	return append(b, note...)
}

func TestBootsDirectly(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		file []byte
		want bool
	}{
		"PVH":           {elfWithNote("Xen\x00", 18, 8), true},
		"another note":  {elfWithNote("Xen\x00", 6, 8), false},
		"another owner": {elfWithNote("GNU\x00", 18, 8), false},
		"cut short":     {elfWithNote("Xen\x00", 18, 1<<31), false},
		"no notes":      {[]byte(elfFile(false)), false},
		"no ELF":        {[]byte("MZ"), false},
	} {
		if got := bootsDirectly(test.file); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}
