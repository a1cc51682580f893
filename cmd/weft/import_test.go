// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"weft/internal/spec"
)

// TestImportIfupdown runs the verb on files of a machine: what it writes, what it says, and how it ends.
func TestImportIfupdown(t *testing.T) {
	const bond = "auto bond0\niface bond0 inet static\n  address 192.0.2.2/24\n  bond-slaves eno1 eno2\n  bond-mode 802.3ad\n  bond-miimon 100\n"
	for _, test := range []struct {
		name, interfaces, tables string
		status                   int
		said, written            string // parts of; nothing is written where it is empty
	}{
		{name: "all", interfaces: bond, written: "mode: 802.3ad"},
		{name: "remark", interfaces: strings.TrimPrefix(bond, "auto bond0\n"), said: ":1: remark: ", written: "192.0.2.2/24"},
		{name: "person", interfaces: bond + "  frobnicate 7\n", status: 2, said: ":7: nothing in a node file says this: frobnicate 7", written: "bond0"},
		{name: "table", tables: "993 public\n", written: "table: 993",
			interfaces: bond + "  up ip route add 10.0.0.0/8 via 192.0.2.1 table public\n"},
		{name: "refused", interfaces: bond + "iface\n", status: 1, said: ":7: iface needs the name of an interface"},
		{name: "invalid", interfaces: bond + "auto eno1\niface eno1 inet static\n  address 192.0.2.3/24\n", status: 2,
			said: "eno1 is a member of bond0", written: "192.0.2.3/24"},
		{name: "missing", status: 1, said: "interfaces: no such file or directory"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			in, tables, out := filepath.Join(dir, "interfaces"), filepath.Join(dir, "rt_tables"), filepath.Join(dir, "node.yaml")
			for name, text := range map[string]string{in: test.interfaces, tables: test.tables} {
				if name == in && text == "" {
					continue
				}
				if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			args := []string{"import", "ifupdown", "--interfaces", in, "--rt-tables", tables}
			var stdout, stderr bytes.Buffer
			if status := run(t.Context(), args, &stdout, &stderr); status != test.status {
				t.Errorf("exit status %d, want %d; it said:\n%s", status, test.status, &stderr)
			}
			if !strings.Contains(stderr.String(), test.said) || test.said == "" && stderr.Len() > 0 {
				t.Errorf("it said\n%s, want %q", &stderr, test.said)
			}
			if !strings.Contains(stdout.String(), test.written) || test.written == "" && stdout.Len() > 0 {
				t.Errorf("it wrote\n%s, want %q", &stdout, test.written)
			}
			if status := run(t.Context(), append(args, "-o", out), &bytes.Buffer{}, &bytes.Buffer{}); status != test.status {
				t.Errorf("with -o: exit status %d, want %d", status, test.status)
			}
			text, err := os.ReadFile(out)
			if test.written == "" {
				if !os.IsNotExist(err) {
					t.Errorf("a file was written after an error: %q, %v", text, err)
				}
				return
			}
			if !bytes.Equal(text, stdout.Bytes()) {
				t.Errorf("-o wrote %q, not %q", text, &stdout)
			}
			if _, err := spec.Parse(out, text); (err == nil) != (test.name != "invalid") {
				t.Errorf("weft takes the file: %v", err)
			}
		})
	}
}
