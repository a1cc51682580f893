// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"weft/internal/netstate"
)

// tcHeader is struct tcmsg (linux/rtnetlink.h).
type tcHeader struct {
	Family  uint8
	_       uint8
	_       uint16
	Ifindex int32
	Handle  uint32
	Parent  uint32
	Info    uint32
}

const sizeofTCHeader = 20

// Numbers of pkt_sched.h, pkt_cls.h, rtnetlink.h and act_api.h that golang.org/x/sys/unix does not have.
const (
	tcRoot        = 0xffffffff // TC_H_ROOT
	tcClsact      = 0xfffffff1 // TC_H_CLSACT, also TC_H_INGRESS
	tcFromDev     = 0xfffffff2 // TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS)
	tcToDev       = 0xfffffff3 // TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_EGRESS)
	tcClsactMajor = 0xffff0000

	tbfParms    = 1 // TCA_TBF_PARMS
	tbfRate64   = 4 // TCA_TBF_RATE64
	tbfBurst    = 6 // TCA_TBF_BURST
	matchallAct = 2 // TCA_MATCHALL_ACT
	actKind     = 1 // TCA_ACT_KIND
	actOptions  = 2 // TCA_ACT_OPTIONS

	policeTBF    = 1 // TCA_POLICE_TBF
	policeRate   = 2 // TCA_POLICE_RATE
	policeResult = 5 // TCA_POLICE_RESULT
	policeRate64 = 8 // TCA_POLICE_RATE64

	actContinue = 0xffffffff // TC_ACT_UNSPEC
	actShot     = 2          // TC_ACT_SHOT

	rateTable = 1024 // TC_RTAB_SIZE
	// limitInfo is what identifies the filter: its preference, and that it is for all protocols.
	limitInfo = netstate.LimitPref<<16 | (unix.ETH_P_ALL<<8|unix.ETH_P_ALL>>8)&0xffff
)

// rateSpec is struct tc_ratespec.
type rateSpec struct {
	CellLog   uint8
	LinkLayer uint8
	Overhead  uint16
	CellAlign int16
	MPU       uint16
	Rate      uint32 // bytes per second
}

// tbfQopt is struct tc_tbf_qopt.
type tbfQopt struct {
	Rate, Peak    rateSpec
	Limit, Buffer uint32 // bytes; ticks
	MTU           uint32
}

// policeQopt is struct tc_police.
type policeQopt struct {
	Index      uint32
	Action     int32
	Limit      uint32
	Burst, MTU uint32 // ticks; bytes
	Rate, Peak rateSpec
	Refs, Used int32
	Caps       uint32
}

// spec returns the rate as the kernel takes it. The cells are of tables that it does not look at any more, but wants to be there.
func spec(l netstate.Limit) rateSpec {
	return rateSpec{CellLog: 3, LinkLayer: 1 /* TC_LINKLAYER_ETHERNET */, CellAlign: -1, Rate: uint32(l.Rate / 8)}
}

// psTick is the unit of time of the kernel's packet schedulers, in nanoseconds (PSCHED_SHIFT).
const psTick = 64

func ticks(rate uint64, bytes uint32) uint32 {
	if rate == 0 {
		return 0
	}
	return uint32(uint64(bytes) * 8 * 1e9 / rate / psTick)
}

// burst is the inverse of ticks.
func burst(rate uint64, ticks uint32) uint32 {
	return uint32(float64(rate) / 8 * float64(ticks) * psTick / 1e9)
}

