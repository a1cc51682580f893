// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"weft/internal/agent"
	"weft/internal/api"
	"weft/internal/plan"
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
		RunE: func(c *cobra.Command, _ []string) error {
			p, err := o.plan(c)
			if err != nil {
				return err
			}
			data, err := json.MarshalIndent(p, "", "\t")
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
				err = p.WriteText(c.OutOrStdout(), onTerminal(c.OutOrStdout()))
			}
			if err != nil {
				return fmt.Errorf("print the plan: %w", err)
			}
			if !p.Empty() {
				return exitStatus(exitPending)
			}
			return nil
		},
	}
	c.Flags().StringVarP(&out, "output", "o", "", "save the plan to this file, for weft apply FILE")
	c.Flags().BoolVar(&asJSON, "json", false, "print the plan as JSON")
	return c
}

// plan asks the agent what an apply would do, or plans itself.
func (o *options) plan(c *cobra.Command) (p plan.Plan, err error) {
	var there api.Plan
	if asked, err := o.ask(c.Context(), "/v1/plan", &there); err != nil {
		return p, err
	} else if asked {
		return p, json.Unmarshal(there.Plan, &p)
	}
	err = o.withView(func(_ *cobra.Command, _ *agent.Node, v *agent.View, _ []string) error {
		p = v.Plan
		return errors.Join(v.Missing, v.Conflict)
	})(c, nil)
	return p, err
}
