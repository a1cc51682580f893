// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"bufio"
	"fmt"
	"io"
	"net/netip"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"weft/internal/spec"
)

// driftNode is a node for the drift matrix: what it is made from, and what is beyond its ports.
type driftNode struct {
	name   string
	file   string
	wires  []string // of the namespace beyond: lines of ip
	guests []driftGuest
	filler []string // networks that further NICs are spread over
}

// driftGuest is a NIC with a guest behind it.
type driftGuest struct {
	nic   spec.NIC
	setup []string          // lines of ip, in the guest
	pings map[string]string // from beyond the uplink: by the words for it in the report, where to
}

// driftNodes have an object of every kind between them.
var driftNodes = []driftNode{
	{
		name: "vrf",
		file: `
node: hv1
bonds:
  bond0: {members: [eth0, eth1], mode: active-backup, primary: eth0, addresses: [10.0.0.11/24, "2001:db8::11/64"]}
  bond1: {members: [eth3], mode: 802.3ad, xmit_hash_policy: layer3+4, ad_select: bandwidth, min_links: 1, updelay: 100}
bridges:
  br0: {ports: [eth2], vlan_aware: true, ageing_time: 600}
routes:
  - {to: default, via: 10.0.0.1}
  - {to: 198.18.0.0/15, type: blackhole, table: 500}
rules:
  - {priority: 500, from: 198.18.0.0/15, table: 500}
neighbours:
  - {ip: 10.0.0.7, dev: bond0, mac: "02:00:00:00:00:07"}
  - {ip: 10.0.0.8, dev: bond0, proxy: true}
sysctls: {net.ipv4.conf.bond0.log_martians: "1"}
groups: {web: {allow: [{proto: tcp, ports: [80]}, {proto: icmp}]}}
networks:
  tenants: {mode: bridged, uplink: bond0, vlan: 992, mcast_snooping: true}
  web: {mode: bridged, bridge: br0, vlan: 10, isolated: true}
  db: {mode: bridged, bridge: br0, vlan: 20}
  backup: {mode: bridged, uplink: bond0, vlan: 991}
  shared: {mode: private, uplink: bond0, vlan: 995}
  public:
    mode: routed
    uplink: bond0
    vlan: 993
    rates: {in: 1gbit, out: 1gbit}
    ipv4: {subnet: 10.64.0.0/16, gateway: 10.64.0.1, arp_source: 10.64.0.2}
    ipv6: {subnet: "2001:db8:994::/64", gateway: "2001:db8:994::1", vlan: 994}
`,
		wires: []string{
			"link add br0 type bridge", "link set net0 master br0", "link set net1 master br0", "link set br0 up",
			"link add link br0 name v992 type vlan id 992", "addr add 192.0.2.1/24 dev v992", "link set v992 up",
			"link add link br0 name v993 type vlan id 993", "addr add 10.64.0.1/16 dev v993", "link set v993 up",
			"link add link br0 name v994 type vlan id 994", "addr add 2001:db8:994::1/64 dev v994 nodad", "link set v994 up",
			"link add link net2 name v10 type vlan id 10", "addr add 198.51.100.1/24 dev v10", "link set v10 up",
		},
		guests: []driftGuest{
			routedTap("public", "10.64.0.53", "2001:db8:994::53"),
			bridgedTap("tap1", "aa:00:00:94:ed:41", "tenants", "192.0.2.53", "bridge of a VLAN", "backup"),
			bridgedTap("tap2", "aa:00:00:94:ed:42", "web", "198.51.100.53", "VLAN-aware bridge", "db"),
			{nic: spec.NIC{Name: "tap3", MAC: "aa:00:10:00:00:01", Network: "shared", Addresses: []netip.Addr{netip.MustParseAddr("203.0.113.53")}}},
		},
		filler: []string{"public", "tenants", "web", "shared"},
	},
	{
		name: "rules",
		file: bondFile + `
networks:
  public:
    mode: routed
    policy: rules
    uplink: eth2
    vlan: 993
    ipv4: {subnet: 10.64.0.0/16, gateway: 10.64.0.1, arp_source: 10.64.0.2}
    ipv6: {subnet: "2001:db8:994::/64", gateway: "2001:db8:994::1"}
`,
		wires: []string{
			"link add link net2 name v993 type vlan id 993", "addr add 10.64.0.1/16 dev v993", "addr add 2001:db8:994::1/64 dev v993 nodad", "link set v993 up",
		},
		guests: []driftGuest{routedTap("public", "10.64.0.53", "2001:db8:994::53")},
		filler: []string{"public"},
	},
}

func routedTap(network, four, six string) driftGuest {
	return driftGuest{
		nic: spec.NIC{Name: "tap0", MAC: "aa:00:00:94:ed:40", Network: network, Addresses: []netip.Addr{netip.MustParseAddr(four), netip.MustParseAddr(six)}},
		setup: []string{
			"addr add " + four + "/32 dev eth0", "route add 10.64.0.1 dev eth0", "route add default via 10.64.0.1",
			"addr add " + six + "/128 dev eth0 nodad", "route add default via fe80::ce47:52ff:fe4e:4554 dev eth0",
		},
		pings: map[string]string{"routed IPv4": four, "routed IPv6": six},
	}
}

func bridgedTap(tap, mac, network, addr, words, tagged string) driftGuest {
	return driftGuest{
		nic:   spec.NIC{Name: tap, MAC: mac, Network: network, Addresses: []netip.Addr{netip.MustParseAddr(addr)}, Tagged: []string{tagged}, Groups: []string{"web"}},
		setup: []string{"addr add " + addr + "/24 dev eth0"},
		pings: map[string]string{words: addr},
	}
}

