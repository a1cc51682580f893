// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestNormalise(t *testing.T) {
	const text = `#ip -d -j link
[{"ifindex":7,"ifname":"b","flags":["UP","LOWER_UP"],"operstate":"UP","linkinfo":{"info_data":{"hello_timer":0.5,"stp_state":0}}},{},{"ifindex":2,"ifname":"a"}]
#bridge -j fdb show
[{"mac":"02:00:00:00:00:01","ifname":"a","state":"permanent"},{"mac":"02:00:00:00:00:02","ifname":"a","state":""},{"mac":"02:00:00:00:00:03","ifname":"a"}]
#ip -j rule
#nft -s list ruleset
table inet t {
}
`
	const want = `# ip -d -j link
{"flags":["UP"],"ifname":"b","linkinfo":{"info_data":{"stp_state":0}}}
{"ifname":"a"}
# bridge -j fdb show
{"ifname":"a","mac":"02:00:00:00:00:01"}
# ip -j rule
# nft -s list ruleset
table inet t {
}
`
	got, err := normalise(text)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, err := normalise("#ip -j link\n[{"); err == nil {
		t.Error("half a JSON text was read")
	}
}

func TestOneAggregator(t *testing.T) {
	member := func(mii, aggregator, partner, state string) string {
		return " eth0\nMII Status: " + mii + "\nAggregator ID: " + aggregator +
			"\n    system mac address: 02:00:00:00:01:00\n    port state: 63\n    system mac address: " + partner + "\n    port state: " + state + "\n"
	}
	good := member("up", "1", "02:00:00:00:5c:10", "63")
	tests := map[string]struct{ members, wantErr string }{
		"good":           {"Slave Interface:" + good + "Slave Interface:" + good, ""},
		"one member":     {"Slave Interface:" + good, "there are 1"},
		"down":           {"Slave Interface:" + good + "Slave Interface:" + member("down", "1", "02:00:00:00:5c:10", "63"), "not up"},
		"aggregators":    {"Slave Interface:" + good + "Slave Interface:" + member("up", "2", "02:00:00:00:5c:10", "63"), "different aggregators: 1, 2"},
		"partners":       {"Slave Interface:" + good + "Slave Interface:" + member("up", "1", "02:00:00:00:5c:20", "63"), "no common partner"},
		"no partner":     {strings.Repeat("Slave Interface:"+member("up", "1", "00:00:00:00:00:00", "63"), 2), "no common partner"},
		"not collecting": {"Slave Interface:" + good + "Slave Interface:" + member("up", "1", "02:00:00:00:5c:10", "7"), "does not collect"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			err := oneAggregator(Output{Stdout: "MII Status: up\n\tAggregator ID: 1\n" + test.members})
			if test.wantErr == "" && err != nil || test.wantErr != "" && (err == nil || !strings.Contains(err.Error(), test.wantErr)) {
				t.Errorf("%v, want %q", err, test.wantErr)
			}
		})
	}
}

