// SPDX-License-Identifier: Apache-2.0

package frame_test

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"weft/internal/frame"
)

var (
	host  = frame.MAC{0x02, 0, 0, 0, 0, 0x01}
	guest = frame.MAC{0xaa, 0, 0, 0x11, 0x22, 0x33}
	tap   = frame.MAC{0xcc, 0x47, 0x52, 0x4e, 0x45, 0x54}

	equal = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
	same  = cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })
)

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

// octets are frames as other programs send them, or as the RFCs draw them; spaces are for people.
var octets = []struct {
	name, hex string
	want      frame.Frame
}{
	{"arping -U, padded", "ffffffffffff 020000000001 0806 0001 0800 06 04 0001 020000000001 3ed97c35 000000000000 3ed97c35 000000000000000000000000000000000000",
		frame.GratuitousRequest(host, ip("62.217.124.53"))},
	{"arping -A", "ffffffffffff 020000000001 0806 0001 0800 06 04 0002 020000000001 3ed97c35 020000000001 3ed97c35",
		frame.GratuitousReply(host, ip("62.217.124.53"))},
	{"arping -D", "ffffffffffff 020000000001 0806 0001 0800 06 04 0001 020000000001 00000000 000000000000 3ed97c35",
		frame.ARPProbe(host, ip("62.217.124.53"))},
	{"QEMU's announcement", "ffffffffffff aa0000112233 8035 0001 0800 06 04 0003 aa0000112233 00000000 aa0000112233 00000000 000000000000000000000000000000000000",
		frame.Frame{Dst: frame.Broadcast, Src: guest, Msg: frame.RARP{Op: frame.OpReverseRequest, SHA: guest, SPA: ip("0.0.0.0"), THA: guest, TPA: ip("0.0.0.0")}}},
	{"Linux tries its link-local address", "3333ff112233 aa0000112233 86dd 60000000 0018 3a ff 00000000000000000000000000000000 ff0200000000000000000001ff112233" +
		"87 00 909e 00000000 fe80000000000000a80000fffe112233",
		frame.DADNS(guest, frame.LinkLocal(guest))},
	{"Linux announces", "333300000001 020000000001 86dd 60000000 0020 3a ff fe80000000000000000000fffe000001 ff020000000000000000000000000001" +
		"88 00 1f7e 20000000 20010db8099300000000000000000053 02 01 020000000001",
		frame.UnsolicitedNA(host, frame.LinkLocal(host), ip("2001:db8:993::53"))},
}

func TestOctets(t *testing.T) {
	for _, tt := range octets {
		t.Run(tt.name, func(t *testing.T) {
			in, err := hex.DecodeString(strings.ReplaceAll(tt.hex, " ", ""))
			if err != nil {
				t.Fatal(err)
			}
			got, err := frame.Parse(in)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, got, equal); d != "" {
				t.Errorf("parsed (-want +got):\n%s", d)
			}
			out, err := tt.want.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(out, in[:len(out)]) || len(bytes.Trim(in[len(out):], "\x00")) > 0 {
				t.Errorf("encoded\n%x, want\n%x", out, in)
			}
		})
	}
}

// every has one frame of each kind with all fields set.
var every = []frame.Frame{
	frame.ARPRequest(tap, ip("62.217.124.49"), ip("62.217.124.53")),
	{Dst: tap, Src: guest, Msg: frame.ARP{Op: frame.OpReply, SHA: guest, SPA: ip("62.217.124.53"), THA: tap, TPA: ip("62.217.124.49")}},
	{Dst: guest, Src: host, Msg: frame.RARP{Op: frame.OpReverseReply, SHA: host, SPA: ip("10.0.0.1"), THA: guest, TPA: ip("10.0.0.9")}},
	frame.Solicit(host, frame.LinkLocal(host), ip("2001:db8:993::53")),
	{Dst: guest, Src: tap, Msg: frame.NA{Src: frame.LinkLocal(tap), Dst: frame.LinkLocal(guest), Target: ip("2001:db8:993::7"), TLLA: tap, Router: true, Solicited: true, Override: true}},
	{Dst: frame.MulticastMAC(frame.AllRouters), Src: guest, Msg: frame.RS{Src: frame.LinkLocal(guest), Dst: frame.AllRouters, SLLA: guest}},
	{Dst: frame.MulticastMAC(frame.AllNodes), Src: tap, Msg: frame.RA{
		Src: frame.LinkLocal(tap), Dst: frame.AllNodes, HopLimit: 64, Managed: true, Other: true, Lifetime: 30 * time.Minute, SLLA: tap, MTU: 1500,
		Prefixes: []frame.Prefix{{netip.MustParsePrefix("2001:db8:993::/64"), true, true, 30 * 24 * time.Hour, 7 * 24 * time.Hour}},
	}},
}

