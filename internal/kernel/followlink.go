// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"fmt"
	"strings"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"weft/internal/netstate"
)

// link says what has changed of a link.
func (f *follower) link(b []byte, gone bool) {
	l := parseLink(b)
	f.resolve(&l)
	was, known := f.links[l.index]
	switch {
	case gone:
		delete(f.links, l.index)
		delete(f.names, l.index)
		f.say("link", l.Name, "deleted")
		return
	case !known:
		f.say("link", l.Name, "%s added%s", linkKind(l.Link), port(l.MasterName()))
	case was.Name != l.Name:
		f.say("link", l.Name, "renamed from %s", was.Name)
	}
	f.links[l.index], f.names[l.index] = l, l.Name
	if !known {
		return
	}
	if words := linkChanges(was.Link, l.Link); words != "" {
		f.say("link", l.Name, "%s", words)
	}
	if words := bondChanges(was.Status, l.Status); words != "" {
		f.say("bond", l.Name, "%s", words)
	}
}

// resolve turns the indexes of one link into names.
func (f *follower) resolve(l *rawLink) {
	l.Master = &noName
	if name := f.names[l.master]; l.master != 0 {
		l.Master = &name
	}
	if l.Bond != nil {
		l.Status.Bond.ActiveMember = f.names[int32(l.active)]
	}
}

func linkKind(l netstate.Link) string {
	if l.Kind == "" {
		return "device"
	}
	return l.Kind
}

func port(master string) string {
	if master == "" {
		return ""
	}
	return ", port of " + master
}

// linkChanges says in words what differs between two looks at a link.
func linkChanges(was, is netstate.Link) string {
	var w []string
	if was.IsUp() != is.IsUp() {
		w = append(w, "set "+updown(is.IsUp()))
	}
	if was.Status.Carrier != is.Status.Carrier {
		w = append(w, map[bool]string{true: "carrier", false: "carrier lost"}[is.Status.Carrier])
	}
	if a, b := was.MasterName(), is.MasterName(); a != b {
		if b == "" {
			w = append(w, "no port of "+a+" any more")
		} else {
			w = append(w, "port of "+b+" now")
		}
	}
	if was.MTU != is.MTU {
		w = append(w, fmt.Sprintf("mtu %d, was %d", is.MTU, was.MTU))
	}
	if was.MAC != is.MAC {
		w = append(w, fmt.Sprintf("address %s, was %s", is.MAC, was.MAC))
	}
	if was.GroupID() != is.GroupID() {
		w = append(w, fmt.Sprintf("group %d, was %d", is.GroupID(), was.GroupID()))
	}
	return strings.Join(w, ", ")
}

func updown(up bool) string {
	if up {
		return "up"
	}
	return "down"
}

