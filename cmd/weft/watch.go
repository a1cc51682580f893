// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"weft/internal/api"
	"weft/internal/event"
)

func newWatchCommand(o *options) *cobra.Command {
	var asJSON bool
	var kinds []string
	c := &cobra.Command{
		Use:   "watch [DEV]...",
		Short: "Follow what happens on the node, a line an event",
		Long: `Follow what happens on the node, a line an event: links, bonds and their LACP partners, addresses, routes, rules, neighbours, MACs that
move between the ports of a bridge, who changes nftables, and what the agent does: repairs, departures, claims, conflicts.

With DEV, only what is about these interfaces. Without an agent, the kernel's part alone.`,
		RunE: func(c *cobra.Command, args []string) error {
			out := json.NewEncoder(c.OutOrStdout())
			show := func(e event.Event) {
				if len(args) > 0 && !slices.Contains(args, e.Dev) || len(kinds) > 0 && !slices.Contains(kinds, e.Kind) {
					return
				}
				if asJSON {
					_ = out.Encode(e) // nobody listens any more: the next signal ends it
				} else {
					printf(c.OutOrStdout(), "%s\n", e)
				}
			}
			err := api.Dial(o.run).Events(c.Context(), show)
			if errors.Is(err, api.ErrNoAgent) {
				fmt.Fprintln(c.ErrOrStderr(), "# no agent runs: only what the kernel says")
				err = follow(c.Context(), show)
			}
			return err
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print each event as a line of JSON")
	c.Flags().StringSliceVar(&kinds, "kind", nil, "only these: link, bond, addr, route, rule, neigh, fdb, mdb, nftables, agent, lost")
	return c
}
