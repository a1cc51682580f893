// SPDX-License-Identifier: Apache-2.0

package ganeti

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"weft/internal/spec"
)

// spelled says a plan in one line.
func spelled(p Plan, err error) string {
	if err != nil {
		return "error: " + err.Error()
	}
	w := []string{p.NIC.Network}
	for _, a := range p.NIC.Addresses {
		w = append(w, a.String())
	}
	if p.NIC.Prepared {
		w = append(w, "prepared")
	}
	if p.Probe {
		w = append(w, "probe")
	}
	if p.NIC.Net != nil {
		data, err := json.Marshal(p.NIC.Net)
		if err != nil {
			return err.Error()
		}
		w = append(w, string(data))
	}
	for _, n := range p.Notes {
		w = append(w, "# "+n)
	}
	return strings.Join(w, " ")
}

const foreign100 = `{"mode":"routed","uplink":"bond0.100","table":100,"ipv4":{"subnet":"198.51.100.0/24","gateway":"198.51.100.1"},` +
	`"ipv6":{"subnet":"2001:db8:100::/64","gateway":"2001:db8:100::1","uplink":"bond0.106"},"managed":false}`

func TestProfiles(t *testing.T) {
	site := testSite(t)
	site.Node.Groups = map[string]*spec.Group{"web": {}}
	for tags, want := range map[string]string{
		"":                            "",
		"synnefo:network:0:protected": "protected",
		"synnefo:network:1:protected": "",
		"synnefo:network:0:protected|synnefo:network:0:web":         "web",
		"synnefo:network:0:limited|synnefo:network:0:unprotected":   "",
		"synnefo:network:0:limited|synnefo:network:1:unprotected|x": "limited",
		"synnefo:network:0:closed":                                  "# TAGS: synnefo:network:0:closed: there is no group closed in the node file: the guest is as reachable as without it",
	} {
		p, err := site.Plan(with(t, "NETWORK_TAGS= TAGS="+tags), ColdStart)
		if err != nil {
			t.Fatal(err)
		}
		got := strings.Join(p.NIC.Groups, " ")
		for _, n := range p.Notes {
			got += "# " + n
		}
		if got != want {
			t.Errorf("%s: %s, want %s", tags, got, want)
		}
	}
}

