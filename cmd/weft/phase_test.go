// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// TestFilesAreKept: a file that this process was given, as QEMU gives its script the tap, is not passed on.
func TestFilesAreKept(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	given, err := syscall.Dup(int(w.Fd())) // which is passed on: Dup leaves out close-on-exec
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Close(given) }()
	pipes := func() int {
		out, err := exec.Command("ls", "-l", "/proc/self/fd").Output()
		if err != nil {
			t.Fatal(err)
		}
		link, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(given))
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(string(out), link)
	}
	if pipes() == 0 {
		t.Fatal("the file was not passed on in the first place")
	}
	if err := keepFiles(); err != nil {
		t.Fatal(err)
	}
	if pipes() != 0 {
		t.Error("the file was passed on")
	}
}
