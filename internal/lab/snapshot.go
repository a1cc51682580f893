// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// snapshotQueries are asked of iproute2 for a snapshot; each prints a JSON list.
var snapshotQueries = []string{
	"ip -d -j link",
	"ip -j addr",
	"ip -j rule",
	"ip -6 -j rule",
	"ip -j -d route show table all",
	"ip -6 -j -d route show table all",
	"ip -j neigh show nud permanent",
	"ip -6 -j neigh show nud permanent",
	"ip -j neigh show proxy",
	"ip -6 -j neigh show proxy",
	"bridge -j vlan",
	"bridge -j fdb show",
}

// volatileKeys are what differs between two equal namespaces, or in one from second to second:
// numbers the kernel gives out, timers, and what LACP, carriers and neighbours are at just now.
var volatileKeys = []string{
	"ifindex", "link_index", "link_netnsid", "iif_index", "stats", "stats64",
	"hello_timer", "tcn_timer", "topology_change_timer", "gc_timer", "topology_change", "topology_change_detected",
	"operstate", "ad_info", "mii_status", "link_failure_count", "ad_aggregator_id", "ad_actor_oper_port_state",
	"ad_partner_oper_port_state", "ad_actor_oper_port_state_str", "ad_partner_oper_port_state_str", "state",
	"queue_id", "tentative", "dadfailed", "active_slave", "cost", "expires", "used", "updated",
	"message_age_timer", "forward_delay_timer", "hold_timer", "config_pending",
}

// volatileFlags are elements of lists of flags that say how a link is at just now.
var volatileFlags = []string{"LOWER_UP", "NO-CARRIER", "RUNNING", "linkdown", "dead"}

// Snapshot is a machine's network as text, one object per line, without what is volatile: links,
// addresses, rules, routes, permanent neighbours, proxies, bridge VLANs and FDB, the nftables
// ruleset and the sysctls below net/ipv4 and net/ipv6. Two equal namespaces have equal snapshots.
func (l *Lab) Snapshot(ctx context.Context, machine string) (string, error) {
	script := "set -e\n"
	for _, q := range snapshotQueries {
		script += "echo '#" + q + "'; " + q + "; echo\n"
	}
	script += "echo '#nft -s list ruleset'; nft -s list ruleset\n"
	out, err := l.In(ctx, machine, "sh", "-c", script)
	if err == nil {
		err = out.Err()
	}
	if err != nil {
		return "", fmt.Errorf("taking a snapshot of %s: %w", machine, err)
	}
	text, err := normalise(out.Stdout)
	if err != nil {
		return "", fmt.Errorf("taking a snapshot of %s: %w", machine, err)
	}
	sysctls, err := readSysctls(l.netns(machine))
	return text + sysctls, err
}

// normalise turns the sections of a snapshot into sorted lines.
func normalise(text string) (string, error) {
	var b strings.Builder
	for section := range strings.SplitSeq(strings.TrimPrefix(text, "#"), "\n#") {
		title, body, _ := strings.Cut(section, "\n")
		fmt.Fprintf(&b, "# %s\n", title)
		if strings.HasPrefix(title, "nft") {
			b.WriteString(body)
			continue
		}
		body = strings.TrimSpace(body)
		if body == "" {
			continue
		}
		var objects []any
		if err := json.Unmarshal([]byte(body), &objects); err != nil {
			return "", fmt.Errorf("reading what %s prints: %w", title, err)
		}
		var lines []string
		for _, o := range objects {
			if ownWork(title, o) {
				continue
			}
			made(title, o)
			line, err := json.Marshal(stable(o))
			if err != nil {
				return "", fmt.Errorf("reading what %s prints: %w", title, err)
			}
			if !bytes.Equal(line, []byte("{}")) {
				lines = append(lines, string(line))
			}
		}
		slices.Sort(lines)
		for _, line := range lines {
			b.WriteString(line + "\n")
		}
	}
	return b.String(), nil
}

// ownWork says whether an object is the kernel's own work that comes and goes by itself: an FDB entry that a bridge
// learned from a frame or a device keeps for multicast, and the link-local and multicast routes of IPv6.
func ownWork(title string, object any) bool {
	entry, ok := object.(map[string]any)
	if !ok {
		return false
	}
	word := func(key string) string {
		s, _ := entry[key].(string)
		return s
	}
	switch {
	case strings.HasPrefix(title, "bridge -j fdb"):
		// Multicast groups are what the kernel listens to at this moment: they come and go with its own addresses.
		mac, err := net.ParseMAC(word("mac"))
		group := err == nil && mac[0]&1 != 0
		return group || word("state") != "permanent" && word("state") != "static"
	case strings.Contains(title, " route "):
		return word("protocol") == "kernel" && (strings.HasPrefix(word("dst"), "fe80:") || strings.HasPrefix(word("dst"), "ff00:"))
	}
	return false
}

// made drops what differs although nobody asked for it: the MAC that the kernel makes up for a VRF (ip -j addr
// shows it without saying that it is one).
func made(title string, object any) {
	entry, ok := object.(map[string]any)
	if !ok {
		return
	}
	info, _ := entry["linkinfo"].(map[string]any)
	if strings.HasPrefix(title, "ip -j addr") || info["info_kind"] == "vrf" {
		delete(entry, "address")
	}
}

// stable drops what is volatile from a decoded JSON value.
func stable(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			if slices.Contains(volatileKeys, k) {
				delete(v, k)
				continue
			}
			v[k] = stable(v[k])
		}
		return v
	case []any:
		v = slices.DeleteFunc(v, func(e any) bool {
			s, ok := e.(string)
			return ok && slices.Contains(volatileFlags, s)
		})
		for i := range v {
			v[i] = stable(v[i])
		}
		return v
	}
	return v
}

// readSysctls reads the settings of a namespace's links and the forwarding switches.
func readSysctls(netns string) (string, error) {
	var b strings.Builder
	b.WriteString("# sysctl\n")
	err := onThread(netns, func() error {
		for _, pattern := range []string{"ipv4/ip_forward", "ipv4/conf/*/*", "ipv4/neigh/*/*", "ipv6/conf/*/*", "ipv6/neigh/*/*"} {
			files, err := filepath.Glob("/proc/sys/net/" + pattern)
			if err != nil {
				return err
			}
			for _, file := range files {
				value, err := os.ReadFile(file)
				if err != nil { // write-only ones, and stable_secret until it is set
					continue
				}
				fmt.Fprintf(&b, "%s = %s\n", strings.TrimPrefix(file, "/proc/sys/"), strings.TrimSpace(string(value)))
			}
		}
		return nil
	})
	return b.String(), err
}
