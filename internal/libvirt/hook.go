// SPDX-License-Identifier: Apache-2.0

package libvirt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/renameio/v2"
	"github.com/google/uuid"

	"weft/internal/spec"
)

// arrival is how long a guest that announced its arrival may take until it starts. libvirt goes from one to the other
// in seconds; a mark that is older is of a migration that failed.
const arrival = 5 * time.Minute

// Node is what a hook asks of the node that it runs on.
type Node interface {
	Networks() map[string]*spec.Network
	NICs() ([]spec.NIC, error)
	Plug(ctx context.Context, n spec.NIC) error
	Unplug(ctx context.Context, id string) error
	// Renewed reports whether another tap has the name of the one that the NIC was plugged in with.
	Renewed(n spec.NIC) bool
}

// Hook runs libvirt's hooks for QEMU guests.
type Hook struct {
	Dir  string               // holds a mark for each guest that is arriving; made when it is needed
	Open func() (Node, error) // reads the node file; only called for guests that may be weft's
	Now  func() time.Time
}

// Run does what the operation op of libvirt's hook asks for; xml is what libvirt writes to the hook's standard input.
//
// An error stops libvirt from starting the guest, except that libvirt passes over errors of stopped and release, and
// kills the running guest for one of reconnect: the caller must not let that one out.
func (h *Hook) Run(ctx context.Context, op string, xml io.Reader) error {
	switch op {
	case "migrate", "start", "reconnect", "stopped", "release":
	default:
		return nil // prepare: no tap yet; started: nothing changed since start; restore: like a start; attach: not weft's
	}
	d, err := ParseDomain(xml)
	switch {
	case err != nil:
		return err
	case op == "stopped", op == "release":
		return errors.Join(h.unmark(d.UUID), h.stopped(ctx, d))
	case !d.mayConcern():
		return nil
	case op == "migrate":
		return h.mark(d.UUID)
	case op == "start":
		return h.start(ctx, d)
	}
	return h.update(ctx, d)
}

// open returns the node and the domain's NICs on it.
func (h *Hook) open(d *Domain) (Node, []spec.NIC, error) {
	node, err := h.Open()
	if err != nil {
		return nil, nil, err
	}
	nics, err := d.NICs(node.Networks())
	return node, nics, err
}

// start plugs the guest in. One that arrives from another node is prepared: its memory is still there, and so are its
// addresses, until it runs here.
func (h *Hook) start(ctx context.Context, d *Domain) error {
	arriving, err := h.arriving(d.UUID)
	if err != nil {
		return err
	}
	node, nics, err := h.open(d)
	if err != nil {
		return err
	}
	for i, n := range nics {
		n.Prepared = arriving
		if err := node.Plug(ctx, n); err != nil {
			for _, done := range nics[:i] {
				err = errors.Join(err, node.Unplug(context.WithoutCancel(ctx), done.ID))
			}
			return err
		}
	}
	return h.unmark(d.UUID)
}

// Update makes what is plugged in for a running guest what its XML says now: libvirt runs no hook when an interface is
// attached or detached, or the metadata changes.
func (h *Hook) Update(ctx context.Context, xml io.Reader) error {
	d, err := ParseDomain(xml)
	if err != nil {
		return err
	}
	return h.update(ctx, d)
}

func (h *Hook) update(ctx context.Context, d *Domain) error {
	node, nics, err := h.open(d)
	if err != nil {
		return err
	}
	stored, err := node.NICs()
	if err != nil {
		return err
	}
	was, gone := map[string]spec.NIC{}, map[string]bool{}
	for _, o := range stored {
		if d.owns(o) {
			was[o.ID], gone[o.ID] = o, true
		}
	}
	var errs []error
	for _, n := range nics {
		delete(gone, n.ID)
		o, known := was[n.ID]
		n.Prepared = o.Prepared
		if !known || node.Renewed(o) || o.Name != n.Name || o.Network != n.Network || !slices.Equal(o.Addresses, n.Addresses) || !slices.Equal(o.Prefixes, n.Prefixes) {
			errs = append(errs, node.Plug(ctx, n))
		}
	}
	for _, id := range slices.Sorted(maps.Keys(gone)) {
		errs = append(errs, node.Unplug(ctx, id))
	}
	return errors.Join(errs...)
}

// stopped takes out all that was plugged in for the guest. Its XML has no longer the names that libvirt chose for the
// taps, nor the interfaces that were detached: the IDs tell which were its.
func (h *Hook) stopped(ctx context.Context, d *Domain) error {
	node, err := h.Open()
	if err != nil {
		return err
	}
	stored, err := node.NICs()
	if err != nil {
		return err
	}
	var errs []error
	for _, n := range stored {
		if d.owns(n) {
			errs = append(errs, node.Unplug(ctx, n.ID))
		}
	}
	return errors.Join(errs...)
}

func (h *Hook) file(id uuid.UUID) string { return filepath.Join(h.Dir, id.String()) }

// mark remembers that a guest announced its arrival: the hooks of its start are those of any other start.
func (h *Hook) mark(id uuid.UUID) error {
	if err := os.MkdirAll(h.Dir, 0o700); err != nil {
		return fmt.Errorf("remember the arrival of %s: %w", id, err)
	}
	if err := renameio.WriteFile(h.file(id), []byte(h.Now().UTC().Format(time.RFC3339)+"\n"), 0o600); err != nil {
		return fmt.Errorf("remember the arrival of %s: %w", id, err)
	}
	return nil
}

func (h *Hook) unmark(id uuid.UUID) error {
	if err := os.Remove(h.file(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget the arrival of %s: %w", id, err)
	}
	return nil
}

// arriving reports whether the guest announced its arrival just before.
func (h *Hook) arriving(id uuid.UUID) (bool, error) {
	text, err := os.ReadFile(h.file(id))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for the arrival of %s: %w", id, err)
	}
	when, err := time.Parse(time.RFC3339+"\n", string(text))
	if err != nil {
		return false, fmt.Errorf("look for the arrival of %s: %w", id, err)
	}
	return h.Now().Sub(when) < arrival, nil
}
