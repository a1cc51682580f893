// SPDX-License-Identifier: Apache-2.0

// Command weft turns one file into a node's network, plugs VMs into it, and shows what it would do before it does it.
//
// It owns the verbs, their flags, what they print and their exit status. It never holds logic of its own: every verb is
// a few calls into the packages below internal.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"weft/internal/spec"
	"weft/internal/vm"
)

// Exit statuses.
const (
	exitError   = 1
	exitPending = 2 // plan and status: there is something to do
)

// exitStatus ends the command with a status other than 0 and no message: everything was said already.
type exitStatus int

func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

func main() {
	if vm.IsInit() {
		vm.Init()
	}
	// A network change outlives the ssh session that started it: a hang-up or a vanished terminal stops nothing.
	signal.Ignore(syscall.SIGHUP, syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run executes one command line and returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	var status exitStatus
	var mistakes spec.Errors
	switch {
	case err == nil:
		return 0
	case errors.As(err, &status):
		return int(status)
	case errors.As(err, &mistakes): // a line each, as file:line:column, which editors take
		fmt.Fprintln(stderr, mistakes.Error())
		return exitError
	}
	fmt.Fprintln(stderr, "weft: "+err.Error())
	return exitError
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "weft",
		Short: "Networking for Linux VM hosts, from one file",
		Long: `weft turns one file into a node's bonds, VLANs, bridges and routed networks, plugs every VM's
interface in, and prints each change as the equal ip, bridge, nft and sysctl lines before it makes it.

Exit status: 0 nothing left to do, 1 error, 2 changes pending (plan, status) or lines left to a person (import).`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
	}
	var o options
	root.PersistentFlags().StringVarP(&o.file, "file", "f", "/etc/weft/node.yaml", "the node file")
	root.PersistentFlags().StringVar(&o.run, "run", "/run/weft", "the folder of the NIC intents and the lock")
	root.PersistentFlags().StringVar(&o.lib, "lib", "/var/lib/weft", "the folder of what outlives a restart of the machine: the change that waits to be confirmed")
	root.AddCommand(
		newPlanCommand(&o), newApplyCommand(&o), newConfirmCommand(&o), newRevertCommand(&o), newTrialCommand(&o), newStatusCommand(&o), newNICCommand(&o), newAgentCommand(&o), newHoldCommand(&o),
		newWatchCommand(&o), newSchemaCommand(), newImportCommand(), newGanetiCommand(&o), newLibvirtCommand(&o), newQEMUCommand(&o), newLabCommand(), newVersionCommand(), newManCommand(),
	)
	return root
}

// onTerminal reports whether w is a terminal that wants colour.
func onTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && term.IsTerminal(int(f.Fd()))
}
