// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"

	"weft/internal/agent"
	"weft/internal/ganeti"
)

// adopt plugs in the NICs of instances that run here and that nobody plugged in: their intents went with a run folder that
// was cleared, or their instances started before weft came. Ganeti's own runtime files know them. Where Ganeti's scripts
// are not weft's, its instances are somebody else's.
func (o *options) adopt(ctx context.Context, node *agent.Node) error {
	if n, err := (ganeti.Install{Root: "/", Say: func(string) {}}).Check(); err != nil || n > 0 {
		return err
	}
	found, errs := ganeti.Adopt(ganeti.RuntimeDir)
	if len(found) == 0 {
		return errs
	}
	s, closing, err := o.openGaneti(node.Log)
	if err != nil {
		return errors.Join(errs, err)
	}
	defer closing()
	s.Spec, s.Force = node.Spec, true
	for _, e := range found {
		if _, known, err := s.Store.Get(e.ID); known || err != nil || ganeti.IsCommunication(e.Interface) {
			errs = errors.Join(errs, err)
			continue
		}
		have, here, _, err := s.look(ctx)
		if err != nil {
			return errors.Join(errs, err)
		}
		p, err := s.plan(e, ganeti.Running, have, here)
		if err == nil {
			err = s.Plug(ctx, p.NIC)
		}
		if err != nil {
			errs = errors.Join(errs, fmt.Errorf("%s of %s: %w", e.Interface, e.Instance, err))
			continue
		}
		node.Log.Info("adopted", "tap", e.Interface, "nic", e.ID, "instance", e.Instance)
	}
	return errs
}
