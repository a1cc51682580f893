// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"weft/internal/ganeti"
	"weft/internal/spec"
)

func newGanetiExplain(o *options) *cobra.Command {
	var moment string
	c := &cobra.Command{
		Use:   "explain",
		Short: "Say what would be done for a NIC, and do nothing",
		Long: `Read the environment of one of Ganeti's network scripts from standard input, as env prints it, and say what
weft ganeti hook would do with it on this node: the moment of the instance's life, the network, the addresses, and what is
asked for and not done. Nothing is changed. The moment is found as the hook finds it, unless --moment says it.`,
		Example: "  env INSTANCE=web1.example.org INTERFACE=tap0 INTERFACE_INDEX=0 MODE=bridged LINK=br0 MAC=aa:00:00:00:00:01 env | weft ganeti explain --moment 'cold start'",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			const most = 1 << 20
			text, err := io.ReadAll(io.LimitReader(c.InOrStdin(), most))
			if err != nil {
				return fmt.Errorf("read the environment: %w", err)
			}
			entries := strings.FieldsFunc(string(text), func(r rune) bool { return r == '\n' || r == 0 })
			if moment != "" && !slices.Contains(ganeti.Contexts, ganeti.Context(moment)) {
				return fmt.Errorf("--moment %s: want one of %q", moment, ganeti.Contexts)
			}
			return o.explainGaneti(c.Context(), c.OutOrStdout(), entries, ganeti.Context(moment))
		},
	}
	c.Flags().StringVar(&moment, "moment", "", "'cold start', 'soft reboot', 'hotplug', 'before migration' or 'after migration'")
	return c
}

func (o *options) explainGaneti(ctx context.Context, w io.Writer, environ []string, moment ganeti.Context) error {
	values := ganeti.Values(environ)
	if ganeti.IsCommunication(values["INTERFACE"]) {
		_, err := fmt.Fprintf(w, "%q is of Ganeti's instance communication: left alone\n", values["INTERFACE"])
		return err
	}
	e, err := ganeti.Parse(values)
	if err != nil {
		return err
	}
	s, closing, err := o.openGaneti(slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer closing()
	have, here, _, err := s.look(ctx)
	if err != nil {
		return err
	}
	if moment == "" {
		moment = s.runtime.Context(e)
	}
	p, err := s.plan(e, moment, have, here)
	if err != nil {
		return fmt.Errorf("%s of %s: %w", e.Interface, e.Instance, err)
	}
	_, err = io.WriteString(w, explained(p, s.Spec))
	return err
}

// explained says a plan in lines.
func explained(p ganeti.Plan, node *spec.Node) string {
	var b strings.Builder
	line := func(key, format string, args ...any) {
		fmt.Fprintf(&b, "%-10s %s\n", key, fmt.Sprintf(format, args...))
	}
	n, of := node.Networks[p.NIC.Network], "in the node file"
	if n == nil {
		n, of = p.NIC.Net, "as somebody else made it"
	}
	line("instance", "%s", p.NIC.Instance)
	line("nic", "%s, tap %s, %s", p.NIC.ID, p.NIC.Name, p.NIC.MAC)
	line("moment", "%s", p.Context)
	switch n.Mode {
	case spec.Bridged, spec.Private:
		line("network", "%s, %s: bridge %s", p.NIC.Network, of, n.BridgeName())
	default:
		line("network", "%s, %s: table %d, %s", p.NIC.Network, of, n.TableNumber(), n.PolicyWord())
		for _, u := range node.Uplinks(n) {
			line("uplink", "%s", u.Dev)
		}
		for _, a := range p.NIC.Addresses {
			line("address", "%s", a)
		}
		switch {
		case p.NIC.Prepared:
			line("claim", "not before the guest is heard here")
		case p.Probe:
			line("claim", "at once, unless somebody else has an address")
		default:
			line("claim", "at once")
		}
	}
	for _, note := range p.Notes {
		line("note", "%s", note)
	}
	return b.String()
}

func newGanetiImport() *cobra.Command {
	return &cobra.Command{
		Use:   "import [FILE]",
		Short: "Say what becomes of gnt-networking's settings",
		Long: `Say what becomes of each of gnt-networking's settings, by default of /etc/default/gnt-networking. weft ganeti hook reads
that file each time: nothing has to be copied. The file is read, never executed. For the uplinks and routes in
/etc/network/interfaces there is weft import ifupdown.

Exit status: 0 nothing is lost, 1 error, 2 a person has to look at the lines that are marked with !.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			file := ganeti.SettingsFile
			if len(args) == 1 {
				file = args[0]
			}
			s, err := ganeti.ReadSettings(file)
			if err != nil {
				return err
			}
			if !s.Present {
				_, err := fmt.Fprintf(c.OutOrStdout(), "%s: there is none: gnt-networking's defaults hold\n", file)
				return err
			}
			lost := false
			for _, r := range s.Remarks() {
				mark := " "
				if r.Lost {
					mark, lost = "!", true
				}
				fmt.Fprintf(c.OutOrStdout(), "%s %s:%d: %s\n", mark, file, r.Line, r.Text)
			}
			if lost {
				return exitStatus(exitUntranslated)
			}
			return nil
		},
	}
}
