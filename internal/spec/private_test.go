// SPDX-License-Identifier: Apache-2.0

package spec

import (
	"net/netip"
	"strings"
	"testing"
)

func TestMasks(t *testing.T) {
	for file, want := range map[string]string{
		"networks: {a: {mode: private, uplink: eth0, vlan: 5}, b: {mode: private, uplink: eth0, vlan: 6, mac_mask: 'FF:FF:F0:00:00:00'}}": "",
		"networks: {a: {mode: private, uplink: eth0, vlan: 5}, b: {mode: private, uplink: eth0, vlan: 6, mac_mask: 'ff:ff:ff:00:00:00'}}": "ff:ff:ff:00:00:00 is not that of network a, ff:ff:f0:00:00:00",
		"networks: {a: {mode: private, uplink: eth0, vlan: 5, mac_mask: 'ff:ff:0f:00:00:00'}}":                                            "is not a mask of the first 8 to 47 bits of a MAC",
		"networks: {a: {mode: private, uplink: eth0, vlan: 5, mac_mask: 'ff:ff:ff:ff:ff:ff'}}":                                            "is not a mask of the first 8 to 47 bits of a MAC",
		"networks: {a: {mode: private, uplink: eth0, vlan: 5, mac_mask: 'fe:00:00:00:00:00'}}":                                            "is not a mask of the first 8 to 47 bits of a MAC",
		"networks: {a: {mode: private, uplink: eth0, vlan: 5, mac_mask: '20'}}":                                                           "is not a mask such as ff:ff:f0:00:00:00",
		"networks: {a: {mode: bridged, uplink: eth0, vlan: 5, mac_mask: 'ff:ff:f0:00:00:00'}}":                                            "only the tenants of a private network are told apart by their MACs",
		"networks: {a: {mode: private, uplink: eth0, vlan: 5, ipv4: {subnet: 10.0.0.0/8}}}":                                               "a bridged network has no ipv4",
	} {
		_, err := Parse("n.yaml", []byte(file+"\n"))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %s", file, err, want)
		}
	}
}

func TestPrivateNICs(t *testing.T) {
	node, err := Parse("n.yaml", []byte("networks: {prv: {mode: private, uplink: eth0, vlan: 5}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	plug := func(name, mac, ip string) NIC {
		return NIC{ID: name, Name: name, MAC: mac, Network: "prv", Addresses: []netip.Addr{netip.MustParseAddr(ip)}}
	}
	a := plug("tap0", "aa:00:10:00:00:01", "192.88.99.1")
	other, fellow, vrrp, any := plug("tap1", "aa:00:20:00:00:01", "192.88.99.1"), plug("tap1", "aa:00:1f:00:00:01", "192.88.99.1"), a, a
	vrrp.MACs = []string{"aa:00:1f:00:00:09", "00:00:5e:00:01:01"}
	any.Trust = []string{"mac"}
	for _, test := range []struct {
		nics []NIC
		want string
	}{
		{[]NIC{a, other}, ""},
		{[]NIC{a, fellow}, "nic tap1: address 192.88.99.1 is that of nic tap0 already"},
		{[]NIC{vrrp}, "nic tap0: mac 00:00:5e:00:01:01: the network is private, and the guest's other MACs begin as aa:00:10:00:00:01 does (ff:ff:f0:00:00:00)"},
		{[]NIC{any}, "nic tap0: trust mac: the network is private, and only MACs keep its tenants apart"},
	} {
		got := ""
		if err := CheckNICs(node, test.nics); err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("got  %s\nwant %s", got, test.want)
		}
	}
}
