// SPDX-License-Identifier: Apache-2.0

package spec

// form is the spelling that a text has to have.
type form int

const (
	anyText    form = iota
	ifName          // the name of an interface
	netName         // the name of a network
	macText         // a unicast MAC address
	maskText        // leading bits of a MAC address
	destText        // "default", a prefix or an address
	subnetText      // a prefix without host bits
	groupText       // the name of a group
	portText        // a port, which may be a number, or a range
	fromText        // a prefix, an address or a group
	rateText        // bits per second
	sizeText        // bytes
	sysctlText      // the name of a setting; its value may be a number
)

// key is what one key of the file may hold. The decoder, the schema and the writer all read it from here.
type key struct {
	doc      string
	words    []string // the only texts allowed
	min, max int64    // of a number; both 0 for no other limit than the type's
	form     form     // of a text, or of the elements of a list
	names    form     // of the keys of a map
	required bool
	hex      bool // written as 0x…
	unique   bool // a list without repetitions
	example  any
}

func num(lo, hi int64, doc string, example any) key {
	return key{doc: doc, min: lo, max: hi, example: example}
}

func oneOf(doc string, words ...string) key { return key{doc: doc, words: words} }

func (k key) must() key { k.required = true; return k }

const (
	maxU32  = 1<<32 - 1
	noTable = "Routing table's number; 255 is the kernel's own"
)

