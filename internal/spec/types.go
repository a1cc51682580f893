// SPDX-License-Identifier: Apache-2.0

// Package spec is what the operator writes: the node file (node.yaml) and the attachment of a VM's interface (NIC).
//
// It owns their types, defaults, the published JSON schema, and validation: every mistake of a file at once, each as
// file:line:column. A Node that Parse returned without error is consistent in itself; whether the machine has the
// interfaces that it names is checked against an observed state by CheckAgainst.
//
// It never reads or writes files, and knows nothing of kernel objects: package compile turns a Node into those.
package spec

import "net/netip"

// Node is one node's network, the content of node.yaml.
type Node struct {
	Node       string              `yaml:"node,omitempty" json:"node,omitempty"`   // the node's name, for messages
	Links      map[string]*Link    `yaml:"links,omitempty" json:"links,omitempty"` // devices that exist already: physical ports and whatever else made
	Bonds      map[string]*Bond    `yaml:"bonds,omitempty" json:"bonds,omitempty"`
	VLANs      map[string]*VLAN    `yaml:"vlans,omitempty" json:"vlans,omitempty"`
	Bridges    map[string]*Bridge  `yaml:"bridges,omitempty" json:"bridges,omitempty"`
	VRFs       map[string]*VRF     `yaml:"vrfs,omitempty" json:"vrfs,omitempty"`
	Routes     []Route             `yaml:"routes,omitempty" json:"routes,omitempty"`
	Rules      []Rule              `yaml:"rules,omitempty" json:"rules,omitempty"`
	Neighbours []Neighbour         `yaml:"neighbours,omitempty" json:"neighbours,omitempty"`
	Sysctls    map[string]string   `yaml:"sysctls,omitempty" json:"sysctls,omitempty"`   // "net.ipv4.conf.bond0/993.proxy_arp" or with slashes
	Networks   map[string]*Network `yaml:"networks,omitempty" json:"networks,omitempty"` // what VMs are plugged into
	Groups     map[string]*Group   `yaml:"groups,omitempty" json:"groups,omitempty"`     // what may come in to VMs

	src *source // where it all stands in the file; nil for a Node that came from none
}

// Link is what any interface can have. It is embedded in every kind of link.
type Link struct {
	MTU       int            `yaml:"mtu,omitempty" json:"mtu,omitempty"` // bytes
	MAC       string         `yaml:"mac,omitempty" json:"mac,omitempty"`
	Addresses []netip.Prefix `yaml:"addresses,omitempty" json:"addresses,omitempty"` // with prefix length
	VRF       string         `yaml:"vrf,omitempty" json:"vrf,omitempty"`             // the VRF that it is a port of
	Up        *bool          `yaml:"up,omitempty" json:"up,omitempty"`               // default true
	IPv6      *bool          `yaml:"ipv6,omitempty" json:"ipv6,omitempty"`           // false turns IPv6 off on it (no link-local address)
}

// Bond aggregates interfaces. Names and words are the kernel's (Documentation/networking/bonding.rst).
type Bond struct {
	Link            `yaml:",inline"`
	Members         []string     `yaml:"members" json:"members"`
	Mode            string       `yaml:"mode,omitempty" json:"mode,omitempty"`                 // default active-backup
	MIIMon          *uint32      `yaml:"miimon,omitempty" json:"miimon,omitempty"`             // ms; default 100
	UpDelay         *uint32      `yaml:"updelay,omitempty" json:"updelay,omitempty"`           // ms
	DownDelay       *uint32      `yaml:"downdelay,omitempty" json:"downdelay,omitempty"`       // ms
	ARPInterval     *uint32      `yaml:"arp_interval,omitempty" json:"arp_interval,omitempty"` // ms
	ARPIPTarget     []netip.Addr `yaml:"arp_ip_target,omitempty" json:"arp_ip_target,omitempty"`
	LACPRate        string       `yaml:"lacp_rate,omitempty" json:"lacp_rate,omitempty"` // slow or fast; default fast
	XmitHashPolicy  string       `yaml:"xmit_hash_policy,omitempty" json:"xmit_hash_policy,omitempty"`
	MinLinks        *uint32      `yaml:"min_links,omitempty" json:"min_links,omitempty"`
	ADSelect        string       `yaml:"ad_select,omitempty" json:"ad_select,omitempty"`
	Primary         string       `yaml:"primary,omitempty" json:"primary,omitempty"`
	PrimaryReselect string       `yaml:"primary_reselect,omitempty" json:"primary_reselect,omitempty"`
	FailOverMAC     string       `yaml:"fail_over_mac,omitempty" json:"fail_over_mac,omitempty"`
	NumGratARP      *uint32      `yaml:"num_grat_arp,omitempty" json:"num_grat_arp,omitempty"`
}

