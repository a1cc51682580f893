// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"weft/internal/netstate"
)

// Numbers of linux/if_bridge.h.
const (
	rtmDelMDB = 85

	mdbaMDB          = 1
	mdbaMDBEntry     = 1
	mdbaMDBEntryInfo = 1
	mdbaSetEntry     = 1
	mdbPermanent     = 1
)

// mdbHeader is struct br_port_msg.
type mdbHeader struct {
	Family  uint8
	_       uint8
	_       uint16
	Ifindex int32
}

const sizeofMDBHeader = 8

// mdbEntry is struct br_mdb_entry.
type mdbEntry struct {
	Ifindex int32
	State   uint8
	Flags   uint8
	VID     uint16
	Addr    [16]byte
	Proto   [2]byte // in network order
	_       uint16
}

const sizeofMDBEntry = 28

// observeMDB puts the permanent entries of bridges that filter no VLANs.
func (h *Host) observeMDB(ctx context.Context, s *netstate.State, ls links) error {
	if !ls.any(func(l rawLink) bool { return l.slaveKind == netstate.Bridge }) {
		return nil
	}
	bodies, err := h.dump(ctx, unix.RTM_GETMDB, *newMessage(&mdbHeader{Family: unix.AF_BRIDGE}))
	if err != nil {
		return err
	}
	for _, b := range bodies {
		if len(b) < sizeofMDBHeader {
			continue
		}
		bridge := ls.name[int32(native.Uint32(b[4:]))]
		eachMDB(b, func(info []byte) {
			if m, ok := parseMDB(info, ls); ok && bridge != "" {
				m.Bridge = bridge
				s.Put(m)
			}
		})
	}
	return nil
}

// permanentMDB reports whether a message tells of a permanent entry.
func permanentMDB(b []byte) bool {
	permanent := false
	eachMDB(b, func(info []byte) { permanent = permanent || len(info) > 4 && info[4] == mdbPermanent })
	return permanent
}

// eachMDB calls f with every struct br_mdb_entry of a message.
func eachMDB(b []byte, f func([]byte)) {
	if len(b) < sizeofMDBHeader {
		return
	}
	each(b[sizeofMDBHeader:], mdbaMDB, func(mdb []byte) {
		each(mdb, mdbaMDBEntry, func(entry []byte) { each(entry, mdbaMDBEntryInfo, f) })
	})
}

// each calls f with every attribute of the type.
func each(b []byte, typ uint16, f func([]byte)) {
	for t, v := range attrs(b) {
		if t == typ {
			f(v)
		}
	}
}

func parseMDB(b []byte, ls links) (m netstate.MDB, ok bool) {
	if len(b) < sizeofMDBEntry || b[4] != mdbPermanent || native.Uint16(b[6:]) != 0 {
		return m, false
	}
	index := int32(native.Uint32(b))
	m.Dev, m.Ours = ls.name[index], ls.own[index]
	switch proto := uint16(b[24])<<8 | uint16(b[25]); proto {
	case unix.ETH_P_IP:
		m.Group, ok = netip.AddrFromSlice(b[8:12])
	case unix.ETH_P_IPV6:
		m.Group, ok = netip.AddrFromSlice(b[8:24])
	}
	return m, ok && m.Dev != ""
}

func (h *Host) setMDB(m netstate.MDB) error {
	msg, err := h.mdbMessage(m)
	if err != nil {
		return err
	}
	return ignore(h.request(unix.RTM_NEWMDB, netlink.Create, *msg), unix.EEXIST)
}

func (h *Host) deleteMDB(m netstate.MDB) error {
	msg, err := h.mdbMessage(m)
	if err == nil {
		err = h.request(rtmDelMDB, 0, *msg)
	}
	return ignore(err, unix.ENOENT, unix.ENODEV, unix.EINVAL) // the last: no longer a port, or a bridge that is down or does not snoop
}

func (h *Host) mdbMessage(m netstate.MDB) (*message, error) {
	bridge, err := h.index(m.Bridge)
	if err != nil {
		return nil, err
	}
	port, err := h.index(m.Dev)
	if err != nil {
		return nil, err
	}
	e := mdbEntry{Ifindex: port, State: mdbPermanent, Proto: [2]byte{unix.ETH_P_IP >> 8, unix.ETH_P_IP & 0xff}}
	copy(e.Addr[:], m.Group.AsSlice())
	if m.Group.Is6() {
		e.Proto = [2]byte{unix.ETH_P_IPV6 >> 8, unix.ETH_P_IPV6 & 0xff}
	}
	msg := newMessage(&mdbHeader{Family: unix.AF_BRIDGE, Ifindex: bridge})
	msg.bytes(mdbaSetEntry, *newMessage(&e))
	return msg, nil
}
