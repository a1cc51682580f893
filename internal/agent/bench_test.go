// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"weft/internal/spec"
)

// BenchmarkPlanConverged plans on a node with 1,000 bridged VLANs and 1,000 routed NICs that is converged already,
// beside what iproute2 takes just to print the same links and routes.
func BenchmarkPlanConverged(b *testing.B) {
	needKernel(b)
	const count = 1000
	n, _ := open(b, namespace(b, "weft-bench", count), b.TempDir())
	n.Spec = parse(b, bigFile(count))
	for _, c := range bigNICs(count) {
		if err := n.Store.Put(c); err != nil {
			b.Fatal(err)
		}
	}
	if err := n.Apply(b.Context()); err != nil {
		b.Fatal(err)
	}
	view := func(b *testing.B) {
		v, err := n.View(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		if v.Conflict != nil || !v.Plan.Empty() || v.Have.Len() < 10*count {
			b.Fatalf("%v; %s; %d objects", v.Conflict, v.Plan.Summary(), v.Have.Len())
		}
	}
	iproute2 := func(b *testing.B) {
		for _, args := range []string{"-d -j link", "route show table all"} {
			if _, err := exec.Command("ip", append([]string{"-n", "weft-bench"}, strings.Fields(args)...)...).Output(); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.Run("plan", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			view(b)
		}
		b.ReportMetric(peakMemory(b), "peak-MiB")
	})
	b.Run("hurts", func(b *testing.B) { // what a round takes beside
		v, err := n.View(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			if all, err := n.Hurts(b.Context(), v); err != nil || len(all) > 0 {
				b.Fatal(all, err)
			}
		}
	})
	b.Run("iproute2", func(b *testing.B) {
		for b.Loop() {
			iproute2(b)
		}
	})
	// In turn, so that a noisy machine is noisy for both.
	b.Run("ratio", func(b *testing.B) {
		for b.Loop() {
			var ratios []float64
			for range 7 {
				start := time.Now()
				view(b)
				planned := time.Since(start)
				start = time.Now()
				iproute2(b)
				ratios = append(ratios, float64(planned)/float64(time.Since(start)))
			}
			slices.Sort(ratios)
			b.ReportMetric(ratios[0], "min-plan/ip")
			b.ReportMetric(ratios[len(ratios)/2], "median-plan/ip")
			b.ReportMetric(ratios[len(ratios)-1], "max-plan/ip")
		}
	})
}

// peakMemory returns the most memory that this process ever had resident, in MiB.
func peakMemory(b *testing.B) float64 {
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Fatal(err)
	}
	var kib float64
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			if _, err := fmt.Sscan(rest, &kib); err != nil {
				b.Fatal(err)
			}
		}
	}
	return kib / 1024
}

// bigFile has count bridged VLANs and one routed network that is large enough for count guests.
func bigFile(count int) string {
	var s strings.Builder
	s.WriteString(bondFile + `
networks:
  public:
    mode: routed
    uplink: bond0
    vlan: 4000
    ipv4: {subnet: 10.64.0.0/16, gateway: 10.64.0.1, arp_source: 10.64.0.2}
    ipv6: {subnet: "2001:db8:4000::/64", gateway: "2001:db8:4000::1"}
`)
	for i := range count {
		fmt.Fprintf(&s, "  t%d: {mode: bridged, uplink: bond0, vlan: %d}\n", i, 100+i)
	}
	return s.String()
}

func bigNICs(count int) []spec.NIC {
	nics := make([]spec.NIC, count)
	for i := range nics {
		nics[i] = spec.NIC{
			ID: fmt.Sprintf("8b6f6a3e-0001-4000-8000-%012d", i), Name: fmt.Sprintf("tap%d", i), Network: "public",
			MAC: fmt.Sprintf("aa:00:00:00:%02x:%02x", i>>8, i&0xff),
			Addresses: []netip.Addr{
				netip.AddrFrom4([4]byte{10, 64, byte(1 + i>>8), byte(i)}),
				netip.MustParseAddr(fmt.Sprintf("2001:db8:4000::1:%x", i)),
			},
		}
	}
	return nics
}
