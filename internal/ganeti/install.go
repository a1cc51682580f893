// SPDX-License-Identifier: Apache-2.0

package ganeti

import (
	"bytes"
	_ "embed" // the shim
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/renameio/v2"
)

// shim is what stands in every place where Ganeti looks for a script.
//
//go:embed shim.sh
var shim []byte

// marker is the line by which a shim is known, also one of another version.
const marker = "\n# Installed by weft ganeti install."

// ours reports whether an entry is a shim, whatever its mode and version: there is nothing to keep of it.
func (e *entry) ours() bool {
	return e != nil && e.mode.IsRegular() && bytes.Contains(e.data, []byte(marker))
}

// savedDir is where what was in those places before is kept, under the same path.
const savedDir = "/var/lib/weft/ganeti/saved"

// madeFile lists the folders that were made for shims, a line each.
const madeFile = "/var/lib/weft/ganeti/made"

// Install is the places of one machine, or of a tree that becomes one.
type Install struct {
	Root string // "/", or the folder that stands for it
	// Say is called with one line for every place in which something was done, or differs.
	Say func(string)
}

// places returns where a shim belongs: Ganeti 3.0 and 3.1 run kvm-vif-bridge, 3.2 runs network/MODE/ACTION, GRNET's fork
// the two custom scripts. Xen's is asked for only where Xen has a folder of scripts.
func (i Install) places() []string {
	all := []string{"/etc/ganeti/kvm-vif-bridge", "/etc/ganeti/kvm-ifup-custom", "/etc/ganeti/kvm-ifdown-custom"}
	for _, mode := range []string{Bridged, Routed, OpenVSwitch, Ext} {
		all = append(all, "/etc/ganeti/network/"+mode+"/up", "/etc/ganeti/network/"+mode+"/down")
	}
	if _, err := os.Stat(i.at("/etc/xen/scripts")); err == nil {
		all = append(all, "/etc/xen/scripts/vif-custom")
	}
	return all
}

func (i Install) at(path string) string { return filepath.Join(i.Root, path) }

// is reports whether there is a shim: this very content in a regular file that may be executed, and no link.
func (i Install) is(path string) (bool, error) {
	info, err := os.Lstat(i.at(path))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look at %s: %w", path, err)
	}
	if !info.Mode().IsRegular() || info.Mode().Perm() != 0o755 {
		return false, nil
	}
	data, err := os.ReadFile(i.at(path))
	if err != nil {
		return false, fmt.Errorf("look at %s: %w", path, err)
	}
	return bytes.Equal(data, shim), nil
}

func exists(file string) bool {
	_, err := os.Lstat(file)
	return err == nil
}

// Check returns how many places have no shim, and says which.
func (i Install) Check() (int, error) {
	differ := 0
	for _, path := range i.places() {
		ok, err := i.is(path)
		if err != nil {
			return 0, err
		}
		if !ok {
			differ++
			i.Say(path + " is not weft's")
		}
	}
	return differ, nil
}

// Put installs the shims. What was there is kept first. Nothing at all is changed if one place cannot be: where something was
// kept already and there is something else again now.
func (i Install) Put() error {
	if !exists(i.at("/etc/ganeti")) {
		return errors.New("there is no /etc/ganeti: is Ganeti installed here?")
	}
	var todo []string
	for _, path := range i.places() {
		ok, err := i.is(path)
		if err != nil {
			return err
		}
		if ok {
			continue
		}
		if err := i.room(path); err != nil {
			return err
		}
		todo = append(todo, path)
	}
	for _, path := range todo {
		if err := i.put(path); err != nil {
			return err
		}
	}
	return nil
}

// room returns an error if what is in a place cannot be kept.
func (i Install) room(path string) error {
	now, err := read(i.at(path))
	if err != nil || now == nil {
		return err
	}
	if now.mode.IsDir() {
		return fmt.Errorf("%s is a folder", path)
	}
	if now.ours() {
		return nil
	}
	kept, err := read(i.at(savedDir + path))
	if err != nil || kept == nil {
		return err
	}
	if kept.equal(now) {
		return nil
	}
	return fmt.Errorf("%s is not weft's, and %s holds what was there before: run weft ganeti uninstall, or move one of them away", path, savedDir+path)
}

