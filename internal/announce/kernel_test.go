// SPDX-License-Identifier: Apache-2.0

package announce_test

import (
	"bufio"
	"context"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"weft/internal/announce"
	"weft/internal/frame"
	"weft/internal/wire"
	"weft/internal/wire/wiretest"
)

// pair makes a node and a router on one wire; both ends are eth0 and have their link-local addresses.
func pair(t *testing.T) (node, router *wire.Socket, nodeNS, routerNS string) {
	t.Helper()
	node, nodeNS = wiretest.Namespace(t)
	router, routerNS = wiretest.Namespace(t)
	wiretest.IP(t, nodeNS, "link add eth0 address 02:00:00:00:00:01 type veth peer name eth0 address 02:00:00:00:00:02 netns "+routerNS+"\nlink set eth0 up\n")
	wiretest.IP(t, routerNS, "link set eth0 up\naddr add 62.217.124.49/29 dev eth0\naddr add 2001:db8:993::1/64 dev eth0 nodad\n")
	for _, s := range []*wire.Socket{node, router} {
		wiretest.Until(t, func() (string, bool) {
			return "no link-local address", wiretest.Device(t, s, "eth0").LinkLocal.IsValid()
		})
	}
	return node, router, nodeNS, routerNS
}

// TestRouterFollows: a router that knows the addresses elsewhere finds them here after one announcement, with the
// kernel's own settings; and tcpdump reads in the frames what they are meant to say.
func TestRouterFollows(t *testing.T) {
	node, _, _, routerNS := pair(t)
	wiretest.IP(t, routerNS, "neigh add 62.217.124.53 lladdr 02:00:00:00:00:99 dev eth0 nud stale\nneigh add 2001:db8:993::53 lladdr 02:00:00:00:00:99 dev eth0 nud stale\n")
	dump := tcpdump(t, routerNS)
	claims := []announce.Claim{{Dev: "eth0", Addr: ip("62.217.124.53")}, {Dev: "eth0", Addr: ip("2001:db8:993::53")}}
	if err := announce.Once(t.Context(), node, claims); err != nil {
		t.Fatal(err)
	}
	for _, c := range claims {
		wiretest.Until(t, func() (string, bool) {
			out, _ := wiretest.Run(t, routerNS, "ip", "neigh", "show", c.Addr.String(), "dev", "eth0")
			return out, strings.Contains(out, "lladdr 02:00:00:00:00:01 ")
		})
	}
	var lines []string
	for l := range dump {
		lines = append(lines, l)
		if strings.Contains(l, "destination link-address option") {
			break
		}
	}
	text := strings.Join(lines, "\n")
	for _, want := range []string{
		"02:00:00:00:00:01 > ff:ff:ff:ff:ff:ff, ethertype ARP (0x0806), length 42: Ethernet (len 6), IPv4 (len 4), Request who-has 62.217.124.53 tell 62.217.124.53, length 28",
		"02:00:00:00:00:01 > ff:ff:ff:ff:ff:ff, ethertype ARP (0x0806), length 42: Ethernet (len 6), IPv4 (len 4), Reply 62.217.124.53 is-at 02:00:00:00:00:01, length 28",
		"02:00:00:00:00:01 > 33:33:00:00:00:01, ethertype IPv6 (0x86dd)",
		"fe80::ff:fe00:1 > ff02::1: [icmp6 sum ok] ICMP6, neighbor advertisement, length 32, tgt is 2001:db8:993::53, Flags [override]",
		"destination link-address option (2), length 8 (1): 02:00:00:00:00:01",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("tcpdump has no %q in\n%s", want, text)
		}
	}
}

// tcpdump returns its lines about ARP and neighbour advertisements on eth0 from now on.
func tcpdump(t *testing.T, ns string) <-chan string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), wiretest.Patience)
	cmd := exec.CommandContext(ctx, "ip", "netns", "exec", ns, "tcpdump", "-lnevv", "-i", "eth0", "arp or (icmp6 and ip6[40] == 136)")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := make(chan string, 100)
	go func() {
		defer close(lines)
		for s := bufio.NewScanner(stdout); s.Scan(); {
			lines <- s.Text()
		}
	}()
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // killed
	})
	ready := bufio.NewScanner(stderr)
	for ready.Scan() {
		if strings.Contains(ready.Text(), "listening on eth0") {
			return lines
		}
	}
	t.Fatal("tcpdump does not listen")
	return nil
}

