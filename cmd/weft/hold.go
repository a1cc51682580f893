// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"weft/internal/agent"
	"weft/internal/kernel"
)

func newHoldCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "hold",
		Short: "Keep taps closed while somebody has flushed the guards, until it is stopped (an agent does it, too)",
		Long: `Keep taps closed for as long as weft's guards are gone, as after nft flush ruleset: nothing that a guest sends gets through before
they are back. It begins when the guards stand, changes nothing else, and ends when it is stopped: then the taps are as they were.

An agent does the same. This is for nodes that run none.`,
		Args: cobra.NoArgs,
		RunE: o.withNICs(func(c *cobra.Command, node *agent.Node, _ []string) error {
			host, err := kernel.Open("")
			if err != nil {
				return fmt.Errorf("open the kernel: %w", err)
			}
			defer func() { _ = host.Close() }()
			if err := untilGuarded(c.Context(), node); err != nil {
				return err
			}
			closed, err := host.Hold()
			if err != nil {
				return err
			}
			<-c.Context().Done()
			return closed.Close()
		}),
	}
}

// untilGuarded waits for the guards to stand as this weft makes them.
func untilGuarded(ctx context.Context, node *agent.Node) error {
	for said := ""; ; {
		v, err := node.View(ctx)
		if err != nil {
			return err
		}
		missing := v.Unguarded()
		if missing == "" {
			return nil
		}
		if missing != said {
			said = missing
			fmt.Fprintln(os.Stderr, "weft: waiting for", missing)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(5 * time.Second):
		}
	}
}
