// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"golang.org/x/sys/unix"
)

func TestParseAttack(t *testing.T) {
	const text = `what: the gateway is at the attacker's
tool: arpspoof
modes: bridged vlan-aware
at: g2
limit: 2500 1000/s
alone: yes
see: victim+wire arp[6:2] = 2 and ether src $A_MAC
see: self icmp

timeout 2 arpspoof

true
`
	got, err := parseAttack("arp", text)
	if err != nil {
		t.Fatal(err)
	}
	want := attack{
		name: "arp", what: "the gateway is at the attacker's", tool: "arpspoof", at: "g2", modes: []string{"bridged", "vlan-aware"},
		limit: 2500, rate: 1000, alone: true, script: "timeout 2 arpspoof\n\ntrue\n",
		see: []sight{{[]string{"victim", "wire"}, "arp[6:2] = 2 and ether src $A_MAC"}, {[]string{"self"}, "icmp"}},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(attack{}, sight{})); diff != "" {
		t.Error(diff)
	}
}

func TestParseAttackRefuses(t *testing.T) {
	const good = "what: x\ntool: y\nmodes: m\n"
	for name, test := range map[string]struct{ text, want string }{
		"no script":    {good + "see: p icmp\n", "no script"},
		"empty script": {good + "see: p icmp\n\n\n", "no script"},
		"no sight":     {good + "\nx", "either see or count"},
		"two counts":   {good + "see: p icmp\ncount: hv1 x\n\nx", "either see or count"},
		"no tool":      {"what: x\nmodes: m\nsee: p icmp\n\nx", "must be there"},
		"unknown word": {good + "sea: p icmp\n\nx", "not a word"},
		"no filter":    {good + "see: p\n\nx", "not POINT FILTER"},
		"no command":   {good + "count: hv1\n\nx", "not MACHINE COMMAND"},
		"no colon":     {good + "see p icmp\n\nx", "not KEY: VALUE"},
		"limit":        {good + "see: p icmp\nlimit: many\n\nx", "limit"},
		"rate":         {good + "see: p icmp\nlimit: 5 6\n\nx", "not N RATE/s"},
		"must":         {good + "see: p icmp\nmust: fail\n\nx", "it is pass"},
		"counted":      {good + "must: pass\ncount: hv1 x\n\nx", "seen by packets"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := parseAttack("a", test.text); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}

// The attacks that there are: all can be read, each mode has what they name, and tcpdump takes every filter.
func TestAttackFolder(t *testing.T) {
	folder, err := readAttackFolder("../../lab/attacks")
	if err != nil {
		t.Fatal(err)
	}
	pairs := 0
	for _, file := range folder.modes {
		mode := scenarioName(file)
		values, points := modeOf(t, file)
		var filters []string
		for _, a := range folder.attacks {
			if !strings.Contains(" "+strings.Join(a.modes, " ")+" ", " "+mode+" ") {
				continue
			}
			if !a.honest {
				pairs++
			}
			for _, s := range a.see {
				for _, p := range s.points {
					if !points[p] {
						t.Errorf("%s: attack %s looks at %s, which is no point", mode, a.name, p)
					}
				}
				filters = append(filters, expandKnown(t, a.name, s.filter, values))
			}
		}
		if _, err := exec.LookPath("tcpdump"); err != nil {
			continue // the kernel lane has it
		}
		if _, err := countPackets(t.Context(), nil, "("+strings.Join(filters, ") or (")+")"); err == nil {
			continue
		}
		for _, f := range filters {
			if _, err := countPackets(t.Context(), nil, f); err != nil {
				t.Errorf("%s: %v", mode, err)
			}
		}
	}
	if pairs < 60 {
		t.Errorf("%d pairs of attack and mode, wants 60", pairs)
	}
	if _, err := folder.choose([]string{"nothing"}); err == nil {
		t.Error("an attack was chosen that is not there")
	}
	one, err := folder.choose([]string{"routed", "ping"})
	if err != nil || len(one.modes) != 1 || len(one.attacks) != 1 {
		t.Errorf("%v: %d modes, %d attacks", err, len(one.modes), len(one.attacks))
	}
}

func TestAttackModesLike(t *testing.T) {
	dir := t.TempDir()
	const attacks = "-- a --\nwhat: x\ntool: x\nmodes: one\nsee: p icmp\n\ntrue\n-- b --\nwhat: x\ntool: x\nmodes: one\nsee: p icmp\n\ntrue\n"
	for name, text := range map[string]string{
		"x.txtar": attacks, "modes/one.txtar": "attacks\n", "modes/two.txtar": "attacks\n-- like --\none\nb\n",
	} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	folder, err := readAttackFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][]string{}
	for _, a := range folder.attacks {
		got[a.name] = a.modes
	}
	if diff := cmp.Diff(map[string][]string{"a": {"one", "two"}, "b": {"one"}}, got); diff != "" {
		t.Error(diff)
	}
	if err := os.WriteFile(filepath.Join(dir, "y.txtar"), []byte(attacks), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := readAttackFolder(dir); err == nil || !strings.Contains(err.Error(), "another file") {
		t.Errorf("an attack that is there twice: %v", err)
	}
}

func TestReadPacket(t *testing.T) {
	frame := bytes.Repeat([]byte{7}, 60)
	message := func(level, kind int, data []byte) []byte {
		b := make([]byte, unix.CmsgSpace(len(data)))
		h := binary.NativeEndian.AppendUint64(nil, uint64(unix.CmsgLen(len(data))))
		h = binary.NativeEndian.AppendUint32(h, uint32(level))
		copy(b, binary.NativeEndian.AppendUint32(h, uint32(kind)))
		copy(b[unix.CmsgLen(0):], data)
		return b
	}
	stamp := binary.NativeEndian.AppendUint64(binary.NativeEndian.AppendUint64(nil, 1000), 500)
	aux := func(status uint32, tci, tpid uint16) []byte {
		b := make([]byte, 20)
		binary.NativeEndian.PutUint32(b, status)
		binary.NativeEndian.PutUint16(b[16:], tci)
		binary.NativeEndian.PutUint16(b[18:], tpid)
		return b
	}
	for name, test := range map[string]struct {
		aux  []byte
		want string // what stands between the addresses and the rest
	}{
		"untagged": {aux(0, 992, 0x8100), ""},
		"tagged":   {aux(unix.TP_STATUS_VLAN_VALID, 992, 0), "\x81\x00\x03\xe0"},
		"802.1ad":  {aux(unix.TP_STATUS_VLAN_VALID|unix.TP_STATUS_VLAN_TPID_VALID, 0x2001, 0x88a8), "\x88\xa8\x20\x01"},
	} {
		control := append(message(unix.SOL_SOCKET, unix.SCM_TIMESTAMPNS, stamp), message(unix.SOL_PACKET, unix.PACKET_AUXDATA, test.aux)...)
		got := readPacket(frame, 90, control)
		want := string(frame[:12]) + test.want + string(frame[12:])
		if string(got.data) != want || got.size != 90+len(test.want) || !got.at.Equal(time.Unix(1000, 500)) {
			t.Errorf("%s: %x, %d bytes at %s", name, got.data, got.size, got.at)
		}
	}
	if got := readPacket(frame, 60, []byte{1}); len(got.data) != 60 {
		t.Errorf("%x", got.data)
	}
}

func TestDuration(t *testing.T) {
	at := func(ms int) seenPacket { return seenPacket{at: time.UnixMilli(int64(ms))} }
	if got := duration([]seenPacket{at(1000), at(1200), at(3500)}); got != 2500*time.Millisecond {
		t.Errorf("they took %s", got)
	}
	if got := duration(nil); got != 0 {
		t.Errorf("nothing took %s", got)
	}
}

func TestAttackVerdicts(t *testing.T) {
	a := attack{name: "a", tool: "scapy", modes: []string{"bridged"}}
	h := attack{name: "h", tool: "ping", modes: []string{"bridged"}, honest: true}
	tests := map[string]struct {
		a       attack
		on, off *attackResult
		want    string
	}{
		"bites":          {a, &attackResult{}, &attackResult{count: 3}, ""},
		"got through":    {a, &attackResult{count: 1}, &attackResult{count: 3}, gotThrough},
		"does not bite":  {a, &attackResult{}, &attackResult{}, noBite},
		"within limit":   {a, &attackResult{count: 9, limit: 10}, &attackResult{count: 11, limit: 10}, ""},
		"off in limit":   {a, &attackResult{count: 9, limit: 10}, &attackResult{count: 10, limit: 10}, noBite},
		"not played off": {a, &attackResult{}, nil, notPlayed},
		"not played":     {a, nil, &attackResult{count: 3}, notPlayed},
		"passes":         {h, &attackResult{count: 3}, nil, ""},
		"nothing to see": {h, &attackResult{}, nil, ""},
		"unseen":         {h, &attackResult{count: 3, unseen: true}, nil, mustPass},
		"failed":         {h, &attackResult{count: 3, failed: true}, nil, mustPass},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			table := attackTable{modes: []string{"bridged", "routed"}}
			if test.on != nil {
				table.add(test.a.name, "bridged", true, *test.on)
			}
			if test.off != nil {
				table.add(test.a.name, "bridged", false, *test.off)
			}
			if got := table.verdict(test.a, "bridged"); got != test.want {
				t.Errorf("verdict %q, want %q", got, test.want)
			}
			if got := table.good([]attack{test.a}); got != (test.want == "") {
				t.Errorf("good is %v", got)
			}
		})
	}
}

