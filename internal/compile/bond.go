// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"weft/internal/netstate"
	"weft/internal/spec"
)

// bond asks for a bond and its members.
func (b *builder) bond(name string, s *spec.Bond) {
	who := "bonds." + name
	l := b.common(who, name, &s.Link)
	l.Kind, l.Bond = netstate.Bond, bondAttrs(s)
	b.link(who, l)
	for _, m := range s.Members {
		// The kernel gives a member the bond's MTU when it joins; asking for it makes a later change visible.
		b.link(who, netstate.Link{Name: m, Master: new(name), MTU: l.MTU})
	}
}

// bondAttrs translates a bond's options. What the file leaves out, apart from the defaults of package spec, is the kernel's choice.
func bondAttrs(s *spec.Bond) *netstate.BondAttrs {
	a := &netstate.BondAttrs{
		Mode:            word(s.ModeWord()),
		UpDelay:         s.UpDelay,
		DownDelay:       s.DownDelay,
		ARPInterval:     s.ARPInterval,
		LACPRate:        word(s.LACPRateWord()),
		XmitHashPolicy:  word(s.XmitHashPolicy),
		MinLinks:        s.MinLinks,
		ADSelect:        word(s.ADSelect),
		Primary:         word(s.Primary),
		PrimaryReselect: word(s.PrimaryReselect),
		FailOverMAC:     word(s.FailOverMAC),
		NumPeerNotif:    s.NumGratARP,
	}
	if ms := s.MIIMonMS(); ms != 0 || s.MIIMon != nil {
		a.MIIMon = &ms
	}
	for _, t := range s.ARPIPTarget {
		a.ARPIPTarget = append(a.ARPIPTarget, t.String())
	}
	return a
}

// word returns a word that was written, or nil: the kernel's choice.
func word(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