// observeLimits puts the limits of devices, and what somebody else has in the places of them.
func (h *Host) observeLimits(ctx context.Context, s *netstate.State, ls links) error {
	bodies, err := h.dump(ctx, unix.RTM_GETQDISC, *newMessage(&tcHeader{}))
	if err != nil {
		return err
	}
	for _, b := range bodies {
		if len(b) < sizeofTCHeader {
			continue
		}
		dev, handle, parent := ls.name[int32(native.Uint32(b[4:]))], native.Uint32(b[8:]), native.Uint32(b[12:])
		kind, options := tcKind(b)
		switch {
		case dev == "":
		case parent == tcClsact && kind == "clsact":
			if err := h.observePolice(ctx, s, dev, int32(native.Uint32(b[4:]))); err != nil {
				return err
			}
		case parent == tcClsact:
			s.Put(netstate.Limit{Dev: dev, Ingress: true, Foreign: kind})
		case parent != tcRoot || handle == 0: // a class's, or the kernel's own choice
		case handle == netstate.LimitHandle<<16 && kind == "tbf":
			s.Put(parseTBF(dev, options))
		default:
			s.Put(netstate.Limit{Dev: dev, Foreign: kind})
		}
	}
	return nil
}

func tcKind(b []byte) (kind string, options []byte) {
	for typ, v := range attrs(b[sizeofTCHeader:]) {
		switch typ {
		case unix.TCA_KIND:
			kind = getString(v)
		case unix.TCA_OPTIONS:
			options = v
		}
	}
	return kind, options
}

func parseTBF(dev string, options []byte) netstate.Limit {
	l := netstate.Limit{Dev: dev}
	var buffer uint32
	for typ, v := range attrs(options) {
		switch typ {
		case tbfParms:
			if len(v) >= 36 {
				l.Rate, buffer = 8*uint64(native.Uint32(v[8:])), native.Uint32(v[28:])
			}
		case tbfRate64:
			l.Rate = 8 * getU64(v)
		}
	}
	l.Burst = burst(l.Rate, buffer)
	return l
}

// observePolice puts the limit for what comes in by a device that has a clsact qdisc. Other filters there are somebody else's.
func (h *Host) observePolice(ctx context.Context, s *netstate.State, dev string, index int32) error {
	filters, err := h.filters(ctx, index, tcFromDev)
	if err != nil {
		return err
	}
	for _, b := range filters {
		kind, options := tcKind(b)
		if native.Uint32(b[16:])>>16 != netstate.LimitPref || options == nil {
			continue
		}
		l := netstate.Limit{Dev: dev, Ingress: true, Foreign: kind}
		if police := policeOf(options); kind == "matchall" && police != nil {
			l = parsePolice(dev, police)
		}
		s.Put(l)
	}
	return nil
}

// filters returns the filters of a device in one direction, with the headers of their messages.
func (h *Host) filters(ctx context.Context, index int32, parent uint32) ([][]byte, error) {
	all, err := h.dump(ctx, unix.RTM_GETTFILTER, *newMessage(&tcHeader{Ifindex: index, Parent: parent}))
	var whole [][]byte
	for _, b := range all {
		if len(b) >= sizeofTCHeader {
			whole = append(whole, b)
		}
	}
	return whole, err
}

// policeOf returns the options of the one police action of a matchall filter, nil if it is anything else.
func policeOf(options []byte) (police []byte) {
	for typ, v := range attrs(options) {
		if typ != matchallAct {
			continue
		}
		for _, action := range attrs(v) {
			kind, options := "", []byte(nil)
			for typ, v := range attrs(action) {
				switch typ {
				case actKind:
					kind = getString(v)
				case actOptions:
					options = v
				}
			}
			if kind != "police" || police != nil {
				return nil
			}
			police = options
		}
	}
	return police
}

func parsePolice(dev string, options []byte) netstate.Limit {
	l := netstate.Limit{Dev: dev, Ingress: true}
	var buffer uint32
	for typ, v := range attrs(options) {
		switch typ {
		case policeTBF:
			if len(v) >= 32 && native.Uint32(v[4:]) == actShot {
				buffer, l.Rate = native.Uint32(v[12:]), 8*uint64(native.Uint32(v[28:]))
			}
		case policeRate64:
			l.Rate = 8 * getU64(v)
		}
	}
	l.Burst = burst(l.Rate, buffer)
	return l
}