func (i Install) put(path string) error {
	now, err := read(i.at(path))
	if err != nil {
		return err
	}
	said := "installed " + path
	if now != nil && !now.ours() {
		if err := now.write(i.at(savedDir + path)); err != nil {
			return fmt.Errorf("keep %s: %w", path, err)
		}
		said += ", and kept what was there as " + savedDir + path
	}
	if err := i.folders(path); err != nil {
		return err
	}
	if err := (&entry{mode: 0o755, uid: os.Getuid(), gid: os.Getgid(), modified: time.Now(), data: shim}).write(i.at(path)); err != nil {
		return fmt.Errorf("install %s: %w", path, err)
	}
	i.Say(said)
	return nil
}

// folders makes the folders that a place needs, and notes which it made.
func (i Install) folders(path string) error {
	var missing []string
	for dir := filepath.Dir(path); !exists(i.at(dir)); dir = filepath.Dir(dir) {
		missing = append(missing, dir)
	}
	if len(missing) == 0 {
		return nil
	}
	made, err := i.made()
	if err != nil {
		return err
	}
	slices.Reverse(missing)
	text := strings.Join(append(made, missing...), "\n") + "\n"
	if err := os.MkdirAll(filepath.Dir(i.at(madeFile)), 0o755); err != nil {
		return fmt.Errorf("note which folders are made: %w", err)
	}
	if err := renameio.WriteFile(i.at(madeFile), []byte(text), 0o644); err != nil {
		return fmt.Errorf("note which folders are made: %w", err)
	}
	for _, dir := range missing {
		if err := os.Mkdir(i.at(dir), 0o755); err != nil {
			return fmt.Errorf("make %s: %w", dir, err)
		}
		if err := os.Chmod(i.at(dir), 0o755); err != nil { // whatever the umask is
			return fmt.Errorf("make %s: %w", dir, err)
		}
	}
	return nil
}

func (i Install) made() ([]string, error) {
	data, err := os.ReadFile(i.at(madeFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read which folders were made: %w", err)
	}
	return strings.Fields(string(data)), nil
}

// Remove takes the shims away and puts back what was there before Put. What somebody else put in their place since is left.
func (i Install) Remove() error {
	for _, path := range append(i.places(), "/etc/xen/scripts/vif-custom") {
		if err := i.remove(path); err != nil {
			return err
		}
	}
	made, err := i.made()
	if err != nil {
		return err
	}
	slices.Reverse(made)
	for _, dir := range made {
		// One that is not empty, or is gone, is somebody else's by now.
		if err := os.Remove(i.at(dir)); err == nil {
			i.Say("removed " + dir)
		}
	}
	if err := os.RemoveAll(i.at(madeFile)); err != nil {
		return fmt.Errorf("forget which folders were made: %w", err)
	}
	return nil
}

func (i Install) remove(path string) error {
	now, err := read(i.at(path))
	if err != nil {
		return err
	}
	kept, err := read(i.at(savedDir + path))
	if err != nil {
		return err
	}
	switch {
	case kept != nil && (now.ours() || now == nil || kept.equal(now)):
		if err := kept.write(i.at(path)); err != nil {
			return fmt.Errorf("restore %s: %w", path, err)
		}
		if err := os.Remove(i.at(savedDir + path)); err != nil {
			return fmt.Errorf("restored %s, but: %w", path, err)
		}
		i.prune(savedDir + path)
		i.Say("restored " + path)
	case kept != nil:
		i.Say(path + " is not weft's any more: left as it is; what was there first is still in " + savedDir + path)
	case now.ours():
		if err := os.Remove(i.at(path)); err != nil {
			return fmt.Errorf("remove %s: %w", path, err)
		}
		i.Say("removed " + path)
	}
	return nil
}

// prune removes the folders above a kept file that have become empty.
func (i Install) prune(path string) {
	for dir := filepath.Dir(path); len(dir) >= len(savedDir); dir = filepath.Dir(dir) {
		if os.Remove(i.at(dir)) != nil {
			return
		}
	}
}
