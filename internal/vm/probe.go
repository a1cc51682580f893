// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// LacksRoot is what KernelLacks returns to a process that may not make network namespaces.
const LacksRoot = "root"

// feature is one thing that the kernel is tried for.
type feature struct {
	name    string
	modules []string // to load first, where modprobe may
	script  string   // of the shell
}

// features is all that weft and its lab ask of a kernel. Bonding is loaded by hand: loaded by the
// kernel's own request it makes a bond0 in the host's namespace.
func features() []feature {
	return []feature{
		{"bond", []string{"bonding"}, "ip link add b0 type bond mode 802.3ad"},
		{"vlan", []string{"8021q"}, "ip link add p0 type veth peer name p1 && ip link add link p0 name v0 type vlan id 9"},
		{"vrf", []string{"vrf"}, "ip link add r0 type vrf table 9"},
		{"bridge", []string{"bridge"}, "ip link add br0 type bridge vlan_filtering 1"},
		{"veth", []string{"veth"}, "ip link add e0 type veth peer name e1"},
		{"tun", []string{"tun"}, "ip tuntap add dev t0 mode tap"},
		{"nft inet", []string{"nf_tables", "nft_fib_inet"}, "echo 'table inet t { chain c { type filter hook prerouting priority raw; fib saddr . iif oif missing drop; }; }' | nft -f -"},
		{"nft arp", []string{"nf_tables"}, "echo 'table arp t { chain c { type filter hook output priority 0; arp saddr ip set 192.0.2.1; }; }' | nft -f -"},
		{"nft bridge", []string{"nf_tables"}, "echo 'table bridge t { chain c { type filter hook forward priority 0; ether saddr 02:00:00:00:00:01 drop; }; }' | nft -f -"},
		{"sysctl", nil, "echo 1 > /proc/sys/net/ipv4/ip_forward"},
	}
}

// KernelLacks tries in a network namespace of its own, which is gone afterwards, what the running
// kernel cannot do of what weft needs: bond, vlan, vrf, bridge, veth, tun, nft inet, nft arp,
// nft bridge, sysctl. It loads the modules if it may. Nothing lacking means that no VM is needed. To a
// process without the right to make network namespaces it answers LacksRoot alone. Missing tools
// (ip, nft) are an error.
func KernelLacks() ([]string, error) {
	for _, t := range []string{"ip", "nft", "modprobe"} {
		if !filepath.IsAbs(findTool(t)) {
			return nil, fmt.Errorf("asking the kernel what it can do: %s is not installed (hack/install.sh installs it)", t)
		}
	}
	list := features()
	var modules []string
	for _, f := range list {
		for _, m := range f.modules {
			if !slices.Contains(modules, m) {
				modules = append(modules, m)
			}
		}
	}
	if os.Geteuid() != 0 {
		return []string{LacksRoot}, nil
	}
	for _, m := range modules {
		args := []string{"-q", m}
		if m == "bonding" {
			args = append(args, "max_bonds=0")
		}
		// A failure shows below: the module may be built in.
		_ = exec.Command(findTool("modprobe"), args...).Run()
	}
	cmd := exec.Command("/bin/sh", "-c", probeScript(list))
	cmd.Env = []string{"PATH=" + guestPath, "LC_ALL=C"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNET}
	var msg bytes.Buffer
	cmd.Stderr = &msg
	out, err := cmd.Output()
	if errors.Is(err, syscall.EPERM) {
		return []string{LacksRoot}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("asking the kernel what it can do: %w: %s", err, strings.TrimSpace(msg.String()))
	}
	return strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")[:strings.Count(string(out), "\n")], nil
}

// probeScript tries every feature and prints the names of those that failed, a line each.
func probeScript(list []feature) string {
	var b strings.Builder
	for _, f := range list {
		fmt.Fprintf(&b, "( %s ) >/dev/null 2>&1 || echo '%s'\n", f.script, f.name)
	}
	return b.String()
}
