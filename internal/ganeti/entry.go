// SPDX-License-Identifier: Apache-2.0

package ganeti

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/google/renameio/v2"
)

// entry is a file or a symbolic link, with all that makes it the same one again.
type entry struct {
	mode     fs.FileMode
	uid, gid int
	modified time.Time
	data     []byte
	target   string // of a link
}

// read returns what is at a path, nil if nothing is.
func read(path string) (*entry, error) {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look at what is there: %w", err)
	}
	e := &entry{mode: info.Mode(), modified: info.ModTime()}
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		e.uid, e.gid = int(s.Uid), int(s.Gid)
	}
	switch {
	case e.mode.IsRegular():
		e.data, err = os.ReadFile(path)
	case e.mode.Type() == fs.ModeSymlink:
		e.target, err = os.Readlink(path)
	case !e.mode.IsDir():
		err = fmt.Errorf("%s is neither a file nor a link", path)
	}
	if err != nil {
		return nil, fmt.Errorf("look at what is there: %w", err)
	}
	return e, nil
}

// equal reports whether two entries say the same; the time does not count.
func (e *entry) equal(o *entry) bool {
	return e.mode == o.mode && e.uid == o.uid && e.gid == o.gid && e.target == o.target && bytes.Equal(e.data, o.data)
}

// write puts the entry at a path, whole or not at all.
func (e *entry) write(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("make its folder: %w", err)
	}
	if e.mode.Type() == fs.ModeSymlink {
		if err := renameio.Symlink(e.target, path); err != nil {
			return fmt.Errorf("write the link: %w", err)
		}
		if err := os.Lchown(path, e.uid, e.gid); err != nil {
			return fmt.Errorf("write the link: %w", err)
		}
		return nil
	}
	f, err := renameio.NewPendingFile(path, renameio.WithStaticPermissions(e.mode.Perm()))
	if err != nil {
		return fmt.Errorf("write it: %w", err)
	}
	_, err = f.Write(e.data)
	err = errors.Join(err, f.Chown(e.uid, e.gid), f.Chmod(e.mode), os.Chtimes(f.Name(), time.Time{}, e.modified))
	if err == nil {
		err = f.CloseAtomicallyReplace()
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write it: %w", err), f.Cleanup())
	}
	return nil
}
