// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"weft/internal/agent"
	"weft/internal/qemu"
	"weft/internal/qmp"
	"weft/internal/spec"
)

func newQEMUCommand(o *options) *cobra.Command {
	c := &cobra.Command{Use: "qemu", Short: "Plug in the guests of a QEMU that is started by hand", Args: cobra.NoArgs}
	c.AddCommand(newQEMUUp(o), newQEMUClaim(o), newQEMUDown(o))
	return c
}

// qemuFlags are what QEMU's network script says of the interface.
type qemuFlags struct {
	network, mac  string
	ips, prefixes []string
}

func newQEMUUp(o *options) *cobra.Command {
	var f qemuFlags
	c := &cobra.Command{
		Use:   "up --network NETWORK [--ip ADDRESS]... TAP",
		Short: "Plug a tap in, as QEMU's network script (script=)",
		Long: `Plug a tap in, as QEMU's network script (script=) or from within it. The guest's MAC, name and UUID are read from the
command line of the QEMU that runs the script. If it fails, QEMU does not start. It prints nothing: QEMU's standard
output is its own. Of a QEMU that waits for a migration (-incoming) the tap is only prepared: the node answers for the
guest's addresses as soon as it runs here.`,
		Example: "  exec weft qemu up --network public --ip 62.217.124.53 \"$1\"",
		Args:    cobra.ExactArgs(1),
		RunE: with(o.openHeld, func(c *cobra.Command, node *agent.Node, args []string) error {
			n, err := f.nic(args[0], os.Getpid())
			if err != nil {
				return fmt.Errorf("plug in %s: %w", args[0], err)
			}
			return node.Plug(c.Context(), n)
		}),
	}
	c.Flags().StringVar(&f.network, "network", "", "the network, a key of networks in the node file")
	c.Flags().StringArrayVar(&f.ips, "ip", nil, "an address of the guest's (routed networks need it); may be repeated")
	c.Flags().StringArrayVar(&f.prefixes, "prefix", nil, "a prefix that is routed to the guest; may be repeated")
	c.Flags().StringVar(&f.mac, "mac", "", "the guest's MAC address (default: that on QEMU's command line)")
	if err := c.MarkFlagRequired("network"); err != nil {
		panic(err) // only if the flag above is misspelled
	}
	return c
}

// nic returns what is to be plugged in as this tap, by the QEMU that process pid descends from.
func (f *qemuFlags) nic(tap string, pid int) (spec.NIC, error) {
	guest, err := qemu.Ancestor("/proc", pid)
	switch {
	case err == nil:
	case errors.Is(err, qemu.ErrNoTap) && f.mac != "":
		guest = &qemu.Guest{}
	default:
		return spec.NIC{}, err
	}
	mac := strings.ToLower(f.mac)
	if mac == "" {
		if mac, err = guest.MAC(tap); err != nil {
			return spec.NIC{}, fmt.Errorf("%w; or say --mac", err)
		}
	}
	// Without a UUID of the guest's, the tap stands for it: another QEMU cannot have the same at the same time.
	space := guest.UUID
	if space == uuid.Nil {
		space = uuid.NewSHA1(uuid.NameSpaceOID, []byte(tap))
	}
	n, err := spec.ParseNIC(uuid.NewSHA1(space, []byte(mac)).String(), tap, mac, f.network, f.ips, f.prefixes)
	if err != nil {
		return spec.NIC{}, err
	}
	n.Instance, n.Prepared = guest.Name, guest.Incoming
	return n, nil
}

func newQEMUClaim(o *options) *cobra.Command {
	var monitor string
	var timeout time.Duration
	c := &cobra.Command{
		Use:   "claim --qmp SOCKET [--timeout TIME] TAP...",
		Short: "Answer for a guest's addresses when its migration has brought it here",
		Long: `Wait until the guest of the QEMU with this monitor (-qmp unix:SOCKET,server,nowait) runs here, then answer for the
addresses of its taps, which weft qemu up or weft nic prepare has prepared, and announce them. If QEMU or the guest ends
before, if the migration fails, or if the time is over, nothing is claimed and the exit status is 1.

A monitor serves one client at a time: give QEMU one for weft alone. Where an agent runs, which hears the guest on the
tap, this verb is not needed; it is for nodes without one, and for scripts that want to know.`,
		Example: "  weft qemu claim --qmp /run/vm/web1.qmp --timeout 10m tap6",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			ids, err := o.nicIDs(args)
			if err != nil {
				return err
			}
			ctx := c.Context()
			if timeout > 0 {
				limited, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("given up after %s", timeout))
				defer cancel()
				ctx = limited
			}
			if err := qmp.WaitRunning(ctx, monitor); err != nil {
				return fmt.Errorf("claim %s: %w", strings.Join(args, " "), err)
			}
			return o.claim(c, ids)
		},
	}
	c.Flags().StringVar(&monitor, "qmp", "", "the unix socket of a monitor of the guest's QEMU")
	c.Flags().DurationVar(&timeout, "timeout", 0, "give up after this time, such as 90s or 10m (default: never)")
	if err := c.MarkFlagRequired("qmp"); err != nil {
		panic(err) // only if the flag above is misspelled
	}
	return c
}

// nicIDs returns the IDs of the NICs that these taps are now. While they are waited for, a tap may become another VM's.
func (o *options) nicIDs(taps []string) ([]string, error) {
	node, closing, err := o.openHeld()
	if err != nil {
		return nil, err
	}
	defer closing()
	var ids []string
	for _, tap := range taps {
		n, err := find(node, tap)
		if err != nil {
			return nil, err
		}
		ids = append(ids, n.ID)
	}
	return ids, nil
}

// claim claims the NICs with these IDs, whose guest runs here. The node is as it is now, not as it was when the waiting
// began. The node that the guest came from may still answer, and is not asked.
func (o *options) claim(c *cobra.Command, ids []string) error {
	node, closing, err := o.openHeld()
	if err != nil {
		return err
	}
	defer closing()
	node.Force = true
	_, end := printSteps(node, c.OutOrStdout(), false)
	defer end()
	var errs []error
	for _, id := range ids {
		errs = append(errs, node.Claim(c.Context(), id))
	}
	return errors.Join(errs...)
}

func newQEMUDown(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "down TAP",
		Short: "Unplug a tap, as QEMU's network script (downscript=)",
		Long:  "Unplug a tap, as QEMU's network script (downscript=). A tap that is not plugged in is left as it is.",
		Args:  cobra.ExactArgs(1),
		RunE: with(o.openHeld, func(c *cobra.Command, node *agent.Node, args []string) error {
			nics, err := node.Store.List()
			if err != nil {
				return err
			}
			var errs []error
			for _, n := range nics {
				if n.Name == args[0] {
					errs = append(errs, node.Unplug(c.Context(), n.ID))
				}
			}
			return errors.Join(errs...)
		}),
	}
}