// VLAN is a device that sends and receives the frames of one VLAN of the device below it.
// Both fields may be left out when the name is PARENT.ID, as in bond0.993.
type VLAN struct {
	Link     `yaml:",inline"`
	Parent   string `yaml:"parent,omitempty" json:"parent,omitempty"`
	ID       int    `yaml:"id,omitempty" json:"id,omitempty"`             // 1 to 4094
	Protocol string `yaml:"protocol,omitempty" json:"protocol,omitempty"` // 802.1Q (default) or 802.1ad
}

// Bridge is a software switch.
type Bridge struct {
	Link              `yaml:",inline"`
	Ports             []string `yaml:"ports,omitempty" json:"ports,omitempty"`
	VLANAware         bool     `yaml:"vlan_aware,omitempty" json:"vlan_aware,omitempty"` // vlan_filtering 1, no default PVID; its ports are trunks
	STP               bool     `yaml:"stp,omitempty" json:"stp,omitempty"`
	ForwardDelay      *int     `yaml:"forward_delay,omitempty" json:"forward_delay,omitempty"` // seconds; default 0
	MulticastSnooping bool     `yaml:"mcast_snooping,omitempty" json:"mcast_snooping,omitempty"`
	AgeingTime        *int     `yaml:"ageing_time,omitempty" json:"ageing_time,omitempty"` // seconds
}

// VRF is a routing table with the interfaces that use it.
type VRF struct {
	Link  `yaml:",inline"`
	Table uint32 `yaml:"table" json:"table"`
}

// Route is a static route. To is "default" or a prefix.
type Route struct {
	To     string     `yaml:"to" json:"to"`
	Via    netip.Addr `yaml:"via,omitempty" json:"via,omitzero"`
	Dev    string     `yaml:"dev,omitempty" json:"dev,omitempty"`
	Table  uint32     `yaml:"table,omitempty" json:"table,omitempty"` // default 254, main; a VRF's table by its number
	Metric uint32     `yaml:"metric,omitempty" json:"metric,omitempty"`
	Type   string     `yaml:"type,omitempty" json:"type,omitempty"` // unicast (default), unreachable, blackhole, prohibit
	Src    netip.Addr `yaml:"src,omitempty" json:"src,omitzero"`
	OnLink bool       `yaml:"onlink,omitempty" json:"onlink,omitempty"`
	MTU    int        `yaml:"mtu,omitempty" json:"mtu,omitempty"`
	Family string     `yaml:"family,omitempty" json:"family,omitempty"` // inet or inet6; needed only for "default" without via
}

// Rule is a policy routing rule, in ip-rule's words.
type Rule struct {
	Priority uint32       `yaml:"priority" json:"priority"`
	Family   string       `yaml:"family,omitempty" json:"family,omitempty"` // inet (default unless an address says otherwise) or inet6
	Not      bool         `yaml:"not,omitempty" json:"not,omitempty"`
	From     netip.Prefix `yaml:"from,omitempty" json:"from,omitzero"`
	To       netip.Prefix `yaml:"to,omitempty" json:"to,omitzero"`
	IIF      string       `yaml:"iif,omitempty" json:"iif,omitempty"`
	OIF      string       `yaml:"oif,omitempty" json:"oif,omitempty"`
	FwMark   uint32       `yaml:"fwmark,omitempty" json:"fwmark,omitempty"`
	FwMask   uint32       `yaml:"fwmask,omitempty" json:"fwmask,omitempty"`
	Table    uint32       `yaml:"table,omitempty" json:"table,omitempty"`
	Action   string       `yaml:"action,omitempty" json:"action,omitempty"` // lookup (default), unreachable, blackhole, prohibit
}

// Neighbour is a permanent neighbour entry, or with Proxy one that the node answers for.
type Neighbour struct {
	IP    netip.Addr `yaml:"ip" json:"ip"`
	Dev   string     `yaml:"dev" json:"dev"`
	MAC   string     `yaml:"mac,omitempty" json:"mac,omitempty"`
	Proxy bool       `yaml:"proxy,omitempty" json:"proxy,omitempty"`
}

// Modes of a network.
const (
	Bridged = "bridged"
	Private = "private"
	Routed  = "routed"
)

