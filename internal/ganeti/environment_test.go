// SPDX-License-Identifier: Apache-2.0

package ganeti

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"weft/internal/netstate"
	"weft/internal/spec"
)

// sound is the environment of a routed NIC, as a node of a real cluster saw it.
func sound() map[string]string {
	return map[string]string{
		"INSTANCE": "web1.example.org", "INTERFACE": "tap0", "INTERFACE_INDEX": "0", "INTERFACE_NAME": "wan0",
		"INTERFACE_UUID": "4459df43-ec64-4a7b-865d-c2967eafb045", "MAC": "aa:00:00:cc:89:76", "MODE": "routed", "LINK": "100", "VLAN": "",
		"IP": "198.51.100.2", "TAGS": "synnefo:network:0:protected custom:foo", "NETWORK_NAME": "pub4",
		"NETWORK_UUID": "0b1c2d3e-ec64-4a7b-865d-c2967eafb045", "NETWORK_TAGS": "nfdhcpd ip-less-routed",
		"NETWORK_SUBNET": "198.51.100.0/24", "NETWORK_GATEWAY": "198.51.100.1",
		"NETWORK_SUBNET6": "2001:db8:100::/64", "NETWORK_GATEWAY6": "2001:db8:100::1",
	}
}

var compareAddr = cmp.Options{
	cmp.Comparer(func(x, y netip.Addr) bool { return x == y }),
	cmp.Comparer(func(x, y netip.Prefix) bool { return x == y }),
}

func TestParse(t *testing.T) {
	got, err := Parse(sound())
	if err != nil {
		t.Fatal(err)
	}
	want := Environment{
		Instance: "web1.example.org", Interface: "tap0", ID: "4459df43-ec64-4a7b-865d-c2967eafb045", Name: "wan0", MAC: "aa:00:00:cc:89:76",
		Mode: "routed", Link: "100", IP: netip.MustParseAddr("198.51.100.2"), Tags: []string{"custom:foo", "synnefo:network:0:protected"},
		Network: &Network{
			Name: "pub4", UUID: "0b1c2d3e-ec64-4a7b-865d-c2967eafb045", Tags: []string{"ip-less-routed", "nfdhcpd"},
			Subnet: netip.MustParsePrefix("198.51.100.0/24"), Gateway: netip.MustParseAddr("198.51.100.1"),
			Subnet6: netip.MustParsePrefix("2001:db8:100::/64"), Gateway6: netip.MustParseAddr("2001:db8:100::1"),
		},
	}
	if diff := cmp.Diff(want, got, compareAddr); diff != "" {
		t.Error(diff)
	}
	bare, err := Parse(map[string]string{"INSTANCE": "a", "INTERFACE": "tap3", "INTERFACE_INDEX": "3", "MAC": "AA:00:00:00:00:01", "MODE": "bridged", "LINK": "br0", "TAGS": ""})
	if err != nil || bare.Network != nil || bare.ID == "" || bare.MAC != "aa:00:00:00:00:01" || bare.Index != 3 {
		t.Errorf("a bare bridged NIC: %+v, %v", bare, err)
	}
}

