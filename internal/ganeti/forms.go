// SPDX-License-Identifier: Apache-2.0

package ganeti

import (
	"net"
	"strconv"
	"strings"
	"unicode"

	"github.com/google/uuid"
)

// quoted returns a value for a message: one line, and not much of it.
func quoted(v string) string {
	const most = 48
	if len(v) > most {
		return strconv.QuoteToASCII(strings.ToValidUTF8(v[:most], "")) + "…"
	}
	return strconv.QuoteToASCII(v)
}

// clipped is quoted without the quotes.
func clipped(v string) string { return strings.Trim(quoted(v), `"`) }

// plain reports whether text consists of letters, digits and the bytes of more, begins with no dash or dot, and has at
// most so many bytes. It cannot be a path, an option or several words.
func plain(text, more string, most int) bool {
	if text == "" || len(text) > most || text[0] == '-' || text[0] == '.' {
		return false
	}
	for _, r := range text {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune(more, r) {
			return false
		}
	}
	return true
}

// ifName is what the kernel and every tool take for an interface: IFNAMSIZ without the closing zero, and none of the names that
// mean something else below /proc/sys/net and /sys/class/net.
func ifName(s string) bool {
	switch s {
	case "lo", "all", "default", "bonding_masters":
		return false
	}
	return plain(s, "._-", 15)
}

// hostName is an instance's name.
func hostName(s string) bool { return plain(s, "._-", 253) }

// word is a name that a user gives a network or a NIC (lib/constants.py, lib/objects.py).
func word(s string) bool { return plain(s, "._-+:@", 255) }

// linkName is a bridge, a routing table's name or number, or a network's name.
func linkName(s string) bool { return plain(s, "._-+", 63) }

func modeWord(s string) bool {
	switch s {
	case Bridged, Routed, OpenVSwitch, Ext:
		return true
	}
	return false
}

func phase(s string) bool { return s == "pre" || s == "post" }

func macAddress(s string) bool {
	m, err := net.ParseMAC(s)
	return err == nil && len(m) == 6 && len(s) == 17 && strings.Count(s, ":") == 5 && m[0]&1 == 0 && s != "00:00:00:00:00:00"
}

func uuidText(s string) bool {
	_, err := uuid.Parse(s)
	return err == nil && len(s) == 36
}

// tag reports whether Ganeti would take it as a tag: [\w.+*/:@-]+ of a Python that knows all letters.
func tag(s string) bool {
	if s == "" || len(s) > maxTag {
		return false
	}
	for _, r := range s {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("_.+*/:@-", r) {
			return false
		}
	}
	return true
}
