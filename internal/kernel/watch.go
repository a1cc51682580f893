// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"weft/internal/netstate"
)

// The multicast groups that tell of changes to what Observe reads.
var routeGroups = []uint32{
	unix.RTNLGRP_LINK, unix.RTNLGRP_NEIGH,
	unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV4_NETCONF,
	unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV6_RULE, unix.RTNLGRP_IPV6_NETCONF,
	unix.RTNLGRP_BRVLAN, unix.RTNLGRP_MDB, unix.RTNLGRP_TC,
}

// rejoin is how long Watch waits before it opens a socket again that broke.
const rejoin = time.Second

// Watch returns a channel that has a value whenever something may have changed since the last value was taken: many
// events are one value. It is closed when ctx ends. An event that was lost (a full socket buffer, a socket that broke)
// counts as a change. The kernel does not tell of proxy entries. Of settings it tells once an Observe has named them.
func (h *Host) Watch(ctx context.Context) (<-chan struct{}, error) {
	routes, err := h.join(unix.NETLINK_ROUTE, routeGroups)
	if err != nil {
		return nil, fmt.Errorf("watch links, addresses and routes: %w", err)
	}
	tables, err := h.join(unix.NETLINK_NETFILTER, []uint32{unix.NFNLGRP_NFTABLES})
	if err != nil {
		_ = routes.Close()
		return nil, fmt.Errorf("watch nftables: %w", err)
	}
	changed := make(chan struct{}, 1)
	var readers sync.WaitGroup
	readers.Go(func() { h.listen(ctx, routes, unix.NETLINK_ROUTE, routeGroups, changed) })
	readers.Go(func() { h.listen(ctx, tables, unix.NETLINK_NETFILTER, []uint32{unix.NFNLGRP_NFTABLES}, changed) })
	if f := h.written.begin(); f != nil {
		readers.Go(func() { h.written.listen(ctx, f, changed) })
	}
	go func() {
		readers.Wait()
		close(changed)
	}()
	return changed, nil
}

func (h *Host) join(family int, groups []uint32) (*netlink.Conn, error) {
	c, err := h.dial(family)
	if err != nil {
		return nil, err
	}
	for _, g := range groups {
		if err := c.JoinGroup(g); err != nil {
			return nil, errors.Join(fmt.Errorf("join group %d: %w", g, err), c.Close())
		}
	}
	return c, nil
}

// listen turns events into values of changed until ctx ends.
func (h *Host) listen(ctx context.Context, c *netlink.Conn, family int, groups []uint32, changed chan<- struct{}) {
	for ctx.Err() == nil {
		if c != nil {
			stop := context.AfterFunc(ctx, func() { _ = c.Close() }) // wakes the reader
			h.receive(c, family, changed)
			stop()
			_ = c.Close() // again where ctx ended, which is fine
			c = nil
		}
		signal(changed)
		if ctx.Err() == nil {
			if c, _ = h.join(family, groups); c == nil {
				pause(ctx, rejoin)
			}
		}
	}
	if c != nil {
		_ = c.Close()
	}
}

// receive reads events until the socket breaks. A buffer that ran full is not the socket's end.
func (h *Host) receive(c *netlink.Conn, family int, changed chan<- struct{}) {
	for {
		for m, err := range c.ReceiveIter() {
			if errors.Is(err, unix.ENOBUFS) {
				h.changers.missed(family)
				signal(changed)
				break
			}
			if err != nil {
				return
			}
			h.changers.note(m, family)
			if family != unix.NETLINK_ROUTE || telling(m) || h.isExpected(m) {
				signal(changed)
			}
		}
	}
}

// Expect names the guests, by the indexes of their taps, whose first frame on a bridge counts as a change from now on. What bridges
// learn otherwise does not.
func (h *Host) Expect(guests map[int]string) { h.expected.Store(&guests) }

// isExpected reports whether an event is the first frame of a guest that is expected.
func (h *Host) isExpected(m netlink.Message) bool {
	guests := h.expected.Load()
	if guests == nil || len(*guests) == 0 || m.Header.Type != unix.RTM_NEWNEIGH {
		return false
	}
	index, mac := learned(m.Data)
	return mac != "" && (*guests)[int(index)] == mac
}

// telling reports whether an event is about something that Observe reads: neighbours that come and go by themselves are not, nor are
// the groups that guests listen to.
func telling(m netlink.Message) bool {
	if m.Header.Type == unix.RTM_NEWMDB || m.Header.Type == rtmDelMDB {
		return permanentMDB(m.Data)
	}
	if m.Header.Type != unix.RTM_NEWNEIGH && m.Header.Type != unix.RTM_DELNEIGH || len(m.Data) < sizeofNeighHeader {
		return true
	}
	state, flags := native.Uint16(m.Data[8:]), m.Data[10]
	switch {
	case m.Data[0] == unix.AF_BRIDGE:
		return state == unix.NUD_NOARP
	case m.Header.Type == unix.RTM_DELNEIGH: // a permanent entry has failed by the time it is told to be gone
		for typ, v := range attrs(m.Data[sizeofNeighHeader:]) {
			if typ == ndaProtocol && len(v) > 0 {
				return v[0] == netstate.Protocol
			}
		}
		return false
	}
	return state&unix.NUD_PERMANENT != 0 || flags&unix.NTF_PROXY != 0
}

func signal(changed chan<- struct{}) {
	select {
	case changed <- struct{}{}:
	default: // one is waiting already
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
