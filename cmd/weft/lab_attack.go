// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/spf13/cobra"

	"weft/internal/lab"
)

func newLabAttackCommand(o *labOptions) *cobra.Command {
	var folder string
	c := &cobra.Command{
		Use:   "attack [ATTACK|MODE]...",
		Short: "Play real attacks of a hostile guest, with port security on and off, and count what arrives",
		Long: `Play every attack of a folder in every mode of a network that it applies to: with port security on, when nothing of it may arrive, and
with it off, when it must bite; and what must pass, with it on. What arrives is counted in captures at the victims, the wire and the
attacker. The tools are Debian's (hack/install.sh attack). The exit status is 1 when anything is not as it should be.

` + lab.AttackHelp,
		RunE: func(c *cobra.Command, args []string) error {
			again := append([]string{"attack", "--folder", folder}, args...)
			return o.hereOrInVM(c, again, func(opt lab.Options, out string) error {
				ok, err := lab.RunAttacks(c.Context(), opt, c.OutOrStdout(), folder, out, args, o.verbose)
				if err == nil && !ok {
					err = exitStatus(exitError)
				}
				return err
			})
		},
	}
	c.Flags().StringVar(&folder, "folder", "lab/attacks", "the folder of attacks and modes")
	return c
}
