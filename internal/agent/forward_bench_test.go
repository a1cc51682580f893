// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// BenchmarkForwardBridged sends frames from the guest that was plugged in last to another, on a bridge with port security and so
// many NICs, beside a bridge with two ports and no filter. The kernel's own generator sends, all in turn, so that a noisy machine
// is noisy for all; what is reported are medians, and the ratio to the bare bridge's of the same round. Where the clock counts
// instructions (hack/vm -icount), a microsecond is a thousand of them.
func BenchmarkForwardBridged(b *testing.B) {
	needKernel(b)
	run(b, "modprobe", "pktgen")
	const rounds, frames = 5, 2000
	counts := []int{1, 100, 1000}
	paths := []forwarding{bareBridge(b)}
	for _, n := range counts {
		paths = append(paths, securedBridge(b, n))
	}
	for b.Loop() {
		took := make([][]float64, len(paths)) // microseconds a frame
		for range rounds {
			for i, p := range paths {
				took[i] = append(took[i], p.send(b, frames))
			}
		}
		b.ReportMetric(median(took[0]), "us/frame-bare")
		for i, n := range counts {
			var ratios []float64
			for round, bare := range took[0] {
				ratios = append(ratios, bare/took[i+1][round])
			}
			b.ReportMetric(median(took[i+1]), fmt.Sprintf("us/frame-%d", n))
			b.ReportMetric(slices.Min(ratios), fmt.Sprintf("min-rate/bare-%d", n))
			b.ReportMetric(median(ratios), fmt.Sprintf("median-rate/bare-%d", n))
			b.ReportMetric(slices.Max(ratios), fmt.Sprintf("max-rate/bare-%d", n))
		}
	}
}

func median(all []float64) float64 {
	all = slices.Sorted(slices.Values(all))
	return all[len(all)/2]
}

// forwarding is a way from one guest to another.
type forwarding struct {
	ns       string
	from, to guestEnd
}

// guestEnd is a guest's end: its device in the namespace, its MAC and its address.
type guestEnd struct{ dev, mac, ip string }

// ends makes the guests' ends of the two taps, which throw away what they are sent.
func ends(b *testing.B, ns string, taps [2]string) {
	for i, tap := range taps {
		end := fmt.Sprintf("guest%d", i)
		ip(b, "-n", ns, "link", "add", end, "type", "veth", "peer", "name", tap)
		ip(b, "-n", ns, "link", "set", end, "up")
		run(b, "ip", "netns", "exec", ns, "nft", fmt.Sprintf("add table netdev %[1]s; add chain netdev %[1]s in { type filter hook ingress device %[1]s priority 0; policy drop; }", end))
	}
}

func bareBridge(b *testing.B) forwarding {
	const ns = "weft-bare"
	namespace(b, ns, 0)
	ends(b, ns, [2]string{"tap0", "tap1"})
	ip(b, "-n", ns, "link", "add", "br0", "type", "bridge", "mcast_snooping", "0")
	for _, dev := range []string{"tap0", "tap1"} {
		ip(b, "-n", ns, "link", "set", dev, "master", "br0", "up")
	}
	ip(b, "-n", ns, "link", "set", "br0", "up")
	nics := bigNICs(2)
	for i, dev := range []string{"tap0", "tap1"} {
		ip(b, "netns", "exec", ns, "bridge", "fdb", "add", nics[i].MAC, "dev", dev, "master", "static")
	}
	return forwarding{ns, guestEnd{"guest1", nics[1].MAC, "10.64.1.1"}, guestEnd{"guest0", nics[0].MAC, "10.64.1.0"}}
}

// securedBridge has so many NICs besides the one that receives, and the last of them sends.
func securedBridge(b *testing.B, count int) forwarding {
	ns := fmt.Sprintf("weft-secured%d", count)
	path := namespace(b, ns, count)
	last := fmt.Sprintf("tap%d", count)
	ip(b, "-n", ns, "link", "del", "tap0")
	ends(b, ns, [2]string{"tap0", last})
	n, _ := open(b, path, b.TempDir())
	n.Spec = parse(b, bigFile(1))
	nics := bigNICs(count + 1)
	for i := range nics {
		nics[i].Network = "t0"
		must(b, n.Store.Put(nics[i]))
	}
	must(b, n.Apply(b.Context()))
	to, from := nics[0], nics[count]
	return forwarding{ns, guestEnd{"guest1", from.MAC, from.Addresses[0].String()}, guestEnd{"guest0", to.MAC, to.Addresses[0].String()}}
}

func run(b *testing.B, name string, args ...string) string {
	b.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		b.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// pktgenResult is how many microseconds the generator took.
var pktgenResult = regexp.MustCompile(`Result: OK: (\d+)`)

// send returns the microseconds that each of so many frames took, all of which have to arrive.
func (f forwarding) send(b *testing.B, frames int) float64 {
	b.Helper()
	received := func() int {
		text := run(b, "ip", "netns", "exec", f.ns, "cat", "/sys/class/net/"+f.to.dev+"/statistics/rx_packets")
		n, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil {
			b.Fatal(err)
		}
		return n
	}
	before := received()
	script := fmt.Sprintf(`cd /proc/net/pktgen
echo reset >pgctrl
echo rem_device_all >kpktgend_0
echo add_device %[1]s >kpktgend_0
for w in 'count %[2]d' 'clone_skb 0' 'pkt_size 60' 'delay 0' 'src_mac %[3]s' 'dst_mac %[4]s' 'src_min %[5]s' 'src_max %[5]s' 'dst %[6]s' 'flag NO_TIMESTAMP'; do echo "$w" >%[1]s; done
echo start >pgctrl
cat %[1]s`, f.from.dev, frames, f.from.mac, f.to.mac, f.from.ip, f.to.ip)
	out := run(b, "ip", "netns", "exec", f.ns, "sh", "-ec", script)
	m := pktgenResult.FindStringSubmatch(out)
	if m == nil {
		b.Fatalf("the generator says:\n%s", out)
	}
	if got := received() - before; got < frames {
		b.Fatalf("%d of %d frames arrived in %s", got, frames, f.ns)
	}
	took, err := strconv.Atoi(m[1])
	if err != nil {
		b.Fatal(err)
	}
	return float64(took) / float64(frames)
}
