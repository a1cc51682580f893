// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"weft/internal/netstate"
)

// observeAddrs puts all addresses, except the link-local ones that the kernel itself made.
func (h *Host) observeAddrs(ctx context.Context, s *netstate.State, ls links) error {
	bodies, err := h.dump(ctx, unix.RTM_GETADDR, *newMessage(&unix.IfAddrmsg{}))
	if err != nil {
		return err
	}
	for _, b := range bodies {
		if a, ok := parseAddr(b, ls.name); ok {
			s.Put(a)
		}
	}
	return nil
}

func parseAddr(b []byte, names map[int32]string) (netstate.Addr, bool) {
	if len(b) < unix.SizeofIfAddrmsg {
		return netstate.Addr{}, false
	}
	a := netstate.Addr{Dev: names[int32(native.Uint32(b[4:]))]}
	var address, local netip.Addr
	for typ, v := range attrs(b[unix.SizeofIfAddrmsg:]) {
		switch typ {
		case unix.IFA_ADDRESS: // of a point-to-point link: the peer
			address = getAddr(v)
		case unix.IFA_LOCAL:
			local = getAddr(v)
		case ifaProto:
			a.Protocol = getU8(v)
		}
	}
	if !local.IsValid() {
		local = address
	}
	if !local.IsValid() || a.Dev == "" || a.Protocol == protoAddrLL && local.IsLinkLocalUnicast() {
		return a, false
	}
	a.Prefix = netip.PrefixFrom(local, int(b[1]))
	return a, true
}

// addAddr adds an address. That it is there already is not an error.
func (h *Host) addAddr(ctx context.Context, a netstate.Addr) error {
	m, err := h.addrMessage(a)
	if err != nil {
		return err
	}
	m.u8(ifaProto, a.Protocol)
	err = h.request(unix.RTM_NEWADDR, netlink.Create|netlink.Excl, *m)
	if ignore(err, unix.EEXIST) != nil || err == nil {
		return err
	}
	// IPv6 says so of the address with another prefix length, too.
	if there, _ := h.exists(ctx, h.observeAddrs, a); there != nil {
		return nil
	}
	return err
}

func (h *Host) deleteAddr(a netstate.Addr) error {
	m, err := h.addrMessage(a)
	if err == nil {
		err = h.request(unix.RTM_DELADDR, 0, *m)
	}
	return ignore(err, unix.EADDRNOTAVAIL, unix.ENODEV)
}

func (h *Host) addrMessage(a netstate.Addr) (*message, error) {
	index, err := h.index(a.Dev)
	if err != nil {
		return nil, err
	}
	m := newMessage(&unix.IfAddrmsg{Family: family(a.Prefix.Addr()), Prefixlen: uint8(a.Prefix.Bits()), Index: uint32(index)})
	m.addr(unix.IFA_LOCAL, a.Prefix.Addr())
	m.addr(unix.IFA_ADDRESS, a.Prefix.Addr())
	return m, nil
}

// family returns the address family of an address.
func family(a netip.Addr) uint8 {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// exists returns the object of o's key as it is now, or nil, by reading the objects of its kind.
func (h *Host) exists(ctx context.Context, read func(context.Context, *netstate.State, links) error, o netstate.Object) (netstate.Object, error) {
	ls, err := h.dumpLinks(ctx)
	if err != nil {
		return nil, err
	}
	var s netstate.State
	if err := read(ctx, &s, ls); err != nil {
		return nil, err
	}
	return s.Get(o.Key()), nil
}
