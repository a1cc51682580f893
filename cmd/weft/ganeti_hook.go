// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"log/syslog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"weft/internal/agent"
	"weft/internal/ganeti"
	"weft/internal/netstate"
	"weft/internal/spec"
)

// systemLog returns a log that goes to the system log, or nowhere where there is none: of a script that succeeds, Ganeti
// throws away what it says.
func systemLog() (log *slog.Logger, closing func()) {
	w, err := syslog.New(syslog.LOG_NOTICE|syslog.LOG_DAEMON, "weft")
	if err != nil {
		return slog.New(slog.DiscardHandler), func() {}
	}
	untimed := func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{ReplaceAttr: untimed})), func() { _ = w.Close() }
}

// ganetiSite is the node, with what Ganeti's words are compared with.
type ganetiSite struct {
	*agent.Node
	runtime  ganeti.Runtime
	settings ganeti.Settings
	tables   map[string]uint32
}

// openGaneti opens the node as an agent holds it: a mistake in a node file that nobody applied yet keeps no VM from starting.
func (o *options) openGaneti(log *slog.Logger) (*ganetiSite, func(), error) {
	s := &ganetiSite{runtime: ganeti.Runtime{Dir: ganeti.RuntimeDir, Proc: "/proc"}}
	var err error
	if s.settings, err = ganeti.ReadSettings(ganeti.SettingsFile); err != nil {
		return nil, nil, err
	}
	if s.tables, err = readTables(""); err != nil {
		return nil, nil, err
	}
	node, closing, err := o.openHeld()
	if err != nil {
		return nil, nil, err
	}
	node.Log = log
	if air, ok := node.Air.(*agent.LinkAir); ok {
		air.Log = log
	}
	s.Node = node
	return s, closing, nil
}

// look returns what the kernel has, and the NICs whose taps are there. The others are of VMs that are gone.
func (s *ganetiSite) look(ctx context.Context) (have *netstate.State, here, gone []spec.NIC, err error) {
	nics, err := s.Store.List() // first: what is plugged in meanwhile is not taken for gone
	if err != nil {
		return nil, nil, nil, err
	}
	if have, err = s.Target.Observe(ctx, nil); err != nil {
		return nil, nil, nil, fmt.Errorf("observe: %w", err)
	}
	for _, c := range nics {
		if l := have.Link(c.Name); l == nil || c.IfIndex != 0 && l.Status != nil && l.Status.Index != c.IfIndex {
			gone = append(gone, c)
		} else {
			here = append(here, c)
		}
	}
	return have, here, gone, nil
}

func (s *ganetiSite) plan(e ganeti.Environment, c ganeti.Context, have *netstate.State, nics []spec.NIC) (ganeti.Plan, error) {
	return ganeti.Site{Node: s.Spec, Have: have, NICs: nics, Tables: s.tables, Settings: s.settings}.Plan(e, c)
}

// runGaneti does what one of Ganeti's scripts is run for.
func runGaneti(ctx context.Context, o *options, script string, environ []string) error {
	values := ganeti.Values(environ)
	if ganeti.IsCommunication(values["INTERFACE"]) {
		return nil
	}
	e, err := ganeti.Parse(values)
	if err != nil {
		return err
	}
	return withGaneti(o, func(s *ganetiSite) error {
		if name := filepath.Base(script); name == "down" || name == "kvm-ifdown-custom" {
			return s.down(ctx, e)
		}
		return s.up(ctx, e, s.runtime.Context(e))
	})
}

// up plugs a NIC in.
func (s *ganetiSite) up(ctx context.Context, e ganeti.Environment, c ganeti.Context) error {
	if err := s.plug(ctx, e, c); err != nil {
		return fmt.Errorf("%s of %s: %w", e.Interface, e.Instance, err)
	}
	return nil
}

// plug does that. What VMs that are gone left behind goes first, where no agent saw them go.
func (s *ganetiSite) plug(ctx context.Context, e ganeti.Environment, moment ganeti.Context) error {
	have, here, gone, err := s.look(ctx)
	if err != nil {
		return err
	}
	p, err := s.plan(e, moment, have, here)
	if err != nil {
		return err
	}
	for _, c := range gone {
		if c.ID == e.ID {
			continue // it comes back with another tap
		}
		if err := s.Forget(ctx, c.ID); err != nil { // its own script may be at it
			s.Log.Warn("not forgotten", "tap", c.Name, "instance", c.Instance, "err", err)
		}
	}
	s.Force = !p.Probe
	if err := s.Plug(ctx, p.NIC); err != nil {
		return err
	}
	if err := s.extra(ctx); err != nil {
		return errors.Join(err, s.Unplug(context.WithoutCancel(ctx), p.NIC.ID))
	}
	for _, n := range p.Notes {
		s.Log.Warn(n, "tap", e.Interface, "instance", e.Instance)
	}
	s.Log.Info("plugged in", "tap", e.Interface, "instance", e.Instance, "network", p.NIC.Network, "context", p.Context, "prepared", p.NIC.Prepared)
	return nil
}

// extra runs the administrator's own script last, as gnt-networking does, where gnt-networking's settings are.
func (s *ganetiSite) extra(ctx context.Context) error {
	script := s.settings.IfupExtra
	info, err := os.Stat(script)
	if !s.settings.Present || err != nil || info.Mode()&0o111 == 0 || !filepath.IsAbs(script) {
		return nil
	}
	cmd := exec.CommandContext(ctx, script)
	cmd.WaitDelay = time.Second // a child that it leaves behind holds nothing up
	out, err := cmd.CombinedOutput()
	if err == nil || errors.Is(err, exec.ErrWaitDelay) {
		return nil
	}
	return fmt.Errorf("%s: %w: %s", script, err, strings.TrimSpace(string(out)))
}

// down takes the word that a NIC goes for a hint: Ganeti gives it while a guest still shuts down, and again and again. What
// counts is whether the tap and QEMU are gone.
func (s *ganetiSite) down(ctx context.Context, e ganeti.Environment) error {
	_, here, gone, err := s.look(ctx)
	if err != nil {
		return err
	}
	is := func(c spec.NIC) bool { return c.ID == e.ID }
	switch {
	case slices.ContainsFunc(gone, is):
		return s.Forget(ctx, e.ID)
	case slices.ContainsFunc(here, is) && !s.runtime.Alive(e.Instance):
		return s.Unplug(ctx, e.ID)
	}
	return nil
}