func TestThereAndBack(t *testing.T) {
	for _, f := range every {
		b, err := f.Marshal()
		if err != nil {
			t.Errorf("%+v: %v", f, err)
			continue
		}
		for _, padding := range []int{0, 1, 18} {
			got, err := frame.Parse(append(bytes.Clone(b), make([]byte, padding)...))
			if err != nil {
				t.Errorf("%+v with %d octets of padding: %v", f, padding, err)
			} else if d := cmp.Diff(f, got, equal, same); d != "" {
				t.Errorf("with %d octets of padding (-want +got):\n%s", padding, d)
			}
		}
		for n := range b {
			if _, err := frame.Parse(b[:n]); err == nil {
				t.Errorf("%T cut to %d of %d octets is read", f.Msg, n, len(b))
			}
		}
	}
}

// TestRefused changes good frames in one place each.
func TestRefused(t *testing.T) {
	na, request, ns, dad, ra := every[4], every[0], every[3], frame.DADNS(guest, ip("2001:db8::1")), every[6]
	for _, tt := range []struct {
		name string
		from frame.Frame
		at   int
		to   byte
		want string
	}{
		{"EtherType", request, 13, 0x07, "EtherType 0x0807"},
		{"group as source", request, 6, 0x03, "source address 03:47"},
		{"hardware type", request, 15, 6, "not IPv4 on Ethernet"},
		{"hardware length", request, 18, 8, "not IPv4 on Ethernet"},
		{"operation", request, 21, 9, "operation 9"},
		{"sender's hardware address", request, 22, 0xff, "sender hardware address ff:47"},
		{"sender's address", request, 28, 224, "not of one host"},
		{"version", na, 14, 0x40, "IPv6 packet of 72 octets"},
		{"next header", na, 20, 17, "next header 17"},
		{"hop limit", na, 21, 254, "hop limit 254"},
		{"length", na, 19, 33, "ICMPv6 of 33 octets in a packet of 72"},
		{"code", na, 55, 1, "type 136 code 1"},
		{"checksum", na, 56, 0, "checksum"},
		{"payload", na, 70, 9, "checksum"},
		{"addresses", na, 30, 9, "checksum"},
		{"solicitation", ns, 58, 1, "checksum"},
		{"from ::", dad, 37, 1, "checksum"},
		{"advertisement", ra, 60, 1, "checksum"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, err := tt.from.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			b[tt.at] = tt.to
			if f, err := frame.Parse(b); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %+v, %v, want %q", f, err, tt.want)
			}
		})
	}
}

// TestNotSent: what a receiver would discard is not sent either.
func TestNotSent(t *testing.T) {
	ll, a := frame.LinkLocal(host), ip("2001:db8::1")
	for _, tt := range []struct {
		msg  frame.Message
		want string
	}{
		{nil, "no message"},
		{frame.ARP{Op: 3, SHA: host, SPA: ip("10.0.0.1"), TPA: ip("10.0.0.2")}, "operation 3"},
		{frame.RARP{Op: 1, SHA: host, SPA: ip("10.0.0.1"), TPA: ip("10.0.0.2")}, "operation 1"},
		{frame.ARP{Op: 1, SPA: ip("10.0.0.1"), TPA: ip("10.0.0.2")}, "sender hardware address 00:00"},
		{frame.ARP{Op: 1, SHA: host, SPA: a, TPA: a}, "not IPv4"},
		{frame.ARP{Op: 1, SHA: host}, "not IPv4"},
		{frame.ARP{Op: 1, SHA: host, SPA: ip("255.255.255.255"), TPA: ip("10.0.0.2")}, "not of one host"},
		{frame.NS{Src: ll, Dst: frame.SolicitedNode(a), Target: frame.AllNodes}, "solicitation for ff02::1"},
		{frame.NS{Src: ip("::"), Dst: a, Target: a}, "from :: to 2001:db8::1"},
		{frame.NS{Src: ip("::"), Dst: frame.SolicitedNode(a), Target: a, SLLA: host}, "with a source link-layer address"},
		{frame.NS{Src: frame.AllNodes, Dst: a, Target: a}, "from ff02::1"},
		{frame.NS{Src: ip("10.0.0.1"), Dst: a, Target: a}, "not IPv6"},
		{frame.NA{Src: ll, Dst: frame.AllNodes, Target: a, Solicited: true}, "solicited neighbour advertisement to ff02::1"},
		{frame.NA{Src: ip("::"), Dst: frame.AllNodes, Target: a}, "advertisement from no address"},
		{frame.NA{Src: ll, Dst: frame.AllNodes, Target: ip("::")}, "advertisement for ::"},
		{frame.RS{Src: ip("::"), Dst: frame.AllRouters, SLLA: host}, "with a source link-layer address"},
		{frame.RS{Src: ll, Dst: ip("::")}, "to ::"},
		{frame.RA{Src: a, Dst: frame.AllNodes}, "advertisement from 2001:db8::1"},
	} {
		f := frame.Frame{Dst: guest, Src: host, Msg: tt.msg}
		if b, err := f.Marshal(); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: got %x, %v, want %q", tt.msg, b, err, tt.want)
		}
	}
}

