// SPDX-License-Identifier: Apache-2.0

package rig

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
		want Pings
	}{
		"all answered":   {line("1") + line("2") + "2 packets transmitted, 2 received, 0% packet loss, time 501ms\n", Pings{2, 2, 0, 0, true}},
		"twice and late": {line("2") + line("1") + line("2") + "2 packets transmitted, 2 received, +1 duplicates\n", Pings{2, 2, 0, 0, true}},
		"a hole": {line("1") + "[1] From 62.217.124.49 icmp_seq=2 Destination Host Unreachable\n" + line("4") +
			"5 packets transmitted, 2 received, +1 errors, 60% packet loss\n", Pings{5, 2, 2, time.Second, true}},
		"lost at the end": {line("1") + "30 packets transmitted, 1 received, 96% packet loss\n", Pings{30, 1, 0, 14500 * time.Millisecond, false}},
		"killed":          {line("1"), Pings{0, 1, 0, 0, false}},
		"nothing":         {"", Pings{}},
	} {
		if got := CountPings(test.out, 500*time.Millisecond); got != test.want {
			t.Errorf("%s: %+v, want %+v", name, got, test.want)
		}
	}
}

// What is installed on the nodes and how decides which folder of the cache it is.
func TestRootArgs(t *testing.T) {
	t.Parallel()
	r := Root{Name: "x", Packages: []string{"a", "b"}, Options: []string{"--one"}, Hooks: []string{"do it"}}
	args := strings.Join(r.args("/new"), "\n")
	if want := "\n--one\n--include=a,b\n--customize-hook=do it\nbookworm\n/new\n"; !strings.Contains(args, want) {
		t.Errorf("mmdebstrap's arguments lack %q:\n%s", want, args)
	}
}
