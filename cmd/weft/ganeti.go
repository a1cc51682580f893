// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"weft/internal/ganeti"
)

// ganetiTime is how long a hook may take. Ganeti itself waits for 15 minutes, which is too long for a VM to be in the dark.
const ganetiTime = time.Minute

func newGanetiCommand(o *options) *cobra.Command {
	c := &cobra.Command{Use: "ganeti", Short: "Plug in the instances of Ganeti", Args: cobra.NoArgs}
	c.AddCommand(newGanetiInstall(), newGanetiUninstall(), newGanetiHook(o), newGanetiExplain(o), newGanetiImport())
	return c
}

func newGanetiInstall() *cobra.Command {
	var root string
	var check bool
	c := &cobra.Command{
		Use:   "install",
		Short: "Make Ganeti's nodes plug their instances in by weft",
		Long: `Make this node's Ganeti plug its instances in by weft: a few lines of shell, the same on every node and in every
version, in all the places where Ganeti 3.0 to 3.2 and GRNET's fork look for a script. What is there already, such as
gnt-networking's, is kept below /var/lib/weft/ganeti, and weft ganeti uninstall puts it back. Run it on every node:
gnt-cluster verify compares them.

Exit status: 0 all in place, 1 error, or with --check something is not weft's.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			i := ganeti.Install{Root: root, Say: func(line string) { fmt.Fprintln(c.OutOrStdout(), line) }}
			if !check {
				return i.Put()
			}
			n, err := i.Check()
			if err == nil && n > 0 {
				err = exitStatus(exitError)
			}
			return err
		},
	}
	c.Flags().StringVar(&root, "root", "/", "the folder that stands for /")
	c.Flags().BoolVar(&check, "check", false, "change nothing, only say what is not in place")
	return c
}

func newGanetiUninstall() *cobra.Command {
	var root string
	c := &cobra.Command{
		Use:   "uninstall",
		Short: "Put back what was there before weft ganeti install",
		Long: `Put back what was there before weft ganeti install. Instances that run stay plugged in; those that start from now
on are plugged in by whatever stands there then. What somebody else put in place of weft's scripts is left as it is.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			i := ganeti.Install{Root: root, Say: func(line string) { fmt.Fprintln(c.OutOrStdout(), line) }}
			return i.Remove()
		},
	}
	c.Flags().StringVar(&root, "root", "/", "the folder that stands for /")
	return c
}

func newGanetiHook(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "hook SCRIPT [ARGUMENT]...",
		Short: "What Ganeti runs for each NIC of an instance",
		Long: `What Ganeti runs for each NIC of an instance, through the scripts that weft ganeti install installs. SCRIPT is the
one that was run; all else comes from the environment, because Ganeti's arguments are not to be relied on, except those
that Xen gives its vif script. It prints nothing. If it fails it prints one line, which Ganeti
puts into the job's error, and the instance does not start. What is worth knowing and no error is in the system log.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			ctx, cancel := context.WithTimeoutCause(c.Context(), ganetiTime, fmt.Errorf("not done after %v", ganetiTime))
			defer cancel()
			run := func() error { return runGaneti(ctx, o, args[0], os.Environ()) }
			if filepath.Base(args[0]) == "vif-custom" {
				run = func() error { return xenGaneti(ctx, o, ganeti.XenDir, args[1:]) }
			}
			if err := run(); err != nil {
				line := oneLine(err.Error())
				fmt.Fprintln(c.ErrOrStderr(), "weft: "+line)
				log, closing := systemLog()
				log.Error(line, "script", args[0])
				closing()
				return exitStatus(exitError)
			}
			return nil
		},
	}
}

// oneLine makes a message one line of UTF-8 that a job's error can hold.
func oneLine(text string) string {
	const most = 1000
	text = strings.Join(strings.FieldsFunc(strings.ToValidUTF8(text, "?"), func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}