// keys describes every key of the file, by the name of the Go type that has it.
var keys = map[string]key{
	"Node.node":       {doc: "The node's name, used in messages and in the addresses of its bridges.", example: "hv1"},
	"Node.links":      {doc: "Devices that exist already: physical ports and whatever else made. weft sets what is written here and never creates or deletes them.", names: ifName},
	"Node.bonds":      {doc: "Bonds, by name.", names: ifName},
	"Node.vlans":      {doc: "VLAN devices, by name. A name such as bond0.993 says the parent and the number. A network makes the VLAN device that it needs; declare it only to say more about it.", names: ifName},
	"Node.bridges":    {doc: "Bridges, by name. A bridged network makes its own; declare one only for a VLAN-aware bridge, or one with addresses.", names: ifName},
	"Node.vrfs":       {doc: "VRFs, by name. A routed network makes its own.", names: ifName},
	"Node.routes":     {doc: "Static routes."},
	"Node.rules":      {doc: "Policy routing rules."},
	"Node.neighbours": {doc: "Permanent neighbour entries, and addresses that the node answers for."},
	"Node.sysctls":    {doc: "Kernel settings below net., as in sysctl.conf; a dot in an interface's name is written as a slash.", names: sysctlText, form: sysctlText, example: map[string]any{"net.ipv4.conf.bond0/993.log_martians": "1"}},
	"Node.networks":   {doc: "Networks that virtual machines are plugged into, by name.", names: netName},

	"Node.groups": {doc: "What may come in to virtual machines, by the name of the group that they are in (weft nic add --group). The profiles protected (answers to what the guest began, and ICMP), limited (and TCP 22 and 3389) and unprotected (everything) are there already: groups: {} is enough for them. Without this key there is no firewall, and nothing of it that tracks connections.", names: groupText},

	"Group.allow":   {doc: "What comes in besides answers to what the guest itself began. Whatever no rule of any group of the guest's allows is dropped."},
	"Group.members": {doc: "Addresses of the group's guests on other nodes, for rules that say from: group:NAME. Those of this node are known.", form: subnetText, unique: true, example: []any{"192.0.2.128/25"}},

	"Allow.proto": oneOf("The protocol; icmp is ICMP and ICMPv6.", Protocols...).must(),
	"Allow.ports": {doc: "Ports of the guest's, and ranges of them; only for tcp and udp. Default all.", form: portText, unique: true, example: []any{80, "8000-8100"}},
	"Allow.from":  {doc: "Who may send it: prefixes, addresses, and groups by their members' addresses. Default anybody.", form: fromText, unique: true, example: []any{"192.0.2.0/24", "group:web"}},

	"Link.mtu":       num(68, 65535, "Largest packet in bytes, not above that of the device below; at least 1280 where IPv6 is used.", 9000),
	"Link.mac":       {doc: "MAC address.", form: macText, example: "02:00:00:00:00:01"},
	"Link.addresses": {doc: "Addresses with their prefix length.", unique: true, example: []any{"192.0.2.2/24", "2001:db8::2/64"}},
	"Link.vrf":       {doc: "The VRF that the link is a port of.", form: ifName, example: "vrf100"},
	"Link.up":        {doc: "Whether the link is up. Default true."},
	"Link.ipv6":      {doc: "false turns IPv6 off on the link: it has no link-local address then. Default true."},

	"Bond.members":          key{doc: "Interfaces that the bond is made of.", form: ifName, unique: true, example: []any{"eth0", "eth1"}}.must(),
	"Bond.mode":             oneOf("How the members are used. Default active-backup.", "active-backup", "802.3ad", "balance-rr", "balance-xor", "broadcast", "balance-tlb", "balance-alb"),
	"Bond.miimon":           num(0, 1<<31-1, "How often a member's carrier is looked at, in milliseconds. Default 100.", 100),
	"Bond.updelay":          num(0, 1<<31-1, "How long a carrier has to be there before the member is used, in milliseconds; a multiple of miimon.", 200),
	"Bond.downdelay":        num(0, 1<<31-1, "How long a carrier has to be gone before the member is given up, in milliseconds; a multiple of miimon.", 200),
	"Bond.arp_interval":     num(0, 1<<31-1, "How often the targets are asked by ARP, in milliseconds, in place of miimon.", 1000),
	"Bond.arp_ip_target":    {doc: "IPv4 addresses asked by ARP monitoring; at most 16.", unique: true, example: []any{"192.0.2.1"}},
	"Bond.lacp_rate":        oneOf("How often the partner is asked to send LACPDUs: fast is every second, slow every 30 seconds. Only for 802.3ad; default fast.", "slow", "fast"),
	"Bond.xmit_hash_policy": oneOf("What chooses the member that a packet leaves by. Only for 802.3ad, balance-xor, balance-tlb and balance-alb; the kernel's default is layer2.", "layer2", "layer2+3", "layer3+4", "encap2+3", "encap3+4", "vlan+srcmac"),
	"Bond.min_links":        num(0, 65535, "How many members must work for the bond to have a carrier. Only for 802.3ad.", 1),
	"Bond.ad_select":        oneOf("What chooses the active aggregator. Only for 802.3ad.", "stable", "bandwidth", "count"),
	"Bond.primary":          {doc: "The member that is used whenever it works. Only for active-backup, balance-tlb and balance-alb.", form: ifName, example: "eth0"},
	"Bond.primary_reselect": oneOf("When the primary takes over again. Only with primary.", "always", "better", "failure"),
	"Bond.fail_over_mac":    oneOf("Whether the bond's MAC follows the active member. Only for active-backup.", "none", "active", "follow"),
	"Bond.num_grat_arp":     num(0, 255, "How many gratuitous ARPs and unsolicited neighbour advertisements follow a failover.", 1),

	"VLAN.parent":   {doc: "The device below. May be left out when the name is PARENT.ID.", form: ifName, example: "bond0"},
	"VLAN.id":       num(1, 4094, "The VLAN's number. May be left out when the name is PARENT.ID.", 993),
	"VLAN.protocol": oneOf("The tag's EtherType. Default 802.1Q.", "802.1Q", "802.1ad"),

	"Bridge.ports":          {doc: "Interfaces that are ports of the bridge.", form: ifName, unique: true, example: []any{"bond0"}},
	"Bridge.vlan_aware":     {doc: "One bridge for many VLANs: its ports are trunks, networks are VLANs of it."},
	"Bridge.stp":            {doc: "Spanning tree. Default false."},
	"Bridge.forward_delay":  num(0, 30, "Seconds before a port forwards. Default 0, with spanning tree 15; with spanning tree at least 2.", 15),
	"Bridge.mcast_snooping": {doc: "Multicast goes only where somebody listens. The bridge asks who does (IGMP, from 0.0.0.0) as long as no other querier is heard. Not on a VLAN-aware bridge. Default false: everywhere."},
	"Bridge.ageing_time":    num(0, 1_000_000, "Seconds that a learned address is kept; 0 makes the bridge flood. The kernel's default is 300.", 300),

	"VRF.table": num(1, maxU32, "The VRF's routing table; 253, 254 and 255 are the kernel's.", 100).must(),

	"Route.to":     key{doc: "\"default\", a prefix or an address.", form: destText, example: "default"}.must(),
	"Route.via":    {doc: "The gateway.", example: "192.0.2.1"},
	"Route.dev":    {doc: "The interface that packets leave by.", form: ifName, example: "bond0"},
	"Route.table":  num(1, maxU32, noTable+". Default 254, main.", 100),
	"Route.metric": num(0, maxU32, "Of two routes to one prefix the lower metric is used.", 100),
	"Route.type":   oneOf("What happens to packets. Default unicast.", "unicast", "unreachable", "blackhole", "prohibit"),
	"Route.src":    {doc: "Source address of packets that the node itself sends.", example: "192.0.2.2"},
	"Route.onlink": {doc: "The gateway is on the link, whatever the addresses say. Needs via and dev."},
	"Route.mtu":    num(68, 65535, "Largest packet in bytes.", 1400),
	"Route.family": oneOf("Needed only for \"default\" without via and src.", "inet", "inet6"),

	"Rule.priority": num(4, maxU32, "The rule's place in the order; 0 to 3 are taken.", 100).must(),
	"Rule.family":   oneOf("Default inet, unless an address says otherwise.", "inet", "inet6"),
	"Rule.not":      {doc: "Match what the selectors do not match."},
	"Rule.from":     {doc: "Source prefix.", form: subnetText, example: "192.0.2.0/24"},
	"Rule.to":       {doc: "Destination prefix.", form: subnetText, example: "198.51.100.0/24"},
	"Rule.iif":      {doc: "The interface that packets came in by; lo is the node itself.", form: ifName, example: "bond0.993"},
	"Rule.oif":      {doc: "The interface that a socket of the node is bound to.", form: ifName, example: "bond0"},
	"Rule.fwmark":   {doc: "Firewall mark.", max: maxU32, hex: true, example: 1},
	"Rule.fwmask":   {doc: "Which bits of the mark are compared. Default all.", min: 1, max: maxU32, hex: true, example: 255},
	"Rule.table":    num(1, maxU32, "Table to look up.", 100),
	"Rule.action":   oneOf("What happens to packets that match. Default lookup.", "lookup", "unreachable", "blackhole", "prohibit"),

	"Neighbour.ip":    key{doc: "Address.", example: "192.0.2.7"}.must(),
	"Neighbour.dev":   key{doc: "Interface.", form: ifName, example: "bond0"}.must(),
	"Neighbour.mac":   {doc: "MAC address of a permanent entry.", form: macText, example: "02:00:00:00:00:07"},
	"Neighbour.proxy": {doc: "The node answers for the address on the interface."},

	"Network.mode":           oneOf("bridged: guests are on the VLAN itself. private: bridged, and a guest receives only from guests whose MAC has its own prefix, so that several tenants share the VLAN. routed: the node routes to each guest's address, and has none of its own in the subnet.", Bridged, Private, Routed).must(),
	"Network.uplink":         {doc: "The device whose VLAN the network uses. A bridged network without one stays on the node. Of a routed network that is not managed, the device that somebody else makes; only IPv6 needs it then, and the limit on the neighbours that guests have the node ask for.", form: ifName, example: "bond0"},
	"Network.vlan":           num(1, 4094, "The VLAN's number. Without it the network is the uplink's native VLAN. Of a bridge that is not managed, the VLAN that its guests are in; it has to filter VLANs then.", 993),
	"Network.mtu":            num(68, 65535, "Largest packet in bytes. Default the uplink's.", 1500),
	"Network.bridge":         {doc: "bridged: the name of the network's own bridge (default vlanVLAN), or that of a bridge under bridges, or with managed: false of one that somebody else makes.", form: ifName, example: "vlan992"},
	"Network.vrf":            {doc: "routed: the name of the network's VRF (default vrfTABLE).", form: ifName, example: "vrf993"},
	"Network.table":          num(1, 65535, "routed: the network's routing table (default the VLAN's number).", 993),
	"Network.policy":         oneOf("routed: how packets come to the table, by a VRF (default) or by one rule for each interface (default with managed: false).", "vrf", "rules"),
	"Network.managed":        {doc: "false: the bridge, or the table with its rules, routes and uplinks, is somebody else's (ifupdown's, an administrator's), and stays as it is; weft only plugs NICs in. Of a routed network that is the rule, the routes and the settings of each tap, IPv6 proxy entries on the uplink, and a default that leads nowhere at the end of the table, behind whatever its owner has there. proxy_arp on the uplink is the owner's to set. Default true."},
	"Network.conntrack":      {doc: "routed: connections are tracked on this node (a stateful firewall asks for it); those of this network get a zone of their own, so that two networks may use the same addresses. The table of connections is one for the whole node (nf_conntrack_max), and a guest can fill it."},
	"Network.mcast_snooping": {doc: "bridged: multicast goes only to the guests that listen, as with a bridge's mcast_snooping, on the network's own bridge. Neighbour discovery and VRRP reach a guest by its known addresses whether it was heard to listen or not. Default false: everywhere."},
	"Network.mac_mask":       {doc: "private: the bits of a MAC, from the first on, that the guests of one tenant have in common; the same for all private networks of a node. Default ff:ff:f0:00:00:00, the first 20.", form: maskText, example: "ff:ff:f0:00:00:00"},
	"Network.protect":        {doc: "bridged: addresses on the VLAN, such as those of its gateways, that no guest of this node may use. (A guest whose own addresses are known may use no others anyway.)", unique: true, example: []any{"192.0.2.1"}},
	"Network.isolated":       {doc: "bridged: guests of this node do not reach each other, only what is behind the uplink."},
	"Network.rates":          {doc: "How fast each guest of the network receives and sends; weft nic add has the same for one."},
	"Network.ipv4":           {doc: "routed: the network's IPv4 subnet."},
	"Network.ipv6":           {doc: "routed: the network's IPv6 subnet."},

	"Prefix.subnet":     key{doc: "The subnet.", form: subnetText, example: "62.217.124.48/29"}.must(),
	"Prefix.gateway":    {doc: "The router on the VLAN; in the subnet, or for IPv6 a link-local address.", example: "62.217.124.49"},
	"Prefix.arp_source": {doc: "IPv4: sender of the ARP requests that the node sends on the VLAN; an address of the subnet that no guest has. Without it the kernel chooses.", example: "62.217.124.54"},
	"Prefix.uplink":     {doc: "The device whose VLAN this family uses; the network's unless said otherwise.", form: ifName, example: "bond1"},
	"Rates.in":          {doc: "What the guest receives in a second, from 64kbit to 32gbit; more waits in a queue on its tap. Default no limit.", form: rateText, example: "100mbit"},
	"Rates.out":         {doc: "What the guest sends in a second; more is dropped, as nobody waits for it. Default no limit.", form: rateText, example: "100mbit"},
	"Rates.burst_in":    {doc: "What the guest receives at once, above the rate, from 64kb to 1gb (kb is 1024 bytes). Default 128kb, or 20 ms of the rate.", form: sizeText, example: "256kb"},
	"Rates.burst_out":   {doc: "What the guest sends at once, above the rate.", form: sizeText, example: "256kb"},

	"Prefix.vlan": num(1, 4094, "The VLAN of this family, where IPv4 and IPv6 are apart; the network's unless said otherwise.", 994),
}

// closest returns the candidate that word was probably meant to be, or "".
func closest(word string, candidates []string) string {
	best, least := "", 3
	for _, c := range candidates {
		if d := distance(word, c); d < least && d < len(c) {
			best, least = c, d
		}
	}
	return best
}

// distance is the number of letters to insert, drop, replace or swap with the next to make a into b (optimal string
// alignment). Words longer than any key are far from everything.
func distance(a, b string) int {
	if len(a) > 32 {
		return len(a)
	}
	var older, row []int
	for j := range len(b) + 1 {
		row = append(row, j)
	}
	for i := range len(a) {
		next := []int{i + 1}
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			d := min(row[j]+cost, row[j+1]+1, next[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				d = min(d, older[j-1]+1)
			}
			next = append(next, d)
		}
		older, row = row, next
	}
	return row[len(b)]
}
