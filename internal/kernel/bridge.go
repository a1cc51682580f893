// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"weft/internal/netstate"
)

// observeFDB puts the static entries of bridges. Entries that were learned, and those that the kernel makes for the
// ports' own addresses, are left out.
func (h *Host) observeFDB(ctx context.Context, s *netstate.State, ls links) error {
	if !ls.any(func(l rawLink) bool { return l.slaveKind == netstate.Bridge }) {
		return nil
	}
	bodies, err := h.dump(ctx, unix.RTM_GETNEIGH, *newMessage(&neighHeader{Family: unix.AF_BRIDGE}))
	if err != nil {
		return err
	}
	aware := ls.vlanAware()
	bridge := make(map[string]int32, len(ls.all))
	for _, l := range ls.all {
		bridge[l.Name] = l.master
	}
	for _, b := range bodies {
		if index, mac := learned(b); mac != "" {
			noteLearned(s, ls.name[index], mac)
			continue
		}
		f, ok := parseFDB(b, ls)
		if ok && f.VLAN != 0 && !aware[bridge[f.Dev]] {
			continue // made along with the entry for no VLAN, for each that the port has, also where none are filtered (br_fdb_add)
		}
		if ok {
			s.Put(f)
		}
	}
	return nil
}

// vlanAware returns the VLAN-aware bridges, by index.
func (ls links) vlanAware() map[int32]bool {
	aware := map[int32]bool{}
	for _, l := range ls.all {
		if l.Bridge != nil && l.Bridge.VLANFiltering != nil && *l.Bridge.VLANFiltering {
			aware[l.index] = true
		}
	}
	return aware
}

// learned returns the port and the MAC of an entry that a bridge has learned from a frame.
func learned(b []byte) (index int32, mac string) {
	const others = unix.NTF_EXT_LEARNED | unix.NTF_OFFLOADED | unix.NTF_SELF
	if len(b) < sizeofNeighHeader || b[0] != unix.AF_BRIDGE || native.Uint16(b[8:])&(unix.NUD_NOARP|unix.NUD_PERMANENT) != 0 || b[10]&others != 0 {
		return 0, ""
	}
	for typ, v := range attrs(b[sizeofNeighHeader:]) {
		if typ == unix.NDA_LLADDR {
			mac = getMAC(v)
		}
	}
	return int32(native.Uint32(b[4:])), mac
}

// noteLearned adds to what a tap's status says.
func noteLearned(s *netstate.State, port, mac string) {
	l := s.Link(port)
	if l == nil || l.Status == nil || !l.IsTap() || len(l.Status.Learned) >= netstate.MaxLearned || slices.Contains(l.Status.Learned, mac) {
		return
	}
	status := *l.Status
	status.Learned = append(slices.Clone(status.Learned), mac)
	l.Status = &status
	s.Put(*l)
}

func parseFDB(b []byte, ls links) (f netstate.FDB, ok bool) {
	const foreign = unix.NTF_EXT_LEARNED | unix.NTF_OFFLOADED
	if len(b) < sizeofNeighHeader || b[0] != unix.AF_BRIDGE || native.Uint16(b[8:]) != unix.NUD_NOARP || b[10]&foreign != 0 {
		return f, false
	}
	index, master := int32(native.Uint32(b[4:])), false
	for typ, v := range attrs(b[sizeofNeighHeader:]) {
		switch typ {
		case unix.NDA_LLADDR:
			f.MAC = getMAC(v)
		case unix.NDA_VLAN:
			f.VLAN = getU16(v)
		case unix.NDA_MASTER:
			master = true
		}
	}
	f.Sticky = b[10]&fdbSticky != 0
	f.Dev, f.Ours = ls.name[index], ls.own[index]
	return f, master && f.MAC != "" && f.Dev != ""
}

func (h *Host) setFDB(f netstate.FDB) error {
	m, err := h.fdbMessage(f)
	if err != nil {
		return err
	}
	return h.request(unix.RTM_NEWNEIGH, netlink.Create|netlink.Replace, *m)
}

func (h *Host) deleteFDB(f netstate.FDB) error {
	m, err := h.fdbMessage(f)
	if err == nil {
		err = h.request(unix.RTM_DELNEIGH, 0, *m)
	}
	return ignore(err, unix.ENOENT, unix.ENODEV, unix.EOPNOTSUPP, unix.EINVAL) // the last two: no longer a port
}

func (h *Host) fdbMessage(f netstate.FDB) (*message, error) {
	index, err := h.index(f.Dev)
	if err != nil {
		return nil, err
	}
	flags := uint8(unix.NTF_MASTER)
	if f.Sticky {
		flags |= fdbSticky
	}
	m := newMessage(&neighHeader{Family: unix.AF_BRIDGE, Ifindex: index, State: unix.NUD_NOARP, Flags: flags})
	m.mac(unix.NDA_LLADDR, f.MAC)
	if f.VLAN != 0 {
		m.u16(unix.NDA_VLAN, f.VLAN)
	}
	return m, nil
}