// Network is what a VM's interface is plugged into.
type Network struct {
	Mode   string  `yaml:"mode" json:"mode"`                         // bridged, private or routed
	Uplink string  `yaml:"uplink,omitempty" json:"uplink,omitempty"` // the device whose VLAN it uses; a bridged network without one stays on the node
	VLAN   int     `yaml:"vlan,omitempty" json:"vlan,omitempty"`     // 1 to 4094; without it the uplink's native VLAN
	MTU    int     `yaml:"mtu,omitempty" json:"mtu,omitempty"`       // default the uplink's
	Bridge string  `yaml:"bridge,omitempty" json:"bridge,omitempty"` // bridged: its own bridge's name (default vlan<VLAN>), or that of a bridge of this file
	VRF    string  `yaml:"vrf,omitempty" json:"vrf,omitempty"`       // routed: the VRF's name (default vrf<TABLE>)
	Table  uint32  `yaml:"table,omitempty" json:"table,omitempty"`   // routed: default the VLAN's number
	Policy string  `yaml:"policy,omitempty" json:"policy,omitempty"` // routed: vrf (default) or rules
	IPv4   *Prefix `yaml:"ipv4,omitempty" json:"ipv4,omitempty"`
	IPv6   *Prefix `yaml:"ipv6,omitempty" json:"ipv6,omitempty"`

	Managed  *bool        `yaml:"managed,omitempty" json:"managed,omitempty"`   // false: its bridge, or its table, rules and uplinks, are somebody else's; only NICs are plugged in. Default true
	Protect  []netip.Addr `yaml:"protect,omitempty" json:"protect,omitempty"`   // bridged: addresses on the VLAN that no guest here may use: gateways, servers
	Isolated bool         `yaml:"isolated,omitempty" json:"isolated,omitempty"` // bridged: guests of this node do not reach each other, only the uplink

	MulticastSnooping bool `yaml:"mcast_snooping,omitempty" json:"mcast_snooping,omitempty"` // bridged: on the network's own bridge, which then asks who listens

	MACMask string `yaml:"mac_mask,omitempty" json:"mac_mask,omitempty"` // private: the bits of a MAC that guests of one tenant have in common. Default ff:ff:f0:00:00:00

	Rates *Rates `yaml:"rates,omitempty" json:"rates,omitempty"` // of each guest that has none of its own

	Conntrack bool `yaml:"conntrack,omitempty" json:"conntrack,omitempty"` // routed: connections are tracked on this node; they get a zone of the network's own
}

// Prefix is one address family of a routed network.
type Prefix struct {
	Subnet    netip.Prefix `yaml:"subnet" json:"subnet"`
	Gateway   netip.Addr   `yaml:"gateway,omitempty" json:"gateway,omitzero"`
	ARPSource netip.Addr   `yaml:"arp_source,omitempty" json:"arp_source,omitzero"` // IPv4: sender of the ARP requests that the node sends on the VLAN
	Uplink    string       `yaml:"uplink,omitempty" json:"uplink,omitempty"`        // default the network's: IPv4 and IPv6 may be on VLANs of their own
	VLAN      int          `yaml:"vlan,omitempty" json:"vlan,omitempty"`            // 1 to 4094; default the network's
}

// Trusts are the parts of port security that can be turned off for a NIC of a bridged network: what it says by ARP and neighbour
// advertisements (arp), whether it answers DHCP (dhcp), its IPv4 and IPv6 sources (ip), its MAC (mac), whether it speaks as a
// router (router), how many broadcasts and multicasts it sends (storm), and what else than ARP and IP (type).
var Trusts = []string{"arp", "dhcp", "ip", "mac", "router", "storm", "type"}

// NIC is a VM's interface, plugged into a network by its tap.
type NIC struct {
	ID        string         `json:"id"`                // a UUID: the hypervisor's own where it has one
	Name      string         `json:"name"`              // of the tap
	IfIndex   int            `json:"ifindex,omitempty"` // of the tap when it was plugged in: names are reused at once, indexes are not
	MAC       string         `json:"mac"`               // the guest's
	Network   string         `json:"network"`
	Addresses []netip.Addr   `json:"addresses,omitempty"` // the guest's
	Prefixes  []netip.Prefix `json:"prefixes,omitempty"`  // routed to the guest, by the first of its addresses of that family
	MACs      []string       `json:"macs,omitempty"`      // bridged: further MACs that it may send from, such as VRRP's virtual ones
	Sources   []netip.Addr   `json:"sources,omitempty"`   // bridged: further addresses that it may use: shared ones, link-local ones
	Trust     []string       `json:"trust,omitempty"`     // bridged: which of Trusts do not hold for it
	Tagged    []string       `json:"tagged,omitempty"`    // bridged: further networks, which the guest has by the tags of their VLANs
	Groups    []string       `json:"groups,omitempty"`    // what may come in: what any of these allows; everything, if there are none
	Rates     *Rates         `json:"rates,omitempty"`     // how fast it sends and receives, whatever the network says
	Instance  string         `json:"instance,omitempty"`  // the VM's name at the hypervisor, for people
	Prepared  bool           `json:"prepared,omitempty"`  // the guest does not run here yet: the tap is plugged in and guarded, and the node answers for none of its addresses
	Net       *Network       `json:"net,omitempty"`       // what Network is, where the hypervisor says it and the node file does not
	Was       *NIC           `json:"was,omitempty"`       // what it was before a move that has not come to its end
}
