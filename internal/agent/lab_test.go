// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"

	"weft/internal/agent"
	"weft/internal/kernel"
	"weft/internal/netstate"
	"weft/internal/nic"
	"weft/internal/plan"
	"weft/internal/spec"
)

// needKernel skips a test where nobody asked for a real kernel. The kernel lane asks, and there nothing may be skipped.
func needKernel(t testing.TB) {
	t.Helper()
	if !strings.Contains(os.Getenv("WEFT_TEST_REQUIRE"), "kernel") {
		t.Skip("needs root and a kernel with bonding, 8021q and VRF: make kernel")
	}
}

// namespace makes a network namespace with a node's bare ports and a tap, and removes it after the test.
func namespace(t testing.TB, name string, taps int) string {
	t.Helper()
	ip(t, "netns", "add", name)
	t.Cleanup(func() { ip(t, "netns", "del", name) })
	var batch strings.Builder
	fmt.Fprintln(&batch, "link set lo up")
	for i := range 2 {
		fmt.Fprintf(&batch, "link add eth%d address 02:00:00:00:00:0%d type veth peer name sw%d address 02:00:00:00:01:0%d\nlink set sw%d up\n", i, i, i, i, i)
	}
	for i := range taps {
		fmt.Fprintf(&batch, "tuntap add dev tap%d mode tap\n", i)
	}
	cmd := exec.Command("ip", "-n", name, "-batch", "-")
	cmd.Stdin = strings.NewReader(batch.String())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make namespace %s: %v\n%s", name, err, out)
	}
	return "/run/netns/" + name
}

func ip(t testing.TB, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

const bondFile = `
node: hv1
bonds:
  bond0:
    members: [eth0, eth1]
    mode: 802.3ad
    lacp_rate: fast
    xmit_hash_policy: layer3+4
    addresses: [10.0.0.11/24, "2001:db8::11/64"]
routes:
  - {to: default, via: 10.0.0.1}
`

const bridgedFile = bondFile + `
networks:
  tenants: {mode: bridged, uplink: bond0, vlan: 992}
`

const routedFile = bridgedFile + `
  public:
    mode: routed
    uplink: bond0
    vlan: 993
    ipv4: {subnet: 62.217.124.48/29, gateway: 62.217.124.49, arp_source: 62.217.124.54}
    ipv6: {subnet: "2001:db8:993::/64", gateway: "2001:db8:993::1"}
`

// stage is one verb of the talk's demo.
type stage struct {
	file string
	do   func(context.Context, *agent.Node) error
}

var guest = spec.NIC{ID: "8b6f6a3e-0001-4000-8000-000000000001", Name: "tap0", MAC: "aa:00:00:94:ed:40"}

func plug(network string, ips ...string) func(context.Context, *agent.Node) error {
	c := guest
	c.Network = network
	for _, a := range ips {
		c.Addresses = append(c.Addresses, netip.MustParseAddr(a))
	}
	return func(ctx context.Context, n *agent.Node) error { return n.Plug(ctx, c) }
}

func apply(ctx context.Context, n *agent.Node) error { return n.Apply(ctx) }

// demo is the talk's demo, and the way back: a bond, a bridged guest, the same guest routed, bridged again and gone.
var demo = []stage{
	{bondFile, apply},
	{bridgedFile, apply},
	{bridgedFile, plug("tenants")},
	{routedFile, apply},
	{routedFile, plug("public", "62.217.124.53", "2001:db8:993::53")},
	{routedFile, plug("tenants")},
	{routedFile, func(ctx context.Context, n *agent.Node) error { return n.Unplug(ctx, guest.ID) }},
	{bondFile, apply},
}

// open returns the node in a namespace, with its intents in dir.
func open(t testing.TB, netns, dir string) (*agent.Node, *kernel.Host) {
	t.Helper()
	host, err := kernel.Open(netns)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := host.Close(); err != nil {
			t.Error(err)
		}
	})
	return &agent.Node{Store: nic.Store{Dir: dir}, Target: host}, host
}

func (s stage) run(ctx context.Context, n *agent.Node) error {
	node, err := spec.Parse("node.yaml", []byte(s.file))
	if err != nil {
		return err
	}
	n.Spec = node
	return s.do(ctx, n)
}

func parse(t testing.TB, file string) *spec.Node {
	t.Helper()
	node, err := spec.Parse("node.yaml", []byte(file))
	if err != nil {
		t.Fatal(err)
	}
	return node
}

// ours lists what of a node is weft's, a line an object, and fails if the node is not converged.
func ours(t testing.TB, n *agent.Node) string {
	t.Helper()
	v, err := n.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if v.Conflict != nil {
		t.Fatal(v.Conflict)
	}
	for _, op := range v.Plan.Ops {
		t.Errorf("not converged: %s", strings.Join(op.Lines(), "; "))
	}
	return listed(v)
}

// listed lists what of a node is weft's, a line an object.
func listed(v *agent.View) string {
	var lines []string
	for o := range v.Have.All() {
		if l, ok := o.(netstate.Link); ok {
			if l.Status = nil; l.Kind == netstate.VRF {
				l.MAC = "" // a random one, and never on any wire
			}
			o = l
		}
		if o.Owned() || v.Want.Get(o.Key()) != nil {
			lines = append(lines, o.Key().Kind.String()+" "+o.String())
		}
	}
	return strings.Join(lines, "\n")
}

// counting counts the operations that are applied and fails all from a certain one on, until it is mended.
type counting struct {
	agent.Target
	done   int
	failAt int // the first operation that fails, from 0; -1 for none
}

func (c *counting) Apply(ctx context.Context, op plan.Op) error {
	if c.failAt >= 0 && c.done >= c.failAt {
		return fmt.Errorf("injected at %s", strings.Join(op.Lines(), "; "))
	}
	c.done++
	return c.Target.Apply(ctx, op)
}
