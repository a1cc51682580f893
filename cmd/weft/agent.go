// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"weft/internal/agent"
	"weft/internal/event"
	"weft/internal/kernel"
	"weft/internal/nic"
	"weft/internal/spec"
)

func newAgentCommand(o *options) *cobra.Command {
	var metrics, level, group string
	c := &cobra.Command{
		Use:   "agent",
		Short: "Keep the node as its file and its NICs say, until it is stopped",
		Long: `Keep the node as the applied node file and the NICs say: what was removed or altered comes back, what departs is
forgotten, and the addresses of guests are announced and moved with them. The file is the one that weft apply applied last;
where none was applied since the machine started, the node file, which is then applied. SIGHUP applies the node file anew.

A stop leaves the network as it is. Everything else of weft works without an agent, too.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var at slog.Level
			if err := at.UnmarshalText([]byte(level)); err != nil {
				return fmt.Errorf("--log-level: %w", err)
			}
			desk := &event.Desk{}
			log := slog.New(desk.Log(logTo(c.ErrOrStderr(), at)))
			if metrics == "" {
				metrics = filepath.Join(o.run, "weft.prom")
			}
			return o.keep(c.Context(), log, desk, metrics, group)
		},
	}
	c.Flags().StringVar(&metrics, "metrics", "", "the file to write counters to, for node_exporter's textfile collector (default: weft.prom in the run folder)")
	c.Flags().StringVar(&level, "log-level", "info", "debug, info, warn or error")
	c.Flags().StringVar(&group, "group", "weft", "the group whose members may read status, plan and events by the socket weft.sock in the run folder")
	return c
}

// gcPercent is how much garbage there may be for what is in use, in percent: less than Go's 100. A round on a large node takes far more
// memory than the agent needs between rounds, and it is the guests' memory.
const gcPercent = 40

// keep runs an agent.
func (o *options) keep(ctx context.Context, log *slog.Logger, desk *event.Desk, metrics, group string) error {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	store := nic.Store{Dir: o.run}
	unlock, err := store.LockAgent()
	if err != nil {
		return err
	}
	defer unlock()
	host, err := kernel.Open("")
	if err != nil {
		return fmt.Errorf("open the kernel: %w", err)
	}
	defer func() { _ = host.Close() }()
	air := &agent.LinkAir{Log: log}
	defer func() { _ = air.Close() }()
	wake, err := store.Watch(ctx)
	if err != nil {
		return err
	}
	trials, err := o.settle(ctx, log)
	if err != nil {
		return err
	}
	node := &agent.Node{Spec: &spec.Node{}, Store: store, Target: host, Air: air, Trials: trials, Log: log}
	stats := agent.NewStats()
	stats.Count(ctx, node)
	loop := &agent.Loop{
		Node: node, Voice: air, Ears: air, Wake: wake, Stats: stats,
		Load:  func() (*spec.Node, []byte, error) { return o.held(store) },
		Adopt: o.adopt,
		Hold:  host.Hold, Expect: host.Expect, Resting: debug.FreeOSMemory,
		Ready: func() { log.Info("ready"); notify(log, daemon.SdNotifyReady) },
	}
	go watchdog(ctx, loop, log)
	late := time.AfterFunc(readyMost, func() { notify(log, daemon.SdNotifyReady) })
	defer late.Stop()
	done := make(chan struct{})
	defer close(done)
	go o.serve(ctx, log, desk, stats, group)
	go o.background(ctx, done, log, stats, metrics)
	ending := *node // the loop writes to its own
	go ending.Overdue(ctx)
	defer notify(log, daemon.SdNotifyStopping)
	return loop.Run(ctx)
}

// readyMost is how long whatever is ordered after the agent waits for it: where something cannot be had, as with a card that
// died, the guests that do not need it are to start.
const readyMost = 20 * time.Second

// notify tells systemd, where the agent is a service of type notify, how it is: once it is ready, what is ordered after it can start.
func notify(log *slog.Logger, state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		log.Warn("tell systemd", "err", err)
	}
}

// monotonic is the time that sd_notify(3) wants with RELOADING=1.
func monotonic() string {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return ""
	}
	return fmt.Sprintf("\nMONOTONIC_USEC=%d", ts.Nano()/1000)
}

// watchdog tells systemd that the loop goes on, for as long as it does, where the unit has WatchdogSec.
func watchdog(ctx context.Context, loop *agent.Loop, log *slog.Logger) {
	every, err := daemon.SdWatchdogEnabled(false)
	if err != nil || every <= 0 {
		return
	}
	tick := time.NewTicker(every / 3)
	defer tick.Stop()
	for {
		if loop.Alive() {
			notify(log, daemon.SdNotifyWatchdog)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// metricsEvery is how often the metrics' file is written: as often as Prometheus usually asks.
const metricsEvery = 15 * time.Second

// background writes the metrics now and then, and applies the node file on SIGHUP.
func (o *options) background(ctx context.Context, done <-chan struct{}, log *slog.Logger, stats *agent.Stats, metrics string) {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Ignore(syscall.SIGHUP)
	tick := time.NewTicker(metricsEvery)
	defer tick.Stop()
	for failing := false; ; {
		failing = writeMetrics(stats, metrics, log, failing)
		select {
		case <-done:
			return
		case <-tick.C:
		case <-hup:
			notify(log, daemon.SdNotifyReloading+monotonic())
			if err := o.applyQuietly(ctx); err != nil {
				log.Error("reload", "err", err)
			} else {
				log.Info("reloaded", "file", o.file)
			}
			notify(log, daemon.SdNotifyReady)
		}
	}
}

func (o *options) applyQuietly(ctx context.Context) error {
	node, closing, err := o.open()
	if err != nil {
		return err
	}
	defer closing()
	return node.Apply(ctx)
}

// held returns the node file to hold the node to: the applied one, or else the operator's. A node that has neither has
// only the networks that its hypervisor names.
func (o *options) held(store nic.Store) (*spec.Node, []byte, error) {
	text, err := store.File()
	if err != nil {
		return nil, nil, err
	}
	name := filepath.Join(store.Dir, nic.FileName)
	if text == nil {
		name = o.file
		text, err = os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			return &spec.Node{}, nil, nil
		}
		if err != nil {
			return nil, nil, fmt.Errorf("read the node file: %w", err)
		}
	}
	s, err := spec.Parse(name, text)
	return s, text, err
}

// writeMetrics writes the metrics and reports whether that failed. It says so where it did not before.
func writeMetrics(stats *agent.Stats, file string, log *slog.Logger, failing bool) bool {
	err := stats.Write(file)
	switch {
	case err != nil && !failing:
		log.Warn("no metrics", "err", err)
	case err == nil && failing:
		log.Info("metrics again", "file", file)
	}
	return err != nil
}
