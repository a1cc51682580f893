// SPDX-License-Identifier: Apache-2.0

package nft_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"weft/internal/nft"
)

func TestParse(t *testing.T) {
	for e, want := range map[nft.Expr]nft.Term{
		"counter":                     {Op: "counter"},
		"jump limited":                {Op: "jump", Chain: "limited"},
		"fib saddr . iif oif missing": {Op: "fib", Value: "saddr . iif", Not: true},
		"fib saddr . iif oif exists":  {Op: "fib", Value: "saddr . iif"},
		"fib daddr oif missing":       {Op: "fib", Value: "daddr", Not: true},
		"ip6 daddr set @th,64,128":    {Op: "readdress", Fields: []string{"ip6 daddr"}, Value: "@th,64,128"},
		"ct zone set 993":             {Op: "zone", Value: "993"},
		"update @flood { iifname limit rate over 5/second burst 30 packets }": {
			Op: "limit", Fields: []string{"iifname"}, Set: "flood", Value: "5/second burst 30",
		},
		"add @asked { meta sdifname . ip6 daddr }":  {Op: "note", Fields: []string{"meta sdifname", "ip6 daddr"}, Set: "asked"},
		"meta sdifname . ip daddr @asked":           {Op: "match", Fields: []string{"meta sdifname", "ip daddr"}, Set: "asked"},
		"meta sdifname . rt ip6 nexthop @asked":     {Op: "match", Fields: []string{"meta sdifname", "rt ip6 nexthop"}, Set: "asked"},
		"tcp dport 8000-8100":                       {Op: "match", Fields: []string{"tcp dport"}, Value: "8000-8100"},
		"vlan id 992":                               {Op: "match", Fields: []string{"vlan id"}, Value: "992"},
		"ct direction reply":                        {Op: "match", Fields: []string{"ct direction"}, Value: "reply"},
		"ct state related":                          {Op: "match", Fields: []string{"ct state"}, Value: "related"},
		"udp dport 67":                              {Op: "match", Fields: []string{"udp dport"}, Value: "67"},
		"meta l4proto != ipv6-icmp":                 {Op: "match", Fields: []string{"meta l4proto"}, Not: true, Value: "ipv6-icmp"},
		"iifgroup 8700993":                          {Op: "match", Fields: []string{"iifgroup"}, Value: "8700993"},
		"oifgroup != @taps":                         {Op: "match", Fields: []string{"oifgroup"}, Not: true, Set: "taps"},
		`iifname "bond0.993"`:                       {Op: "match", Fields: []string{"iifname"}, Value: `"bond0.993"`},
		"iifname . arp saddr ip != @guests":         {Op: "match", Fields: []string{"iifname", "arp saddr ip"}, Not: true, Set: "guests"},
		"ip6 saddr fe80::/10":                       {Op: "match", Fields: []string{"ip6 saddr"}, Value: "fe80::/10"},
		"arp saddr ip set oifgroup map @arp_source": {Op: "rewrite", Fields: []string{"oifgroup"}, Set: "arp_source"},
		"return":          {Op: "return"},
		"frag frag-off 0": {Op: "match", Fields: []string{"frag frag-off"}, Value: "0"},
		"ether type ip igmp type membership-query": {Op: "match", Fields: []string{"ether type ip igmp type"}, Value: "membership-query"},
		"frag frag-off != 0":                       {Op: "match", Fields: []string{"frag frag-off"}, Not: true, Value: "0"},
		"ether type 0x8035":                        {Op: "match", Fields: []string{"ether type"}, Value: "0x8035"},
		"iifgroup . @th,64,128 @guests":            {Op: "match", Fields: []string{"iifgroup", "@th,64,128"}, Set: "guests"},
		"update @here { iifgroup . ether saddr timeout 1s }": {
			Op: "sighting", Fields: []string{"iifgroup", "ether saddr"}, Set: "here",
		},
		"icmpv6 type nd-neighbor-advert": {Op: "match", Fields: []string{"icmpv6 type"}, Value: "nd-neighbor-advert"},
	} {
		have, err := nft.Parse(e)
		if diff := cmp.Diff(want, have); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +have):\n%s", e, err, diff)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for line := range strings.Lines(strings.TrimPrefix(`
unknown(socket)
accept 
Accept
goto x
frag frag-off 1
frag frag-off != 8
ether type 0x0800
ether type vlan
meta pkttype other
update @here { iifgroup . ether saddr }
update @here { iifgroup . ether saddr timeout 2s }
add @here { iifgroup . ether saddr timeout 1s }
arp plen 256
@th,64,128 0x1
counter packets 0 bytes 0
jump
jump  x
jump A
fib saddr oif missing
fib daddr . iif oif
ip6 daddr set ::1
ip6 saddr set @th,64,128
ct zone set 0
ct zone set 65536
ct zone set 01
update @flood { iifname limit rate 5/second burst 30 packets }
update @flood { iifname limit rate over 5/minute burst 30 packets }
update @flood { iifname limit rate over 0/second burst 30 packets }
update @flood { iifname limit rate over 05/second burst 30 packets }
update @flood { ip saddr limit rate over 5/second burst 30 packets }
update @flood { iifname limit rate over 5/second }
add @asked { iifname }
add @asked { iifname . ip6 daddr
add @asked { ip6 daddr . iifname }
add @asked { iifname . ip6 daddr timeout 5s }
sdifname "tap0"
meta mark set 0
meta mark set 0x865131
meta mark set iifgroup map @marks
fib saddr type local
fib daddr type unicast
udp dport 65536
udp dport http
tcp dport 8100-8000
tcp dport 80-80
tcp dport != 80-90
tcp dport 80-65536
vlan id 0
vlan id 4095
ct state new
ct state != related
ct direction both
meta l4proto 17
meta l4proto 58
fib saddr . iif oif
iifgroup
iifgroup 08
iifgroup -1
iifgroup 4294967296
iifgroup "default"
iifgroup == 5
iifgroup {1, 2}
iifgroup  5
meta iifgroup 5
iifname tap0
iifname "tap*"
iifname ""
iifname "a b"
iifname "abcdefghijklmnop"
iifname "a"b"
iifname . oifname "tap0"
iifname . iifname @s
arp saddr ip . iifname @s
iifname . ip saddr . ip daddr @s
iifname . arp operation @s
arp operation @s
arp operation 1
arp operation nak
ip saddr 10.0.0.1/8
ip saddr 10.0.0.0/33
ip saddr 10.0.0.1/32
ip saddr 0.0.0.0/0
ip saddr fe80::/10
ip saddr ::1
ip saddr 010.0.0.1
ip6 saddr FE80::1
ip6 saddr fe80::1%eth0
ip6 saddr 10.0.0.1
ip6 saddr ::ffff:10.0.0.0/100
ether saddr AA:00:00:00:00:01
ether saddr aa-00-00-00-00-01
ether saddr aa:00:00:00:00:01:02:03
icmpv6 type 136
ip saddr @
ip saddr @a-b
arp saddr ip set 1.2.3.4
arp saddr ip set oifgroup map arp_source
arp saddr ip set ip saddr map @m
arp saddr ip set rt ip nexthop map @m
rt ip nexthop 192.0.2.1
rt ip6 nexthop fe80::/10
rt nexthop @asked
drop; add table inet x
ip saddr 1.2.3.4'
`, "\n")) {
		e := nft.Expr(strings.TrimSuffix(line, "\n"))
		if term, err := nft.Parse(e); err == nil {
			t.Errorf("%q: read as %+v", e, term)
		}
	}
}

// FuzzParse looks for text that is read but not printed as it was, or that a shell or nft would take for more than one
// expression.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"accept", "jump x", "update @flood { iifname limit rate over 5/second burst 30 packets }", "add @asked { iifname . ip6 daddr }", "update @here { iifgroup . ether saddr timeout 1s }", "iifname . rt ip nexthop @s", "counter", "fib saddr . iif oif missing", "iifgroup 5", "iifname . ether saddr != @s", `iifname "tap0"`, "ip saddr 10.0.0.0/8",
		"ip6 daddr fe80::1", "arp operation request", "arp saddr ip set oifgroup map @m", "icmpv6 type nd-neighbor-advert", "ether saddr aa:00:00:00:00:01",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		term, err := nft.Parse(nft.Expr(s))
		if err != nil {
			return
		}
		if string(term.Expr()) != s {
			t.Errorf("%q: printed as %q", s, term.Expr())
		}
		name := strings.Trim(term.Value, `"`)
		if !slices.Contains([]string{"limit", "note", "sighting"}, term.Op) && strings.ContainsAny(strings.ReplaceAll(s, name, ""), ";{}\n'") || strings.ContainsAny(name, "\n\"") {
			t.Errorf("%q: passes for one expression", s)
		}
	})
}

// FuzzEncode looks for values that do not come back as they were.
func FuzzEncode(f *testing.F) {
	for _, s := range []string{"5", `"tap0"`, "10.0.0.1", "fe80::1", "aa:00:00:00:00:01", "request", "nd-router-advert", "::ffff:1.2.3.4"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, typ := range []string{"devgroup", "ifname", "ipv4_addr", "ipv6_addr", "ether_addr", "arp_op", "icmpv6_type"} {
			b, err := nft.Encode(typ, s)
			if err != nil {
				continue
			}
			back, err := nft.Decode(typ, b)
			if err != nil || back != s || len(b) != nft.Size(typ) {
				t.Errorf("%s %q: %x is read as %q (%v)", typ, s, b, back, err)
			}
			again, err := nft.Encode(typ, back)
			if err != nil || !bytes.Equal(again, b) {
				t.Errorf("%s %q: %x, then %x (%v)", typ, s, b, again, err)
			}
		}
		if typ := nft.TypeOf(s); typ != "" {
			if _, err := nft.Encode(typ, s); err != nil {
				t.Errorf("%q is no %s: %v", s, typ, err)
			}
		}
	})
}
