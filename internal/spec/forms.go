// SPDX-License-Identifier: Apache-2.0

package spec

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

const (
	maxIfName  = 15 // IFNAMSIZ - 1
	maxNetName = 63
)

func contains(words []string, w string) bool { return slices.Contains(words, w) }

// misspelled returns why the text does not have the form, or "".
func misspelled(text string, f form) string {
	switch f {
	case ifName:
		return badIfName(text)
	case netName:
		return badName(text, maxNetName)
	case macText:
		_, why := parseMAC(text)
		return why
	case maskText:
		return badMask(text)
	case destText:
		return badDest(text)
	case groupText:
		return badGroup(text)
	case portText:
		return badPorts(text)
	case fromText:
		return badFrom(text)
	case rateText:
		return badRate(text)
	case sizeText:
		return badSize(text)
	case sysctlText:
		return badSysctlText(text)
	}
	if strings.ContainsAny(text, "\n\r") || len(text) > 255 {
		return "want one line of at most 255 bytes"
	}
	return ""
}

// badIfName returns why the text is not the name of an interface that weft handles, or "". The kernel's own rule
// (dev_valid_name) lets more through; what it lets through and we do not would need quoting in a shell.
func badIfName(name string) string {
	return badName(name, maxIfName)
}

func badName(name string, most int) string {
	switch {
	case name == "":
		return "a name must not be empty"
	case len(name) > most:
		return fmt.Sprintf("the name %s has %d bytes; %d is the most", clipped(fmt.Sprintf("%q", name)), len(name), most)
	case name[0] == '-' || name[0] == '.':
		return fmt.Sprintf("the name %q begins with %q", name, name[:1])
	}
	for _, r := range name {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("._-+", r) {
			return fmt.Sprintf("the name %q has %q in it; letters, digits, '.', '_', '-' and '+' are allowed", name, r)
		}
	}
	return ""
}

// reserved reports whether the kernel or weft means something else by this interface name.
func reserved(name string) bool {
	switch name {
	case "lo", "all", "default", "bonding_masters":
		return true
	}
	return false
}

// parseMAC returns the address of one station, in lower case with colons.
func parseMAC(text string) (mac, why string) {
	octets := strings.Split(text, ":")
	var all [6]uint8
	ok := len(octets) == len(all)
	for i := 0; ok && i < len(all); i++ {
		n, err := strconv.ParseUint(octets[i], 16, 8)
		all[i], ok = uint8(n), err == nil && len(octets[i]) == 2
	}
	switch {
	case !ok:
		return "", fmt.Sprintf("%s is not a MAC address such as 02:00:00:00:00:01", clipped(strconv.Quote(text)))
	case all[0]&1 != 0:
		return "", text + " is a multicast address"
	case all == [6]uint8{}:
		return "", text + " is nobody's address"
	}
	return strings.ToLower(text), ""
}

func parseAddr(text string) (netip.Addr, string) {
	a, err := netip.ParseAddr(text)
	switch {
	case err != nil && strings.Contains(text, "/"):
		return a, fmt.Sprintf("%s: want an address without a prefix length", clipped(text))
	case err != nil:
		return a, clipped(fmt.Sprintf("%q", text)) + " is not an IP address"
	case a.Zone() != "":
		return a, text + ": an address has no zone here"
	case a.Is4In6():
		return a, text + ": write it as the IPv4 address " + a.Unmap().String()
	}
	return a, ""
}

func parsePrefix(text string, f form) (netip.Prefix, string) {
	p, err := netip.ParsePrefix(text)
	if err != nil {
		if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
			return p, fmt.Sprintf("%s has no prefix length: write %s/%d, or what it is", text, a, a.BitLen())
		}
		return p, clipped(fmt.Sprintf("%q", text)) + " is not an address with a prefix length, such as 192.0.2.2/24"
	}
	if p.Addr().Is4In6() {
		return p, text + ": write it as an IPv4 prefix"
	}
	if f == subnetText && p != p.Masked() {
		return p, fmt.Sprintf("%s has host bits: the subnet is %s", text, p.Masked())
	}
	return p, ""
}

func badDest(text string) string {
	if text == "default" {
		return ""
	}
	if strings.Contains(text, "/") {
		_, why := parsePrefix(text, subnetText)
		return why
	}
	if _, why := parseAddr(text); why != "" {
		return clipped(fmt.Sprintf("%q", text)) + " is not \"default\", a prefix or an address"
	}
	return ""
}

// badSysctlText returns why the text can be neither the name nor the value of a setting, or "".
func badSysctlText(text string) string {
	switch {
	case strings.TrimSpace(text) == "":
		return "a setting must not be empty"
	case len(text) > 1024 || strings.ContainsAny(text, "\n\r"):
		return "want one line of at most 1024 bytes"
	}
	return ""
}

// lastAddr returns the last address of a subnet, IPv4's broadcast address.
func lastAddr(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// noHost returns why no machine can have the address in the subnet, or "": it is the network's or the broadcast
// address. A subnet of one or two addresses has neither (RFC 3021), and IPv6 has no broadcast.
func noHost(a netip.Addr, subnet netip.Prefix) string {
	if !a.Is4() || subnet.Bits() >= 31 {
		return ""
	}
	switch a {
	case subnet.Masked().Addr():
		return fmt.Sprintf("%s is the network address of %s", a, subnet.Masked())
	case lastAddr(subnet):
		return fmt.Sprintf("%s is the broadcast address of %s", a, subnet.Masked())
	}
	return ""
}

// noUnicast returns why the address cannot be a machine's, or "".
func noUnicast(a netip.Addr) string {
	switch {
	case a.IsUnspecified():
		return a.String() + " is nobody's address"
	case a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return a.String() + " is a multicast or broadcast address"
	}
	return ""
}

// familyWord names an address's family as ip-rule does.
func familyWord(a netip.Addr) string {
	if a.Is4() {
		return "inet"
	}
	return "inet6"
}
