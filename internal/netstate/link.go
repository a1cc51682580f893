// SPDX-License-Identifier: Apache-2.0

package netstate

import "strings"

// The kinds of link that weft makes itself. Any other kind (a physical device, a tap, a veth) is borrowed: weft sets
// attributes on it and gives it back, but never creates or deletes it.
const (
	Bond   = "bond"
	VLAN   = "vlan"
	Bridge = "bridge"
	VRF    = "vrf"
)

// Interface groups (IFLA_GROUP) are the owner mark of links and the key of rules. A link with a role in a network is in
// group GroupTap or GroupUplink plus the network's number; every other link of weft's is in GroupOwned.
const (
	GroupOwned  uint32 = 87
	GroupTap    uint32 = 8_700_000
	GroupUplink uint32 = 8_800_000
	groupEnd    uint32 = 8_900_000
)

// Link is a network interface. In a desired state a zero field is not asked for. As one half of a plan's operation a
// Link may be partial: it then holds just the fields that the operation sets (or, in Old, their previous values).
type Link struct {
	Name   string       `json:"name" key:"-"`
	Kind   string       `json:"kind,omitempty" key:"-"` // IFLA_INFO_KIND; "" in a desired state: whatever is there; observed physical links have ""
	Parent string       `json:"parent,omitempty"`       // the device below (IFLA_LINK), for VLANs
	Master *string      `json:"master,omitempty"`       // bond, bridge or VRF that it is a port of; "" for none
	MTU    uint32       `json:"mtu,omitempty"`          // bytes
	MAC    string       `json:"mac,omitempty"`          // lower-case hex with colons
	Up     *bool        `json:"up,omitempty"`           // IFF_UP, the administrative state
	Group  *uint32      `json:"group,omitempty"`        // IFLA_GROUP
	Alias  *string      `json:"alias,omitempty"`        // IFLA_IFALIAS; asked for only on links that weft makes
	Bond   *BondAttrs   `json:"bond,omitempty"`
	VLAN   *VLANAttrs   `json:"vlan,omitempty"`
	Bridge *BridgeAttrs `json:"bridge,omitempty"`
	VRF    *VRFAttrs    `json:"vrf,omitempty"`
	Port   *PortAttrs   `json:"port,omitempty"` // settings as a port of a bridge
	Status *LinkStatus  `json:"status,omitempty" status:"-"`
}

// BondAttrs are the settings of a bond, by the kernel's names and words (Documentation/networking/bonding.rst).
type BondAttrs struct {
	Mode            *string  `json:"mode,omitempty"`             // such as "802.3ad", "active-backup"
	MIIMon          *uint32  `json:"miimon,omitempty"`           // ms
	UpDelay         *uint32  `json:"updelay,omitempty"`          // ms
	DownDelay       *uint32  `json:"downdelay,omitempty"`        // ms
	ARPInterval     *uint32  `json:"arp_interval,omitempty"`     // ms
	ARPIPTarget     []string `json:"arp_ip_target,omitempty"`    // IPv4 addresses
	LACPRate        *string  `json:"lacp_rate,omitempty"`        // "slow" or "fast"; 802.3ad only
	XmitHashPolicy  *string  `json:"xmit_hash_policy,omitempty"` // such as "layer2", "layer3+4"
	MinLinks        *uint32  `json:"min_links,omitempty"`
	ADSelect        *string  `json:"ad_select,omitempty"`        // "stable", "bandwidth", "count"; 802.3ad only
	Primary         *string  `json:"primary,omitempty"`          // member's name; "" for none
	PrimaryReselect *string  `json:"primary_reselect,omitempty"` // "always", "better", "failure"
	FailOverMAC     *string  `json:"fail_over_mac,omitempty"`    // "none", "active", "follow"
	NumPeerNotif    *uint32  `json:"num_grat_arp,omitempty"`     // gratuitous ARPs and unsolicited NAs after a failover
}

// VLANAttrs are the settings of a VLAN device. They cannot change once the device exists.
type VLANAttrs struct {
	ID       uint16 `json:"id,omitempty"`
	Protocol string `json:"protocol,omitempty"` // "802.1Q" or "802.1ad"
}

// BridgeAttrs are the settings of a bridge.
type BridgeAttrs struct {
	STP               *bool   `json:"stp_state,omitempty"`
	ForwardDelay      *uint32 `json:"forward_delay,omitempty"` // centiseconds (USER_HZ), as iproute2 counts it
	VLANFiltering     *bool   `json:"vlan_filtering,omitempty"`
	DefaultPVID       *uint16 `json:"vlan_default_pvid,omitempty"` // 0 for none
	MulticastSnooping *bool   `json:"mcast_snooping,omitempty"`
	MulticastQuerier  *bool   `json:"mcast_querier,omitempty"`
	AgeingTime        *uint32 `json:"ageing_time,omitempty"` // centiseconds (USER_HZ)
}

