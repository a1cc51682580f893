// SPDX-License-Identifier: Apache-2.0

package guest_test

import (
	"strings"
	"testing"

	"weft/internal/frame"
	"weft/internal/guest"
	"weft/internal/wire"
	"weft/internal/wire/wiretest"
)

// plugIn makes a node with a routed network, and a guest on its tap whose kernel speaks for itself. The tap is set up as
// weft does it. The guest's interface is down.
func plugIn(t *testing.T) (host, vm *wire.Socket, hostNS, vmNS string) {
	t.Helper()
	host, hostNS = wiretest.Namespace(t)
	vm, vmNS = wiretest.Namespace(t)
	wiretest.IP(t, hostNS, `link add vrf993 type vrf table 993
link set vrf993 up
link add tap0 address cc:47:52:4e:45:54 type veth peer name eth0 address aa:00:00:11:22:33 netns `+vmNS+`
link set tap0 master vrf993 up
route add unreachable default table 993
route add 2001:db8:993::53/128 dev tap0 table 993
neigh add proxy 2001:db8:993::1 dev tap0
ntable change name ndisc_cache dev tap0 proxy_delay 0
`)
	wiretest.Sysctl(t, hostNS, "net.ipv6.conf.all.forwarding=1", "net.ipv6.conf.tap0.proxy_ndp=1")
	return host, vm, hostNS, vmNS
}

// serve answers the guest until the test ends.
func serve(t *testing.T, host *wire.Socket, nic guest.NIC) *guest.Answers {
	t.Helper()
	nic.Index = wiretest.Device(t, host, "tap0").Index
	events, err := host.Listen(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	a := guest.New(host, nil)
	a.Set([]guest.NIC{nic})
	go a.Run(t.Context())
	go func() {
		for e := range events {
			a.Handle(e)
		}
	}()
	return a
}

func shows(t *testing.T, ns string, words []string, command ...string) {
	t.Helper()
	wiretest.Until(t, func() (string, bool) {
		out, ok := wiretest.Run(t, ns, command...)
		for _, w := range words {
			ok = ok && strings.Contains(out, w)
		}
		return out, ok
	})
}

// TestGuestBoots: a Linux guest that boots has its default route, its address and its MTU from us, and nothing of the
// subnet is on its link.
func TestGuestBoots(t *testing.T) {
	host, _, _, vmNS := plugIn(t)
	formed := nic
	formed.MTU, formed.Addrs = 1400, append(nic.Addrs[:1:1], frame.EUI64(nic.Subnet.Addr(), mac))
	serve(t, host, formed)
	wiretest.IP(t, vmNS, "link set eth0 up\n")
	shows(t, vmNS, []string{"default via fe80::ce47:52ff:fe4e:4554 dev eth0 proto ra", "expires 8", "mtu 1400", "hoplimit 64"}, "ip", "-6", "route", "show", "default")
	shows(t, vmNS, []string{"inet6 2001:db8:993:0:a800:ff:fe11:2233/64 scope global dynamic"}, "ip", "-6", "addr", "show", "dev", "eth0")
	shows(t, vmNS, []string{"via fe80::ce47:52ff:fe4e:4554 dev eth0"}, "ip", "-6", "route", "get", "2001:db8:993::7")
	if out, _ := wiretest.Run(t, vmNS, "ip", "-6", "route", "show", "2001:db8:993::/64"); out != "" {
		t.Errorf("on the guest's link: %s", out)
	}
}

// TestGuestWithPrefix: a guest that was given its address with the whole prefix finds its neighbours and the gateway at
// the tap, is told so once and not twice, and has no trouble with its own addresses.
func TestGuestWithPrefix(t *testing.T) {
	host, vm, _, vmNS := plugIn(t)
	serve(t, host, nic)
	heard, err := vm.Listen(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	wiretest.IP(t, vmNS, "link set eth0 up\naddr add 2001:db8:993::53/64 dev eth0\naddr add 2001:db8:993::54/64 dev eth0\n")
	wiretest.Until(t, func() (string, bool) {
		out, ok := wiretest.Run(t, vmNS, "ip", "-6", "addr", "show", "dev", "eth0")
		return out, ok && strings.Count(out, "inet6") >= 3 && !strings.Contains(out, "tentative")
	})
	if out, _ := wiretest.Run(t, vmNS, "ip", "-6", "addr", "show", "dev", "eth0"); strings.Contains(out, "dadfailed") {
		t.Errorf("somebody answered for the guest's own:\n%s", out)
	}
	for _, a := range []string{"2001:db8:993::7", "2001:db8:993::1"} {
		wiretest.Run(t, vmNS, "ping", "-c", "1", "-W", "1", a) // nobody is there to answer it: the table is what counts
		shows(t, vmNS, []string{"lladdr cc:47:52:4e:45:54 "}, "ip", "-6", "neigh", "show", a, "dev", "eth0")
		// As Linux does after a while: it asks the neighbour itself whether it is still there.
		wiretest.IP(t, vmNS, "neigh replace "+a+" lladdr cc:47:52:4e:45:54 dev eth0 nud probe\n")
		shows(t, vmNS, []string{"lladdr cc:47:52:4e:45:54 REACHABLE"}, "ip", "-6", "neigh", "show", a, "dev", "eth0")
	}
	// The last question, to the tap's own address, is the kernel's to answer: after that everything was heard.
	wiretest.Run(t, vmNS, "ping", "-c", "1", "-W", "1", "fe80::ce47:52ff:fe4e:4554%eth0")
	answers := map[string]int{}
	for e := range heard {
		na, ok := e.Frame.Msg.(frame.NA)
		if !ok || !na.Solicited {
			continue
		}
		if answers[na.Target.String()]++; na.Target == frame.LinkLocal(tap) {
			break
		}
	}
	for _, a := range []string{"2001:db8:993::7", "2001:db8:993::1"} {
		if answers[a] != 2 {
			t.Errorf("%s: %d answers to a question to all and one to itself", a, answers[a])
		}
	}
}
