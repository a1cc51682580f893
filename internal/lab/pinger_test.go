// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// pings is what ping -D prints for pings that were sent every 10 ms from second 1000 on and came back after 2 ms; lost ones
// are left out.
func pings(sent int, lost func(seq int) bool) string {
	var b strings.Builder
	b.WriteString("PING 192.0.2.1 (192.0.2.1) 56(84) bytes of data.\n")
	for seq := 1; seq <= sent; seq++ {
		if lost(seq) {
			fmt.Fprintf(&b, "[%d.%06d] From 192.0.2.9 icmp_seq=%d Destination Host Unreachable\n", 1000+seq/100, seq%100*10000, seq)
			continue
		}
		at := time.UnixMilli(1000_000 + int64(seq)*10 + 2)
		fmt.Fprintf(&b, "[%d.%06d] 64 bytes from 192.0.2.1: icmp_seq=%d ttl=62 time=2.00 ms\n", at.Unix(), at.Nanosecond()/1000, seq)
	}
	fmt.Fprintf(&b, "\n--- 192.0.2.1 ping statistics ---\n%d packets transmitted, 1 received, 0%% packet loss, time 9ms\n", sent)
	return b.String()
}

func TestMeasure(t *testing.T) {
	at := func(ms int64) time.Time { return time.UnixMilli(1000_000 + ms) }
	between := func(a, b int) func(int) bool { return func(seq int) bool { return a <= seq && seq <= b } }
	tests := map[string]struct {
		text  string
		marks []time.Time
		end   time.Time
		want  string
	}{
		"nothing lost": {pings(100, between(0, 0)), nil, at(1010), "100 sent, 100 answered, 0 lost, longest gap 10ms\n  0 switches, 0 lost after them, 0 of them late\n"},
		// 195..209 are sent at 1950..2090 ms: ten of them after the switch at 1995, of which five more than 50 ms later.
		"a switch": {pings(300, between(195, 209)), []time.Time{at(1995)}, at(3010),
			"300 sent, 285 answered, 15 lost, longest gap 160ms\n  switch 1: of the pings sent after it, the first that got an answer (whenever that came) was sent 105ms after it; 10 lost, 5 of them late\n  1 switches, 10 lost after them, 5 of them late\n"},
		"two switches": {pings(300, between(195, 209)), []time.Time{at(1005), at(1995)}, at(3010),
			"300 sent, 285 answered, 15 lost, longest gap 160ms\n  switch 1: of the pings sent after it, the first that got an answer (whenever that came) was sent 5ms after it; 5 lost, 5 of them late\n" +
				"  switch 2: of the pings sent after it, the first that got an answer (whenever that came) was sent 105ms after it; 10 lost, 5 of them late\n  2 switches, 15 lost after them, 10 of them late\n"},
		"dead at the end": {pings(300, between(101, 300)), []time.Time{at(995)}, at(3010),
			"300 sent, 100 answered, 200 lost, longest gap 2.01s\n  switch 1: of the pings sent after it, the first that got an answer (whenever that came) was sent 5ms after it; 200 lost, 196 of them late\n  1 switches, 200 lost after them, 196 of them late\n"},
		"under way at the end": {pings(102, between(101, 102)), nil, at(1030), "102 sent, 100 answered, 0 lost, longest gap 10ms\n  0 switches, 0 lost after them, 0 of them late\n"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := measure(test.text, test.marks, test.end, 50*time.Millisecond)
			if err != nil {
				t.Fatal(err)
			}
			if got.String() != test.want {
				t.Errorf("got\n%swant\n%s", got, test.want)
			}
		})
	}
	for name, text := range map[string]string{"silence": pings(10, between(1, 10)), "killed": "PING", "no switch seen": ""} {
		if _, err := measure(text, nil, at(200), 0); err == nil {
			t.Errorf("%s: measured", name)
		}
	}
}

// The frames that announce a guest, as QEMU's announce_self_create and Linux's arp_send make them.
func TestAnnouncements(t *testing.T) {
	mac := net.HardwareAddr{0xaa, 0, 0, 0x94, 0xed, 0x40}
	pad := make([]byte, 18)
	for name, test := range map[string]struct {
		got  []byte
		want string
	}{
		"rarp":       {rarp(mac), "\xff\xff\xff\xff\xff\xff\xaa\x00\x00\x94\xed\x40\x80\x35\x00\x01\x08\x00\x06\x04\x00\x03\xaa\x00\x00\x94\xed\x40\x00\x00\x00\x00\xaa\x00\x00\x94\xed\x40\x00\x00\x00\x00"},
		"gratuitous": {gratuitous(mac, [4]byte{62, 217, 124, 53}), "\xff\xff\xff\xff\xff\xff\xaa\x00\x00\x94\xed\x40\x08\x06\x00\x01\x08\x00\x06\x04\x00\x01\xaa\x00\x00\x94\xed\x40\x3e\xd9\x7c\x35\x00\x00\x00\x00\x00\x00\x3e\xd9\x7c\x35"},
	} {
		if want := append([]byte(test.want), pad...); !bytes.Equal(test.got, want) {
			t.Errorf("%s: % x, want % x", name, test.got, want)
		}
	}
}
