// SPDX-License-Identifier: Apache-2.0

package ganeti

import (
	"fmt"
	"strings"
)

// Remark says what becomes of one line of gnt-networking's settings.
type Remark struct {
	Line int // 0 for what no line says
	Text string
	Lost bool // weft does not do what the line asks for
}

// Remarks goes through the settings in the order of the file.
func (s Settings) Remarks() []Remark {
	var all []Remark
	for _, a := range s.assigned {
		text, lost := s.remark(a)
		all = append(all, Remark{a.Line, a.Name + "=" + quoted(a.Value) + ": " + text, lost})
	}
	for _, a := range s.ignore {
		all = append(all, Remark{a.Line, "not understood, because it is no plain assignment: " + quoted(a.Name), true})
	}
	return all
}

// remark says what one setting means to weft.
func (s Settings) remark(a Assignment) (text string, lost bool) {
	has := a.Value != ""
	switch a.Name {
	case "IP_LESS_ROUTED_TAG", "BRIDGED_TAG":
		return "not needed: a NIC is routed or bridged by its mode", false
	case "MAC_FILTERED_TAG":
		return "kept: guests in such networks are kept apart by their MACs, and have port security besides", false
	case "NFDHCPD_TAG", "MASQ_TAG", "DNS_TAG":
		return "kept; what the tag asks for is not yet supported, and said in the system log", true
	case "TAP_CONSTANT_MAC":
		if strings.EqualFold(a.Value, defaults().TapMAC) {
			return "the same on weft's nodes", false
		}
		return fmt.Sprintf("cannot be kept: weft's taps have %s; a guest that comes from a node of gnt-networking asks for its gateway anew", defaults().TapMAC), true
	case "MAC_MASK":
		return "kept, for the networks with MAC_FILTERED_TAG", false
	case "IFUP_EXTRA_SCRIPT":
		return "kept: it runs last, with the same environment, and its failure is that of the NIC", false
	case "IPSPOOF":
		if has {
			return "not supported: a guest sends from its own addresses only", true
		}
		return "the same: a guest sends from its own addresses only", false
	case "SERVICENAME":
		if has {
			return "not supported: the functions of /etc/ganeti/gnt-networking/" + clipped(a.Value) + " are not called", true
		}
		return "none, so nothing is lost", false
	case "STATE_DIR":
		return "not needed: weft nic list shows what is plugged in", false
	case "LOGFILE":
		return "not needed: the system log has it, under weft", false
	case "NFDHCPD_STATE_DIR", "NFDHCPD_STATE_EXTRA", "NFDHCPDFILECONTENTS":
		return "not used: weft writes no files for nfdhcpd", true
	case "GANETI_NIC_DIR":
		return "not needed", false
	case "AUTHENTICATION_METHOD", "SERVER", "FZONE", "TTL", "KEYFILE", "KERBEROS_PRINCIPAL", "KERBEROS_KEYTAB", "KERBEROS_KSTART_ARGS", "KERBEROS_TICKET":
		return "of the hook for DNS, which is not weft's and may go on", false
	case "IPTABLES", "IP6TABLES", "EBTABLES", "ARPTABLES", "IP_CMD", "BRCTL", "VCONFIG", "MODPROBE", "ARPING", "NDSEND", "NSUPDATE", "IPTABLES_SAVE", "IP6TABLES_SAVE", "EBTABLES_SAVE", "ARPTABLES_SAVE":
		return "not needed: weft calls no tools", false
	}
	return "not known", true
}
