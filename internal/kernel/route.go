// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"weft/internal/netstate"
)

// observeRoutes puts the routes of all tables except local. The link-local and multicast routes that the kernel makes
// for every IPv6 link are left out.
func (h *Host) observeRoutes(ctx context.Context, s *netstate.State, ls links) error {
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		bodies, err := h.dump(ctx, unix.RTM_GETROUTE, *newMessage(&unix.RtMsg{Family: family}))
		if err != nil {
			return err
		}
		for _, b := range bodies {
			r, ok := parseRoute(b, ls.name)
			if !ok && r.Dst == multicast6 && r.Table != netstate.TableLocal {
				ls.multicast[r.Dev] = true
			}
			if ok && s.Get(r.Key()) == nil { // of several with one key, the kernel uses the first
				s.Put(r)
			}
		}
	}
	return nil
}

var (
	linkLocal6 = netip.MustParsePrefix("fe80::/64")
	multicast6 = netip.MustParsePrefix("ff00::/8")
)

// parseRoute decodes an RTM_NEWROUTE message; ok is false for routes outside the vocabulary.
func parseRoute(b []byte, names map[int32]string) (r netstate.Route, ok bool) {
	if len(b) < unix.SizeofRtMsg {
		return r, false
	}
	var (
		is4    = b[0] == unix.AF_INET
		bits   = int(b[1])
		srcLen = b[2]
		tos    = b[3]
		typ    = int(b[7])
		flags  = native.Uint32(b[8:])
	)
	if b[4] == unix.RT_TABLE_LOCAL || tos != 0 || srcLen != 0 || typ >= len(routeTypes) || flags&unix.RTM_F_CLONED != 0 {
		return r, false
	}
	r = netstate.Route{Table: uint32(b[4]), Protocol: b[5], Type: routeTypes[typ], OnLink: flags&unix.RTNH_F_ONLINK != 0}
	dst := netip.IPv6Unspecified()
	if is4 {
		dst = netip.IPv4Unspecified()
	}
	for typ, v := range attrs(b[unix.SizeofRtMsg:]) {
		switch typ {
		case unix.RTA_DST:
			dst = getAddr(v)
		case unix.RTA_TABLE:
			r.Table = getU32(v)
		case unix.RTA_PRIORITY:
			r.Metric = getU32(v)
		case unix.RTA_OIF:
			r.Dev = names[int32(getU32(v))]
		case unix.RTA_GATEWAY:
			r.Via = getAddr(v)
		case unix.RTA_VIA:
			r.Via = parseVia(v)
		case unix.RTA_PREFSRC:
			r.Src = getAddr(v)
		case unix.RTA_METRICS:
			for metric, v := range attrs(v) {
				if metric == unix.RTAX_MTU {
					r.MTU = getU32(v)
				}
			}
		case unix.RTA_MULTIPATH:
			r.NextHops = parseHops(v, names)
		}
	}
	r.Dst = netip.PrefixFrom(dst, bits)
	if r.Table == netstate.TableLocal || r.Protocol == protoKernel && (r.Dst == linkLocal6 || r.Dst == multicast6) {
		return r, false
	}
	return r.Canonical(), r.Dst.IsValid()
}

// parseVia decodes struct rtvia, a gateway of another family.
func parseVia(b []byte) netip.Addr {
	if len(b) < 2 {
		return netip.Addr{}
	}
	return getAddr(b[2:])
}

// parseHops decodes RTA_MULTIPATH, a list of struct rtnexthop with attributes.
func parseHops(b []byte, names map[int32]string) (hops []netstate.NextHop) {
	for len(b) >= unix.SizeofRtNexthop {
		n := int(native.Uint16(b))
		if n < unix.SizeofRtNexthop || n > len(b) {
			break
		}
		hop := netstate.NextHop{OnLink: b[2]&unix.RTNH_F_ONLINK != 0, Weight: int(b[3]) + 1, Dev: names[int32(native.Uint32(b[4:]))]}
		for typ, v := range attrs(b[unix.SizeofRtNexthop:n]) {
			switch typ {
			case unix.RTA_GATEWAY:
				hop.Via = getAddr(v)
			case unix.RTA_VIA:
				hop.Via = parseVia(v)
			}
		}
		hops = append(hops, hop)
		b = b[min(align4(n), len(b)):]
	}
	return hops
}