func TestAddresses(t *testing.T) {
	for _, tt := range []struct{ got, want any }{
		{frame.LinkLocal(tap), ip("fe80::ce47:52ff:fe4e:4554")},
		{frame.EUI64(ip("2001:db8:993::"), guest), ip("2001:db8:993::a800:ff:fe11:2233")},
		{frame.SolicitedNode(ip("2001:db8::1234:5678")), ip("ff02::1:ff34:5678")},
		{frame.MulticastMAC(frame.SolicitedNode(ip("2001:db8::1234:5678"))).String(), "33:33:ff:34:56:78"},
		{frame.ARP{Op: 1, SPA: ip("0.0.0.0"), TPA: ip("10.0.0.1")}.Probe(), true},
		{frame.ARP{Op: 2, SPA: ip("0.0.0.0"), TPA: ip("10.0.0.1")}.Probe(), false},
		{frame.ARP{Op: 1, SPA: ip("10.0.0.1"), TPA: ip("10.0.0.1")}.Gratuitous(), true},
		{frame.ARP{Op: 1, SPA: ip("0.0.0.0"), TPA: ip("0.0.0.0")}.Gratuitous(), false},
	} {
		if tt.got != tt.want {
			t.Errorf("got %v, want %v", tt.got, tt.want)
		}
	}
	for text, want := range map[string]string{"aa:00:00:11:22:33": "", "AA-00-00-11-22-33": "", "aa:00": "invalid", "02:00:5e:10:00:00:00:01": "8 octets"} {
		m, err := frame.ParseMAC(text)
		if want == "" && (err != nil || m != guest) || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, %v", text, m, err)
		}
	}
}

// FuzzParse: any octets are read or refused, and what is read says the same when it is written and read again.
func FuzzParse(f *testing.F) {
	for _, tt := range octets {
		b, err := hex.DecodeString(strings.ReplaceAll(tt.hex, " ", ""))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	for _, e := range every {
		b, err := e.Marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		rightChecksum(b)
		first, err := frame.Parse(b)
		if err != nil {
			return
		}
		out, err := first.Marshal()
		if err != nil {
			t.Fatalf("%+v is read but not written: %v", first, err)
		}
		again, err := frame.Parse(out)
		if err != nil {
			t.Fatalf("%+v is written but not read: %v", first, err)
		}
		if d := cmp.Diff(first, again, equal, same); d != "" {
			t.Errorf("(-read +read again):\n%s", d)
		}
	})
}

// rightChecksum makes an ICMPv6 checksum right, which no fuzzer guesses.
func rightChecksum(b []byte) {
	const ip, body = 14, 54
	if len(b) < body+4 || b[12] != 0x86 || b[13] != 0xdd {
		return
	}
	size := int(b[18])<<8 | int(b[19])
	if size < 4 || size > len(b)-body {
		return
	}
	b[body+2], b[body+3] = 0, 0
	sum := uint32(size + 58)
	for i, o := range b[ip+8 : body+size] {
		sum += uint32(o) << (8 * uint(1-i%2))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	b[body+2], b[body+3] = byte(^sum>>8), byte(^sum)
}
