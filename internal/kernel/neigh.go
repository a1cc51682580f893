// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"weft/internal/netstate"
)

// neighHeader is struct ndmsg (linux/neighbour.h).
type neighHeader struct {
	Family  uint8
	_       uint8
	_       uint16
	Ifindex int32
	State   uint16
	Flags   uint8
	Type    uint8
}

const sizeofNeighHeader = 12

// observeNeighs puts the permanent neighbours and the proxy entries of both families.
func (h *Host) observeNeighs(ctx context.Context, s *netstate.State, ls links) error {
	for _, flags := range []uint8{0, unix.NTF_PROXY} {
		bodies, err := h.dump(ctx, unix.RTM_GETNEIGH, *newMessage(&neighHeader{Flags: flags}))
		if err != nil {
			return err
		}
		for _, b := range bodies {
			if n, ok := parseNeigh(b, ls.name); ok {
				s.Put(n)
			}
		}
	}
	return nil
}

func parseNeigh(b []byte, names map[int32]string) (n netstate.Neigh, ok bool) {
	if len(b) < sizeofNeighHeader || b[0] != unix.AF_INET && b[0] != unix.AF_INET6 {
		return n, false
	}
	n.Proxy = b[10]&unix.NTF_PROXY != 0
	if !n.Proxy && native.Uint16(b[8:])&unix.NUD_PERMANENT == 0 {
		return n, false
	}
	n.Dev = names[int32(native.Uint32(b[4:]))]
	for typ, v := range attrs(b[sizeofNeighHeader:]) {
		switch typ {
		case unix.NDA_DST:
			n.IP = getAddr(v)
		case unix.NDA_LLADDR:
			if !n.Proxy {
				n.MAC = getMAC(v)
			}
		case ndaProtocol:
			n.Protocol = getU8(v)
		}
	}
	return n, n.IP.IsValid() && n.Dev != "" // a proxy entry for every link is nothing of weft's
}

// setNeigh makes the entry what it ought to be, also where the kernel has learned one.
func (h *Host) setNeigh(n netstate.Neigh) error {
	m, err := h.neighMessage(n)
	if err != nil {
		return err
	}
	m.u8(ndaProtocol, n.Protocol)
	if !n.Proxy {
		m.mac(unix.NDA_LLADDR, n.MAC)
	}
	return h.request(unix.RTM_NEWNEIGH, netlink.Create|netlink.Replace, *m)
}

func (h *Host) deleteNeigh(n netstate.Neigh) error {
	m, err := h.neighMessage(n)
	if err == nil {
		err = h.request(unix.RTM_DELNEIGH, 0, *m)
	}
	return ignore(err, unix.ENOENT, unix.ENODEV)
}

func (h *Host) neighMessage(n netstate.Neigh) (*message, error) {
	index, err := h.index(n.Dev)
	if err != nil {
		return nil, err
	}
	head := neighHeader{Family: family(n.IP), Ifindex: index, State: unix.NUD_PERMANENT}
	if n.Proxy {
		head.Flags = unix.NTF_PROXY
	}
	m := newMessage(&head)
	m.addr(unix.NDA_DST, n.IP)
	return m, nil
}
