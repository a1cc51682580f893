// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"

	"golang.org/x/sys/unix"

	"weft/internal/netstate"
)

// rawLink is a link as the kernel tells it, before indexes are turned into names.
type rawLink struct {
	netstate.Link
	index          int32
	parent, master int32
	primary        uint32 // of a bond: indexes of members
	active         uint32
	slaveKind      string
	conf4, conf6   []byte // IFLA_INET_CONF, IFLA_INET6_CONF: the link's own net.ipv4.conf and net.ipv6.conf settings
}

// links is what a dump of links says.
type links struct {
	all  []rawLink
	name map[int32]string
	own  map[int32]bool // in one of weft's groups
	// Those with the kernel's own route for multicast in a table other than local: ports of a VRF, whose routes are all in its table.
	multicast map[string]bool
}

// flushed reports whether somebody has flushed the table of the VRF that l is a port of. What the kernel had there for IPv6 on the link is
// gone as well, without which nobody there finds the node, and the node nobody; and only the kernel can make it again.
func (ls links) flushed(l *rawLink, byName map[string]*rawLink) bool {
	vrf := byName[l.MasterName()]
	works := l.Status.OperState == "up" || l.Status.OperState == "unknown" && l.Status.Carrier
	return vrf != nil && vrf.Kind == netstate.VRF && l.IsUp() && works && !ls.multicast[l.Name]
}

var (
	yes, no = true, false
	noName  = ""
)

func boolPointer(b bool) *bool {
	if b {
		return &yes
	}
	return &no
}

// dumpLinks reads every link.
func (h *Host) dumpLinks(ctx context.Context) (links, error) {
	m := newMessage(&unix.IfInfomsg{})
	m.u32(unix.IFLA_EXT_MASK, extMaskSkipStats)
	bodies, err := h.dump(ctx, unix.RTM_GETLINK, *m)
	if err != nil {
		return links{}, err
	}
	ls := links{all: make([]rawLink, 0, len(bodies)), name: make(map[int32]string, len(bodies)), own: map[int32]bool{}, multicast: map[string]bool{}}
	for _, b := range bodies {
		if len(b) < unix.SizeofIfInfomsg {
			continue
		}
		l := parseLink(b)
		ls.name[l.index] = l.Name
		if l.Owned() {
			ls.own[l.index] = true
		}
		ls.all = append(ls.all, l)
	}
	ls.resolve()
	return ls, nil
}

// resolve turns indexes into names.
func (ls links) resolve() {
	aggregators := map[int32]*netstate.BondStatus{}
	for i := range ls.all {
		l := &ls.all[i]
		l.Status.Index, l.Master = int(l.index), &noName
		if l.master != 0 {
			name := ls.name[l.master]
			l.Master = &name
		}
		if stacked(l.Kind) {
			l.Parent = ls.name[l.parent]
		}
		if l.Bond != nil {
			primary := ls.name[int32(l.primary)]
			l.Bond.Primary = &primary
			l.Status.Bond.ActiveMember = ls.name[int32(l.active)]
			aggregators[l.index] = l.Status.Bond
		}
	}
	for i := range ls.all {
		l := &ls.all[i]
		m, b := l.Status.Member, aggregators[l.master]
		if m != nil && b != nil && m.AggregatorID != 0 && m.AggregatorID == b.AggregatorID {
			m.PartnerMAC = b.PartnerMAC
		}
	}
}

// stacked reports whether IFLA_LINK of this kind names the device below, and not a peer.
func stacked(kind string) bool {
	switch kind {
	case netstate.VLAN, "macvlan", "macvtap", "ipvlan", "ipvtap", "macsec":
		return true
	}
	return false
}

// parseLink decodes an RTM_NEWLINK message.
func parseLink(b []byte) rawLink {
	flags := native.Uint32(b[8:])
	l := rawLink{index: int32(native.Uint32(b[4:]))}
	l.Up = boolPointer(flags&unix.IFF_UP != 0)
	l.Alias = &noName
	l.Status = &netstate.LinkStatus{Carrier: flags&unix.IFF_LOWER_UP != 0}
	for typ, v := range attrs(b[unix.SizeofIfInfomsg:]) {
		switch typ {
		case unix.IFLA_IFNAME:
			l.Name = getString(v)
		case unix.IFLA_LINK:
			l.parent = int32(getU32(v))
		case unix.IFLA_MASTER:
			l.master = int32(getU32(v))
		case unix.IFLA_MTU:
			l.MTU = getU32(v)
		case unix.IFLA_ADDRESS:
			l.MAC = getMAC(v)
		case unix.IFLA_GROUP:
			g := getU32(v)
			l.Group = &g
		case unix.IFLA_IFALIAS:
			a := getString(v)
			l.Alias = &a
		case unix.IFLA_OPERSTATE:
			if w := operStates.pointer(int(getU8(v))); w != nil {
				l.Status.OperState = *w
			}
		case unix.IFLA_PERM_ADDRESS:
			l.Status.PermMAC = getMAC(v)
		case unix.IFLA_MIN_MTU:
			l.Status.MinMTU = getU32(v)
		case unix.IFLA_MAX_MTU:
			l.Status.MaxMTU = getU32(v)
		case unix.IFLA_LINKINFO:
			l.parseInfo(v)
		case unix.IFLA_AF_SPEC:
			l.parseFamilies(v)
		}
	}
	return l
}