// TestParseRefuses: every value that Ganeti would not give is an error of one short line that begins with its variable.
func TestParseRefuses(t *testing.T) {
	for _, test := range []struct{ name, value, why string }{
		{"INTERFACE", "", "is missing"},
		{"INTERFACE", "../../etc/shadow", "is no value"},
		{"INTERFACE", "tap0/../x", "is no value"},
		{"INTERFACE", "tap0;reboot", "is no value"},
		{"INTERFACE", "-tap0", "is no value"},
		{"INTERFACE", ".", "is no value"},
		{"INTERFACE", "tap 0", "is no value"},
		{"INTERFACE", "b'tap0'", "is no value"},
		{"INTERFACE", "all", "is no value"},
		{"INTERFACE", "taptaptaptaptaptap", "is no value"},
		{"INTERFACE", "tap0\n", "control character"},
		{"INTERFACE", "tap\xff", "not UTF-8"},
		{"INSTANCE", "", "is missing"},
		{"INSTANCE", "$(reboot)", "is no value"},
		{"INSTANCE", "`id`.example.org", "is no value"},
		{"INSTANCE", "../web1", "is no value"},
		{"INSTANCE", "web1\nMODE=bridged", "control character"},
		{"INSTANCE", strings.Repeat("a", 254), "is no value"},
		{"INSTANCE", strings.Repeat("a", 64<<10+1), "65536 is the most"},
		{"MODE", "", "is missing"},
		{"MODE", "pool", "is no value"},
		{"MAC", "", "is missing"},
		{"MAC", "aa:00:00:cc:89", "is no value"},
		{"MAC", "aa-00-00-cc-89-76", "is no value"},
		{"MAC", "00:00:00:00:00:00", "is no value"},
		{"MAC", "ff:ff:ff:ff:ff:ff", "is no value"},
		{"INTERFACE_INDEX", "-1", "is no value"},
		{"INTERFACE_INDEX", "1024", "is no value"},
		{"INTERFACE_UUID", "../../run/weft/x", "is no value"},
		{"INTERFACE_UUID", "{4459df43-ec64-4a7b-865d-c2967eafb045}", "is no value"},
		{"LINK", "../br0", "is no value"},
		{"LINK", "br0 && reboot", "is no value"},
		{"LINK", "-f", "is no value"},
		{"IP", "198.51.100.2/24", "no IP address"},
		{"IP", "fe80::1%eth0", "no IP address"},
		{"IP", "::ffff:198.51.100.2", "no IP address"},
		{"TAGS", "ok $(reboot)", "is not a tag"},
		{"TAGS", "a\nb", "control character"},
		{"TAGS", strings.Repeat("t", 129), "is not a tag"},
		{"TAGS", strings.Repeat("t ", 4097), "4096 is the most"},
		{"TAGS", strings.Repeat("t ", 32<<10+1), "65536 is the most"},
		{"NETWORK_NAME", "pub4;x", "is no value"},
		{"NETWORK_UUID", "x", "is no value"},
		{"NETWORK_TAGS", "a|b", "is not a tag"},
		{"NETWORK_SUBNET", "198.51.100.0", "no subnet"},
		{"NETWORK_SUBNET", "2001:db8::/64", "no subnet"},
		{"NETWORK_SUBNET6", "198.51.100.0/24", "no subnet"},
		{"NETWORK_GATEWAY", "2001:db8::1", "is not IPv4"},
		{"NETWORK_GATEWAY6", "198.51.100.1", "is not IPv6"},
		{"MIGRATION_PHASE", "during", "is no value"},
	} {
		values := sound()
		values[test.name] = test.value
		_, err := Parse(values)
		if err == nil || !strings.HasPrefix(err.Error(), test.name+": ") || !strings.Contains(err.Error(), test.why) {
			t.Errorf("%s=%.40q: %v, want %q", test.name, test.value, err, test.why)
			continue
		}
		if len(err.Error()) > 300 || strings.ContainsFunc(err.Error(), unicode.IsControl) {
			t.Errorf("%s=%.40q: no short line: %q", test.name, test.value, err)
		}
	}
	values := sound()
	delete(values, "INTERFACE_UUID")
	delete(values, "INTERFACE_INDEX")
	if _, err := Parse(values); err == nil {
		t.Error("a NIC that nothing tells apart was taken")
	}
}

func TestVLAN(t *testing.T) {
	for text, want := range map[string]VLAN{
		"": {}, "10": {Untagged: 10}, ".10": {Untagged: 10}, ":10": {Tagged: []int{10}}, ":10:20": {Tagged: []int{10, 20}},
		".10:20": {Untagged: 10, Tagged: []int{20}}, ".10:20:30": {Untagged: 10, Tagged: []int{20, 30}}, "10:20": {Untagged: 10, Tagged: []int{20}},
	} {
		values := sound()
		values["VLAN"] = text
		got, err := Parse(values)
		if diff := cmp.Diff(want, got.VLAN); diff != "" || err != nil {
			t.Errorf("%q: %v %s", text, err, diff)
		}
	}
	for _, text := range []string{".", ":", "0", "4095", ".10:", "::10", "..10", "10:10", "a", "10-20", "10,20", ":10:10", "+1", "0x10", " 10"} {
		values := sound()
		values["VLAN"] = text
		if got, err := Parse(values); err == nil || !strings.HasPrefix(err.Error(), "VLAN: ") {
			t.Errorf("%q: %+v, %v", text, got.VLAN, err)
		}
	}
}

