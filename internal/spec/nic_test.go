// SPDX-License-Identifier: Apache-2.0

package spec

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const nicNode = `node: hv1
links: {eth0: {addresses: [10.9.0.5/24]}}
bonds: {bond0: {members: [eth1, eth2]}}
networks:
  public:
    mode: routed
    uplink: bond0
    vlan: 993
    ipv4: {subnet: 62.217.124.48/29, gateway: 62.217.124.49, arp_source: 62.217.124.54}
    ipv6: {subnet: "2001:db8:993::/64", gateway: "2001:db8:993::1"}
  four: {mode: routed, uplink: bond0, vlan: 5, ipv4: {subnet: 10.9.0.0/24}}
  tenant: {mode: routed, uplink: bond0, vlan: 6, ipv4: {subnet: 10.9.0.0/24}}
  lan: {mode: bridged, uplink: bond0, vlan: 992}
`

func nic(id, name, mac, network string, ips ...string) NIC {
	n := NIC{ID: id, Name: name, MAC: mac, Network: network}
	for _, ip := range ips {
		n.Addresses = append(n.Addresses, netip.MustParseAddr(ip))
	}
	return n
}

func TestCheckNICs(t *testing.T) {
	node, err := Parse("hv1.yaml", []byte(nicNode))
	if err != nil {
		t.Fatal(err)
	}
	good := nic("u0", "tap0", "aa:00:00:00:00:01", "public", "62.217.124.53", "2001:db8:993::53")
	for _, c := range []struct {
		name string
		nics []NIC
		want string
	}{
		{"good", []NIC{good, nic("u1", "tap1", "aa:00:00:00:00:02", "lan"), nic("u2", "tap2", "aa:00:00:00:00:03", "four", "10.9.0.9"), nic("u3", "tap3", "aa:00:00:00:00:04", "tenant", "10.9.0.9")}, ""},
		{"same id", []NIC{good, nic("u0", "tap1", "aa:00:00:00:00:02", "lan")}, "nic tap1: id u0 is that of nic tap0 already"},
		{"same tap", []NIC{good, nic("u1", "tap0", "aa:00:00:00:00:02", "lan")}, "nic tap0: tap tap0 is that of nic tap0 already"},
		{"same mac", []NIC{good, nic("u1", "tap1", "AA:00:00:00:00:01", "lan")}, "nic tap1: mac aa:00:00:00:00:01 is that of nic tap0 already"},
		{"same ip", []NIC{good, nic("u1", "tap1", "aa:00:00:00:00:02", "public", "62.217.124.53")}, "nic tap1: address 62.217.124.53 is that of nic tap0 already"},
		{"same ip elsewhere", []NIC{good, nic("u1", "tap1", "aa:00:00:00:00:02", "lan", "2001:db8:993::53")}, "nic tap1: address 2001:db8:993::53 is that of nic tap0 already"},
		{"same private ip", []NIC{nic("u2", "tap2", "aa:00:00:00:00:03", "four", "10.9.0.9"), nic("u3", "tap3", "aa:00:00:00:00:04", "four", "10.9.0.9")}, "nic tap3: address 10.9.0.9 is that of nic tap2 already"},
		{"network", []NIC{nic("u1", "tap1", "aa:00:00:00:00:02", "pubilc", "62.217.124.53")}, `nic tap1: no network "pubilc" in the node file (did you mean "public"?)`},
		{"family", []NIC{nic("u1", "tap1", "aa:00:00:00:00:02", "four", "2001:db8::1")}, "nic tap1: address 2001:db8::1: network four has no IPv6"},
		{"subnet", []NIC{nic("u1", "tap1", "aa:00:00:00:00:02", "public", "62.217.124.56")}, "nic tap1: address 62.217.124.56 is not in 62.217.124.48/29 of network public"},
		{"broadcast", []NIC{nic("u1", "tap1", "aa:00:00:00:00:02", "public", "62.217.124.55")}, "nic tap1: address 62.217.124.55 is the broadcast address of 62.217.124.48/29"},
		{"gateway", []NIC{nic("u1", "tap1", "aa:00:00:00:00:02", "public", "62.217.124.49", "2001:db8:993::1")}, "nic tap1: address 62.217.124.49 is the gateway of network public\nnic tap1: address 2001:db8:993::1 is the gateway of network public"},
		{"arp_source", []NIC{nic("u1", "tap1", "aa:00:00:00:00:02", "public", "62.217.124.54")}, "nic tap1: address 62.217.124.54 is the arp_source of network public: the node asks in its name"},
		{"none", []NIC{nic("u1", "tap1", "aa:00:00:00:00:02", "public")}, "nic tap1: an address is missing; network public is routed, and leads to a guest by its addresses"},
		{"the node's", []NIC{nic("u1", "tap1", "aa:00:00:00:00:02", "four", "10.9.0.5")}, "nic tap1: address 10.9.0.5 is the node's own, on eth0"},
		{"no tap", []NIC{nic("u1", "bond0.993", "aa:00:00:00:00:02", "lan"), nic("u2", "eth1", "aa:00:00:00:00:03", "lan"), nic("u3", "eth0", "aa:00:00:00:00:04", "lan")}, "nic bond0.993: bond0.993 is no tap: it is networks.public.vlan of the node file\nnic eth1: eth1 is no tap: it is bonds.bond0.members of the node file\nnic eth0: eth0 is no tap: it is links.eth0 of the node file"},
		{"all at once", []NIC{nic("", "a tap", "01:00:00:00:00:02", "", "127.0.0.1")}, "nic a tap: id: a name must not be empty\nnic a tap: the name \"a tap\" has ' ' in it; letters, digits, '.', '_', '-' and '+' are allowed\nnic a tap: mac: 01:00:00:00:00:02 is a multicast address\nnic a tap: network: a name must not be empty\nnic a tap: address 127.0.0.1 is not one that a network can lead to a guest\nnic a tap: no network \"\" in the node file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := ""
			if err := CheckNICs(node, c.nics); err != nil {
				got = err.Error()
			}
			if got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestParseNIC(t *testing.T) {
	got, err := ParseNIC("u0", "tap0", "AA:00:00:00:00:01", "public", []string{"62.217.124.53", "2001:DB8::1"})
	want := nic("u0", "tap0", "aa:00:00:00:00:01", "public", "62.217.124.53", "2001:db8::1")
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for _, c := range []struct{ id, name, mac, network, ip, want string }{
		{"../x", "tap0", "aa:00:00:00:00:01", "public", "10.0.0.1", `id: the name "../x" begins with "."`},
		{"u", "sixteen-bytes-xx", "aa:00:00:00:00:01", "public", "10.0.0.1", `has 16 bytes; 15 is the most`},
		{"u", "lo", "aa:00:00:00:00:01", "public", "10.0.0.1", `keeps for itself`},
		{"u", "tap0", "00:00:00:00:00:00", "public", "10.0.0.1", `nobody's address`},
		{"u", "tap0", "aa:00:00:00:00:01:02:03", "public", "10.0.0.1", `is not a MAC address`},
		{"u", "tap0", "aa:00:00:00:00:01", "public", "10.0.0.1/24", `without a prefix length`},
		{"u", "tap0", "aa:00:00:00:00:01", "public", "fe80::1", `is not one that a network can lead to a guest`},
		{"u", "tap0", "aa:00:00:00:00:01", "public", "255.255.255.255", `multicast or broadcast`},
		{"u", "tap0", "aa:00:00:00:00:01", "", "10.0.0.1", `network: a name must not be empty`},
	} {
		if n, err := ParseNIC(c.id, c.name, c.mac, c.network, []string{c.ip}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("ParseNIC = %v, %v, want %s", n, err, c.want)
		}
	}
}

func TestCheckAgainst(t *testing.T) {
	node, err := Parse("hv1.yaml", []byte(`links: {eth9: {}, eth0: {}}
bonds:
  bond0:
    members: [eth0, eth7]
vlans: {eth6.5: {}, bond0.7: {}}
bridges: {br0: {ports: [eth0.9, bond0.7]}}
networks:
  a: {mode: bridged, uplink: eth5, vlan: 5}
  b: {mode: bridged, uplink: bond0, vlan: 5, bridge: b}
`))
	if err != nil {
		t.Fatal(err)
	}
	want := `hv1.yaml:1:9: links.eth9: no interface eth9 on this node
hv1.yaml:4:21: bonds.bond0.members: no interface eth7 on this node
hv1.yaml:5:9: vlans.eth6.5.parent: no interface eth6 on this node
hv1.yaml:6:25: bridges.br0.ports: no interface eth0.9 on this node
hv1.yaml:8:30: networks.a.uplink: no interface eth5 on this node`
	err = CheckAgainst(node, func(name string) bool { return name == "eth0" })
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %v", err, want)
	}
	if err := CheckAgainst(node, func(string) bool { return true }); err != nil {
		t.Error(err)
	}
}