// VRFAttrs are the settings of a VRF. The table cannot change once the device exists.
type VRFAttrs struct {
	Table uint32 `json:"table,omitempty"`
}

// PortAttrs are the settings of a bridge port (IFLA_BRPORT_*).
type PortAttrs struct {
	Learning *bool `json:"learning,omitempty"`
	Isolated *bool `json:"isolated,omitempty"`
	Locked   *bool `json:"locked,omitempty"`
	Flood    *bool `json:"flood,omitempty"` // unknown unicast
}

// LinkStatus is what the kernel reports of a link and nobody can ask for.
type LinkStatus struct {
	Index     int           `json:"ifindex,omitempty"`   // only to tell a tap from a later one of its name; nothing is keyed by it
	OperState string        `json:"operstate,omitempty"` // IF_OPER_* in lower case: "up", "down", "lowerlayerdown", …
	Carrier   bool          `json:"carrier"`
	PermMAC   string        `json:"perm_mac,omitempty"` // the MAC in the hardware
	Speed     int           `json:"speed,omitempty"`    // Mbit/s; -1 when the driver does not say
	MinMTU    uint32        `json:"min_mtu,omitempty"`
	MaxMTU    uint32        `json:"max_mtu,omitempty"` // 0 when the driver sets no limit
	Bond      *BondStatus   `json:"bond,omitempty"`
	Member    *MemberStatus `json:"member,omitempty"`
	Learned   []string      `json:"learned,omitempty"` // of a tap on a bridge: MACs that the bridge has learned there, at most MaxLearned of them
}

// MaxLearned is how many learned MACs of a tap are of interest: a guest that makes them up has no end of them.
const MaxLearned = 8

// BondStatus is the state of a bond; the aggregator fields are those of the active aggregator (802.3ad only).
type BondStatus struct {
	ActiveMember string `json:"active_member,omitempty"`
	AggregatorID uint16 `json:"aggregator_id,omitempty"`
	Ports        uint16 `json:"ports,omitempty"` // members in the active aggregator
	ActorKey     uint16 `json:"actor_key,omitempty"`
	PartnerKey   uint16 `json:"partner_key,omitempty"`
	PartnerMAC   string `json:"partner_mac,omitempty"` // 00:00:00:00:00:00 when no partner speaks LACP
}

// MemberStatus is the state of a member of a bond.
type MemberStatus struct {
	State        string `json:"state"`      // "active" or "backup"
	MII          string `json:"mii_status"` // "up", "going down", "down", "going back"
	LinkFailures uint32 `json:"link_failures"`
	PermMAC      string `json:"perm_mac,omitempty"`
	AggregatorID uint16 `json:"aggregator_id,omitempty"`
	ActorState   uint8  `json:"actor_oper_port_state,omitempty"`   // IEEE 802.1AX port state bits
	PartnerState uint16 `json:"partner_oper_port_state,omitempty"` // IEEE 802.1AX port state bits
	PartnerMAC   string `json:"partner_mac,omitempty"`             // of this member's aggregator, where the kernel tells
}

// LinkKey returns the key of the link of this name.
func LinkKey(name string) Key { return Key{KindLink, name} }

// Key returns the link's identity, its name.
func (l Link) Key() Key { return LinkKey(l.Name) }

// IsTap reports whether the link is a tap that is plugged into a network.
func (l Link) IsTap() bool {
	return l.Group != nil && *l.Group >= GroupTap && *l.Group < GroupUplink
}

// Owned reports whether the link is in one of weft's interface groups.
func (l Link) Owned() bool {
	if l.Group == nil {
		return false
	}
	g := *l.Group
	return g == GroupOwned || g >= GroupTap && g < groupEnd
}

// Made reports whether the link is of a kind that weft creates and deletes.
func (l Link) Made() bool {
	switch l.Kind {
	case Bond, VLAN, Bridge, VRF:
		return true
	}
	return false
}

// Meets reports whether the observed link has every attribute that want asks for.
func (l Link) Meets(want Object) bool {
	w, ok := want.(Link)
	if !ok || l.Name != w.Name || w.Kind != "" && l.Kind != w.Kind {
		return false
	}
	_, lacks := Missing(l, w)
	return !lacks
}

// MasterName returns the name of the link's master, or "".
func (l Link) MasterName() string {
	if l.Master == nil {
		return ""
	}
	return *l.Master
}

// IsUp reports whether the link is administratively up.
func (l Link) IsUp() bool { return l.Up != nil && *l.Up }

// GroupID returns the link's interface group; 0 is the kernel's default.
func (l Link) GroupID() uint32 {
	if l.Group == nil {
		return 0
	}
	return *l.Group
}

// String spells the link as the arguments of `ip link`: name, kind and settings.
func (l Link) String() string {
	return strings.Join(append(append([]string{l.Name}, l.words()...), l.typeWords()...), " ")
}
