// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"weft/internal/agent"
)

func newPlanCommand(o *options) *cobra.Command {
	var out string
	var asJSON bool
	c := &cobra.Command{
		Use:   "plan",
		Short: "Print what apply would do, and change nothing",
		Long: `Print what apply would do as the equal ip, bridge, nft and sysctl lines, with what each step disrupts.
The text is a shell script: without weft, it does the same.

Exit status: 0 nothing to do, 1 error, 2 changes pending.`,
		Args: cobra.NoArgs,
		RunE: o.withView(func(c *cobra.Command, _ *agent.Node, v *agent.View, _ []string) error {
			if err := errors.Join(v.Missing, v.Conflict); err != nil {
				return err
			}
			data, err := json.MarshalIndent(v.Plan, "", "\t")
			if err != nil {
				return fmt.Errorf("encode the plan: %w", err)
			}
			data = append(data, '\n')
			if out != "" {
				if err := renameio.WriteFile(out, data, 0o600); err != nil {
					return fmt.Errorf("save the plan: %w", err)
				}
			}
			if asJSON {
				_, err = c.OutOrStdout().Write(data)
			} else {
				err = v.Plan.WriteText(c.OutOrStdout(), onTerminal(c.OutOrStdout()))
			}
			if err != nil {
				return fmt.Errorf("print the plan: %w", err)
			}
			if !v.Plan.Empty() {
				return exitStatus(exitPending)
			}
			return nil
		}),
	}
	c.Flags().StringVarP(&out, "output", "o", "", "save the plan to this file, for weft apply FILE")
	c.Flags().BoolVar(&asJSON, "json", false, "print the plan as JSON")
	return c
}
