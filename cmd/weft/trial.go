// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"log/syslog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"weft/internal/agent"
	"weft/internal/nic"
	"weft/internal/plan"
	"weft/internal/trial"
)

// trials is where the change that waits to be confirmed is kept.
func (o *options) trials() (*trial.Store, error) {
	boot, err := trial.BootID()
	if err != nil {
		return nil, err
	}
	return &trial.Store{Dir: o.lib, Boot: boot}, nil
}

// settle ends a trial that a restart of the machine cut short, before anything reads the node file.
func (o *options) settle(ctx context.Context, log *slog.Logger) (*trial.Store, error) {
	trials, err := o.trials()
	if err != nil {
		return nil, err
	}
	t, err := agent.Settle(ctx, *trials, nic.Store{Dir: o.run})
	if t != nil {
		log.Warn("the last change was undone", "why", t.Why, "file", t.File, "kept", t.Aside)
	}
	return trials, err
}

// tryOut applies on trial, and says how it goes on: with probes it waits for the verdict, without it leaves.
func (o *options) tryOut(c *cobra.Command, node *agent.Node, saved *plan.Plan, window time.Duration, probes []string) error {
	for _, p := range probes {
		if _, err := agent.ParseProbe(p); err != nil {
			return fmt.Errorf("--probe: %w", err)
		}
	}
	file, err := filepath.Abs(o.file)
	if err != nil {
		return fmt.Errorf("find the node file: %w", err)
	}
	t, err := node.Try(c.Context(), agent.Terms{Window: window, File: file, Saved: saved, Probes: probes, Guard: o.guard})
	switch {
	case err != nil && t != nil && t.Verdict == trial.Reverted:
		return fmt.Errorf("%w\nthe node is as it was before; the file is kept as %s", err, t.Aside)
	case err != nil || t == nil:
		return err
	case len(probes) == 0:
		printf(c.ErrOrStderr(), "# on trial: in %s the node goes back to what it was, unless you say: weft confirm\n", t.Left().Round(time.Second))
		return nil
	}
	printf(c.ErrOrStderr(), "# on trial: confirmed when %s, undone if not within %s\n", strings.Join(probes, " and "), t.Left().Round(time.Second))
	return o.await(c.Context(), node.Trials, t.ID)
}

// await returns when a trial has ended, an error where it was undone.
func (o *options) await(ctx context.Context, trials *trial.Store, id string) error {
	for {
		t, err := trials.Get()
		switch {
		case err != nil:
			return err
		case t == nil || t.ID != id:
			return errors.New("another change took the place of this one")
		case t.Verdict == trial.Confirmed:
			return nil
		case t.Verdict == trial.Reverted:
			return errors.New(revertedWords(t))
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not waited for: %w; the trial goes on", context.Cause(ctx))
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func revertedWords(t *trial.Trial) string {
	s := "the change was undone: " + t.Why
	if t.Aside != "" {
		s += "; its file is kept as " + t.Aside
	}
	return s
}

// guard starts the process that ends a trial: on its own, so that neither this one nor its terminal nor an agent is needed.
func (o *options) guard(t *trial.Trial) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("guard the change: %w", err)
	}
	p := exec.Command(self, "--file", o.file, "--run", o.run, "--lib", o.lib, "trial", t.ID) // stdio is /dev/null
	p.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := keepFiles(); err != nil {
		return fmt.Errorf("guard the change: %w", err)
	}
	if err := p.Start(); err != nil {
		return fmt.Errorf("guard the change: %w", err)
	}
	return p.Process.Release()
}

func newConfirmCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "confirm",
		Short: "Keep the change that weft apply --confirm made",
		Args:  cobra.NoArgs,
		RunE: o.withBare(func(c *cobra.Command, node *agent.Node, _ []string) error {
			_, err := node.Confirm(c.Context(), "", "by hand")
			if err == nil {
				printf(c.OutOrStdout(), "# confirmed\n")
			}
			return err
		}),
	}
}

func newRevertCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "revert",
		Short: "Undo the change that weft apply --confirm made, now",
		Long: `Undo the change that weft apply --confirm made and that nobody confirmed yet. The node file of before is put back in its place; the
one that is undone is kept beside it.`,
		Args: cobra.NoArgs,
		RunE: o.withBare(func(c *cobra.Command, node *agent.Node, _ []string) error {
			steps, end := printSteps(node, c.OutOrStdout(), false)
			t, err := node.Revert(c.Context(), "", "by hand")
			end()
			if err == nil {
				if *steps == 0 {
					printf(c.OutOrStdout(), "# nothing to do\n")
				}
				printf(c.ErrOrStderr(), "# %s\n", revertedWords(t))
			}
			return err
		}),
	}
}

func newTrialCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:    "trial ID",
		Short:  "End a change that waits to be confirmed, when its time has come",
		Hidden: true, // weft apply --confirm starts it
		Args:   cobra.ExactArgs(1),
		RunE: o.withBare(func(c *cobra.Command, node *agent.Node, args []string) error {
			node.Log = guardLog(c.ErrOrStderr())
			return node.Judge(c.Context(), args[0])
		}),
	}
}

// guardLog writes to the system's log, or where there is none to w.
func guardLog(w io.Writer) *slog.Logger {
	if sys, err := syslog.New(syslog.LOG_DAEMON|syslog.LOG_NOTICE, "weft"); err == nil {
		w = sys
	}
	return slog.New(slog.NewTextHandler(w, nil))
}

func printf(w io.Writer, format string, args ...any) {
	_, _ = fmt.Fprintf(w, format, args...) // a terminal that is gone is no reason to stop
}
