// SPDX-License-Identifier: Apache-2.0

package ganeti

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// SettingsFile is where gnt-networking keeps its settings.
const SettingsFile = "/etc/default/gnt-networking"

// Settings are gnt-networking's, as far as they mean something to weft: the names of the tags, which a site may have
// changed, and what is to run last. The rest is for weft ganeti import to speak about.
type Settings struct {
	Present          bool   // the file is there: gnt-networking's conventions hold on this node
	TapMAC           string // TAP_CONSTANT_MAC
	MACMask          string // MAC_MASK
	IPLessRoutedTag  string
	BridgedTag       string
	MACFilteredTag   string
	NFDHCPDTag       string
	MasqTag          string
	DNSTag           string
	IfupExtra        string // IFUP_EXTRA_SCRIPT
	IPSpoof          bool   // IPSPOOF is set: guests may send from any address
	assigned, ignore []Assignment
}

// Assignment is one line of a settings file.
type Assignment struct {
	Line        int // from 1
	Name, Value string
}

// defaults are gnt-networking's own.
func defaults() Settings {
	return Settings{
		TapMAC: "cc:47:52:4e:45:54", MACMask: "ff:ff:f0:00:00:00", IPLessRoutedTag: "ip-less-routed", BridgedTag: "bridged",
		MACFilteredTag: "private-filtered", NFDHCPDTag: "nfdhcpd", MasqTag: "masq", DNSTag: "dns", IfupExtra: "/etc/ganeti/ifup-extra",
	}
}

// ReadSettings reads a settings file. One that does not exist has gnt-networking's defaults.
func ReadSettings(file string) (Settings, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return defaults(), nil
	}
	if err != nil {
		return Settings{}, fmt.Errorf("read gnt-networking's settings: %w", err)
	}
	return ParseSettings(string(text)), nil
}

// ParseSettings reads shell assignments and executes nothing: of a value with an expansion in it nothing is known, so
// that the default holds, and the line is among those that are not understood.
func ParseSettings(text string) Settings {
	s := defaults()
	s.Present = true
	fields := map[string]*string{
		"TAP_CONSTANT_MAC": &s.TapMAC, "MAC_MASK": &s.MACMask, "IP_LESS_ROUTED_TAG": &s.IPLessRoutedTag, "BRIDGED_TAG": &s.BridgedTag,
		"MAC_FILTERED_TAG": &s.MACFilteredTag, "NFDHCPD_TAG": &s.NFDHCPDTag, "MASQ_TAG": &s.MasqTag, "DNS_TAG": &s.DNSTag,
		"IFUP_EXTRA_SCRIPT": &s.IfupExtra,
	}
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		a := Assignment{Line: i + 1}
		var ok bool
		if a.Name, a.Value, ok = assignment(line); !ok {
			s.ignore = append(s.ignore, Assignment{Line: i + 1, Name: line})
			continue
		}
		s.assigned = append(s.assigned, a)
		if f := fields[a.Name]; f != nil {
			*f = a.Value
		}
		if a.Name == "IPSPOOF" {
			s.IPSpoof = a.Value != ""
		}
	}
	s.TapMAC, s.MACMask = strings.ToLower(s.TapMAC), strings.ToLower(s.MACMask)
	return s
}

// assignment takes NAME=VALUE apart, with single or double quotes and a comment behind it.
func assignment(line string) (name, value string, ok bool) {
	line = strings.TrimSpace(strings.TrimPrefix(line, "export "))
	name, rest, ok := strings.Cut(line, "=")
	if !ok || !plain(name, "_", 64) {
		return "", "", false
	}
	var out strings.Builder
	for rest != "" {
		switch c := rest[0]; c {
		case '"', '\'':
			end := strings.IndexByte(rest[1:], c)
			if end < 0 || c == '"' && strings.ContainsAny(rest[1:end+1], "$`\\") {
				return "", "", false
			}
			out.WriteString(rest[1 : end+1])
			rest = rest[end+2:]
		case ' ', '\t':
			after := strings.TrimSpace(rest)
			return name, out.String(), after == "" || after[0] == '#'
		case '$', '`', '\\', ';', '&', '|', '<', '>', '(', ')', '*', '?', '[':
			return "", "", false
		default:
			out.WriteByte(c)
			rest = rest[1:]
		}
	}
	return name, out.String(), true
}
