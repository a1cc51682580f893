// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"weft/internal/netstate"
)

// ethtool is a connection to the kernel's ethtool interface (Documentation/networking/ethtool-netlink.rst).
type ethtool struct {
	conn   *netlink.Conn // nil where the kernel has none
	family netlink.HeaderType
}

// genlHeader is struct genlmsghdr.
type genlHeader struct {
	Cmd, Version uint8
	_            uint16
}

const sizeofGenlHeader = 4

// observeSpeeds adds the speed of the links that have one of interest: members of bonds and physical devices.
func (h *Host) observeSpeeds(ls links) error {
	for i := range ls.all {
		l := &ls.all[i]
		if l.slaveKind != netstate.Bond && l.Status.PermMAC == "" {
			continue
		}
		if h.genl == nil {
			if err := h.openEthtool(); err != nil {
				return err
			}
		}
		if h.genl.conn == nil {
			return nil
		}
		l.Status.Speed = h.genl.speed(l.index)
	}
	return nil
}

func (h *Host) openEthtool() error {
	c, err := h.dial(unix.NETLINK_GENERIC)
	if err != nil {
		return err
	}
	h.genl = &ethtool{}
	m := newMessage(&genlHeader{Cmd: unix.CTRL_CMD_GETFAMILY, Version: 1})
	m.string(unix.CTRL_ATTR_FAMILY_NAME, unix.ETHTOOL_GENL_NAME)
	for _, b := range execute(c, unix.GENL_ID_CTRL, *m) {
		for typ, v := range attrs(b) {
			if typ == unix.CTRL_ATTR_FAMILY_ID {
				h.genl.conn, h.genl.family = c, netlink.HeaderType(getU16(v))
			}
		}
	}
	if h.genl.conn == nil {
		return c.Close()
	}
	return nil
}

// execute asks one thing and returns the attributes of the answers; an error answer is none: the link may be gone or
// its driver may not say.
func execute(c *netlink.Conn, family netlink.HeaderType, body message) (bodies [][]byte) {
	answers, err := c.Execute(netlink.Message{Header: netlink.Header{Type: family, Flags: netlink.Request}, Data: body})
	if err != nil {
		return nil
	}
	for _, m := range answers {
		if len(m.Data) >= sizeofGenlHeader {
			bodies = append(bodies, m.Data[sizeofGenlHeader:])
		}
	}
	return bodies
}

// speed returns a link's speed in Mbit/s, -1 where its driver does not say.
func (e *ethtool) speed(index int32) int {
	m := newMessage(&genlHeader{Cmd: unix.ETHTOOL_MSG_LINKMODES_GET, Version: unix.ETHTOOL_GENL_VERSION})
	m.nested(unix.ETHTOOL_A_LINKMODES_HEADER, func() { m.u32(unix.ETHTOOL_A_HEADER_DEV_INDEX, uint32(index)) })
	for _, b := range execute(e.conn, e.family, *m) {
		for typ, v := range attrs(b) {
			if typ == unix.ETHTOOL_A_LINKMODES_SPEED {
				return int(int32(getU32(v)))
			}
		}
	}
	return -1
}
