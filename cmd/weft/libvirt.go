// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/syslog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"weft/internal/agent"
	"weft/internal/libvirt"
	"weft/internal/spec"
)

func newLibvirtCommand(o *options) *cobra.Command {
	c := &cobra.Command{Use: "libvirt", Short: "Plug in the guests of libvirt", Args: cobra.NoArgs}
	c.AddCommand(newLibvirtHook(o), newLibvirtUpdate(o), newLibvirtInstall())
	return c
}

// hookTime is how long a hook may take: libvirt waits for it with the guest's lock held.
const hookTime = 30 * time.Second

func newLibvirtHook(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "hook GUEST OPERATION SUB-OPERATION EXTRA",
		Short: "What libvirt's hook for QEMU guests runs, with the domain XML on standard input",
		Long: `What libvirt's hook for QEMU guests runs, with the domain XML on standard input (weft libvirt install installs it).
It plugs in the interfaces that the domain's metadata names, and those on the bridge of a bridged network. It prints
nothing on standard output, which libvirt would take for XML. If it fails, libvirt does not start the guest; what
fails for a guest that runs already (reconnect) goes to the system log.`,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) < 2 {
				return fmt.Errorf("libvirt hook: libvirt gives the guest and the operation; these are %d arguments", len(args))
			}
			err := runHook(c, o, args[1])
			if err != nil && args[1] == "reconnect" {
				logHook(fmt.Sprintf("guest %s runs on, but: %v", args[0], err))
				return nil
			}
			return err
		},
	}
}

func newLibvirtUpdate(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "update",
		Short: "Plug a running guest in as the domain XML on standard input says now",
		Long: `Plug a running guest in as the domain XML on standard input says now: after virsh attach-interface or
detach-interface, and after its metadata changed. libvirt runs no hook for these.`,
		Example: "  virsh dumpxml g1 | weft libvirt update",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			h, closing := o.hook(false)
			defer closing()
			return h.Update(c.Context(), c.InOrStdin())
		},
	}
}

func runHook(c *cobra.Command, o *options, op string) error {
	ctx, cancel := context.WithTimeoutCause(c.Context(), hookTime, fmt.Errorf("not done after %v", hookTime))
	defer cancel()
	h, closing := o.hook(op == "reconnect") // that guest runs, whoever else has its address
	defer closing()
	return h.Run(ctx, op, c.InOrStdin())
}

// hook returns what runs libvirt's hooks on this node; force takes addresses that somebody else seems to have.
func (o *options) hook(force bool) (h *libvirt.Hook, closing func()) {
	done := func() {}
	open := func() (libvirt.Node, error) {
		node, closing, err := o.openHeld()
		if err != nil {
			return nil, err
		}
		done, node.Force = closing, force
		return hookNode{node}, nil
	}
	return &libvirt.Hook{Dir: filepath.Join(o.run, "libvirt"), Now: time.Now, Open: open}, func() { done() }
}

// logHook writes a line to the system log: libvirt throws away what a hook that succeeded says.
func logHook(line string) {
	fmt.Fprintln(os.Stderr, "weft: "+line)
	w, err := syslog.New(syslog.LOG_ERR|syslog.LOG_DAEMON, "weft")
	if err != nil {
		return // no system log here
	}
	_ = w.Err(line)
	_ = w.Close()
}

// hookNode is the node as the hooks see it.
type hookNode struct{ *agent.Node }

func (n hookNode) Networks() map[string]*spec.Network { return n.Spec.Networks }
func (n hookNode) NICs() ([]spec.NIC, error)          { return n.Store.List() }

func (n hookNode) Renewed(o spec.NIC) bool {
	tap, err := net.InterfaceByName(o.Name)
	return err == nil && o.IfIndex != 0 && tap.Index != o.IfIndex
}

func newLibvirtInstall() *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use:   "install",
		Short: "Install the hook that plugs libvirt's guests in",
		Long: `Install the hook that plugs libvirt's guests in: a few lines of shell in /etc/libvirt/hooks that run this very
weft. Hooks of others stay. libvirt looks for hooks only when it starts.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			weft, err := os.Executable()
			if err != nil {
				return fmt.Errorf("install the libvirt hook: %w", err)
			}
			file, changed, err := libvirt.Install(dir, weft, libvirt.Folders(libvirtVersion(c.Context())))
			if err != nil {
				return err
			}
			if !changed {
				fmt.Fprintln(c.OutOrStdout(), file+" is installed already")
				return nil
			}
			fmt.Fprintln(c.OutOrStdout(), "installed "+file+"; restart libvirt to make it see the hook (guests run on): systemctl restart libvirtd, or virtqemud")
			return nil
		},
	}
	c.Flags().StringVar(&dir, "dir", libvirt.HookDir, "libvirt's folder of hooks")
	return c
}

// libvirtVersion returns what libvirt's daemon says of its version, "" where none answers.
func libvirtVersion(ctx context.Context) string {
	for _, daemon := range []string{"virtqemud", "libvirtd", "/usr/sbin/virtqemud", "/usr/sbin/libvirtd"} {
		out, err := exec.CommandContext(ctx, daemon, "--version").Output()
		if err == nil {
			return string(out)
		}
		if !errors.Is(err, exec.ErrNotFound) && !errors.Is(err, os.ErrNotExist) {
			return ""
		}
	}
	return ""
}
