// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"weft/internal/netstate"
)

// sizeofRuleHeader is the size of struct fib_rule_hdr, which is laid out as struct rtmsg:
// family, dst_len, src_len, tos, table, two unused bytes, action, flags.
const sizeofRuleHeader = unix.SizeofRtMsg

// observeRules puts the rules of both families, except those with selectors that weft has no words for.
func (h *Host) observeRules(ctx context.Context, s *netstate.State, _ links) error {
	rules, err := h.dumpRules(ctx)
	if err != nil {
		return err
	}
	for _, r := range rules {
		// Rules come in the order of their priority. Of two "lookup local" (a move that was interrupted) the first counts.
		if s.Get(r.Key()) == nil {
			s.Put(r)
		}
	}
	return nil
}

func (h *Host) dumpRules(ctx context.Context) (all []netstate.Rule, err error) {
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		bodies, err := h.dump(ctx, unix.RTM_GETRULE, *newMessage(&unix.RtMsg{Family: family}))
		if err != nil {
			return nil, err
		}
		for _, b := range bodies {
			if r, ok := parseRule(b); ok {
				all = append(all, r)
			}
		}
	}
	return all, nil
}

// parseRule decodes an RTM_NEWRULE message; ok is false for rules outside the vocabulary.
func parseRule(b []byte) (r netstate.Rule, ok bool) {
	if len(b) < sizeofRuleHeader || int(b[7]) >= len(ruleActions) || b[3] != 0 {
		return r, false
	}
	r = netstate.Rule{Family: 4, Table: uint32(b[4]), Action: ruleActions[b[7]], Not: native.Uint32(b[8:])&fibRuleInvert != 0}
	if b[0] == unix.AF_INET6 {
		r.Family = 6
	}
	for typ, v := range attrs(b[sizeofRuleHeader:]) {
		switch typ {
		case unix.FRA_PRIORITY:
			r.Priority = getU32(v)
		case unix.FRA_DST:
			r.To = netip.PrefixFrom(getAddr(v), int(b[1]))
		case unix.FRA_SRC:
			r.From = netip.PrefixFrom(getAddr(v), int(b[2]))
		case unix.FRA_IIFNAME:
			r.IIF = getString(v)
		case unix.FRA_OIFNAME:
			r.OIF = getString(v)
		case unix.FRA_FWMARK:
			r.FwMark = getU32(v)
		case unix.FRA_FWMASK:
			r.FwMask = getU32(v)
		case unix.FRA_L3MDEV:
			r.L3MDev = getU8(v) != 0
		case unix.FRA_TABLE:
			r.Table = getU32(v)
		case unix.FRA_PROTOCOL:
			r.Protocol = getU8(v)
		case unix.FRA_SUPPRESS_PREFIXLEN:
			if getU32(v) != 0xffffffff { // -1 says none
				return r, false
			}
		case unix.FRA_GOTO, unix.FRA_FLOW, unix.FRA_SUPPRESS_IFGROUP, unix.FRA_TUN_ID, unix.FRA_UID_RANGE,
			unix.FRA_IP_PROTO, unix.FRA_SPORT_RANGE, unix.FRA_DPORT_RANGE:
			return r, false
		}
	}
	if r.FwMark == 0 && r.FwMask == 0xffffffff {
		r.FwMask = 0
	}
	return canonicalRule(r), true
}

// canonicalRule leaves out what the form of the rule already says.
func canonicalRule(r netstate.Rule) netstate.Rule {
	if r.FwMark != 0 && r.FwMask == 0xffffffff {
		r.FwMask = 0
	}
	if r.L3MDev || r.Action != "lookup" {
		r.Table = 0
	}
	return r
}

// addRule adds a rule. That it is there already is not an error.
func (h *Host) addRule(r netstate.Rule) error {
	m, err := ruleMessage(r)
	if err != nil {
		return err
	}
	return ignore(h.request(unix.RTM_NEWRULE, netlink.Create|netlink.Excl, *m), unix.EEXIST)
}

func (h *Host) deleteRule(r netstate.Rule) error {
	m, err := ruleMessage(r)
	if err != nil {
		return err
	}
	return ignore(h.request(unix.RTM_DELRULE, 0, *m), unix.ENOENT)
}

// moveLocal moves the rule "lookup local" of r's family to r's priority: first it is added there, so that it is never
// missing, then the old one goes, and with it one of weft's that an interrupted move left elsewhere.
func (h *Host) moveLocal(ctx context.Context, old, r netstate.Rule) error {
	if err := h.addRule(r); err != nil {
		return err
	}
	rules, err := h.dumpRules(ctx)
	if err != nil {
		return err
	}
	for _, o := range rules {
		if o.Key() != r.Key() || o.Priority == r.Priority {
			continue
		}
		if o.Priority == old.Priority || o.Owned() {
			if err := h.deleteRule(o); err != nil {
				return err
			}
		}
	}
	return nil
}

// ruleMessage encodes a rule.
func ruleMessage(r netstate.Rule) (*message, error) {
	head := unix.RtMsg{Family: unix.AF_INET}
	if r.Family == 6 {
		head.Family = unix.AF_INET6
	}
	action := r.Action
	if action == "" {
		action = "lookup"
	}
	n, ok := ruleActions.number(action)
	if !ok {
		return nil, unix.EINVAL
	}
	head.Type = n
	if r.Not {
		head.Flags |= fibRuleInvert
	}
	if r.From.IsValid() {
		head.Src_len = uint8(r.From.Bits())
	}
	if r.To.IsValid() {
		head.Dst_len = uint8(r.To.Bits())
	}
	m := newMessage(&head)
	m.u32(unix.FRA_PRIORITY, r.Priority)
	m.u8(unix.FRA_PROTOCOL, r.Protocol)
	if r.From.IsValid() && r.From.Bits() > 0 {
		m.addr(unix.FRA_SRC, r.From.Addr())
	}
	if r.To.IsValid() && r.To.Bits() > 0 {
		m.addr(unix.FRA_DST, r.To.Addr())
	}
	if r.IIF != "" {
		m.string(unix.FRA_IIFNAME, r.IIF)
	}
	if r.OIF != "" {
		m.string(unix.FRA_OIFNAME, r.OIF)
	}
	if r.FwMark != 0 || r.FwMask != 0 {
		m.u32(unix.FRA_FWMARK, r.FwMark)
		if r.FwMask != 0 {
			m.u32(unix.FRA_FWMASK, r.FwMask)
		}
	}
	switch {
	case r.L3MDev:
		m.u8(unix.FRA_L3MDEV, 1)
	case action == "lookup":
		m.u32(unix.FRA_TABLE, r.Table)
	}
	return m, nil
}