// setLimit makes the limit what it ought to be. A filter of this kind cannot be changed: it goes, and comes anew.
func (h *Host) setLimit(l netstate.Limit) error {
	index, err := h.index(l.Dev)
	if err != nil {
		return err
	}
	if !l.Ingress {
		m := newMessage(&tcHeader{Ifindex: index, Handle: netstate.LimitHandle << 16, Parent: tcRoot})
		m.string(unix.TCA_KIND, "tbf")
		m.nested(unix.TCA_OPTIONS, func() {
			q := tbfQopt{Rate: spec(l), Limit: l.Queue(), Buffer: ticks(l.Rate, l.Burst)}
			m.bytes(tbfParms, *newMessage(&q))
			m.u32(tbfBurst, l.Burst)
		})
		return h.request(unix.RTM_NEWQDISC, netlink.Create|netlink.Replace, *m)
	}
	m := newMessage(&tcHeader{Ifindex: index, Handle: tcClsactMajor, Parent: tcClsact})
	m.string(unix.TCA_KIND, "clsact")
	if err := ignore(h.request(unix.RTM_NEWQDISC, netlink.Create|netlink.Excl, *m), unix.EEXIST); err != nil {
		return err
	}
	if err := h.deleteFilter(index); err != nil {
		return err
	}
	return h.request(unix.RTM_NEWTFILTER, netlink.Create|netlink.Excl, *policeMessage(index, l))
}

func policeMessage(index int32, l netstate.Limit) *message {
	m := newMessage(&tcHeader{Ifindex: index, Handle: 1, Parent: tcFromDev, Info: limitInfo})
	m.string(unix.TCA_KIND, "matchall")
	m.nested(unix.TCA_OPTIONS, func() {
		m.nested(matchallAct, func() {
			m.nested(1, func() { // the first action
				m.string(actKind, "police")
				m.nested(actOptions, func() {
					q := policeQopt{Action: actShot, Burst: ticks(l.Rate, l.Burst), MTU: netstate.LimitMTU, Rate: spec(l)}
					m.bytes(policeTBF, *newMessage(&q))
					m.bytes(policeRate, make([]byte, rateTable))
					m.u32(policeResult, actContinue) // somebody else's filters come next
				})
			})
		})
	})
	return m
}

// deleteLimit leaves nothing of it: the place for filters goes with the last one.
func (h *Host) deleteLimit(ctx context.Context, l netstate.Limit) error {
	index, err := h.index(l.Dev)
	if err != nil {
		return ignore(err, unix.ENODEV)
	}
	if !l.Ingress {
		m := newMessage(&tcHeader{Ifindex: index, Handle: netstate.LimitHandle << 16, Parent: tcRoot})
		return ignore(h.request(unix.RTM_DELQDISC, 0, *m), unix.EINVAL, unix.ENOENT, unix.ENODEV) // EINVAL: the root has another handle
	}
	if err := h.deleteFilter(index); err != nil {
		return err
	}
	for _, direction := range []uint32{tcFromDev, tcToDev} {
		if left, err := h.filters(ctx, index, direction); err != nil || len(left) > 0 {
			return ignore(err, unix.EINVAL, unix.ENODEV)
		}
	}
	m := newMessage(&tcHeader{Ifindex: index, Handle: tcClsactMajor, Parent: tcClsact})
	return ignore(h.request(unix.RTM_DELQDISC, 0, *m), unix.ENOENT, unix.EINVAL, unix.ENODEV)
}

func (h *Host) deleteFilter(index int32) error {
	m := newMessage(&tcHeader{Ifindex: index, Parent: tcFromDev, Info: limitInfo})
	return ignore(h.request(unix.RTM_DELTFILTER, 0, *m), unix.ENOENT, unix.EINVAL, unix.ENODEV)
}