// parseInfo decodes IFLA_LINKINFO: the kind with its settings, and what the link is as a port of its master.
func (l *rawLink) parseInfo(b []byte) {
	var data, slave []byte
	for typ, v := range attrs(b) {
		switch typ {
		case unix.IFLA_INFO_KIND:
			l.Kind = getString(v)
		case unix.IFLA_INFO_DATA:
			data = v
		case unix.IFLA_INFO_SLAVE_KIND:
			l.slaveKind = getString(v)
		case unix.IFLA_INFO_SLAVE_DATA:
			slave = v
		}
	}
	switch l.Kind {
	case netstate.Bond:
		l.parseBond(data)
	case netstate.Bridge:
		l.Bridge = parseBridge(data)
	case netstate.VLAN:
		l.VLAN = parseVLAN(data)
	case netstate.VRF:
		l.VRF = &netstate.VRFAttrs{}
		for typ, v := range attrs(data) {
			if typ == unix.IFLA_VRF_TABLE {
				l.VRF.Table = getU32(v)
			}
		}
	}
	switch l.slaveKind {
	case netstate.Bond:
		l.Status.Member = parseMember(slave)
	case netstate.Bridge:
		l.Port = parsePort(slave)
	}
}

// parseFamilies keeps the link's IPv4 and IPv6 settings, which spares opening a file for each.
func (l *rawLink) parseFamilies(b []byte) {
	for family, v := range attrs(b) {
		for typ, conf := range attrs(v) {
			switch {
			case family == unix.AF_INET && typ == unix.IFLA_INET_CONF:
				l.conf4 = conf
			case family == unix.AF_INET6 && typ == unix.IFLA_INET6_CONF:
				l.conf6 = conf
			}
		}
	}
}

func parseVLAN(b []byte) *netstate.VLANAttrs {
	a := &netstate.VLANAttrs{Protocol: "802.1Q"}
	for typ, v := range attrs(b) {
		switch typ {
		case unix.IFLA_VLAN_ID:
			a.ID = getU16(v)
		case unix.IFLA_VLAN_PROTOCOL:
			if getU16BE(v) == unix.ETH_P_8021AD {
				a.Protocol = "802.1ad"
			}
		}
	}
	return a
}

func parseBridge(b []byte) *netstate.BridgeAttrs {
	a := &netstate.BridgeAttrs{}
	for typ, v := range attrs(b) {
		switch typ {
		case unix.IFLA_BR_STP_STATE:
			a.STP = boolPointer(getU32(v) != 0)
		case unix.IFLA_BR_FORWARD_DELAY:
			d := getU32(v)
			a.ForwardDelay = &d
		case unix.IFLA_BR_AGEING_TIME:
			d := getU32(v)
			a.AgeingTime = &d
		case unix.IFLA_BR_VLAN_FILTERING:
			a.VLANFiltering = boolPointer(getU8(v) != 0)
		case unix.IFLA_BR_VLAN_DEFAULT_PVID:
			p := getU16(v)
			a.DefaultPVID = &p
		case unix.IFLA_BR_MCAST_SNOOPING:
			a.MulticastSnooping = boolPointer(getU8(v) != 0)
		case unix.IFLA_BR_MCAST_QUERIER:
			a.MulticastQuerier = boolPointer(getU8(v) != 0)
		}
	}
	return a
}

func parsePort(b []byte) *netstate.PortAttrs {
	a := &netstate.PortAttrs{}
	for typ, v := range attrs(b) {
		on := boolPointer(getU8(v) != 0)
		switch typ {
		case unix.IFLA_BRPORT_LEARNING:
			a.Learning = on
		case unix.IFLA_BRPORT_ISOLATED:
			a.Isolated = on
		case unix.IFLA_BRPORT_LOCKED:
			a.Locked = on
		case unix.IFLA_BRPORT_UNICAST_FLOOD:
			a.Flood = on
		}
	}
	return a
}
