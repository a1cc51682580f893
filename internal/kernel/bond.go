// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"weft/internal/netstate"
)

// parseBond decodes a bond's settings and state.
func (l *rawLink) parseBond(b []byte) {
	a, s := &netstate.BondAttrs{}, &netstate.BondStatus{}
	l.Bond, l.Status.Bond = a, s
	number := func(v []byte) *uint32 { n := getU32(v); return &n }
	for typ, v := range attrs(b) {
		n := int(getU8(v))
		switch typ {
		case unix.IFLA_BOND_MODE:
			a.Mode = bondModes.pointer(n)
		case unix.IFLA_BOND_MIIMON:
			a.MIIMon = number(v)
		case unix.IFLA_BOND_UPDELAY:
			a.UpDelay = number(v)
		case unix.IFLA_BOND_DOWNDELAY:
			a.DownDelay = number(v)
		case unix.IFLA_BOND_ARP_INTERVAL:
			a.ARPInterval = number(v)
		case unix.IFLA_BOND_MIN_LINKS:
			a.MinLinks = number(v)
		case unix.IFLA_BOND_ARP_IP_TARGET:
			for _, t := range attrs(v) {
				a.ARPIPTarget = append(a.ARPIPTarget, getAddr(t).String())
			}
		case unix.IFLA_BOND_AD_LACP_RATE:
			a.LACPRate = lacpRates.pointer(n)
		case unix.IFLA_BOND_XMIT_HASH_POLICY:
			a.XmitHashPolicy = xmitPolicies.pointer(n)
		case unix.IFLA_BOND_AD_SELECT:
			a.ADSelect = adSelects.pointer(n)
		case unix.IFLA_BOND_PRIMARY_RESELECT:
			a.PrimaryReselect = primaryChoices.pointer(n)
		case unix.IFLA_BOND_FAIL_OVER_MAC:
			a.FailOverMAC = failOverMACs.pointer(n)
		case unix.IFLA_BOND_NUM_PEER_NOTIF:
			u := uint32(n)
			a.NumPeerNotif = &u
		case unix.IFLA_BOND_PRIMARY:
			l.primary = getU32(v)
		case unix.IFLA_BOND_ACTIVE_SLAVE:
			l.active = getU32(v)
		case unix.IFLA_BOND_AD_INFO:
			parseAggregator(v, s)
		}
	}
}

// parseAggregator decodes IFLA_BOND_AD_INFO, the active aggregator.
func parseAggregator(b []byte, s *netstate.BondStatus) {
	for typ, v := range attrs(b) {
		switch typ {
		case unix.IFLA_BOND_AD_INFO_AGGREGATOR:
			s.AggregatorID = getU16(v)
		case unix.IFLA_BOND_AD_INFO_NUM_PORTS:
			s.Ports = getU16(v)
		case unix.IFLA_BOND_AD_INFO_ACTOR_KEY:
			s.ActorKey = getU16(v)
		case unix.IFLA_BOND_AD_INFO_PARTNER_KEY:
			s.PartnerKey = getU16(v)
		case unix.IFLA_BOND_AD_INFO_PARTNER_MAC:
			s.PartnerMAC = getMAC(v)
		}
	}
}

// parseMember decodes what a link is as a member of a bond.
func parseMember(b []byte) *netstate.MemberStatus {
	m := &netstate.MemberStatus{}
	for typ, v := range attrs(b) {
		switch typ {
		case unix.IFLA_BOND_SLAVE_STATE:
			if w := memberStates.pointer(int(getU8(v))); w != nil {
				m.State = *w
			}
		case unix.IFLA_BOND_SLAVE_MII_STATUS:
			if w := memberMIIStates.pointer(int(getU8(v))); w != nil {
				m.MII = *w
			}
		case unix.IFLA_BOND_SLAVE_LINK_FAILURE_COUNT:
			m.LinkFailures = getU32(v)
		case unix.IFLA_BOND_SLAVE_PERM_HWADDR:
			m.PermMAC = getMAC(v)
		case unix.IFLA_BOND_SLAVE_AD_AGGREGATOR_ID:
			m.AggregatorID = getU16(v)
		case unix.IFLA_BOND_SLAVE_AD_ACTOR_OPER_PORT_STATE:
			m.ActorState = getU8(v)
		case unix.IFLA_BOND_SLAVE_AD_PARTNER_OPER_PORT_STATE:
			m.PartnerState = getU16(v)
		}
	}
	return m
}

// bondData adds the settings of a bond to IFLA_INFO_DATA.
func (h *Host) bondData(m *message, a *netstate.BondAttrs) error {
	type choice struct {
		typ   uint16
		name  string
		value *string
		words words
	}
	for _, c := range []choice{
		{unix.IFLA_BOND_MODE, "mode", a.Mode, bondModes},
		{unix.IFLA_BOND_XMIT_HASH_POLICY, "xmit_hash_policy", a.XmitHashPolicy, xmitPolicies},
		{unix.IFLA_BOND_AD_LACP_RATE, "lacp_rate", a.LACPRate, lacpRates},
		{unix.IFLA_BOND_AD_SELECT, "ad_select", a.ADSelect, adSelects},
		{unix.IFLA_BOND_PRIMARY_RESELECT, "primary_reselect", a.PrimaryReselect, primaryChoices},
		{unix.IFLA_BOND_FAIL_OVER_MAC, "fail_over_mac", a.FailOverMAC, failOverMACs},
	} {
		if c.value == nil {
			continue
		}
		n, ok := c.words.number(*c.value)
		if !ok {
			return fmt.Errorf("bond %s %q: %w", c.name, *c.value, unix.EINVAL)
		}
		m.u8(c.typ, n)
	}
	m.optU32(unix.IFLA_BOND_MIIMON, a.MIIMon)
	m.optU32(unix.IFLA_BOND_UPDELAY, a.UpDelay)
	m.optU32(unix.IFLA_BOND_DOWNDELAY, a.DownDelay)
	m.optU32(unix.IFLA_BOND_ARP_INTERVAL, a.ARPInterval)
	m.optU32(unix.IFLA_BOND_MIN_LINKS, a.MinLinks)
	if a.NumPeerNotif != nil {
		m.u8(unix.IFLA_BOND_NUM_PEER_NOTIF, uint8(min(*a.NumPeerNotif, 255)))
	}
	if err := arpTargets(m, a.ARPIPTarget); err != nil {
		return err
	}
	if a.Primary == nil {
		return nil
	}
	var index int32 // 0: none
	if *a.Primary != "" {
		var err error
		if index, err = h.index(*a.Primary); err != nil {
			return err
		}
	}
	m.u32(unix.IFLA_BOND_PRIMARY, uint32(index))
	return nil
}

func arpTargets(m *message, targets []string) error {
	if len(targets) == 0 {
		return nil
	}
	all := make([]uint32, 0, len(targets))
	for _, t := range targets {
		a, err := netip.ParseAddr(t)
		if err != nil || !a.Is4() {
			return fmt.Errorf("bond arp_ip_target %q: %w", t, unix.EINVAL)
		}
		all = append(all, binary.NativeEndian.Uint32(a.AsSlice()))
	}
	m.nested(unix.IFLA_BOND_ARP_IP_TARGET, func() {
		for i, t := range all {
			m.u32(uint16(i), t)
		}
	})
	return nil
}
