// SPDX-License-Identifier: Apache-2.0

// Package ganeti speaks with Ganeti: it reads the environment that Ganeti gives its network scripts, tells in which
// moment of an instance's life the call is made, and says which NIC is to be plugged in how. It follows the contract of
// Ganeti 3.0 and 3.1 (tools/kvm-ifup, lib/hypervisor/hv_base.py ConfigureNIC) and of 3.2 (tools/kvm-nic-setup), and the
// conventions of gnt-networking.
//
// It owns the shims that are installed in the places where Ganeti looks, Ganeti's runtime files as far as they are read
// (never written), and the mapping of Ganeti's words to networks.
//
// It never changes a kernel: package agent does, with the spec.NIC that comes out here. No value of the environment is
// ever given to a shell, or used before it was checked.
package ganeti

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"
)

// Environment is what Ganeti says of one NIC of an instance, checked.
type Environment struct {
	Instance  string     // the instance's name
	Interface string     // the tap
	Index     int        // the NIC's place in the instance's list at the time of the call
	ID        string     // the NIC's UUID; made from instance and index where Ganeti gives none
	Name      string     // the user's name of the NIC, often none
	MAC       string     // the guest's, lower case
	Mode      string     // "bridged", "routed", "openvswitch" or "ext"
	Link      string     // a bridge, a switch or a routing table, by Mode; may be none
	VLAN      VLAN       // the vlan nicparam
	IP        netip.Addr // the guest's, of either family; the zero Addr for none
	Tags      []string   // of the instance
	Network   *Network   // nil for a NIC in none of Ganeti's networks
	Phase     string     // MIGRATION_PHASE of Ganeti 3.2: "pre", "post" or, on every older release, ""
}

// Network is one of Ganeti's networks (gnt-network), as the NIC's environment describes it.
type Network struct {
	Name, UUID        string
	Tags              []string
	Subnet, Subnet6   netip.Prefix
	Gateway, Gateway6 netip.Addr
}

// VLAN is a vlan nicparam.
type VLAN struct {
	Untagged int   // the VLAN of untagged frames, 0 for none
	Tagged   []int // those that the guest gets tagged
}

// IsZero reports whether there is no VLAN at all.
func (v VLAN) IsZero() bool { return v.Untagged == 0 && len(v.Tagged) == 0 }

// Modes of a NIC (nicparams), in Ganeti's words.
const (
	Bridged     = "bridged"
	Routed      = "routed"
	OpenVSwitch = "openvswitch"
	Ext         = "ext" // from Ganeti 3.2 on: the script alone says what it means
)

// variables are the names that are read, and the only ones.
var variables = []string{
	"INSTANCE", "INTERFACE", "INTERFACE_INDEX", "INTERFACE_UUID", "INTERFACE_NAME", "MAC", "MODE", "LINK", "VLAN", "IP", "TAGS",
	"NETWORK_NAME", "NETWORK_UUID", "NETWORK_TAGS", "NETWORK_SUBNET", "NETWORK_GATEWAY", "NETWORK_SUBNET6", "NETWORK_GATEWAY6",
	"MIGRATION_PHASE",
}

const (
	maxValue = 64 << 10 // bytes of a variable
	maxTag   = 128      // bytes of a tag (lib/constants.py MAX_TAG_LEN)
	maxTags  = 4096     // tags of an object (MAX_TAGS_PER_OBJ)
	maxIndex = 1023
)

// IsCommunication reports whether a tap is one of Ganeti's instance communication, which is Ganeti's own business.
func IsCommunication(tap string) bool { return strings.HasPrefix(tap, "gnt.com.") }

// Values returns the variables that Parse reads from an environment in the form of os.Environ. Of a name that is there
// twice the last counts, as in getenv.
func Values(environ []string) map[string]string {
	values := map[string]string{}
	for _, entry := range environ {
		name, value, ok := strings.Cut(entry, "=")
		if ok && slices.Contains(variables, name) {
			values[name] = value
		}
	}
	return values
}

// Parse checks every variable and returns what they say together. The error names the first variable that is missing or
// has a value that Ganeti would not give it, and quotes little of it.
func Parse(values map[string]string) (Environment, error) {
	p := parser{values: values}
	p.sizes()
	e := Environment{
		Interface: p.required("INTERFACE", ifName),
		Mode:      p.required("MODE", modeWord),
		Instance:  p.required("INSTANCE", hostName),
		MAC:       strings.ToLower(p.required("MAC", macAddress)),
		Name:      p.optional("INTERFACE_NAME", word),
		Link:      p.optional("LINK", linkName),
		Tags:      p.tags("TAGS"),
		Phase:     p.optional("MIGRATION_PHASE", phase),
	}
	e.Index = p.index()
	e.IP = p.address("IP")
	e.VLAN = p.vlan()
	e.ID = strings.ToLower(p.optional("INTERFACE_UUID", uuidText))
	e.Network = p.network()
	if p.err != nil {
		return Environment{}, p.err
	}
	if e.ID == "" { // a release that gives none; the place in the list is the best that there is
		e.ID = uuid.NewSHA1(uuid.NameSpaceDNS, fmt.Appendf(nil, "%s/%d", e.Instance, e.Index)).String()
	}
	return e, nil
}