// bondChanges says what differs of a bond or of a member of one.
func bondChanges(was, is *netstate.LinkStatus) string {
	var w []string
	if a, b := was.Bond, is.Bond; a != nil && b != nil {
		if a.ActiveMember != b.ActiveMember {
			w = append(w, fmt.Sprintf("active member %s, was %s", orNone(b.ActiveMember), orNone(a.ActiveMember)))
		}
		if a.PartnerMAC != b.PartnerMAC {
			w = append(w, fmt.Sprintf("LACP partner %s, was %s", b.PartnerMAC, a.PartnerMAC))
		}
		if a.AggregatorID != b.AggregatorID || a.Ports != b.Ports {
			w = append(w, fmt.Sprintf("aggregator %d of %d members, was %d of %d", b.AggregatorID, b.Ports, a.AggregatorID, a.Ports))
		}
	}
	if a, b := was.Member, is.Member; a != nil && b != nil {
		if a.State != b.State {
			w = append(w, b.State+" now")
		}
		if a.MII != b.MII {
			w = append(w, fmt.Sprintf("MII %s, was %s", b.MII, a.MII))
		}
		if a.AggregatorID != b.AggregatorID {
			w = append(w, fmt.Sprintf("in aggregator %d, was in %d", b.AggregatorID, a.AggregatorID))
		}
		if a.PartnerState != b.PartnerState {
			w = append(w, fmt.Sprintf("LACP partner's port state 0x%02x, was 0x%02x", b.PartnerState, a.PartnerState))
		}
	}
	return strings.Join(w, ", ")
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// fdbKey is one address in one VLAN of one bridge.
type fdbKey struct {
	bridge int32
	vlan   uint16
	mac    string
}

// fdbEntry is where it is, and how often it moved of late.
type fdbEntry struct {
	dev   int32
	moves int
	since time.Time
}

// A MAC that moves this often within so long is said to flap: a loop, or two machines with one address.
const (
	flapMoves  = 3
	flapWithin = 10 * time.Second
)

// bridgeEntry says where a bridge has learned a MAC that it knew elsewhere.
func (f *follower) bridgeEntry(b []byte, gone bool) {
	k, index := fdbKey{}, int32(native.Uint32(b[4:]))
	for typ, v := range attrs(b[sizeofNeighHeader:]) {
		switch typ {
		case unix.NDA_LLADDR:
			k.mac = getMAC(v)
		case unix.NDA_VLAN:
			k.vlan = getU16(v)
		case unix.NDA_MASTER:
			k.bridge = int32(getU32(v))
		}
	}
	permanent := native.Uint16(b[8:])&(unix.NUD_PERMANENT|unix.NUD_NOARP) != 0
	if k.bridge == 0 || b[10]&unix.NTF_SELF != 0 {
		return
	}
	if permanent {
		f.say("fdb", f.names[index], "%s static on %s%s %s", k.mac, f.names[k.bridge], vlanWords(k.vlan), fate(gone))
	}
	e, known := f.fdb[k]
	switch {
	case gone:
		delete(f.fdb, k)
		return
	case known && e.dev == index, !known && len(f.fdb) >= followMost:
		return
	case known:
		if now := time.Now(); now.Sub(e.since) > flapWithin {
			e.moves, e.since = 0, now
		}
		e.moves++
		f.say("fdb", f.names[index], "%s%s moved here from %s%s", k.mac, vlanWords(k.vlan), orNone(f.names[e.dev]), flapping(e.moves))
	case !permanent:
		f.say("fdb", f.names[index], "%s%s learned on %s", k.mac, vlanWords(k.vlan), f.names[k.bridge])
	}
	e.dev = index
	f.fdb[k] = e
}

func vlanWords(vid uint16) string {
	if vid == 0 {
		return ""
	}
	return fmt.Sprintf(" vlan %d", vid)
}

func flapping(moves int) string {
	if moves < flapMoves {
		return ""
	}
	return fmt.Sprintf(": FLAPS, %d moves in %s", moves, flapWithin)
}

// ruleset says which tables came and went, and who changed something of nftables.
func (f *follower) ruleset(m netlink.Message) {
	const sizeofNfgenmsg = 4
	typ, b := int(m.Header.Type)&0xff, m.Data
	if len(b) < sizeofNfgenmsg {
		return
	}
	name, program, pid := "", "", uint32(0)
	for attr, v := range attrs(b[sizeofNfgenmsg:]) {
		switch {
		case typ == unix.NFT_MSG_NEWGEN && attr == unix.NFTA_GEN_PROC_PID:
			pid = getU32BE(v)
		case typ == unix.NFT_MSG_NEWGEN && attr == unix.NFTA_GEN_PROC_NAME:
			program = getString(v)
		case attr == unix.NFTA_TABLE_NAME:
			name = getString(v)
		}
	}
	switch typ {
	case unix.NFT_MSG_NEWTABLE, unix.NFT_MSG_DELTABLE:
		f.say("nftables", "", "table %s %s %s", tableFamily(b[0]), name, fate(typ == unix.NFT_MSG_DELTABLE))
	case unix.NFT_MSG_NEWGEN:
		f.say("nftables", "", "changed by %s, process %d", orNone(program), pid)
	}
}

// tableFamily is the word for an NFPROTO_*.
func tableFamily(proto byte) string {
	for family, number := range nftFamilies {
		if number == proto {
			return string(family)
		}
	}
	return fmt.Sprintf("family %d", proto)
}
