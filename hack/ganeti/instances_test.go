// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
	"time"
)

func TestCountPings(t *testing.T) {
	t.Parallel()
	line := func(seq string) string {
		return "[1795392000.1] 64 bytes from 62.217.124.51: icmp_seq=" + seq + " ttl=62 time=9.5 ms\n"
	}
	for name, test := range map[string]struct {
		out  string
		want pings
	}{
		"all answered":   {line("1") + line("2") + "2 packets transmitted, 2 received, 0% packet loss, time 501ms\n", pings{2, 2, 0, true}},
		"twice and late": {line("2") + line("1") + line("2") + "2 packets transmitted, 2 received, +1 duplicates\n", pings{2, 2, 0, true}},
		"a hole": {line("1") + "[1] From 62.217.124.49 icmp_seq=2 Destination Host Unreachable\n" + line("4") +
			"5 packets transmitted, 2 received, +1 errors, 60% packet loss\n", pings{5, 2, time.Second, true}},
		"lost at the end": {line("1") + "30 packets transmitted, 1 received, 96% packet loss\n", pings{30, 1, 14500 * time.Millisecond, false}},
		"killed":          {line("1"), pings{0, 1, 0, false}},
		"nothing":         {"", pings{}},
	} {
		if got := countPings(test.out); got != test.want {
			t.Errorf("%s: %+v, want %+v", name, got, test.want)
		}
	}
}

// Each wire has one end at the switch, which listens, and one at a node.
func TestWires(t *testing.T) {
	t.Parallel()
	l := &lab{dir: "/d"}
	ends := map[string]string{}
	for _, name := range machines() {
		for _, arg := range l.wireArgs(name) {
			if id, rest, ok := strings.Cut(strings.TrimPrefix(arg, "stream,id="), ","); ok && strings.HasPrefix(arg, "stream") {
				ends[id] += name + " " + strings.Split(rest, ",")[0] + "; "
			}
		}
	}
	want := map[string]string{
		"h1e0": "net server=on; node1 server=off; ", "h1e1": "net server=on; node1 server=off; ",
		"h2e0": "net server=on; node2 server=off; ", "h2e1": "net server=on; node2 server=off; ",
	}
	for id, w := range want {
		if ends[id] != w {
			t.Errorf("the ends of wire %s are %q, want %q", id, ends[id], w)
		}
	}
	if len(ends) != len(want) {
		t.Errorf("wires %v, want %v", ends, want)
	}
}

// What is installed on the nodes and how decides which folder of the cache it is.
func TestRootArgs(t *testing.T) {
	t.Parallel()
	args := strings.Join(mmdebstrapArgs("/new"), "\n")
	for _, want := range []string{",ganeti-os-noop,", ",qemu-system-x86,", "\nbookworm\n/new\n", "ssh-keygen"} {
		if !strings.Contains(args, want) {
			t.Errorf("mmdebstrap's arguments lack %q:\n%s", want, args)
		}
	}
	if strings.Contains(args, "ca-certificates") {
		t.Error("the nodes would have ca-certificates")
	}
}