// any reports whether a link is so.
func (ls links) any(is func(rawLink) bool) bool {
	for _, l := range ls.all {
		if is(l) {
			return true
		}
	}
	return false
}

// observeVLANs puts the VLANs of the ports of VLAN-aware bridges, and of those bridges themselves. A bridge that does
// not filter keeps such entries, too, but they mean nothing.
func (h *Host) observeVLANs(ctx context.Context, s *netstate.State, ls links) error {
	aware := ls.vlanAware()
	if len(aware) == 0 {
		return nil
	}
	m := newMessage(&unix.IfInfomsg{Family: unix.AF_BRIDGE})
	m.u32(unix.IFLA_EXT_MASK, extMaskVLANCompressed)
	bodies, err := h.dump(ctx, unix.RTM_GETLINK, *m)
	if err != nil {
		return err
	}
	bridge := make(map[int32]int32, len(ls.all))
	for _, l := range ls.all {
		bridge[l.index] = l.master
		if aware[l.index] {
			bridge[l.index] = l.index
		}
	}
	for _, b := range bodies {
		if len(b) < unix.SizeofIfInfomsg {
			continue
		}
		index := int32(native.Uint32(b[4:]))
		if aware[bridge[index]] {
			port := netstate.BridgeVLAN{Dev: ls.name[index], Self: bridge[index] == index, Ours: ls.own[index]}
			putVLANs(s, port, b[unix.SizeofIfInfomsg:])
		}
	}
	return nil
}

// putVLANs expands the ranges of IFLA_AF_SPEC of one port.
func putVLANs(s *netstate.State, port netstate.BridgeVLAN, b []byte) {
	var begin uint16
	for typ, spec := range attrs(b) {
		if typ != unix.IFLA_AF_SPEC {
			continue
		}
		for typ, v := range attrs(spec) {
			if typ != bridgeVLANInfo || len(v) < 4 {
				continue
			}
			flags, vid := native.Uint16(v), native.Uint16(v[2:])
			if flags&vlanRangeBegin != 0 {
				begin = vid
				continue
			}
			if flags&vlanRangeEnd == 0 {
				begin = vid
			}
			for port.VID = begin; port.VID <= min(vid, maxVID); port.VID++ {
				port.PVID, port.Untagged = flags&vlanPVID != 0, flags&vlanUntagged != 0
				s.Put(port)
			}
		}
	}
}

func (h *Host) setBridgeVLAN(v netstate.BridgeVLAN) error {
	return h.bridgeVLAN(unix.RTM_SETLINK, v)
}

func (h *Host) deleteBridgeVLAN(v netstate.BridgeVLAN) error {
	return ignore(h.bridgeVLAN(unix.RTM_DELLINK, v), unix.ENOENT, unix.ENODEV, unix.EOPNOTSUPP, unix.EINVAL) // the last two: no longer a port
}

func (h *Host) bridgeVLAN(typ netlink.HeaderType, v netstate.BridgeVLAN) error {
	index, err := h.index(v.Dev)
	if err != nil {
		return err
	}
	var flags uint16
	if v.PVID {
		flags |= vlanPVID
	}
	if v.Untagged {
		flags |= vlanUntagged
	}
	m := newMessage(&unix.IfInfomsg{Family: unix.AF_BRIDGE, Index: index})
	m.nested(unix.IFLA_AF_SPEC, func() {
		if v.Self {
			m.u16(bridgeFlags, bridgeFlagSelf)
		}
		m.bytes(bridgeVLANInfo, native.AppendUint16(native.AppendUint16(nil, flags), v.VID))
	})
	return h.request(typ, 0, *m)
}

// setPort sets settings of a bridge port.
func (h *Host) setPort(dev string, p netstate.PortAttrs) error {
	index, err := h.index(dev)
	if err != nil {
		return err
	}
	m := newMessage(&unix.IfInfomsg{Family: unix.AF_BRIDGE, Index: index})
	m.nested(unix.IFLA_PROTINFO, func() {
		m.optBool(unix.IFLA_BRPORT_LEARNING, p.Learning)
		m.optBool(unix.IFLA_BRPORT_ISOLATED, p.Isolated)
		m.optBool(unix.IFLA_BRPORT_LOCKED, p.Locked)
		m.optBool(unix.IFLA_BRPORT_UNICAST_FLOOD, p.Flood)
	})
	return h.request(unix.RTM_SETLINK, 0, *m)
}
