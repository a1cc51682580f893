// SPDX-License-Identifier: Apache-2.0

package kernel

// Numbers of the kernel's interface that golang.org/x/sys/unix does not have, by their names there.
const (
	extMaskVLANCompressed = 1 << 2 // RTEXT_FILTER_BRVLAN_COMPRESSED (rtnetlink.h)
	extMaskSkipStats      = 1 << 3 // RTEXT_FILTER_SKIP_STATS

	ifaProto    = 11 // IFA_PROTO (if_addr.h, Linux 5.18)
	ndaProtocol = 12 // NDA_PROTOCOL (neighbour.h)

	bridgeFlags     = 0 // IFLA_BRIDGE_FLAGS (if_bridge.h)
	bridgeVLANInfo  = 2 // IFLA_BRIDGE_VLAN_INFO
	bridgeFlagSelf  = 2 // BRIDGE_FLAGS_SELF
	vlanPVID        = 1 << 1
	vlanUntagged    = 1 << 2
	fdbSticky       = 0x40 // NTF_STICKY (neighbour.h)
	vlanRangeBegin  = 1 << 3
	vlanRangeEnd    = 1 << 4
	vlanBridgeEntry = 1 << 5

	ndtaName        = 1 // NDTA_NAME (neighbour.h)
	ndtaParms       = 6 // NDTA_PARMS
	ndtpaIfindex    = 1 // NDTPA_IFINDEX
	ndtpaProxyDelay = 13
	userHZ          = 100 // sysctl counts proxy_delay in these, netlink in ms

	maxVID = 4094 // 4095 is reserved (IEEE 802.1Q)

	fibRuleInvert = 2 // FIB_RULE_INVERT (fib_rules.h)

	protoKernel = 2 // RTPROT_KERNEL
	protoAddrLL = 3 // IFAPROT_KERNEL_LL (if_addr.h)
)

// words maps between the kernel's numbers of a setting, by position, and iproute2's words.
type words []string

func (w words) number(s string) (uint8, bool) {
	for i, v := range w {
		if v == s {
			return uint8(i), true
		}
	}
	return 0, false
}

// pointer returns a pointer to the word of number n; nil for a number without one.
func (w words) pointer(n int) *string {
	if n < 0 || n >= len(w) {
		return nil
	}
	return &w[n]
}

// The words of bonding (bonding.rst; drivers/net/bonding/bond_options.c).
var (
	bondModes       = words{"balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad", "balance-tlb", "balance-alb"}
	xmitPolicies    = words{"layer2", "layer3+4", "layer2+3", "encap2+3", "encap3+4", "vlan+srcmac"}
	lacpRates       = words{"slow", "fast"}
	adSelects       = words{"stable", "bandwidth", "count"}
	primaryChoices  = words{"always", "better", "failure"}
	failOverMACs    = words{"none", "active", "follow"}
	memberStates    = words{"active", "backup"}
	memberMIIStates = words{"up", "going down", "down", "going back"}
)

// operStates are the values of IFLA_OPERSTATE (if.h, IF_OPER_*).
var operStates = words{"unknown", "notpresent", "down", "lowerlayerdown", "testing", "dormant", "up"}

// routeTypes are the values of rtm_type (rtnetlink.h, RTN_*).
var routeTypes = words{"unspec", "unicast", "local", "broadcast", "anycast", "multicast", "blackhole", "unreachable", "prohibit", "throw", "nat", "xresolve"}

// ruleActions are the values of fib_rule_hdr.action (fib_rules.h, FR_ACT_*).
var ruleActions = words{"unspec", "lookup", "goto", "nop", "res3", "res4", "blackhole", "unreachable", "prohibit"}
