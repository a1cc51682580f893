// SPDX-License-Identifier: Apache-2.0

package nic

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

// FileName is the file of the run folder with the node file that was applied last.
const FileName = "node.yaml"

// PutFile keeps the node file that was applied.
func (s Store) PutFile(text []byte) error {
	if err := os.MkdirAll(s.Dir, 0o755); err != nil {
		return fmt.Errorf("keep the applied node file: %w", err)
	}
	if err := renameio.WriteFile(filepath.Join(s.Dir, FileName), text, 0o600); err != nil {
		return fmt.Errorf("keep the applied node file: %w", err)
	}
	return nil
}

// File returns the node file that was applied last, nil if none was since the machine started.
func (s Store) File() ([]byte, error) {
	text, err := os.ReadFile(filepath.Join(s.Dir, FileName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the applied node file: %w", err)
	}
	return text, nil
}

// DropFile forgets which node file was applied.
func (s Store) DropFile() error {
	if err := os.Remove(filepath.Join(s.Dir, FileName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget the applied node file: %w", err)
	}
	return nil
}
