// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"weft/internal/netstate"
	"weft/internal/plan"
)

// simulated is a node with one of everything.
const simulated = `
link {"name":"eth0","up":true,"mtu":1500,"mac":"02:00:00:00:00:00","master":"","group":0}
link {"name":"eth1","up":true,"mtu":1500,"mac":"02:00:00:00:00:01","master":"","group":0}
link {"name":"eth0.5","kind":"vlan","parent":"eth0","up":true,"mtu":1500,"mac":"02:00:00:00:00:00","master":"","group":87,"vlan":{"id":5}}
link {"name":"bond0","kind":"bond","up":true,"mtu":1400,"master":"","group":87,"bond":{"mode":"802.3ad","miimon":100,"arp_interval":0}}
link {"name":"br0","kind":"bridge","up":true,"mtu":1500,"master":"","group":87,"bridge":{"vlan_filtering":true,"vlan_default_pvid":1}}
addr {"prefix":"192.0.2.1/24","dev":"eth0"}
addr {"prefix":"fd00::1/64","dev":"eth0"}
route {"dst":"10.0.0.0/8","dev":"eth0"}
route {"dst":"10.1.0.0/16","nexthops":[{"dev":"eth0"},{"dev":"eth1"}]}
route {"dst":"fd01::/64","dev":"eth0"}
neigh {"ip":"192.0.2.9","dev":"eth0","mac":"02:00:00:00:00:99"}
neigh {"ip":"fd00::9","dev":"eth0","proxy":true}
sysctl {"path":"net/ipv4/ip_forward","value":"0"}
sysctl {"path":"net/ipv4/conf/eth0/forwarding","value":"0"}
sysctl {"path":"net/ipv6/conf/eth0/forwarding","value":"0"}
sysctl {"path":"net/ipv6/conf/eth0/disable_ipv6","value":"0"}
rule {"family":4,"priority":2,"table":255,"action":"lookup","protocol":87}
`

