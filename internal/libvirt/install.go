// SPDX-License-Identifier: Apache-2.0

package libvirt

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/google/renameio/v2"
)

// HookDir is where libvirt looks for hooks.
const HookDir = "/etc/libvirt/hooks"

// mark is in the script that Install writes, and tells it from an administrator's.
const mark = "# Written by `weft libvirt install`."

// Script returns the hook: a few lines of shell that run weft. stdout is closed to it, because libvirt takes what a hook
// prints for the guest's new XML; and a reconnect always succeeds, even without weft, because libvirt would kill the
// guest.
func Script(weft string) string {
	quoted := "'" + strings.ReplaceAll(weft, "'", `'\''`) + "'"
	return "#!/bin/sh\n" + mark + `
# libvirt runs it for each QEMU guest that starts, arrives, stops or was found running.
weft=` + quoted + `
if [ "$2" = reconnect ]; then
	"$weft" libvirt hook "$@" >/dev/null
	exit 0
fi
exec "$weft" libvirt hook "$@" >/dev/null
`
}

// Folders reports whether a libvirt of this version (what libvirtd --version prints) runs every script in qemu.d, as it
// does since 6.5, and not only hooks/qemu. Text without a version counts as a new libvirt.
func Folders(version string) bool {
	m := regexp.MustCompile(`(\d+)\.(\d+)\.\d+`).FindStringSubmatch(version)
	if m == nil {
		return true
	}
	major, err := strconv.Atoi(m[1])
	if err != nil {
		return true
	}
	minor, err := strconv.Atoi(m[2])
	return err != nil || major > 6 || major == 6 && minor >= 5
}

// Install writes the hook into libvirt's folder of hooks: as qemu.d/weft where libvirt knows folders, else as qemu. It
// returns the file and whether it changed. A qemu script that is not weft's is left alone, which is an error where weft
// needs the place.
func Install(dir, weft string, folders bool) (file string, changed bool, err error) {
	if !filepath.IsAbs(weft) {
		return "", false, fmt.Errorf("install the libvirt hook: %s is not an absolute path", weft)
	}
	file = filepath.Join(dir, "qemu")
	if folders {
		file = filepath.Join(dir, "qemu.d", "weft")
	}
	script := []byte(Script(weft))
	old, err := os.ReadFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return file, false, fmt.Errorf("install the libvirt hook: %w", err)
	case !bytes.Contains(old, []byte(mark)):
		return file, false, fmt.Errorf("install the libvirt hook: %s is there and is not weft's: add this to it, before anything that reads its standard input:\n\t%s libvirt hook \"$@\" >/dev/null || [ \"$2\" = reconnect ] || exit 1", file, weft)
	case bytes.Equal(old, script):
		info, err := os.Stat(file)
		if err == nil && info.Mode().Perm()&0o111 == 0o111 {
			return file, false, nil
		}
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return file, false, fmt.Errorf("install the libvirt hook: %w", err)
	}
	if err := renameio.WriteFile(file, script, 0o755); err != nil {
		return file, false, fmt.Errorf("install the libvirt hook: %w", err)
	}
	return file, true, nil
}
