// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"weft/internal/agent"
	"weft/internal/qemu"
	"weft/internal/spec"
)

func newQEMUCommand(o *options) *cobra.Command {
	c := &cobra.Command{Use: "qemu", Short: "Plug in the guests of a QEMU that is started by hand", Args: cobra.NoArgs}
	c.AddCommand(newQEMUUp(o), newQEMUDown(o))
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