func TestWords(t *testing.T) {
	name, values, err := words(strings.Fields("g1 on hv1 tap tap0 mac aa:00:00:94:ed:40 ip 192.0.2.1/24 ip 192.0.2.2/24"), "on", "tap", "mac", "ip")
	if err != nil || name != "g1" || values["on"][0] != "hv1" || !slices.Equal(values["ip"], []string{"192.0.2.1/24", "192.0.2.2/24"}) {
		t.Errorf("%s %v %v", name, values, err)
	}
	for _, bad := range []string{"", "g1", "g1 on hv1 tap tap0 mac", "g1 on hv1 tap tap0", "g1 on hv1 tap tap0 mac m via x", "g1 on a on b tap t mac m"} {
		if _, _, err := words(strings.Fields(bad), "on", "tap", "mac"); !errors.Is(err, errUsage) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestScenariosFindsFiles(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"b.txtar", "a.txtar", "notes.txt"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	notes := filepath.Join(dir, "notes.txt")
	got, err := Scenarios([]string{notes, dir})
	want := []string{notes, filepath.Join(dir, "a.txtar"), filepath.Join(dir, "b.txtar")}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v %v, want %v", got, err, want)
	}
	for _, bad := range []string{filepath.Join(dir, "missing"), t.TempDir()} {
		if _, err := Scenarios([]string{bad}); err == nil {
			t.Errorf("%s: no error", bad)
		}
	}
}

func TestTopologyDrawing(t *testing.T) {
	d := drawing{ifaces: map[string][]ifaceInfo{}, guests: map[string]string{"hv1/tap0": "g1"}}
	for machine, text := range map[string]string{
		"hv1": `[{"ifname":"lo"},
			{"ifname":"eth0","flags":["UP"],"master":"bond0","linkinfo":{"info_kind":"veth"}},
			{"ifname":"eth1","flags":["UP"],"master":"bond0","linkinfo":{"info_kind":"veth"}},
			{"ifname":"bond0","flags":["UP"],"linkinfo":{"info_kind":"bond","info_data":{"mode":"802.3ad"}},"addr_info":[{"local":"10.0.0.11","prefixlen":24,"scope":"global"},{"local":"fe80::1","prefixlen":64,"scope":"link"}]},
			{"ifname":"bond0.993","link":"bond0","flags":["UP"],"master":"vrf993","linkinfo":{"info_kind":"vlan","info_data":{"id":993}}},
			{"ifname":"vrf993","flags":["UP"],"linkinfo":{"info_kind":"vrf","info_data":{"table":993}}},
			{"ifname":"tap0","flags":[],"master":"vrf993","linkinfo":{"info_kind":"veth"}}]`,
		"g1": `[{"ifname":"eth0","address":"aa:00:00:94:ed:40","flags":["UP"],"addr_info":[{"local":"62.217.124.53","prefixlen":29,"scope":"global"}]}]`,
	} {
		var list []ifaceInfo
		if err := json.Unmarshal([]byte(text), &list); err != nil {
			t.Fatal(err)
		}
		d.ifaces[machine] = list
	}
	d.machine("hv1")
	d.machine("g1")
	const want = `hv1 (node)
└─ bond0, bond 802.3ad of eth0 + eth1, 10.0.0.11/24
   └─ bond0.993, VLAN 993
      └─ vrf993, VRF, table 993
         └─ tap0, down ── g1 eth0, aa:00:00:94:ed:40, 62.217.124.53/29
`
	if diff := cmp.Diff(want, d.b.String()); diff != "" {
		t.Error(diff)
	}
}

func TestPaper(t *testing.T) {
	t.Setenv("NO_COLOR", "")
	t.Setenv("TERM", "xterm")
	var plain bytes.Buffer
	p := newPaper(&plain)
	p.block("  ", p.green("a\n\nb\n"))
	if got := plain.String(); got != "  a\n\n  b\n" {
		t.Errorf("%q", got)
	}

	t.Setenv(envTerminal, "1")
	var moving bytes.Buffer
	p = newPaper(&moving)
	stop := p.progress("waiting")
	for deadline := time.Now().Add(10 * time.Second); ; {
		p.mu.Lock()
		shown := p.moving
		p.mu.Unlock()
		if shown {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("no progress was shown")
		}
		<-time.After(time.Millisecond)
	}
	p.printf("%s\n", p.green("done"))
	stop()
	stop()
	if got := moving.String(); !regexp.MustCompile(`waiting \(0 s\)\r\x1b\[K\x1b\[32mdone\x1b\[0m\n`).MatchString(got) {
		t.Errorf("%q", got)
	}
}

func TestUntilUp(t *testing.T) {
	var out bytes.Buffer
	ups := 0
	u := &untilUp{out: &out, up: func() { ups++ }}
	for _, text := range []string{"building\n", "ready\n" + upMark + "more", "and more"} {
		if n, err := u.Write([]byte(text)); n != len(text) || err != nil {
			t.Errorf("%d %v", n, err)
		}
	}
	if out.String() != "building\nready\n" || ups != 1 {
		t.Errorf("%q, up %d times", out.String(), ups)
	}
}

func TestVMGuestCmdline(t *testing.T) {
	vg := VMGuest{
		Addresses: []netip.Prefix{netip.MustParsePrefix("62.217.124.53/29"), netip.MustParsePrefix("2001:db8:993::53/128")},
		Gateways:  []netip.Addr{netip.MustParseAddr("62.217.124.49")},
		Ping:      []netip.Addr{netip.MustParseAddr("203.0.113.80")},
	}
	const want = " weft.addr=62.217.124.53/29 weft.addr=2001:db8:993::53/128 weft.via=62.217.124.49 weft.ping=203.0.113.80"
	if got := vg.cmdline(); !strings.HasSuffix(got, want) {
		t.Errorf("%q does not end in %q", got, want)
	}
}

func TestOutputErr(t *testing.T) {
	tests := []struct {
		out  Output
		want string
	}{
		{Output{Stderr: "warning"}, ""},
		{Output{Code: 2}, "exit code 2"},
		{Output{Code: 1, Stdout: "out\n"}, "exit code 1: out"},
		{Output{Code: 1, Stdout: "out", Stderr: "err\n"}, "exit code 1: err"},
	}
	for _, test := range tests {
		got := ""
		if err := test.out.Err(); err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("%+v: %q, want %q", test.out, got, test.want)
		}
	}
}

// The nodes' files in the binary are what the scenarios and the documents show: same bond, same networks.
func TestNodeFilesGrow(t *testing.T) {
	names := []string{"demo-1-bond.yaml", "demo-3-bridge.yaml", "demo-4-routed.yaml"}
	last := ""
	for _, name := range names {
		data, err := nodeFiles.ReadFile("files/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(string(data), last) {
			t.Errorf("%s does not begin with the file before it", name)
		}
		last = string(data)
	}
}