func TestAttackTable(t *testing.T) {
	attacks := []attack{
		{name: "arp", tool: "arpspoof", modes: []string{"bridged", "routed"}},
		{name: "mac", tool: "macof", modes: []string{"bridged"}},
		{name: "ping", tool: "ping", modes: []string{"bridged"}, honest: true},
		{name: "elsewhere", tool: "ping", modes: []string{"private"}},
	}
	table := attackTable{modes: []string{"bridged", "routed"}}
	table.add("arp", "bridged", true, attackResult{})
	table.add("arp", "bridged", false, attackResult{count: 6})
	table.add("arp", "routed", true, attackResult{count: 2})
	table.add("arp", "routed", false, attackResult{count: 5})
	table.add("mac", "bridged", true, attackResult{})
	table.add("mac", "bridged", false, attackResult{said: "no such device\n"})
	table.add("ping", "bridged", true, attackResult{count: 1})
	var out strings.Builder
	const want = `attack     tool               bridged            routed
arp        arpspoof             0 / 6             2 / 5
mac        macof                0 / 0
must pass  tool               bridged            routed
ping       ping                passes
Packets that got through: with port security on / off.
routed, arp: got through
bridged, mac: does not bite:
    no such device
3 pairs of attack and mode: 1 got through, 1 do not bite `
	if diff := cmp.Diff(want, table.text(attacks, newPaper(&out))); diff != "" {
		t.Error(diff)
	}
}

