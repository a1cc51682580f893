// SPDX-License-Identifier: Apache-2.0

package kernel_test

import (
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"weft/internal/netstate"
)

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// BenchmarkObserve reads a node with 1,000 VLANs, each with its bridge, and 1,000 routed taps, beside the tools that
// show an operator about the same.
func BenchmarkObserve(b *testing.B) {
	const n = 1000
	h, ns := newHost(b, "eth0")
	var lines strings.Builder
	want := &netstate.State{}
	lines.WriteString("link set eth0 up\nlink add vrf993 type vrf table 993\nlink set vrf993 up\n")
	for i := 1; i <= n; i++ {
		fmt.Fprintf(&lines, "link add name br%d type bridge\nlink add link eth0 name eth0.%d type vlan id %d\nlink set eth0.%d master br%d\nlink set br%d up\nlink set eth0.%d up\n", i, i, i, i, i, i, i)
	}
	for i := range n {
		fmt.Fprintf(&lines, "link add tap%d type dummy\nlink set tap%d group 8700993 master vrf993\nlink set tap%d up\nroute add 10.0.%d.%d dev tap%d table 993 proto 87\nroute add 2001:db8::%x dev tap%d table 993 proto 87\n", i, i, i, i/256, i%256, i, i+1, i)
		fmt.Fprintf(&lines, "neigh add 10.0.%d.%d lladdr 02:00:00:00:00:01 dev tap%d nud permanent protocol 87\n", i/256, i%256, i)
		for _, s := range []string{"net/ipv4/conf/tap%d/proxy_arp", "net/ipv6/conf/tap%d/proxy_ndp", "net/ipv4/neigh/tap%d/proxy_delay"} {
			want.Put(netstate.Sysctl{Path: fmt.Sprintf(s, i), Value: "1"})
		}
	}
	batch(b, ns, lines.String())
	b.Run("weft", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			b.ReportMetric(float64(observe(b, h, want).Len()), "objects")
		}
	})
	b.Run("ip", func(b *testing.B) {
		for b.Loop() {
			for _, args := range [][]string{{"-d", "-j", "link"}, {"route", "show", "table", "all"}} {
				if err := exec.Command("ip", append([]string{"-n", ns}, args...)...).Run(); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}