func TestPlan(t *testing.T) {
	const dhcp = " # NETWORK_TAGS: nfdhcpd is not yet supported # TAGS: synnefo:network:0:protected: the node file has no groups, and no firewall without them (groups: {} is for the profiles alone): the guest is as reachable as without it"
	for _, test := range []struct{ name, set, want string }{
		{"table", "TAGS= NETWORK_TAGS=", "pub4 198.51.100.2 2001:db8:100:0:a800:ff:fecc:8976 probe " + foreign100},
		{"notes", "", "pub4 198.51.100.2 2001:db8:100:0:a800:ff:fecc:8976 probe " + foreign100 + dhcp},
		{"table by name", "TAGS= NETWORK_TAGS= LINK=snf_public", "pub4 198.51.100.2 2001:db8:100:0:a800:ff:fecc:8976 probe " + foreign100},
		{"no IPv4", "TAGS=disable_ipv4 NETWORK_TAGS=", "pub4 2001:db8:100:0:a800:ff:fecc:8976 probe " + foreign100},
		{"no IPv6", "TAGS=disable_ipv6 NETWORK_TAGS=", "pub4 198.51.100.2 probe " + foreign100},
		{"neither", "TAGS=disable_ipv6|disable_ipv4 NETWORK_TAGS=", "error: IP: a routed NIC is reached by its addresses, and this one has neither IPv4 nor IPv6 in network pub4"},
		{"IPv6 literal", "TAGS= NETWORK_TAGS= IP=2001:db8:100::77", "pub4 2001:db8:100::77 2001:db8:100:0:a800:ff:fecc:8976 probe " + foreign100},
		{"no way out for IPv6", "TAGS= NETWORK_TAGS= LINK=alone IP=203.0.113.2 NETWORK_SUBNET=203.0.113.0/24 NETWORK_GATEWAY=203.0.113.1",
			`pub4 203.0.113.2 probe {"mode":"routed","uplink":"bond0.200","table":200,"ipv4":{"subnet":"203.0.113.0/24","gateway":"203.0.113.1"},"managed":false}` +
				" # NETWORK_SUBNET6: table 200 has no IPv6 uplink: the guest gets no IPv6"},
		{"no network of Ganeti's", "TAGS= -NETWORK", `table100 198.51.100.2 probe {"mode":"routed","uplink":"bond0.100","table":100,"ipv4":{"subnet":"198.51.100.0/24","gateway":"198.51.100.1"},"managed":false}`},
		{"nothing known", "TAGS= -NETWORK LINK=empty", "error: LINK: neither one of Ganeti's networks nor table 300 says which subnet the NIC is in"},
		{"no link", "LINK=", "error: LINK: a routed NIC needs a routing table; the main table is the node's own"},
		{"main table", "LINK=254", "error: LINK: table 254 cannot be a network's: 1 to 65535 can, except 253 to 255, which are the kernel's"},
		{"no such table", "LINK=snf-link-1", `error: LINK: "snf-link-1" is neither a routing table (rt_tables) nor a routed network of the node file`},

		{"managed by number", "TAGS= NETWORK_TAGS= LINK=993 IP=62.217.124.53 NETWORK_SUBNET6=2001:db8:993::/64", "public 62.217.124.53 2001:db8:993:0:a800:ff:fecc:8976 probe"},
		{"managed by table name", "TAGS= NETWORK_TAGS= LINK=tbl993 IP=62.217.124.53 NETWORK_SUBNET6=", "public 62.217.124.53 probe"},
		{"managed by its name", "TAGS= NETWORK_TAGS= LINK=public IP=62.217.124.53 NETWORK_SUBNET6=", "public 62.217.124.53 probe"},
		{"managed, no IPv6", "TAGS= NETWORK_TAGS= LINK=four IP=192.0.2.5", "four 192.0.2.5 probe # NETWORK_SUBNET6: network four has no IPv6 on this node: the guest gets none"},
		{"managed, another subnet", "TAGS= LINK=public", "error: IP: 198.51.100.2 is not in 62.217.124.48/29 of network public"},
		{"managed, another subnet of IPv6", "TAGS= NETWORK_TAGS= LINK=public IP=62.217.124.53", "error: NETWORK_SUBNET6: the guest's 2001:db8:100:0:a800:ff:fecc:8976 is not in 2001:db8:993::/64 of network public"},
		{"not a /64", "TAGS= NETWORK_TAGS= LINK=public IP=62.217.124.53 NETWORK_SUBNET6=2001:db8::/48", "public 62.217.124.53 probe # NETWORK_SUBNET6: 2001:db8::/48 is not a /64: the guest gets no IPv6 address"},

		{"bridge", "TAGS= NETWORK_TAGS= MODE=bridged LINK=br0", `br0 {"mode":"bridged","mtu":9000,"bridge":"br0","managed":false}`},
		{"bridge, no network", "TAGS= -NETWORK MODE=bridged LINK=br0", `br0 {"mode":"bridged","mtu":9000,"bridge":"br0","managed":false}`},
		{"bridge of a network", "TAGS= NETWORK_TAGS=bridged MODE=bridged LINK=vlan992", "tenants"},
		{"no bridge", "TAGS= MODE=bridged LINK=eth9 NETWORK_TAGS=", "error: LINK: there is no bridge eth9 on this node"},
		{"VLAN", "TAGS= NETWORK_TAGS= MODE=bridged LINK=br1 VLAN=.10", `br1.10 {"mode":"bridged","vlan":10,"mtu":1500,"bridge":"br1","managed":false}`},
		{"VLAN of no aware bridge", "TAGS= NETWORK_TAGS= MODE=bridged LINK=br0 VLAN=10", "error: VLAN: the bridge br0 is not VLAN-aware (vlan_filtering is off)"},
		{"tagged", "TAGS= NETWORK_TAGS= MODE=bridged LINK=br9 VLAN=8:20", "error: VLAN: the node file has no network that is VLAN 20 of br9"},
		{"tagged alone", "TAGS= NETWORK_TAGS= MODE=bridged LINK=br9 VLAN=:8", "error: VLAN: a guest with tagged VLANs alone is not yet supported, only one that has a VLAN untagged besides"},
		{"VLAN of a network", "TAGS= NETWORK_TAGS= MODE=bridged LINK=br9 VLAN=8", "lan8"},
		{"VLAN of no network", "TAGS= NETWORK_TAGS= MODE=bridged LINK=br9 VLAN=9", "error: VLAN: the node file has no network that is VLAN 9 of br9"},
		{"no VLAN", "TAGS= NETWORK_TAGS= MODE=bridged LINK=br9", "error: VLAN: br9 is a bridge of many VLANs, and the NIC has no vlan"},
		{"another VLAN", "TAGS= NETWORK_TAGS= MODE=bridged LINK=vlan992 VLAN=991", "error: VLAN: the node file has no network that is VLAN 991 of vlan992"},
		{"filtered", "TAGS= MODE=bridged LINK=br0 NETWORK_TAGS=private-filtered", `br0 {"mode":"private","mtu":9000,"bridge":"br0","managed":false,"mac_mask":"ff:ff:f0:00:00:00"}`},
		{"filtered, bridged here", "TAGS= MODE=bridged LINK=vlan992 NETWORK_TAGS=private-filtered", "error: NETWORK_TAGS: private-filtered asks for a network that keeps tenants apart, and tenants is bridged: say mode: private in the node file"},

		{"ext", "TAGS= NETWORK_TAGS= MODE=ext LINK=public IP=62.217.124.53 NETWORK_SUBNET6=", "public 62.217.124.53 probe"},
		{"ext, bridged", "TAGS= NETWORK_TAGS= MODE=ext LINK=tenants", "tenants"},
		{"ext, unknown", "TAGS= NETWORK_TAGS= MODE=ext LINK=x", `error: LINK: in mode ext it is the name of a network of the node file, which has no "x"`},
		{"openvswitch", "MODE=openvswitch LINK=ovs0", "error: MODE: weft has no openvswitch networks yet"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, spelled(testSite(t).Plan(with(t, test.set), ColdStart))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// with is the sound environment with other values: NAME=VALUE, where | stands for a space, or -PREFIX for none of these.
func with(t *testing.T, set string) Environment {
	t.Helper()
	values := sound()
	for _, w := range strings.Fields(set) {
		if prefix, ok := strings.CutPrefix(w, "-"); ok {
			for name := range values {
				if strings.HasPrefix(name, prefix) {
					delete(values, name)
				}
			}
			continue
		}
		name, value, _ := strings.Cut(w, "=")
		values[name] = strings.ReplaceAll(value, "|", " ")
	}
	e, err := Parse(values)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// TestPlanContexts: who may have the address already, and who must not answer yet. A soft reboot asks as well: an instance that
// crashed and is started again looks like one, and may have been started elsewhere meanwhile.
func TestPlanContexts(t *testing.T) {
	for c, want := range map[Context]string{
		ColdStart: "probe", SoftReboot: "probe", Hotplug: "probe", MigrationBefore: "prepared", MigrationAfter: "", Running: "",
	} {
		p, err := testSite(t).Plan(with(t, "TAGS= NETWORK_TAGS= LINK=public IP=62.217.124.53 NETWORK_SUBNET6="), c)
		if got := strings.TrimSpace(strings.TrimPrefix(spelled(p, err), "public 62.217.124.53")); got != want {
			t.Errorf("%s: %q, want %q", c, got, want)
		}
		p, err = testSite(t).Plan(with(t, "TAGS= NETWORK_TAGS= MODE=bridged LINK=vlan992"), c)
		if got := spelled(p, err); got != "tenants" {
			t.Errorf("%s, bridged: %q", c, got)
		}
	}
}

// TestForeignNames: a network that only Ganeti describes never takes the name of another one.
func TestForeignNames(t *testing.T) {
	site := testSite(t)
	plan := func(set string) spec.NIC {
		t.Helper()
		p, err := site.Plan(with(t, set), ColdStart)
		if err != nil {
			t.Fatal(err)
		}
		return p.NIC
	}
	first := plan("TAGS= NETWORK_TAGS=")
	site.NICs = []spec.NIC{first}
	second := "INTERFACE=tap1 MAC=aa:00:00:00:00:01 INTERFACE_UUID=4459df43-ec64-4a7b-865d-c2967eafb046 IP=198.51.100.3 TAGS= NETWORK_TAGS= "
	if got := plan(second); got.Network != "pub4" {
		t.Errorf("the same network has another name: %s", got.Network)
	}
	changed := plan(second + "NETWORK_GATEWAY=198.51.100.254")
	if changed.Network != "pub4" || changed.Net != first.Net {
		t.Errorf("a table has two descriptions: %+v", changed)
	}
	if err := spec.CheckNICs(site.Node, []spec.NIC{first, changed}); err != nil {
		t.Errorf("both at once: %v", err)
	}
	other := plan(second + "LINK=alone IP=203.0.113.2 NETWORK_SUBNET=203.0.113.0/24 NETWORK_GATEWAY= NETWORK_SUBNET6=")
	if !strings.HasPrefix(other.Network, "pub4-") || len(other.Network) != len("pub4-01234567") {
		t.Errorf("a network of the same name in another table is named %s", other.Network)
	}
	if err := spec.CheckNICs(site.Node, []spec.NIC{first, other}); err != nil {
		t.Errorf("both at once: %v", err)
	}
	site.NICs = nil
	if got := plan("TAGS= NETWORK_TAGS= NETWORK_NAME=public"); !strings.HasPrefix(got.Network, "public-") {
		t.Errorf("a network of the node file is taken for Ganeti's: %s", got.Network)
	}
	long := plan(fmt.Sprintf("TAGS= NETWORK_TAGS= NETWORK_NAME=%s:x", strings.Repeat("n", 100)))
	if _, err := spec.ParseNIC(long.ID, long.Name, long.MAC, long.Network, nil, nil); err != nil {
		t.Error(err)
	}
}

// TestPlanPluggable: what is planned, package spec takes.
func TestPlanPluggable(t *testing.T) {
	for _, set := range []string{
		"", "TAGS= -NETWORK", "MODE=bridged LINK=br0", "MODE=bridged LINK=br1 VLAN=.10", "LINK=public IP=62.217.124.53 NETWORK_SUBNET6=", "MODE=bridged LINK=br9 VLAN=.8",
	} {
		site := testSite(t)
		p, err := site.Plan(with(t, set), ColdStart)
		if err != nil {
			t.Fatal(err)
		}
		if err := spec.CheckNICs(site.Node, []spec.NIC{p.NIC}); err != nil {
			t.Errorf("%q: %v", set, err)
		}
	}
}

func TestSettingsNameTheTags(t *testing.T) {
	site := testSite(t)
	site.Settings = ParseSettings("MAC_FILTERED_TAG=isolated # ours\nNFDHCPD_TAG='dhcp'\nTAP_CONSTANT_MAC=\"02:00:00:00:00:01\"\nIPSPOOF=1\n")
	p, err := site.Plan(with(t, "TAGS= NETWORK_TAGS=dhcp|nfdhcpd LINK=public IP=62.217.124.53 NETWORK_SUBNET6="), ColdStart)
	want := "public 62.217.124.53 probe # NETWORK_TAGS: dhcp is not yet supported # IPSPOOF of gnt-networking is not supported: the guest sends from its own addresses only" +
		` # TAP_CONSTANT_MAC "02:00:00:00:00:01" is not supported: the tap has cc:47:52:4e:45:54`
	if diff := cmp.Diff(want, spelled(p, err)); diff != "" {
		t.Error(diff)
	}
	p, err = site.Plan(with(t, "TAGS= NETWORK_TAGS=isolated MODE=bridged LINK=br0"), ColdStart)
	if err != nil || p.NIC.Net == nil || p.NIC.Net.Mode != spec.Private {
		t.Errorf("the renamed tag is not heard: %v", err)
	}
}