// modeOf reads the values and the points of a mode.
func modeOf(t *testing.T, file string) (values map[string]string, points map[string]bool) {
	t.Helper()
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	points = map[string]bool{}
	for _, f := range archive.Files {
		switch f.Name {
		case "values":
			if values, err = readValues(string(f.Data)); err != nil {
				t.Fatal(err)
			}
		case "points":
			list, err := readPoints(string(f.Data))
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range list {
				points[p.name] = true
			}
		}
	}
	return values, points
}

func expandKnown(t *testing.T, name, filter string, values map[string]string) string {
	t.Helper()
	return os.Expand(filter, func(key string) string {
		value, ok := values[key]
		if !ok {
			t.Errorf("attack %s: there is no value for $%s", name, key)
		}
		return value
	})
}

func TestReadSettle(t *testing.T) {
	values := map[string]string{"WIRE": "rt0.992"}
	got, err := readSettle("# caches\ng1 ip neigh flush dev eth0\nrt ip neigh flush dev $WIRE\nrt bridge fdb flush dev br0\n\nrt ip -s neigh\n", values)
	if err != nil {
		t.Fatal(err)
	}
	want := []settleBatch{
		{"g1", "ip", []string{"neigh flush dev eth0"}},
		{"rt", "ip", []string{"neigh flush dev rt0.992", "-s neigh"}},
		{"rt", "bridge", []string{"fdb flush dev br0"}},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(settleBatch{})); diff != "" {
		t.Error(diff)
	}
	for _, text := range []string{"g1 rm -rf x", "g1 ip", "g1"} {
		if _, err := readSettle(text, values); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}
