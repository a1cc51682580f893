// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// dumpScript prints everything that a person looks at when a packet is lost.
const dumpScript = `run() { echo; echo "# $*"; "$@" 2>&1; }
run ip -d link
run ip addr
run ip rule
run ip -6 rule
run ip route show table all
run ip -6 route show table all
run ip neigh
run ip neigh show proxy
run ip -6 neigh show proxy
run bridge vlan
run bridge fdb
run nft list ruleset
for b in /proc/net/bonding/*; do [ ! -e "$b" ] || run cat "$b"; done`

// Dump writes the state of every machine, what agents logged, and what QEMU guests said on their consoles, to a file.
func (l *Lab) Dump(ctx context.Context, file string) error {
	machines, err := l.Machines()
	if err != nil {
		return err
	}
	var b strings.Builder
	for _, m := range machines {
		fmt.Fprintf(&b, "\n======== %s\n", m)
		out, err := l.In(ctx, m, "sh", "-c", dumpScript)
		b.WriteString(out.Stdout + out.Stderr)
		if err != nil {
			fmt.Fprintf(&b, "%v\n", err)
		}
	}
	for _, node := range l.nodes() {
		if text, err := l.AgentLog(node); err == nil { // one that never ran has none
			fmt.Fprintf(&b, "\n======== agents of %s\n%s\n", node, text)
		}
	}
	for name, g := range l.guests {
		if g.qemu == nil {
			continue
		}
		text, err := l.Console(name)
		fmt.Fprintf(&b, "\n======== console of %s\n%s\n", name, text)
		if err != nil {
			fmt.Fprintf(&b, "%v\n", err)
		}
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("writing the state of the lab: %w", err)
	}
	if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
		return fmt.Errorf("writing the state of the lab: %w", err)
	}
	return nil
}