// addRoute adds a route. That an equal one is there already is not an error.
func (h *Host) addRoute(ctx context.Context, r netstate.Route) error {
	m, err := h.routeMessage(r)
	if err != nil {
		return err
	}
	err = h.request(unix.RTM_NEWROUTE, netlink.Create|netlink.Excl, *m)
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	there, _ := h.exists(ctx, h.observeRoutes, r)
	if there == nil || !there.Meets(r.Canonical()) {
		return err
	}
	return nil
}

// setRoute replaces the route of the same key.
func (h *Host) setRoute(r netstate.Route) error {
	m, err := h.routeMessage(r)
	if err != nil {
		return err
	}
	return h.request(unix.RTM_NEWROUTE, netlink.Create|netlink.Replace, *m)
}

// deleteRoute deletes this very route and no other of its key: its protocol, type and way are compared by the kernel.
func (h *Host) deleteRoute(r netstate.Route) error {
	m, err := h.routeMessage(r)
	if err != nil {
		return ignore(err, unix.ENODEV)
	}
	(*m)[6] = unix.RT_SCOPE_NOWHERE
	return ignore(h.request(unix.RTM_DELROUTE, 0, *m), unix.ESRCH, unix.ENODEV)
}

// routeMessage encodes a route.
func (h *Host) routeMessage(r netstate.Route) (*message, error) {
	r = r.Canonical()
	typ, ok := routeTypes.number(r.Type)
	if !ok {
		return nil, fmt.Errorf("route type %q: %w", r.Type, unix.EINVAL)
	}
	head := unix.RtMsg{Family: family(r.Dst.Addr()), Dst_len: uint8(r.Dst.Bits()), Protocol: r.Protocol, Type: typ, Scope: scope(r)}
	if r.OnLink {
		head.Flags |= unix.RTNH_F_ONLINK
	}
	m := newMessage(&head)
	m.u32(unix.RTA_TABLE, r.Table)
	if r.Dst.Bits() > 0 {
		m.addr(unix.RTA_DST, r.Dst.Addr())
	}
	if r.Metric != 0 {
		m.u32(unix.RTA_PRIORITY, r.Metric)
	}
	if r.Src.IsValid() {
		m.addr(unix.RTA_PREFSRC, r.Src)
	}
	if r.MTU != 0 {
		m.nested(unix.RTA_METRICS, func() { m.u32(unix.RTAX_MTU, r.MTU) })
	}
	if len(r.NextHops) > 0 {
		return m, h.addHops(m, r)
	}
	m.gateway(r.Dst.Addr(), r.Via)
	if r.Dev != "" {
		index, err := h.index(r.Dev)
		if err != nil {
			return nil, err
		}
		m.u32(unix.RTA_OIF, uint32(index))
	}
	return m, nil
}

// scope says how far an IPv4 route leads, as iproute2 chooses it.
func scope(r netstate.Route) uint8 {
	switch {
	case r.Dst.Addr().Is6():
		return unix.RT_SCOPE_UNIVERSE
	case r.Type == "local":
		return unix.RT_SCOPE_HOST
	case r.Type == "unicast" && !r.Via.IsValid() && len(r.NextHops) == 0, r.Type == "broadcast", r.Type == "multicast":
		return unix.RT_SCOPE_LINK
	}
	return unix.RT_SCOPE_UNIVERSE
}

// gateway adds the next router, which may be of another family than the destination.
func (m *message) gateway(dst, via netip.Addr) {
	switch {
	case !via.IsValid():
	case via.Is4() == dst.Is4():
		m.addr(unix.RTA_GATEWAY, via)
	default:
		m.bytes(unix.RTA_VIA, append(native.AppendUint16(nil, uint16(family(via))), via.AsSlice()...))
	}
}

func (h *Host) addHops(m *message, r netstate.Route) error {
	var failed error
	m.nested(unix.RTA_MULTIPATH, func() {
		for _, hop := range r.NextHops {
			start := len(*m)
			head := make([]byte, unix.SizeofRtNexthop)
			if hop.OnLink {
				head[2] |= unix.RTNH_F_ONLINK
			}
			head[3] = uint8(max(hop.Weight, 1) - 1)
			if hop.Dev != "" {
				index, err := h.index(hop.Dev)
				if err != nil {
					failed = err
					return
				}
				native.PutUint32(head[4:], uint32(index))
			}
			*m = append(*m, head...)
			m.gateway(r.Dst.Addr(), hop.Via)
			native.PutUint16((*m)[start:], uint16(len(*m)-start))
		}
	})
	return failed
}
