// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"weft/internal/event"
	"weft/internal/netstate"
)

// Follow tells of each change of links, bonds, addresses, routes, rules, neighbours, bridge entries and rulesets, as the kernel
// says it, until ctx ends. Rulesets take CAP_NET_ADMIN; without it the rest is told. tell is called by one goroutine at a time.
func (h *Host) Follow(ctx context.Context, tell func(event.Event)) error {
	f := &follower{host: h, tell: tell, links: map[int32]rawLink{}, names: map[int32]string{}, fdb: map[fdbKey]fdbEntry{}, neighs: map[neighKey]string{}}
	routes, err := h.join(unix.NETLINK_ROUTE, routeGroups)
	if err != nil {
		return fmt.Errorf("follow links, addresses and routes: %w", err)
	}
	if err := f.begin(ctx); err != nil {
		return errors.Join(err, routes.Close())
	}
	messages := make(chan told)
	go h.relay(ctx, routes, unix.NETLINK_ROUTE, messages)
	if tables, err := h.join(unix.NETLINK_NETFILTER, []uint32{unix.NFNLGRP_NFTABLES}); err == nil {
		go h.relay(ctx, tables, unix.NETLINK_NETFILTER, messages)
	} else {
		f.say("nftables", "", "not followed: %v", err)
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case m := <-messages:
			if m.err != nil && !errors.Is(m.err, unix.ENOBUFS) {
				return fmt.Errorf("follow: %w", m.err)
			}
			if m.err != nil {
				f.say("lost", "", "events came faster than they were read")
				if err := f.begin(ctx); err != nil {
					return err
				}
				continue
			}
			f.hear(m)
		}
	}
}

// told is one that the kernel sent, or the error that came instead.
type told struct {
	netlink.Message
	family int
	err    error
}

// relay reads messages until ctx ends or the socket breaks.
func (h *Host) relay(ctx context.Context, c *netlink.Conn, family int, to chan<- told) {
	stop := context.AfterFunc(ctx, func() { _ = c.Close() }) // wakes the reader
	defer func() { stop(); _ = c.Close() }()
	for {
		for m, err := range c.ReceiveIter() {
			select {
			case to <- told{m, family, err}:
			case <-ctx.Done():
				return
			}
			if err == nil {
				continue
			}
			if !errors.Is(err, unix.ENOBUFS) {
				return
			}
			break
		}
	}
}

// follower knows what the last word about each thing was.
type follower struct {
	host   *Host
	tell   func(event.Event)
	links  map[int32]rawLink
	names  map[int32]string
	fdb    map[fdbKey]fdbEntry
	neighs map[neighKey]string
}

type neighKey struct {
	dev int32
	ip  string
}

// begin learns what links there are.
func (f *follower) begin(ctx context.Context) error {
	ls, err := f.host.dumpLinks(ctx)
	if err != nil {
		return err
	}
	clear(f.links)
	f.names = ls.name
	for _, l := range ls.all {
		f.links[l.index] = l
	}
	return nil
}

func (f *follower) say(kind, dev, format string, args ...any) {
	f.tell(event.Event{Time: time.Now(), Kind: kind, Dev: dev, Text: fmt.Sprintf(format, args...)})
}

// hear says what a message means.
func (f *follower) hear(m told) {
	if m.family == unix.NETLINK_NETFILTER {
		f.ruleset(m.Message)
		return
	}
	gone, b := false, m.Data
	switch m.Header.Type {
	case unix.RTM_DELLINK, unix.RTM_DELADDR, unix.RTM_DELROUTE, unix.RTM_DELRULE, unix.RTM_DELNEIGH, rtmDelMDB:
		gone = true
	}
	switch m.Header.Type {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		if len(b) >= unix.SizeofIfInfomsg && b[0] == unix.AF_UNSPEC {
			f.link(b, gone)
		}
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		if a, ok := parseAddr(b, f.names); ok {
			f.say("addr", a.Dev, "%s %s", a.Prefix, fate(gone))
		}
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		if r, ok := parseRoute(b, f.names); ok {
			f.say("route", "", "%s %s%s", r, fate(gone), owner(r))
		}
	case unix.RTM_NEWRULE, unix.RTM_DELRULE:
		if r, ok := parseRule(b); ok {
			f.say("rule", "", "IPv%d %s %s%s", r.Family, r, fate(gone), owner(r))
		}
	case unix.RTM_NEWNEIGH, unix.RTM_DELNEIGH:
		if len(b) >= sizeofNeighHeader && b[0] == unix.AF_BRIDGE {
			f.bridgeEntry(b, gone)
		} else {
			f.neighbour(b, gone)
		}
	}
}

func fate(gone bool) string {
	if gone {
		return "deleted"
	}
	return "added"
}

// owner says whose an object is, where a person would not see it.
func owner(o netstate.Object) string {
	if o.Owned() {
		return " (weft's)"
	}
	return ""
}

// neighbour says of an address that it has another MAC than before, or does not answer; and of proxies and permanent entries all.
func (f *follower) neighbour(b []byte, gone bool) {
	if n, ok := parseNeigh(b, f.names); ok {
		f.say("neigh", n.Dev, "%s %s%s", n, fate(gone), owner(n))
		return
	}
	if len(b) < sizeofNeighHeader || gone || b[0] != unix.AF_INET && b[0] != unix.AF_INET6 {
		return
	}
	index, state := int32(native.Uint32(b[4:])), native.Uint16(b[8:])
	ip, mac := "", ""
	for typ, v := range attrs(b[sizeofNeighHeader:]) {
		switch typ {
		case unix.NDA_DST:
			ip = getAddr(v).String()
		case unix.NDA_LLADDR:
			mac = getMAC(v)
		}
	}
	k := neighKey{index, ip}
	was, known := f.neighs[k]
	switch {
	case state&unix.NUD_FAILED != 0:
		f.say("neigh", f.names[index], "%s does not answer", ip)
		delete(f.neighs, k)
	case mac != "" && known && was != mac:
		f.say("neigh", f.names[index], "%s is at %s now, and was at %s", ip, mac, was)
		f.neighs[k] = mac
	case mac != "" && !known && len(f.neighs) < followMost:
		f.neighs[k] = mac
		f.say("neigh", f.names[index], "%s is at %s", ip, mac)
	}
}

// followMost is how many neighbours, and how many bridge entries, are known by what they were: guests can make up any number.
const followMost = 65536