// TestSimulate does one change, old -> new in the words of the goldens, and lists what is different afterwards.
func TestSimulate(t *testing.T) {
	const eth0 = `link {"name":"eth0"}`
	for _, test := range []struct{ name, old, new, after string }{
		{"nothing", eth0, eth0, ""},
		{"down", eth0, `link {"name":"eth0","up":false}`, `
- addr fd00::1/64 dev eth0
- route 10.0.0.0/8 dev eth0
- route fd01::/64 dev eth0 metric 1024
- neigh 192.0.2.9 lladdr 02:00:00:00:00:99 dev eth0 nud permanent
- neigh proxy fd00::9 dev eth0
~ eth0 address 02:00:00:00:00:00 mtu 1500 group 0 nomaster down
~ eth0.5 link eth0 address 02:00:00:00:00:00 mtu 1500 group 87 nomaster down type vlan id 5`},
		{"last address", `addr {"prefix":"192.0.2.1/24","dev":"eth0"}`, "", `
- addr 192.0.2.1/24 dev eth0
- route 10.0.0.0/8 dev eth0
- neigh 192.0.2.9 lladdr 02:00:00:00:00:99 dev eth0 nud permanent`},
		{"no IPv6", "", `sysctl {"path":"net/ipv6/conf/eth0/disable_ipv6","value":"1"}`, `
- addr fd00::1/64 dev eth0
- route fd01::/64 dev eth0 metric 1024
- neigh proxy fd00::9 dev eth0
~ net.ipv6.conf.eth0.disable_ipv6=1`},
		{"no IPv6 at all", "", `sysctl {"path":"net/ipv6/conf/all/disable_ipv6","value":"1"}`, `
- addr fd00::1/64 dev eth0
- route fd01::/64 dev eth0 metric 1024
- neigh proxy fd00::9 dev eth0
+ net.ipv6.conf.all.disable_ipv6=1
~ net.ipv6.conf.eth0.disable_ipv6=1`},
		{"forwarding", "", `sysctl {"path":"net/ipv4/ip_forward","value":"1"}`, `
~ net.ipv4.conf.eth0.forwarding=1
~ net.ipv4.ip_forward=1`},
		{"MTU", eth0, `link {"name":"eth0","mtu":1300}`, `
~ eth0 address 02:00:00:00:00:00 mtu 1300 group 0 nomaster up
~ eth0.5 link eth0 address 02:00:00:00:00:00 mtu 1300 group 87 nomaster up type vlan id 5`},
		{"MAC", eth0, `link {"name":"eth0","mac":"02:00:00:00:00:aa"}`, `
~ eth0 address 02:00:00:00:00:aa mtu 1500 group 0 nomaster up
~ eth0.5 link eth0 address 02:00:00:00:00:aa mtu 1500 group 87 nomaster up type vlan id 5`},
		{"into a bond while up", eth0, `link {"name":"eth0","master":"bond0"}`, "eth0: operation not permitted: a bond takes only links that are down"},
		{"into a bridge", `link {"name":"eth1"}`, `link {"name":"eth1","master":"br0"}`, `
~ eth1 address 02:00:00:00:00:01 mtu 1500 group 0 master br0 up
+ dev eth1 vid 1 pvid untagged`},
		{"ARP watch", `link {"name":"bond0"}`, `link {"name":"bond0","bond":{"arp_interval":200}}`, `
~ bond0 mtu 1400 group 87 nomaster up type bond mode 802.3ad miimon 0 arp_interval 200`},
		{"lacp_rate while up", `link {"name":"bond0"}`, `link {"name":"bond0","bond":{"lacp_rate":"fast"}}`, "bond0: operation not permitted: a bond's mode, lacp_rate and ad_select change only while it is down"},
		{"first VRF", "", `link {"name":"vrf7","kind":"vrf","vrf":{"table":7}}`, `
+ vrf7 mtu 65575 group 0 alias '' nomaster down type vrf table 7
+ pref 1000 l3mdev protocol 2
+ pref 1000 l3mdev protocol 2`},
		{"link that is there", "", `link {"name":"eth1","kind":"bridge"}`, "eth1: file exists"},
		{"link gone", `link {"name":"eth0.5","kind":"vlan"}`, "", `
- link eth0.5 link eth0 address 02:00:00:00:00:00 mtu 1500 group 87 nomaster up type vlan id 5`},
		{"VLAN above its parent", "", `link {"name":"eth0.6","kind":"vlan","parent":"eth0","mtu":9000,"vlan":{"id":6}}`, "eth0.6: invalid argument: MTU 9000 is above that of eth0, 1500"},
		{"no parent", "", `link {"name":"v","kind":"vlan","parent":"eth9","vlan":{"id":6}}`, "v: eth9: no such device"},
		{"no master", eth0, `link {"name":"eth0","master":"br9"}`, "eth0: br9: no such device"},
		{"no link", "link {\"name\":\"eth9\"}", `link {"name":"eth9","up":true}`, "eth9: no such device"},
		{"no port", eth0, `link {"name":"eth0","port":{"learning":false}}`, "eth0: operation not supported: it is no port of a bridge"},
		{"VLAN of no port", "", `bridge-vlan {"dev":"eth0","vid":5}`, "bridge-vlan eth0 vid 5: operation not supported: eth0 is no port of a bridge"},
		{"entry of no port", "", `fdb {"mac":"02:00:00:00:00:77","dev":"eth0"}`, "fdb 02:00:00:00:00:77 dev eth0 vlan 0: operation not supported: eth0 is no port of a bridge"},
		{"address of no link", "", `addr {"prefix":"192.0.2.7/32","dev":"eth9"}`, "addr 192.0.2.7/32 dev eth9: eth9: no such device"},
		{"way over no link", "", `route {"dst":"10.2.0.0/16","nexthops":[{"dev":"eth9"}]}`, "route 10.2.0.0/16 table 254 metric 0: eth9: no such device"},
		{"another route", "", `route {"dst":"10.0.0.0/8","dev":"eth1"}`, "route 10.0.0.0/8 table 254 metric 0: file exists: 10.0.0.0/8 dev eth0"},
		{"route that is another one by now", `route {"dst":"10.0.0.0/8","dev":"eth1"}`, "", ""},
		{"local rule", `rule {"family":4,"priority":2,"table":255,"action":"lookup","protocol":87}`, "", `
~ pref 0 lookup local protocol 2`},
		{"sysctl stays", `sysctl {"path":"net/ipv4/ip_forward","value":"0"}`, "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			before, c := state(t, []byte(simulated)), plan.Change{}
			for _, half := range []struct {
				text string
				at   *netstate.Object
			}{{test.old, &c.Old}, {test.new, &c.New}} {
				if kind, data, ok := strings.Cut(half.text, " "); ok {
					*half.at = decode(t, kind, data)
				}
			}
			after := before.Clone()
			got := ""
			if err := plan.Simulate(after, plan.Op{Changes: []plan.Change{c}}); err != nil {
				got = err.Error()
			} else {
				got = changes(before, after)
			}
			if d := cmp.Diff(strings.TrimSpace(test.after), got); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
}

// changes lists what differs: - gone, + come, ~ another.
func changes(before, after *netstate.State) string {
	var b strings.Builder
	for o := range before.All() {
		if after.Get(o.Key()) == nil {
			fmt.Fprintln(&b, "-", o.Key().Kind, o)
		}
	}
	for o := range after.All() {
		if h := before.Get(o.Key()); h == nil {
			fmt.Fprintln(&b, "+", o)
		} else if h.String() != o.String() {
			fmt.Fprintln(&b, "~", o)
		}
	}
	return strings.TrimSpace(b.String())
}
