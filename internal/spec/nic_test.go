// SPDX-License-Identifier: Apache-2.0

package spec

import (
	"net/netip"
	"slices"
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

func with(n NIC, prefixes ...string) NIC {
	for _, p := range prefixes {
		n.Prefixes = append(n.Prefixes, netip.MustParsePrefix(p))
	}
	return n
}

// TestDescribedNetworks are those that only NICs describe.
func TestDescribedNetworks(t *testing.T) {
	node, err := Parse("hv1.yaml", []byte(nicNode))
	if err != nil {
		t.Fatal(err)
	}
	theirs := func(edit func(*Network)) *Network {
		n := &Network{Mode: Routed, Managed: new(false), Table: 100, Uplink: "bond1.100", IPv4: &Prefix{}, IPv6: &Prefix{Gateway: netip.MustParseAddr("fe80::1")}}
		edit(n)
		return n
	}
	plug := func(id, tap, mac, network string, net *Network) NIC {
		n := nic(id, tap, mac, network, "198.51.100."+id, "2001:db8:100::"+id)
		n.Net = net
		return n
	}
	one := func(edit func(*Network)) []NIC {
		return []NIC{plug("1", "tap1", "aa:00:00:00:00:01", "theirs", theirs(edit))}
	}
	for _, c := range []struct {
		name string
		nics []NIC
		want string
	}{
		{"good", one(func(*Network) {}), ""},
		{"two NICs, one network", append(one(func(*Network) {}), plug("2", "tap2", "aa:00:00:00:00:02", "theirs", theirs(func(*Network) {}))), ""},
		{"the file comes first", []NIC{{ID: "u", Name: "tap9", MAC: "aa:00:00:00:00:09", Network: "lan", Net: theirs(func(n *Network) { n.Table = 0 })}}, ""},
		{"described twice", append(one(func(*Network) {}), plug("2", "tap2", "aa:00:00:00:00:02", "theirs", theirs(func(n *Network) { n.Table = 101 }))),
			"nic tap2: network theirs is described otherwise by nic tap1, and the node file has none of that name"},
		{"managed", one(func(n *Network) { n.Managed, n.Table = nil, 5 }), "nic tap1: network theirs: managed has to be false: what only a NIC describes is somebody else's to make"},
		{"table of the file", one(func(n *Network) { n.Table = 993 }), "nic tap1: network theirs.table: table 993 is that of network public already"},
		{"forms", one(func(n *Network) {
			n.Mode, n.Uplink, n.VLAN, n.Policy = "switched", "a b", 5000, "none"
			n.IPv4.Subnet, n.IPv6.Uplink = netip.MustParsePrefix("198.51.100.1/24"), "; reboot"
		}), `nic tap1: network theirs.mode: "switched" is not one of bridged, private, routed
nic tap1: network theirs.uplink: the name "a b" has ' ' in it; letters, digits, '.', '_', '-' and '+' are allowed
nic tap1: network theirs.vlan: 5000 is not within 1 to 4094
nic tap1: network theirs.policy: "none" is not one of vrf, rules
nic tap1: network theirs.ipv4.subnet: 198.51.100.1/24 has host bits: the subnet is 198.51.100.0/24
nic tap1: network theirs.ipv6.uplink: the name "; reboot" has ';' in it; letters, digits, '.', '_', '-' and '+' are allowed`},
		{"no uplink", one(func(n *Network) { n.Uplink = "" }), "nic tap1: network theirs: uplink is missing; the node answers on it for the guests' IPv6 addresses"},
		{"no uplink, IPv4", []NIC{{ID: "u", Name: "tap9", MAC: "aa:00:00:00:00:09", Network: "n", Addresses: []netip.Addr{netip.MustParseAddr("198.51.100.9")},
			Net: &Network{Mode: Routed, Managed: new(false), Table: 7, IPv4: &Prefix{}}}}, ""},
		{"bridge of the file", []NIC{{ID: "u", Name: "tap9", MAC: "aa:00:00:00:00:09", Network: "n", Net: &Network{Mode: Bridged, Managed: new(false), Bridge: "vlan992"}}},
			"nic tap9: network n.bridge: vlan992 is networks.lan.bridge, and so weft's to make: take managed: false out, or name another"},
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
	merged, err := WithNICs(node, one(func(*Network) {}))
	if err != nil || merged.Networks["theirs"] == nil || node.Networks["theirs"] != nil || merged.Networks["public"] != node.Networks["public"] {
		t.Errorf("WithNICs = %v, %v", merged.Networks, err)
	}
	if same, err := WithNICs(node, nil); err != nil || same != node {
		t.Errorf("WithNICs without NICs is another node: %v", err)
	}
}

func TestNICEqual(t *testing.T) {
	a := with(nic("u0", "tap0", "aa:00:00:00:00:01", "public", "62.217.124.53"), "198.51.100.0/24")
	for name, edit := range map[string]func(*NIC){
		"prefix": func(n *NIC) { n.Prefixes = nil }, "address": func(n *NIC) { n.Addresses = nil }, "prepared": func(n *NIC) { n.Prepared = true },
		"instance": func(n *NIC) { n.Instance = "web1" }, "net": func(n *NIC) { n.Net = &Network{Mode: Bridged} }, "was": func(n *NIC) { n.Was = &NIC{} },
	} {
		b := a
		edit(&b)
		if a.Equal(&b) || b.Equal(&a) || !b.Equal(&b) {
			t.Errorf("%s: equal", name)
		}
	}
	b := NIC{Addresses: []netip.Addr{}}
	if !b.Equal(&NIC{}) {
		t.Error("an empty list is not as good as none")
	}
}

func TestUplinks(t *testing.T) {
	node, err := Parse("hv1.yaml", []byte(`vlans: {v994: {parent: bond0, id: 994, mtu: 1400}}
networks:
  two: {mode: routed, uplink: bond0, table: 7, ipv4: {subnet: 198.51.100.0/24, vlan: 993}, ipv6: {subnet: "2001:db8::/64", vlan: 994}}
  same: {mode: routed, uplink: bond1, vlan: 5, ipv4: {subnet: 198.51.101.0/24, vlan: 5}, ipv6: {subnet: "2001:db8:1::/64"}}
  apart: {mode: routed, table: 8, ipv4: {subnet: 198.51.102.0/24, uplink: eth4}, ipv6: {subnet: "2001:db8:2::/64", uplink: eth6}}
  lan: {mode: bridged, uplink: bond2, vlan: 992}
`))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]Uplink{
		"two":   {{"bond0.993", "bond0", 993, true, false}, {"v994", "bond0", 994, false, true}},
		"same":  {{"bond1.5", "bond1", 5, true, true}},
		"apart": {{"eth4", "eth4", 0, true, false}, {"eth6", "eth6", 0, false, true}},
		"lan":   {{"bond2.992", "bond2", 992, false, false}},
	} {
		n := node.Networks[name]
		got := node.Uplinks(n)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		four, six := "", ""
		for _, u := range want {
			if u.IPv4 {
				four = u.Dev
			}
			if u.IPv6 {
				six = u.Dev
			}
		}
		if node.FamilyUplink(n, 4) != four || node.FamilyUplink(n, 6) != six {
			t.Errorf("%s: %q and %q, want %q and %q", name, node.FamilyUplink(n, 4), node.FamilyUplink(n, 6), four, six)
		}
	}
	if mtu := node.NetworkMTU(node.Networks["two"]); mtu != 1400 {
		t.Errorf("MTU %d, want the smaller one, 1400", mtu)
	}
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
		{"prepared, no address", []NIC{{ID: "u1", Name: "tap1", MAC: "aa:00:00:00:00:02", Network: "public", Prepared: true}}, ""},
		{"prefixes", []NIC{with(good, "10.53.0.0/16", "2001:db8:5300::/56"), with(nic("u1", "tap1", "aa:00:00:00:00:02", "public", "62.217.124.51"), "62.217.124.52/32", "198.51.100.0/24")}, ""},
		{"private prefixes of two tenants", []NIC{with(nic("u2", "tap2", "aa:00:00:00:00:03", "four", "10.9.0.9"), "10.53.0.0/16"), with(nic("u3", "tap3", "aa:00:00:00:00:04", "tenant", "10.9.0.9"), "10.53.0.0/16")}, ""},
		{"prefix of the subnet", []NIC{with(good, "2001:db8:993:0:1::/80", "2001:db8::/32", "62.217.124.0/24", "62.217.124.48/30")},
			"nic tap0: prefix 2001:db8:993:0:1::/80 overlaps 2001:db8:993::/64 of network public; the node answers there for single addresses: list them\n" +
				"nic tap0: prefix 2001:db8::/32 overlaps 2001:db8:993::/64 of network public; the network's other machines would be the guest's\n" +
				"nic tap0: prefix 62.217.124.0/24 overlaps 62.217.124.48/29 of network public; the network's other machines would be the guest's\n" +
				"nic tap0: prefix 62.217.124.48/30 has the gateway of network public in it, 62.217.124.49\n" +
				"nic tap0: prefix 62.217.124.0/24 overlaps 62.217.124.48/30 of nic tap0\nnic tap0: prefix 2001:db8::/32 overlaps 2001:db8:993:0:1::/80 of nic tap0"},
		{"prefix with a foreign address", []NIC{with(good, "10.8.0.0/15")}, "nic tap0: prefix 10.8.0.0/15 has an address of the node's own in it, 10.9.0.5 on eth0"},
		{"prefix without a way", []NIC{with(nic("u1", "tap1", "aa:00:00:00:00:02", "public", "62.217.124.51"), "2001:db8:5300::/56")}, "nic tap1: prefix 2001:db8:5300::/56: the guest has no IPv6 address to route it by"},
		{"prefix of no family", []NIC{with(nic("u1", "tap1", "aa:00:00:00:00:02", "four", "10.9.0.9"), "2001:db8:5300::/56")}, "nic tap1: prefix 2001:db8:5300::/56: network four has no IPv6"},
		{"prefix in a bridged network", []NIC{with(nic("u1", "tap1", "aa:00:00:00:00:02", "lan"), "198.51.100.0/24")}, "nic tap1: prefix 198.51.100.0/24: network lan is bridged, and the node routes nothing there"},
		{"bad prefixes", []NIC{with(good, "198.51.100.1/24", "0.0.0.0/0", "ff00::/8", "198.51.0.0/24", "198.51.0.0/24")},
			"nic tap0: prefix 198.51.100.1/24 has host bits: it is 198.51.100.0/24\nnic tap0: prefix 0.0.0.0/0 is everything\nnic tap0: prefix ff00::/8 is not one that a network can lead to a guest\nnic tap0: prefix 198.51.0.0/24 is here twice"},
		{"prefixes overlap", []NIC{with(good, "198.51.100.0/24"), with(nic("u1", "tap1", "aa:00:00:00:00:02", "public", "62.217.124.51"), "198.51.0.0/16", "62.217.124.52/31")},
			"nic tap1: prefix 62.217.124.52/31 overlaps 62.217.124.53/32 of nic tap0\nnic tap1: prefix 198.51.0.0/16 overlaps 198.51.100.0/24 of nic tap0"},
		{"prefix in a prefix", []NIC{with(good, "198.51.100.0/24", "198.51.100.128/25", "198.51.100.7/32")},
			"nic tap0: prefix 198.51.100.0/24 overlaps 198.51.100.128/25 of nic tap0"},
		{"instance", []NIC{{ID: "u1", Name: "tap1", MAC: "aa:00:00:00:00:02", Network: "lan", Instance: "web\n1"}}, "nic tap1: instance: want one line of at most 255 bytes"},
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
	got, err := ParseNIC("u0", "tap0", "AA:00:00:00:00:01", "public", []string{"62.217.124.53", "2001:DB8::1"}, nil)
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
		if n, err := ParseNIC(c.id, c.name, c.mac, c.network, []string{c.ip}, nil); err == nil || !strings.Contains(err.Error(), c.want) {
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
	absent, err := CheckAgainst(node, func(name string) bool { return name == "eth0" })
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %v", err, want)
	}
	if want := []string{"eth9", "eth7", "eth0.9", "eth6", "eth5"}; !slices.Equal(absent, want) {
		t.Errorf("absent %v, want %v", absent, want)
	}
	if _, err := CheckAgainst(node, func(string) bool { return true }); err != nil {
		t.Error(err)
	}
}
