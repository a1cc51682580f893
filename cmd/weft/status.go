// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"

	"github.com/spf13/cobra"

	"weft/internal/agent"
	"weft/internal/status"
)

func newStatusCommand(o *options) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Say whether the node is what its file says, and how its bonds, networks and NICs are",
		Long: `Say whether the node is what its file says, and how its bonds, networks and NICs are.

Exit status: 0 converged, 1 error, 2 changes pending.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := o.status(c)
			if err != nil {
				return err
			}
			if asJSON {
				err = writeJSON(c.OutOrStdout(), s)
			} else {
				err = s.Write(c.OutOrStdout())
			}
			if err == nil && s.Conflict != "" {
				err = errors.New(s.Conflict)
			}
			if err == nil && !s.Converged {
				err = exitStatus(exitPending)
			}
			return err
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print as JSON")
	return c
}

// status asks the agent how the node is, or looks itself.
func (o *options) status(c *cobra.Command) (s status.Status, err error) {
	if asked, err := o.ask(c.Context(), "/v1/status", &s); asked || err != nil {
		return s, err
	}
	err = o.withNode(func(c *cobra.Command, node *agent.Node, _ []string) error {
		s, _, err = status.Of(c.Context(), node)
		return err
	})(c, nil)
	return s, err
}
