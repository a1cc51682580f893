// SPDX-License-Identifier: Apache-2.0

package netstate

import (
	"fmt"
	"strings"
)

// words spells the attributes that every link can have, as `ip link set` takes them.
func (l Link) words() []string {
	var w []string
	add := func(name string, value any) { w = append(w, name, fmt.Sprint(value)) }
	if l.Parent != "" {
		add("link", l.Parent)
	}
	if l.MAC != "" {
		add("address", l.MAC)
	}
	if l.MTU != 0 {
		add("mtu", l.MTU)
	}
	if l.Group != nil {
		add("group", *l.Group)
	}
	if l.Alias != nil {
		add("alias", quoted(*l.Alias))
	}
	if l.Master != nil {
		if *l.Master == "" {
			w = append(w, "nomaster")
		} else {
			add("master", *l.Master)
		}
	}
	if l.Up != nil {
		w = append(w, updown[*l.Up])
	}
	return w
}

// typeWords spells "type KIND" and the kind's settings.
func (l Link) typeWords() []string {
	var w []string
	if l.Kind != "" {
		w = append(w, "type", l.Kind)
	}
	var a words
	a.bond(l.Bond)
	a.bridge(l.Bridge)
	if v := l.VLAN; v != nil {
		if v.Protocol != "" && v.Protocol != "802.1Q" {
			a.add("protocol", v.Protocol)
		}
		if v.ID != 0 {
			a.add("id", v.ID)
		}
	}
	if l.VRF != nil && l.VRF.Table != 0 {
		a.add("table", l.VRF.Table)
	}
	return append(w, a...)
}

// Words spells the port's settings as `bridge link set dev PORT` takes them.
func (p PortAttrs) Words() []string {
	var a words
	flag(&a, "learning", p.Learning, onOff)
	flag(&a, "isolated", p.Isolated, onOff)
	flag(&a, "locked", p.Locked, onOff)
	flag(&a, "flood", p.Flood, onOff)
	return a
}

// AddArgs spells the arguments of `ip link add` that make the link: name, parent, MAC and what must be known at birth.
func (l Link) AddArgs() string {
	born := Link{Name: l.Name, Kind: l.Kind, Parent: l.Parent, MAC: l.MAC, MTU: l.MTU, Group: l.Group, Bond: l.Bond, VLAN: l.VLAN, Bridge: l.Bridge, VRF: l.VRF}
	return "name " + born.String()
}

// SetArgs spells the arguments of `ip link set` for a partial link; its port settings are not in it (see PortAttrs.Words).
func (l Link) SetArgs() string {
	w := append([]string{"dev", l.Name}, l.words()...)
	kind := l
	if l.Bond == nil && l.Bridge == nil && l.VLAN == nil && l.VRF == nil {
		kind.Kind = ""
	}
	return strings.Join(append(w, kind.typeWords()...), " ")
}

// words is a list of arguments.
type words []string

func (w *words) add(name string, value any) { *w = append(*w, name, fmt.Sprint(value)) }

func (w *words) bond(b *BondAttrs) {
	if b == nil {
		return
	}
	opt(w, "mode", b.Mode)
	opt(w, "miimon", b.MIIMon)
	opt(w, "updelay", b.UpDelay)
	opt(w, "downdelay", b.DownDelay)
	opt(w, "arp_interval", b.ARPInterval)
	if len(b.ARPIPTarget) > 0 {
		w.add("arp_ip_target", strings.Join(b.ARPIPTarget, ","))
	}
	if b.Primary != nil {
		if *b.Primary == "" { // iproute2 spells "no primary" this way (ip-link.8 has no other)
			w.add("primary", "''")
		} else {
			w.add("primary", *b.Primary)
		}
	}
	opt(w, "primary_reselect", b.PrimaryReselect)
	opt(w, "fail_over_mac", b.FailOverMAC)
	opt(w, "xmit_hash_policy", b.XmitHashPolicy)
	opt(w, "num_grat_arp", b.NumPeerNotif)
	opt(w, "min_links", b.MinLinks)
	opt(w, "lacp_rate", b.LACPRate)
	opt(w, "ad_select", b.ADSelect)
}

func (w *words) bridge(b *BridgeAttrs) {
	if b == nil {
		return
	}
	flag(w, "stp_state", b.STP, oneZero)
	opt(w, "forward_delay", b.ForwardDelay)
	opt(w, "ageing_time", b.AgeingTime)
	flag(w, "vlan_filtering", b.VLANFiltering, oneZero)
	opt(w, "vlan_default_pvid", b.DefaultPVID)
	flag(w, "mcast_snooping", b.MulticastSnooping, oneZero)
	flag(w, "mcast_querier", b.MulticastQuerier, oneZero)
}

func opt[T any](w *words, name string, v *T) {
	if v != nil {
		w.add(name, *v)
	}
}

var (
	oneZero = map[bool]string{true: "1", false: "0"}
	onOff   = map[bool]string{true: "on", false: "off"}
	updown  = map[bool]string{true: "up", false: "down"}
)

func flag(w *words, name string, v *bool, spelling map[bool]string) {
	if v != nil {
		w.add(name, spelling[*v])
	}
}

// quoted puts a value in quotes where a shell needs them.
func quoted(s string) string {
	if s == "" || strings.ContainsAny(s, " \t'\"\\$`;&|<>()*?[]#~!{}") {
		return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
	}
	return s
}