// Fillers are NICs that only make the node as large as nodes are. What is theirs can be told by their names and addresses.
const fillerTap, fillerMAC, filler4, filler6 = "fill", "aa:00:00:f1:", "10.64.241.", "2001:db8:994::f1:"

func fillerNIC(i int, network string) spec.NIC {
	c := spec.NIC{ID: fmt.Sprintf("f%d", i), Name: fmt.Sprintf("%s%d", fillerTap, i), MAC: fmt.Sprintf("%s%02x:%02x", fillerMAC, i>>8, i&0xff), Network: network}
	if network == "public" {
		c.Addresses = []netip.Addr{netip.MustParseAddr(filler4 + fmt.Sprint(i)), netip.MustParseAddr(filler6 + fmt.Sprintf("%x", i))}
	}
	return c
}

// isFiller reports whether these are words about an object of a filler.
func isFiller(words string) bool {
	for _, s := range []string{fillerTap, fillerMAC, filler4, filler6} {
		if strings.Contains(words, s) {
			return true
		}
	}
	return false
}

// Namespaces of the drift matrix.
const driftNS, beyondNS = "weft-drift", "weft-beyond"

// make makes the namespaces of the node, of what is beyond it and of its guests, and returns its NICs.
func (n driftNode) make(t testing.TB, fillers int) []spec.NIC {
	t.Helper()
	for _, ns := range append([]string{driftNS, beyondNS}, n.guestSpaces()...) {
		ip(t, "netns", "add", ns)
		t.Cleanup(func() { ip(t, "netns", "del", ns) })
	}
	var node, beyond []string
	for i := range 4 {
		node = append(node, fmt.Sprintf("link add eth%d address 02:00:00:00:00:0%d type veth peer name net%d netns %s", i, i, i, beyondNS))
		beyond = append(beyond, fmt.Sprintf("link set net%d up", i))
	}
	var nics []spec.NIC
	for i, g := range n.guests {
		g.nic.ID = fmt.Sprintf("g%d", i)
		nics = append(nics, g.nic)
		node = append(node, fmt.Sprintf("link add %s type veth peer name eth0 address %s netns %s", g.nic.Name, g.nic.MAC, n.guestSpaces()[i]))
	}
	for i := range fillers {
		c := fillerNIC(i, n.filler[i%len(n.filler)])
		nics = append(nics, c)
		node = append(node, "tuntap add dev "+c.Name+" mode tap")
	}
	batch(t, driftNS, append(node, "link set lo up")...)
	batch(t, beyondNS, append(beyond, n.wires...)...)
	for i, g := range n.guests {
		batch(t, n.guestSpaces()[i], append([]string{"link set eth0 up"}, g.setup...)...)
	}
	return nics
}

func (n driftNode) guestSpaces() (names []string) {
	for _, g := range n.guests {
		names = append(names, "weft-drift-"+g.nic.Name)
	}
	return names
}

func batch(t testing.TB, ns string, lines ...string) {
	t.Helper()
	cmd := exec.Command("ip", "-n", ns, "-batch", "-")
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make namespace %s: %v\n%s", ns, err, out)
	}
}

// shell is a shell in a namespace, which stays there so that what it is told happens at once.
type shell struct {
	in  io.WriteCloser
	out *bufio.Reader
}

func newShell(t testing.TB, ns string) *shell {
	t.Helper()
	cmd := exec.Command("ip", "netns", "exec", ns, "sh")
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() {
		must(t, in.Close())
		must(t, cmd.Wait())
	})
	return &shell{in, bufio.NewReader(out)}
}

// run runs a script until one of its commands fails, and returns what they print.
func (s *shell) run(script string) (string, error) {
	if _, err := fmt.Fprintf(s.in, "( set -e\n%s\n) </dev/null 2>&1; echo \"=== $?\"\n", script); err != nil {
		return "", err
	}
	var text strings.Builder
	for {
		line, err := s.out.ReadString('\n')
		if err != nil {
			return text.String(), err
		}
		if code, ok := strings.CutPrefix(line, "=== "); ok {
			if code != "0\n" {
				return text.String(), fmt.Errorf("exit status %s%s: %s", code, script, text.String())
			}
			return text.String(), nil
		}
		text.WriteString(line)
	}
}

// pinging is a ping of a guest that goes on.
type pinging struct {
	to    string // in words
	heard chan struct{}

	mu         sync.Mutex
	last, lost int // the number of the last one that was answered, and how many before it were not
}

func startPinging(t testing.TB, to, address string) *pinging {
	t.Helper()
	p := &pinging{to: to, heard: make(chan struct{}, 1)}
	cmd := exec.Command("ip", "netns", "exec", beyondNS, "ping", "-n", "-i", "0.1", address)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	var reading sync.WaitGroup
	reading.Go(func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			p.read(lines.Text())
		}
	})
	t.Cleanup(func() {
		must(t, cmd.Process.Kill())
		reading.Wait()
		_ = cmd.Wait() // it was killed
	})
	return p
}

func (p *pinging) read(line string) {
	_, rest, answered := strings.Cut(line, "bytes from ")
	_, rest, _ = strings.Cut(rest, "icmp_seq=")
	var seq int
	if _, err := fmt.Sscan(rest, &seq); !answered || err != nil {
		return
	}
	p.mu.Lock()
	if seq > p.last {
		p.lost += seq - p.last - 1
		p.last = seq
	}
	p.mu.Unlock()
	select {
	case p.heard <- struct{}{}:
	default:
	}
}

func (p *pinging) counts() (sent, lost int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last, p.lost
}
