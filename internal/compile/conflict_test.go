// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"weft/internal/spec"
)

// TestContradictions gives Compile nodes that package spec would refuse, or may: it must name both sides and never
// let the last one win.
func TestContradictions(t *testing.T) {
	routed := func(edit func(*spec.Network)) *spec.Network {
		n := &spec.Network{Mode: spec.Routed, Uplink: "eth0", VLAN: 993, IPv4: &spec.Prefix{Subnet: netip.MustParsePrefix("62.217.124.48/29")}}
		edit(n)
		return n
	}
	public := spec.NIC{Name: "tap0", MAC: "aa:00:00:00:00:01", Network: "public", Addresses: []netip.Addr{netip.MustParseAddr("62.217.124.53")}}
	tests := []struct {
		name string
		node spec.Node
		nics []spec.NIC
		want []string
	}{
		{"member of two bonds",
			spec.Node{Bonds: map[string]*spec.Bond{"bond0": {Members: []string{"eth0"}}, "bond1": {Members: []string{"eth0"}}}}, nil,
			[]string{`link eth0: bonds.bond1 asks for "master bond1", bonds.bond0 for "master bond0"`}},
		{"one name, two kinds",
			spec.Node{Bonds: map[string]*spec.Bond{"x": {}}, Bridges: map[string]*spec.Bridge{"x": {}}}, nil,
			[]string{"link x: bridges.x asks for a bridge, bonds.x for a bond"}},
		{"member with an MTU of its own",
			spec.Node{Links: map[string]*spec.Link{"eth0": {MTU: 1400}}, Bonds: map[string]*spec.Bond{"bond0": {Link: spec.Link{MTU: 9000}, Members: []string{"eth0"}}}}, nil,
			[]string{`link eth0: bonds.bond0 asks for "mtu 9000", links.eth0 for "mtu 1400"`}},
		{"two networks on one VLAN device",
			spec.Node{Networks: map[string]*spec.Network{
				"a": routed(func(n *spec.Network) {}),
				"b": {Mode: spec.Bridged, Uplink: "eth0", VLAN: 993},
			}}, nil,
			[]string{"link eth0.993: networks.b asks for", "group 8870993", "networks.a for"}},
		{"a sysctl against a network",
			spec.Node{Sysctls: map[string]string{"net.ipv4.ip_forward": "0"}, Networks: map[string]*spec.Network{"public": routed(func(*spec.Network) {})}}, nil,
			[]string{`sysctl net/ipv4/ip_forward: sysctls.net.ipv4.ip_forward asks for "net.ipv4.ip_forward=0", networks.public for "net.ipv4.ip_forward=1"`}},
		{"a VRF with another table",
			spec.Node{
				VRFs:     map[string]*spec.VRF{"public": {Table: 5}},
				Networks: map[string]*spec.Network{"public": routed(func(n *spec.Network) { n.VRF = "public" })},
			}, nil,
			[]string{`link public: networks.public asks for "table 993", vrfs.public for "table 5"`}},
		{"two NICs with one address",
			spec.Node{Networks: map[string]*spec.Network{"public": routed(func(*spec.Network) {})}},
			[]spec.NIC{public, {Name: "tap1", MAC: "aa:00:00:00:00:02", Network: "public", Addresses: public.Addresses}},
			[]string{"route 62.217.124.53 table 993 metric 0: nic tap1 asks for", "dev tap1", "nic tap0 for"}},
		{"a NIC without its network", spec.Node{}, []spec.NIC{public}, []string{`nic tap0: no network "public" in the node file`}},
		{"a gateway on no subnet",
			spec.Node{Routes: []spec.Route{{To: "default", Via: netip.MustParseAddr("10.0.0.1")}}}, nil,
			[]string{"routes[0]: no address of this file is in one subnet with the gateway 10.0.0.1"}},
		{"the native VLAN of a VLAN-aware bridge",
			spec.Node{Bridges: map[string]*spec.Bridge{"br0": {VLANAware: true}}, Networks: map[string]*spec.Network{"a": {Mode: spec.Bridged, Bridge: "br0"}}}, nil,
			[]string{"networks.a: a network on the VLAN-aware bridge br0 needs a vlan"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, err := Compile(&tt.node, tt.nics)
			if err == nil {
				t.Fatalf("no error, but\n%s", listing(s))
			}
			if s != nil {
				t.Error("a state beside the error")
			}
			for range 10 {
				if _, again := Compile(&tt.node, tt.nics); again == nil || again.Error() != err.Error() {
					t.Fatalf("the second time %v", again)
				}
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q\nlacks %q", err, want)
				}
			}
		})
	}
}

// TestGateway tells how the device of a route is found that names only its gateway.
func TestGateway(t *testing.T) {
	node := &spec.Node{
		Links: map[string]*spec.Link{
			"eth0": {Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/8")}},
			"eth1": {Addresses: []netip.Prefix{netip.MustParsePrefix("10.1.0.1/16")}},
			"eth2": {VRF: "blue", Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.2/8")}},
		},
		VRFs: map[string]*spec.VRF{"blue": {Table: 100}},
	}
	tests := []struct {
		via   string
		table uint32
		want  string
	}{
		{"10.2.0.9", 254, "eth0"},
		{"10.1.0.9", 254, "eth1"},
		{"10.1.0.9", 100, "eth2"}, // the VRF's own, though longer prefixes are elsewhere
		{"10.1.0.9", 7, "eth1"},   // a table without subnets
		{"192.0.2.1", 254, ""},
	}
	b := newBuilder(node)
	b.declared()
	for _, tt := range tests {
		if got := b.deviceTo(netip.MustParseAddr(tt.via), tt.table); got != tt.want {
			t.Errorf("device to %s for table %d: %q, want %q", tt.via, tt.table, got, tt.want)
		}
	}
}

func TestHostMAC(t *testing.T) {
	for guest, want := range map[string]string{
		"AA:00:00:94:ED:40": "fe:00:00:94:ed:40",
		"fe:00:00:94:ed:40": "fa:00:00:94:ed:40",
	} {
		if got := hostMAC(guest); got != want {
			t.Errorf("%s: %s, want %s", guest, got, want)
		}
	}
}

// BenchmarkCompile is a node with 1,000 bridged VLANs and 1,000 NICs in one routed network.
func BenchmarkCompile(b *testing.B) {
	node := &spec.Node{
		Bonds: map[string]*spec.Bond{"bond0": {Members: []string{"eth0", "eth1"}}},
		Networks: map[string]*spec.Network{"public": {
			Mode: spec.Routed, Uplink: "bond0", VLAN: 4000,
			IPv4: &spec.Prefix{Subnet: netip.MustParsePrefix("10.0.0.0/16"), Gateway: netip.MustParseAddr("10.0.255.254")},
			IPv6: &spec.Prefix{Subnet: netip.MustParsePrefix("2001:db8::/64"), Gateway: netip.MustParseAddr("2001:db8::1:0:0")},
		}},
	}
	var nics []spec.NIC
	for i := range 1000 {
		node.Networks[fmt.Sprintf("v%d", i)] = &spec.Network{Mode: spec.Bridged, Uplink: "bond0", VLAN: i + 1}
		nics = append(nics, spec.NIC{
			Name: fmt.Sprintf("tap%d", i), MAC: fmt.Sprintf("aa:00:00:00:%02x:%02x", i>>8, i&255), Network: "public",
			Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), netip.MustParseAddr(fmt.Sprintf("2001:db8::%x", i+2))},
		})
	}
	b.ReportAllocs()
	for b.Loop() {
		s, err := Compile(node, nics)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(s.Len()), "objects")
	}
}
