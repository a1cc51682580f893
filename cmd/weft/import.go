// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"weft/internal/ifupdown"
	"weft/internal/spec"
)

// exitUntranslated is import's exit status when a person has to look at something.
const exitUntranslated = 2

func newImportCommand() *cobra.Command {
	c := &cobra.Command{Use: "import", Short: "Write a node file from another tool's configuration", Args: cobra.NoArgs}
	c.AddCommand(newImportIfupdownCommand())
	return c
}

func newImportIfupdownCommand() *cobra.Command {
	var interfaces, tables, out string
	c := &cobra.Command{
		Use:   "ifupdown",
		Short: "Write a node file from /etc/network/interfaces",
		Long: `Write a node file from Debian's /etc/network/interfaces and the files that it sources: bonds, VLANs, bridges, VRFs,
addresses, routes and rules, and the bridged and routed networks that VMs are plugged into, in the options of ifupdown,
ifenslave, bridge-utils, vlan, ifupdown2 and gnt-networking. Commands behind up and down are translated where weft has
a word for what they do: ip, sysctl, echo to a file of /proc/sys/net, arptables as gnt-networking uses it.

The node file goes to the standard output, or to a file. Notes go to the standard error, as FILE:LINE: what: the line.
Every line of the input is in the node file, or says nothing that a node file needs, or is named in a note. A remark is
a note about a line that was translated. Nothing on the machine is changed.

Exit status: 0 everything was translated, 1 error and nothing written, 2 something was not translated, or the node file
is not yet one that weft takes: a person has to look at the notes.`,
		Example: `  weft import ifupdown -o /etc/weft/node.yaml
  weft import ifupdown --interfaces ./node1/etc/network/interfaces --rt-tables ./node1/etc/iproute2/rt_tables`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return importIfupdown(c, interfaces, tables, out)
		},
	}
	c.Flags().StringVar(&interfaces, "interfaces", "/etc/network/interfaces", "the file to read")
	c.Flags().StringVar(&tables, "rt-tables", "", "the names of routing tables (default iproute2's files on this machine)")
	c.Flags().StringVarP(&out, "output", "o", "", "write the node file there, with the mode 0644")
	return c
}

func importIfupdown(c *cobra.Command, interfaces, tables, out string) error {
	name, err := filepath.Abs(interfaces)
	if err != nil {
		return fmt.Errorf("read %s: %w", interfaces, err)
	}
	config, err := ifupdown.Read(os.DirFS("/"), name)
	if err != nil {
		return err
	}
	numbers, err := readTables(tables)
	if err != nil {
		return err
	}
	node, notes := ifupdown.Import(config, numbers)
	text, err := spec.Write(node, spec.Comments{"": "Written by weft import ifupdown from " + name + "."})
	if err != nil {
		return err
	}
	person := false
	for _, n := range notes {
		fmt.Fprintln(c.ErrOrStderr(), n)
		person = person || !n.Remark
	}
	target := out
	if target == "" {
		target = "node.yaml"
		_, err = c.OutOrStdout().Write(text)
	} else {
		err = renameio.WriteFile(out, text, 0o644)
	}
	if err != nil {
		return fmt.Errorf("write the node file: %w", err)
	}
	if _, err := spec.Parse(target, text); err != nil {
		fmt.Fprintln(c.ErrOrStderr(), err)
		person = true
	}
	if person {
		return exitStatus(exitUntranslated)
	}
	return nil
}

// readTables reads the names of routing tables: of one file, or of those that iproute2 reads on this machine, where
// /etc wins over /usr.
func readTables(name string) (map[string]uint32, error) {
	if name != "" {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("read the names of routing tables: %w", err)
		}
		return ifupdown.ReadTables(bytes.NewReader(data))
	}
	all := make(map[string]uint32)
	names := []string{"/usr/lib/iproute2/rt_tables", "/usr/share/iproute2/rt_tables", "/etc/iproute2/rt_tables"}
	more, err := filepath.Glob("/etc/iproute2/rt_tables.d/*.conf")
	if err != nil {
		return nil, fmt.Errorf("read the names of routing tables: %w", err)
	}
	for _, name := range slices.Concat(names, more) {
		data, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read the names of routing tables: %w", err)
		}
		tables, err := ifupdown.ReadTables(bytes.NewReader(data))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		maps.Copy(all, tables)
	}
	return all, nil
}
