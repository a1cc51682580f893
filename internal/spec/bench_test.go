// SPDX-License-Identifier: Apache-2.0

package spec

import (
	"fmt"
	"strings"
	"testing"
)

// BenchmarkParse reads a file with nearly every VLAN there is, half of them declared, and checks a NIC in each.
func BenchmarkParse(b *testing.B) {
	var text strings.Builder
	var nics []NIC
	text.WriteString("bonds: {bond0: {members: [eth0, eth1], mtu: 9000}}\nvlans:\n")
	for i := 256; i < 4000; i += 2 {
		fmt.Fprintf(&text, "  bond0.%d: {mtu: 1500}\n", i)
	}
	text.WriteString("networks:\n")
	for i := 256; i < 4000; i++ {
		fmt.Fprintf(&text, "  n%d: {mode: routed, uplink: bond0, vlan: %d, ipv4: {subnet: 10.%d.%d.0/24, gateway: 10.%d.%d.1}}\n", i, i, i>>8, i&255, i>>8, i&255)
		nics = append(nics, nic(fmt.Sprintf("u%d", i), fmt.Sprintf("tap%d", i), fmt.Sprintf("aa:00:00:00:%02x:%02x", i>>8, i&255), fmt.Sprintf("n%d", i), fmt.Sprintf("10.%d.%d.2", i>>8, i&255)))
	}
	b.SetBytes(int64(text.Len()))
	b.ReportAllocs()
	for b.Loop() {
		n, err := Parse("f", []byte(text.String()))
		if err != nil {
			b.Fatal(err)
		}
		if err := CheckNICs(n, nics); err != nil {
			b.Fatal(err)
		}
	}
}
