// SPDX-License-Identifier: Apache-2.0

package ifupdown

import (
	"slices"
	"strings"
)

// ignorable are the options that a node file needs no word for, with the values for which that is so; any value where
// there are none. Everything that is neither here nor translated is named.
var ignorable = map[string][]string{
	"network":      nil, // follows from the address; ifupdown does not use it either
	"dad-interval": nil, // how ifup waits
	"ll-attempts":  nil,
	"ll-interval":  nil,
	"media":        nil, // ifupdown itself ignores it on Linux

	"bridge-maxwait":  nil, // how ifup waits
	"bridge-waitport": nil,
	"bridge-gcint":    nil, // current kernels collect by themselves
	"bridge-pvid":     {"1"},

	"bond-use-carrier":       {"1", "yes", "on"}, // the kernel's defaults
	"bond-arp-validate":      {"0", "none"},
	"bond-tlb-dynamic-lb":    {"1"},
	"bond-resend-igmp":       {"1"},
	"bond-packets-per-slave": {"1"},
	"bond-lp-interval":       {"1"},
	"bond-all-slaves-active": {"0"},
	"bridge-mcquerier":       {"0", "no", "off"},
	"bridge-mcqifaddr":       {"0", "no", "off"},
	"vrf-default-route":      {"yes"}, // see vrfDevice
	"bridge-allow-untagged":  {"yes"},
	"link-autoneg":           {"on", "yes"},
}

// spanning are the options that mean something only where the bridge speaks the spanning tree protocol.
var spanning = []string{
	"bridge-bridgeprio", "bridge-hello", "bridge-maxage", "bridge-pathcost", "bridge-pathcosts", "bridge-portprio", "bridge-portprios",
}

// ignored reports whether a node file needs no word for this option.
func ignored(e *entry) bool {
	if values, ok := ignorable[e.name]; ok {
		return values == nil || slices.Contains(values, strings.ToLower(e.Value))
	}
	if e.name == "dad-attempts" {
		return e.Value != "0" // 0 is nodad, an attribute of the address
	}
	return slices.Contains(spanning, e.name) && e.of != nil && e.of.kind == bridge && !e.of.bridge.STP
}
