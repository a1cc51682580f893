// SPDX-License-Identifier: Apache-2.0

package spec

import (
	"strings"
	"testing"
)

func TestGroups(t *testing.T) {
	for groups, want := range map[string]string{
		"{}": "",
		"{web: {allow: [{proto: tcp, ports: [80, 443, 8000-8100]}, {proto: icmp}]}}":                                                                          "",
		"{web: {allow: [{proto: tcp}], members: [192.0.2.0/25]}, db: {allow: [{proto: tcp, ports: [5432], from: ['group:web', 10.0.0.0/8, '2001:db8::1']}]}}": "",
		"{protected: {allow: [{proto: tcp}]}}":                      "protected is a profile that is always there",
		"{Web: {}}":                                                 `"Web" is not the name of a group`,
		"{web-1: {}}":                                               `"web-1" is not the name of a group`,
		"{web: {allow: [{ports: [80]}]}}":                           "proto is missing",
		"{web: {allow: [{proto: ip}]}}":                             `"ip" is not one of tcp, udp, icmp`,
		"{web: {allow: [{proto: icmp, ports: [80]}]}}":              "icmp has no ports",
		"{web: {allow: [{proto: tcp, ports: [0]}]}}":                `"0" is neither a port, 1 to 65535, nor a range`,
		"{web: {allow: [{proto: tcp, ports: [65536]}]}}":            `"65536" is neither a port`,
		"{web: {allow: [{proto: tcp, ports: [http]}]}}":             `"http" is neither a port`,
		"{web: {allow: [{proto: tcp, ports: [90-80]}]}}":            "90-80: the first port of a range is below the last",
		"{web: {allow: [{proto: tcp, ports: [80, 80]}]}}":           "80 is here twice",
		"{web: {allow: [{proto: tcp, from: [192.0.2.1/24]}]}}":      "192.0.2.1/24 has host bits: the subnet is 192.0.2.0/24",
		"{web: {allow: [{proto: tcp, from: [anybody]}]}}":           `"anybody" is not a prefix, an address or group:NAME`,
		"{web: {allow: [{proto: tcp, from: [default]}]}}":           `"default" is not a prefix, an address or group:NAME`,
		"{web: {allow: [{proto: tcp, from: ['group:wbe']}]}}":       `there is no group wbe (did you mean "web"?)`,
		"{web: {allow: [{proto: tcp, from: ['group:protected']}]}}": "there is no group protected",
	} {
		_, err := Parse("n.yaml", []byte("groups: "+groups+"\n"))
		if want == "" && err != nil || want != "" && (err == nil || strings.Count(err.Error(), "\n") > 0 || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %s", groups, err, want)
		}
	}
}

func TestGroupsAndTables(t *testing.T) {
	const file = "networks: {a: {mode: routed, uplink: eth0, vlan: 5, table: 57344, ipv4: {subnet: 192.0.2.0/24, gateway: 192.0.2.1}}}\n"
	if _, err := Parse("n.yaml", []byte(file)); err != nil {
		t.Error(err)
	}
	want := "n.yaml:2:60: networks.a.table: 57344; with groups want one below 57344: the connections of bridged networks have the others for their zones"
	if _, err := Parse("n.yaml", []byte("groups: {}\n"+file)); err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

func TestGroupsOfNICs(t *testing.T) {
	nic := NIC{ID: "a", Name: "tap0", MAC: "aa:00:00:00:00:01", Network: "lan"}
	for file, more := range map[string]map[string]string{
		"groups: {web: {}}\n": {
			"web protected": "",
			"wbe":           `nic tap0: no group "wbe" in the node file (did you mean "web"?)`,
			"web web":       "nic tap0: group web is here twice",
		},
		"groups: {}\n": {"limited": ""},
		"":             {"limited": "nic tap0: group limited: the node file has no groups, and no firewall without them; groups: {} is for the profiles alone"},
	} {
		node, err := Parse("n.yaml", []byte(file+"networks: {lan: {mode: bridged, uplink: eth0, vlan: 5}}\n"))
		if err != nil {
			t.Fatal(err)
		}
		for groups, want := range more {
			nic.Groups = strings.Fields(groups)
			got := ""
			if err := CheckNICs(node, []NIC{nic}); err != nil {
				got = err.Error()
			}
			if got != want {
				t.Errorf("%s%s: %s, want %s", file, groups, got, want)
			}
		}
	}
	nic.Groups = []string{"web", "unprotected"}
	if got := nic.Firewalled(); got != nil {
		t.Errorf("unprotected, and %s", got)
	}
}
