// SPDX-License-Identifier: Apache-2.0

package spec

import (
	"strings"
	"testing"
)

func TestRates(t *testing.T) {
	for rates, want := range map[string]string{
		"{in: 100mbit}": "",
		"{in: 1.5gbit, out: 64kbit, burst_in: 1mb, burst_out: 64k}": "",
		"{in: 100MBit, burst_in: 0.5M}":                             "",
		"{in: 100}":                                                 "want text",
		"{in: '100'}":                                               `"100" is not a rate such as 100mbit`,
		"{in: fast}":                                                `"fast" is not a rate such as 100mbit`,
		"{in: .mbit}":                                               `".mbit" is not a rate such as 100mbit`,
		"{in: 1e3mbit}":                                             `"1e3mbit" is not a rate such as 100mbit`,
		"{in: -1mbit}":                                              `"-1mbit" is not a rate such as 100mbit`,
		"{out: 10mbps}":                                             "10mbps is bytes per second for tc and bits for others",
		"{out: 8kbit}":                                              "8kbit: want 64kbit to 32gbit",
		"{out: 40gbit}":                                             "40gbit: want 64kbit to 32gbit",
		"{out: 10mbit, burst_out: 1kb}":                             "1kb: want 64kb, which is one large packet, to 1gb",
		"{out: 10mbit, burst_out: 2gb}":                             "2gb: want 64kb, which is one large packet, to 1gb",
		"{out: 10mbit, burst_in: 1mb}":                              "1mb: there is no rate to be above",
		"{out: 1mbit, burst_out: 10mb}":                             "10mb takes more than a minute at 1mbit",
	} {
		_, err := Parse("n.yaml", []byte("networks: {a: {mode: bridged, uplink: eth0, vlan: 5, rates: "+rates+"}}\n"))
		if want == "" && err != nil || want != "" && (err == nil || strings.Count(err.Error(), "\n") > 0 || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %s", rates, err, want)
		}
	}
}

func TestSnooping(t *testing.T) {
	for file, want := range map[string]string{
		"networks: {a: {mode: bridged, uplink: eth0, vlan: 5, mcast_snooping: true}}":                                                  "",
		"{bridges: {br0: {mcast_snooping: true}}, networks: {a: {mode: bridged, uplink: eth0, vlan: 5, bridge: br0}}}":                 "",
		"{bridges: {br0: {vlan_aware: true, mcast_snooping: true}}}":                                                                   "the bridge is VLAN-aware",
		"{bridges: {br0: {}}, networks: {a: {mode: bridged, uplink: eth0, vlan: 5, bridge: br0, mcast_snooping: true}}}":               "the bridge is not the network's own",
		"networks: {a: {mode: bridged, managed: false, bridge: br0, mcast_snooping: true}}":                                            "the bridge is not the network's own",
		"networks: {a: {mode: routed, uplink: eth0, vlan: 5, mcast_snooping: true, ipv4: {subnet: 192.0.2.0/24, gateway: 192.0.2.1}}}": "a routed network has no bridge to look who listens",
	} {
		_, err := Parse("n.yaml", []byte(file+"\n"))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %s", file, err, want)
		}
	}
}

func TestRateNumbers(t *testing.T) {
	for _, test := range []struct {
		rates Rates
		rate  uint64
		burst uint32
	}{
		{Rates{}, 0, 131072},
		{Rates{In: "100mbit"}, 100_000_000, 250_000},
		{Rates{In: "1mbit"}, 1_000_000, 131072},
		{Rates{In: "32gbit"}, 32_000_000_000, 80_000_000},
		{Rates{In: "1.0001mbit", BurstIn: "64kb"}, 1_000_096, 65536}, // a whole number of bytes
		{Rates{In: "1mibit", BurstIn: "1.5M"}, 1 << 20, 1572864},
	} {
		if rate, burst := test.rates.Limit(false); rate != test.rate || burst != test.burst {
			t.Errorf("%+v: %d bit/s, %d bytes", test.rates, rate, burst)
		}
	}
	n, nic := &Network{Rates: &Rates{In: "10mbit"}}, &NIC{Name: "tap0"}
	if n.NICRates(nic) != n.Rates {
		t.Error("a NIC without rates does not have its network's")
	}
	if nic.Rates = (&Rates{}); n.NICRates(nic) != nic.Rates {
		t.Error("a NIC cannot be without the limits of its network")
	}
	nic.Rates = &Rates{Out: "x", BurstIn: "1mb"}
	if got := nic.rateMistakes().Error(); got != "nic tap0: rates.burst_in: 1mb: there is no rate to be above\nnic tap0: rates.out: \"x\" is not a rate such as 100mbit" {
		t.Error(got)
	}
}
