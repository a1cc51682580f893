// SPDX-License-Identifier: Apache-2.0

package spec

import (
	"strings"
	"testing"
)

func TestTagged(t *testing.T) {
	node, err := Parse("n.yaml", []byte(`networks:
  web: {mode: bridged, uplink: eth0, vlan: 10}
  db: {mode: bridged, uplink: eth0, vlan: 20}
  db2: {mode: bridged, uplink: eth1, vlan: 20, bridge: db2}
  prv: {mode: private, uplink: eth0, vlan: 30}
  native: {mode: bridged, uplink: eth2, bridge: lan}
  out: {mode: routed, uplink: eth0, vlan: 40, ipv4: {subnet: 192.0.2.0/24}}
`))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ network, tagged, tap, trust, want string }{
		{"web", "db,prv", "tap0", "", ""},
		{"native", "db", "tap0", "", ""},
		{"web", "dbx", "tap0", "", `nic tap0: tagged: no network "dbx" in the node file (did you mean "db"?)`},
		{"web", "web", "tap0", "", "nic tap0: tagged: web is here twice"},
		{"web", "db,db", "tap0", "", "nic tap0: tagged: db is here twice"},
		{"web", "db,db2", "tap0", "", "nic tap0: tagged db2: its VLAN is 20, and so is that of db"},
		{"web", "out", "tap0", "", "nic tap0: tagged out: it is routed, and its guests are on no VLAN"},
		{"web", "native", "tap0", "", "nic tap0: tagged native: it has no VLAN to be tagged with"},
		{"web", "db", "tap0123456789ab", "", `nic tap0123456789ab: tagged db: the name "tap0123456789ab.20" has 18 bytes; 15 is the most`},
		{"web", "prv", "tap0", "mac", "nic tap0: tagged prv: trust mac: the network is private, and only MACs keep its tenants apart"},
	} {
		nic := NIC{ID: "u", Name: test.tap, MAC: "aa:00:10:00:00:01", Network: test.network, Tagged: strings.Split(test.tagged, ",")}
		if test.trust != "" {
			nic.Trust = []string{test.trust}
		}
		got := ""
		if err := CheckNICs(node, []NIC{nic}); err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("%s %s:\ngot  %s\nwant %s", test.network, test.tagged, got, test.want)
		}
	}
	a, b := NIC{Tagged: []string{"db"}}, NIC{}
	if a.Equal(&b) || !a.Equal(&a) {
		t.Error("a NIC with a tagged network is as good as one without")
	}
}