// TestKernelsAnswer: who is found by a probe when the others are real kernels: a host with the addresses, a node that is
// only a proxy for them, nobody, and somebody who tries the address at the same time. The node itself has nothing to say.
func TestKernelsAnswer(t *testing.T) {
	node, _, _, routerNS := pair(t)
	const asked = "62.217.124.54"
	router := frame.MAC{2, 0, 0, 0, 0, 2}
	host4, host6, none4, none6 := ip("62.217.124.50"), ip("2001:db8:993::50"), ip("62.217.124.51"), ip("2001:db8:993::51")
	proxied4, proxied6 := ip("62.217.124.53"), ip("2001:db8:993::53")
	wiretest.IP(t, routerNS, `addr add 62.217.124.50/29 dev eth0
addr add 2001:db8:993::50/64 dev eth0 nodad
link add tap0 type veth peer name tap0guest
link set tap0 up
link set tap0guest up
route add 62.217.124.53/32 dev tap0
route add 2001:db8:993::53/128 dev tap0
neigh add proxy 2001:db8:993::53 dev eth0
ntable change name arp_cache dev eth0 proxy_delay 0
ntable change name ndisc_cache dev eth0 proxy_delay 0
`)
	wiretest.Sysctl(t, routerNS, "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1", "net.ipv4.conf.eth0.proxy_arp=1", "net.ipv6.conf.eth0.proxy_ndp=1")
	for _, tt := range []struct {
		name   string
		source netip.Addr
		addrs  []netip.Addr
		want   []announce.Holder
	}{
		{"a host", netip.Addr{}, []netip.Addr{host4, host6}, []announce.Holder{{host4, router}, {host6, router}}},
		{"a proxy", ip(asked), []netip.Addr{proxied4, proxied6}, []announce.Holder{{proxied4, router}, {proxied6, router}}},
		{"a proxy, without a sender", netip.Addr{}, []netip.Addr{proxied4}, nil},
		{"nobody", ip(asked), []netip.Addr{none4, none6}, nil},
		{"some", ip(asked), []netip.Addr{none6, host4, none4, proxied6}, []announce.Holder{{host4, router}, {proxied6, router}}},
	} {
		got, err := announce.Probe(t.Context(), node, "eth0", tt.source, tt.addrs)
		if err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %v, %v, want %v", tt.name, got, err, tt.want)
		}
	}
}

// TestAnswerInVRF: with our answers, arping finds an address of a proxied guest taken, and a router that makes sure of its
// neighbour is told so. The kernel alone does neither, which is checked first, with a guest of the same node that is not
// answered for.
func TestAnswerInVRF(t *testing.T) {
	node, _, nodeNS, routerNS := pair(t)
	wiretest.IP(t, nodeNS, `link add vrf993 type vrf table 993
link set vrf993 up
link set eth0 master vrf993
link add tap0 type veth peer name tap0guest
link set tap0 master vrf993 up
link set tap0guest up
route add 62.217.124.48/29 dev eth0 table 993
route add 2001:db8:993::/64 dev eth0 table 993
ntable change name arp_cache dev eth0 proxy_delay 0
ntable change name ndisc_cache dev eth0 proxy_delay 0
`)
	for _, guest := range []string{"52", "53"} {
		wiretest.IP(t, nodeNS, "route add 62.217.124."+guest+"/32 dev tap0 table 993\nroute add 2001:db8:993::"+guest+"/128 dev tap0 table 993\nneigh add proxy 2001:db8:993::"+guest+" dev eth0\n")
	}
	wiretest.Sysctl(t, nodeNS, "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1", "net.ipv4.conf.eth0.proxy_arp=1", "net.ipv6.conf.eth0.proxy_ndp=1")
	var eth0 wire.Device
	wiretest.Until(t, func() (string, bool) { // the change of VRF made it begin anew
		eth0 = wiretest.Device(t, node, "eth0")
		return "no link-local address", eth0.LinkLocal.IsValid()
	})
	events, err := node.Listen(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for e := range events {
			mine := func(a netip.Addr) bool { return a == ip("62.217.124.53") || a == ip("2001:db8:993::53") }
			if f, ok := announce.Answer(e.Frame, eth0, mine); ok && e.Index == eth0.Index {
				if err := node.Send(e.Index, f); err != nil {
					t.Error(err)
				}
			}
		}
	}()
	for _, guest := range []struct {
		number   string
		answered bool
	}{{"52", false}, {"53", true}} {
		v4, v6 := "62.217.124."+guest.number, "2001:db8:993::"+guest.number
		if out, free := wiretest.Run(t, routerNS, "arping", "-D", "-c", "3", "-w", "3", "-I", "eth0", v4); free == guest.answered {
			t.Errorf("%s is free: %v\n%s", v4, free, out)
		}
		// A question to everybody is the kernel's to answer, for each guest that the node has a proxy entry for.
		wiretest.Run(t, routerNS, "ping", "-c", "1", "-W", "1", v6)
		state(t, routerNS, v6, "lladdr 02:00:00:00:00:01")
		wiretest.IP(t, routerNS, "neigh replace "+v6+" lladdr 02:00:00:00:00:01 dev eth0 nud probe\n")
		if guest.answered {
			state(t, routerNS, v6, "REACHABLE")
		} else {
			state(t, routerNS, v6, "FAILED")
		}
	}
}

// state waits until a neighbour entry says this.
func state(t *testing.T, ns, addr, want string) {
	t.Helper()
	wiretest.Until(t, func() (string, bool) {
		out, _ := wiretest.Run(t, ns, "ip", "neigh", "show", addr, "dev", "eth0")
		return out, strings.Contains(out, want)
	})
}
