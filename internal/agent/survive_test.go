// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestRunFolderFullOrReadOnly plugs a NIC in where its intent cannot be written: the kernel is not touched, no half of an
// intent is left, and once there is room the same verb works. Neither can a NIC be taken out half-way.
func TestRunFolderFullOrReadOnly(t *testing.T) {
	needKernel(t)
	dir := filepath.Join(t.TempDir(), "run")
	mountSmall(t, dir)
	n, _ := open(t, namespace(t, "weft-full", 1), dir)
	n.Spec = parse(t, routedFile)
	if err := n.Apply(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := ours(t, n)
	refused := func(what string, full func(), want error, free func()) {
		t.Helper()
		full()
		if err := n.Plug(t.Context(), routedGuest(false)); !errors.Is(err, want) {
			t.Errorf("plug with %s: %v, want %v", what, err, want)
		}
		same(t, 0, before, ours(t, n))
		free()
		if nics, err := n.Store.List(); err != nil || len(nics) != 0 {
			t.Errorf("intents after a plug with %s: %v, %v", what, nics, err)
		}
	}
	ballast := filepath.Join(dir, "ballast")
	refused("a full run folder", func() { fill(t, ballast) }, unix.ENOSPC, func() { must(t, os.Remove(ballast)) })
	refused("a read-only run folder", func() { remount(t, dir, unix.MS_RDONLY) }, unix.EROFS, func() { remount(t, dir, 0) })
	if err := n.Plug(t.Context(), routedGuest(false)); err != nil {
		t.Fatal(err)
	}
	plugged := ours(t, n)
	remount(t, dir, unix.MS_RDONLY)
	if err := n.Unplug(t.Context(), guest.ID); err == nil {
		t.Error("unplugged, though its intent cannot be removed")
	}
	remount(t, dir, 0)
	if err := n.Apply(t.Context()); err != nil {
		t.Fatal(err)
	}
	same(t, 0, plugged, ours(t, n))
}

// mountSmall mounts a folder that 64 KiB fill.
func mountSmall(t *testing.T, dir string) {
	t.Helper()
	must(t, os.Mkdir(dir, 0o755))
	must(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"))
	t.Cleanup(func() { must(t, unix.Unmount(dir, unix.MNT_DETACH)) })
}

func remount(t *testing.T, dir string, flags uintptr) {
	t.Helper()
	must(t, unix.Mount("tmpfs", dir, "tmpfs", unix.MS_REMOUNT|flags, "size=64k"))
}

// fill writes a file until there is no room.
func fill(t *testing.T, file string) {
	t.Helper()
	f, err := os.Create(file)
	must(t, err)
	for err == nil {
		_, err = f.Write(bytes.Repeat([]byte{0}, 4096))
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	must(t, f.Close())
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
