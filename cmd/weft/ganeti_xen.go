// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"

	"weft/internal/ganeti"
)

// xenGaneti does what Xen's tools run Ganeti's vif script for: args are "online" and "type_if=vif", or others of that kind, and
// the environment says which vif it is. They learn from xenstore what came of it, and the guest's driver waits for that.
func xenGaneti(ctx context.Context, o *options, dir string, args []string) error {
	bus, vif := os.Getenv("XENBUS_PATH"), os.Getenv("vif")
	domain, index, err := ganeti.XenDevice(bus)
	if err != nil {
		return err
	}
	switch {
	case slices.Contains(args, "offline") || slices.Contains(args, "remove"):
		return nil // the vif itself goes, and that is what counts
	case !slices.Contains(args, "online") && !slices.Contains(args, "add"):
		return fmt.Errorf("vif script: neither online nor offline among %q", args)
	}
	err = func() error {
		if slices.Contains(args, "type_if=tap") {
			return errors.New("vif script: emulated network cards of Xen are not supported, only paravirtualized ones (vif_type)")
		}
		name, err := xenstore(ctx, "read", fmt.Sprintf("/local/domain/%d/name", domain))
		if err != nil {
			return err
		}
		values, err := ganeti.XenValues(dir, name, index, vif)
		if err != nil {
			return err
		}
		e, err := ganeti.Parse(values)
		if err != nil {
			return err
		}
		return withGaneti(o, func(s *ganetiSite) error { return s.up(ctx, e, ganeti.ColdStart) })
	}()
	if err != nil {
		_, told := xenstore(ctx, "write", bus+"/hotplug-error", oneLine(err.Error()), bus+"/hotplug-status", "error")
		return errors.Join(err, told)
	}
	_, err = xenstore(ctx, "write", bus+"/hotplug-status", "connected")
	return err
}

// xenstore runs one of xenstore's tools and returns what it said.
func xenstore(ctx context.Context, verb string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, "xenstore-"+verb, args...).Output()
	if err != nil {
		return "", fmt.Errorf("xenstore-%s %s: %w", verb, args[0], err)
	}
	return strings.TrimSpace(string(out)), nil
}

// withGaneti opens the node, does something with it, and closes it.
func withGaneti(o *options, do func(*ganetiSite) error) error {
	log, closeLog := systemLog()
	defer closeLog()
	s, closing, err := o.openGaneti(log)
	if err != nil {
		return err
	}
	defer closing()
	return do(s)
}