// FuzzEnvironment: whatever the environment says, the answer is an error of one short line, or a NIC whose every word is one
// that can be part of a path, a command line and a plan.
func FuzzEnvironment(f *testing.F) {
	add := func(values map[string]string, environment bool) {
		var lines []string
		for name, v := range values {
			lines = append(lines, name+"="+v)
		}
		slices.Sort(lines)
		f.Add(strings.Join(lines, "\x00"), environment)
	}
	add(sound(), true)
	hostile := sound()
	hostile["MODE"], hostile["LINK"], hostile["VLAN"] = "bridged", "br0", ".10:20"
	add(hostile, false)
	hostile["INTERFACE"], hostile["INSTANCE"], hostile["TAGS"] = "../tap0", "$(reboot)", "a\nb"
	add(hostile, true)
	f.Add("INTERFACE=tap0\x00INTERFACE\x00=\x00MODE=ext\x00LINK=public", true)
	f.Fuzz(func(t *testing.T, text string, known bool) {
		e, err := Parse(Values(strings.Split(text, "\x00")))
		if err != nil {
			oneLine(t, err)
			return
		}
		for _, w := range []string{e.Instance, e.Interface, e.ID, e.Name, e.Link, e.MAC} {
			if strings.ContainsAny(w, "/ \t\n\x00;&|$`'\"\\<>(){}*?~#") || strings.HasPrefix(w, "-") || strings.HasPrefix(w, ".") {
				t.Fatalf("%q went through", w)
			}
		}
		site := testSite(t)
		if !known {
			site.Node = &spec.Node{}
		}
		for _, c := range []Context{ColdStart, Hotplug, MigrationBefore, MigrationAfter, Running} {
			p, err := site.Plan(e, c)
			if err != nil {
				oneLine(t, err)
				continue
			}
			if _, err := spec.ParseNIC(p.NIC.ID, p.NIC.Name, p.NIC.MAC, p.NIC.Network, nil, nil); err != nil {
				t.Fatalf("%+v: %v", p.NIC, err)
			}
			if site.Node.Networks[p.NIC.Network] == nil && (p.NIC.Net == nil || p.NIC.Net.IsManaged()) {
				t.Fatalf("%+v: in no network", p.NIC)
			}
		}
	})
}

func oneLine(t *testing.T, err error) {
	t.Helper()
	if len(err.Error()) > 600 || strings.ContainsFunc(err.Error(), unicode.IsControl) {
		t.Fatalf("not one short line: %q", err)
	}
}

// testSite is a node with networks of its own, and with a bridge and a table that somebody else made.
func testSite(t testing.TB) Site {
	t.Helper()
	node, err := spec.Parse("node.yaml", []byte(testNode))
	if err != nil {
		t.Fatal(err)
	}
	have := &netstate.State{}
	route := func(table uint32, dst, via, dev string, metric uint32) {
		r := netstate.Route{Dst: netip.MustParsePrefix(dst), Table: table, Dev: dev, Metric: metric}
		if via != "" {
			r.Via = netip.MustParseAddr(via)
		}
		have.Put(r.Canonical())
	}
	have.Put(
		netstate.Link{Name: "br0", Kind: netstate.Bridge, MTU: 9000, Bridge: &netstate.BridgeAttrs{VLANFiltering: new(false)}},
		netstate.Link{Name: "br1", Kind: netstate.Bridge, MTU: 1500, Bridge: &netstate.BridgeAttrs{VLANFiltering: new(true)}},
		netstate.Link{Name: "eth9"},
	)
	route(100, "198.51.100.0/24", "", "bond0.100", 0)
	route(100, "0.0.0.0/0", "198.51.100.1", "bond0.100", 0)
	route(100, "0.0.0.0/0", "198.51.100.9", "bond0.199", 50)
	route(100, "2001:db8:100::/64", "", "bond0.106", 0)
	route(100, "::/0", "fe80::1", "bond0.106", 0)
	route(200, "203.0.113.0/24", "", "bond0.200", 0) // and no default, no IPv6
	return Site{Node: node, Have: have, Tables: map[string]uint32{"snf_public": 100, "tbl993": 993, "alone": 200, "empty": 300}, Settings: defaults()}
}

const testNode = `
bonds:
  bond0: {members: [eno1, eno2]}
bridges:
  br9: {vlan_aware: true, ports: [eno3]}
networks:
  public:
    mode: routed
    uplink: bond0
    vlan: 993
    ipv4: {subnet: 62.217.124.48/29, gateway: 62.217.124.49, arp_source: 62.217.124.54}
    ipv6: {subnet: "2001:db8:993::/64", gateway: "2001:db8:993::1"}
  four:
    mode: routed
    uplink: bond0
    vlan: 994
    ipv4: {subnet: 192.0.2.0/24, gateway: 192.0.2.1}
  tenants: {mode: bridged, uplink: bond0, vlan: 992}
  lan7: {mode: bridged, bridge: br9, vlan: 7}
  lan8: {mode: bridged, bridge: br9, vlan: 8}
`
