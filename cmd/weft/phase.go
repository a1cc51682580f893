// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"weft/internal/agent"
	"weft/internal/nic"
)

func newNICClaim(o *options) *cobra.Command {
	var force bool
	c := &cobra.Command{
		Use:   "claim NIC",
		Short: "Answer for the addresses of a prepared NIC: its guest runs here now",
		Long: `Answer for the addresses of a NIC that was prepared, named by its tap or its ID, and announce them: its guest runs here
now. An address that somebody else has is refused, unless forced: after a migration, when the guest was seen to run here,
force it, for the node that it came from may still answer.`,
		Args: cobra.ExactArgs(1),
		RunE: o.withNIC(func(c *cobra.Command, node *agent.Node, id string) error {
			node.Force = force
			return node.Claim(c.Context(), id)
		}),
	}
	c.Flags().BoolVar(&force, "force", false, "claim addresses also where somebody else seems to have them")
	return c
}

func newNICRelease(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "release NIC",
		Short: "Answer for the addresses of a NIC no more: its guest runs elsewhere now",
		Long:  "Answer for the addresses of a NIC, named by its tap or its ID, no more: its guest runs elsewhere now. The tap stays plugged\nin and guarded, as if the NIC had only been prepared.",
		Args:  cobra.ExactArgs(1),
		RunE: o.withNIC(func(c *cobra.Command, node *agent.Node, id string) error {
			return node.Release(c.Context(), id)
		}),
	}
}

func newNICAnnounce(o *options) *cobra.Command {
	var repeat bool
	c := &cobra.Command{
		Use:   "announce NIC",
		Short: "Tell the VLAN once more where a NIC's addresses are",
		Long:  "Tell the VLAN once more where the addresses of a NIC, named by its tap or its ID, are: gratuitous ARP as request and as\nreply, unsolicited neighbour advertisement for IPv6.",
		Args:  cobra.ExactArgs(1),
		RunE: o.withNIC(func(c *cobra.Command, node *agent.Node, id string) error {
			for _, wait := range append([]time.Duration{0}, again(repeat)...) {
				if !pause(c.Context(), wait) {
					return nil
				}
				if _, err := node.Announce(c.Context(), id); err != nil {
					return err
				}
			}
			return nil
		}),
	}
	c.Flags().BoolVar(&repeat, "repeat", false, "announce again at growing intervals, over 30 seconds")
	return c
}

// again returns how long to wait between announcements after the first.
func again(repeat bool) []time.Duration {
	if !repeat {
		return nil
	}
	return []time.Duration{time.Second, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 15 * time.Second}
}

func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// repeat sees to it that what was announced of a NIC once is announced again: by the agent, or where none runs by a process
// of its own, which holds on to nothing of this one's.
func (o *options) repeat(store nic.Store, id string) error {
	unlock, err := store.LockAgent()
	if errors.Is(err, nic.ErrAgent) {
		return nil
	}
	if err != nil {
		return err
	}
	unlock()
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("announce again: %w", err)
	}
	p := exec.Command(self, "--file", o.file, "--run", o.run, "nic", "announce", "--repeat", id) // stdio is /dev/null
	p.Dir = "/"
	p.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := keepFiles(); err != nil {
		return fmt.Errorf("announce again: %w", err)
	}
	if err := p.Start(); err != nil {
		return fmt.Errorf("announce again: %w", err)
	}
	return p.Process.Release()
}

// keepFiles keeps from processes that are started whatever this one has open beyond standard error. QEMU's network script
// has the tap open, which lives as long as anybody has.
func keepFiles() error {
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, f := range open {
		if fd, err := strconv.Atoi(f.Name()); err == nil && fd > 2 {
			syscall.CloseOnExec(fd)
		}
	}
	return nil
}

// withNIC is withNode for a verb about the NIC that its argument names.
func (o *options) withNIC(do func(c *cobra.Command, node *agent.Node, id string) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		node, closing, err := o.openHeld()
		if err != nil {
			return err
		}
		defer closing()
		n, err := find(node, args[0])
		if err != nil {
			return err
		}
		_, end := printSteps(node, c.OutOrStdout(), false)
		defer end()
		return do(c, node, n.ID)
	}
}