// parser remembers the first mistake.
type parser struct {
	values map[string]string
	err    error
}

func (p *parser) fail(name, format string, args ...any) {
	if p.err == nil {
		p.err = fmt.Errorf("%s: %s", name, fmt.Sprintf(format, args...))
	}
}

func (p *parser) sizes() {
	for _, name := range variables {
		v := p.values[name]
		switch {
		case len(v) > maxValue:
			p.fail(name, "has %d bytes; %d is the most", len(v), maxValue)
		case !utf8.ValidString(v):
			p.fail(name, "is not UTF-8: %s", quoted(v))
		case strings.ContainsFunc(v, func(r rune) bool { return unicode.IsControl(r) }):
			p.fail(name, "has a control character in it: %s", quoted(v))
		}
	}
}

// optional returns a variable's value, which is empty or has the form.
func (p *parser) optional(name string, form func(string) bool) string {
	v := p.values[name]
	if v != "" && !form(v) {
		p.fail(name, "%s is no value for it", quoted(v))
		return ""
	}
	return v
}

func (p *parser) required(name string, form func(string) bool) string {
	if p.values[name] == "" {
		p.fail(name, "is missing from the environment")
		return ""
	}
	return p.optional(name, form)
}

func (p *parser) index() int {
	v := p.optional("INTERFACE_INDEX", func(s string) bool {
		n, err := strconv.ParseUint(s, 10, 16)
		return err == nil && n <= maxIndex
	})
	if v == "" {
		if p.values["INTERFACE_UUID"] == "" {
			p.fail("INTERFACE_INDEX", "is missing, and INTERFACE_UUID too: nothing tells which NIC of the instance it is")
		}
		return 0
	}
	n, err := strconv.Atoi(v)
	if err != nil {
		p.fail("INTERFACE_INDEX", "%s is no value for it", quoted(v))
	}
	return n
}

func (p *parser) address(name string) netip.Addr {
	v := p.values[name]
	if v == "" {
		return netip.Addr{}
	}
	a, err := netip.ParseAddr(v)
	if err != nil || a.Zone() != "" || a.Is4In6() {
		p.fail(name, "%s is no IP address", quoted(v))
		return netip.Addr{}
	}
	return a
}

func (p *parser) prefix(name string, six bool) netip.Prefix {
	v := p.values[name]
	if v == "" {
		return netip.Prefix{}
	}
	n, err := netip.ParsePrefix(v)
	if err != nil || n.Addr().Is4In6() || n.Addr().Is6() != six || n.Bits() == 0 {
		p.fail(name, "%s is no subnet of its family", quoted(v))
		return netip.Prefix{}
	}
	return n.Masked()
}

func (p *parser) network() *Network {
	n := &Network{
		Name:     p.optional("NETWORK_NAME", word),
		UUID:     strings.ToLower(p.optional("NETWORK_UUID", uuidText)),
		Tags:     p.tags("NETWORK_TAGS"),
		Subnet:   p.prefix("NETWORK_SUBNET", false),
		Subnet6:  p.prefix("NETWORK_SUBNET6", true),
		Gateway:  p.address("NETWORK_GATEWAY"),
		Gateway6: p.address("NETWORK_GATEWAY6"),
	}
	if n.Gateway.IsValid() && !n.Gateway.Is4() {
		p.fail("NETWORK_GATEWAY", "%s is not IPv4", n.Gateway)
	}
	if n.Gateway6.IsValid() && !n.Gateway6.Is6() {
		p.fail("NETWORK_GATEWAY6", "%s is not IPv6", n.Gateway6)
	}
	if n.Name == "" && n.UUID == "" {
		return nil
	}
	return n
}

func (p *parser) tags(name string) []string {
	tags := strings.Fields(p.values[name])
	if len(tags) > maxTags {
		p.fail(name, "has %d tags; %d is the most", len(tags), maxTags)
		return nil
	}
	for _, t := range tags {
		if !tag(t) {
			p.fail(name, "%s is not a tag", quoted(t))
			return nil
		}
	}
	slices.Sort(tags) // Ganeti's order is that of a set: any
	return tags
}

// vlan reads the spellings of the vlan nicparam: N and .N (access), :N:M (all tagged), .N:M and N:M (N untagged).
func (p *parser) vlan() VLAN {
	text := p.values["VLAN"]
	if text == "" {
		return VLAN{}
	}
	var v VLAN
	seen := map[int]bool{}
	for i, part := range strings.Split(strings.TrimPrefix(text, "."), ":") {
		if i == 0 && part == "" && text[0] == ':' {
			continue
		}
		n, err := strconv.ParseUint(part, 10, 16)
		if err != nil || n < 1 || n > 4094 || seen[int(n)] {
			p.fail("VLAN", "%s is none of .N, :N:M and .N:M with different numbers from 1 to 4094", quoted(text))
			return VLAN{}
		}
		seen[int(n)] = true
		if i == 0 {
			v.Untagged = int(n)
			continue
		}
		v.Tagged = append(v.Tagged, int(n))
	}
	return v
}
