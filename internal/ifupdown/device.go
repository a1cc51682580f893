// SPDX-License-Identifier: Apache-2.0

package ifupdown

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"weft/internal/spec"
)

// classify decides what each interface is.
func (t *translator) classify() {
	masters := make(map[string]bool)
	for _, i := range t.order {
		for _, e := range i.find("bond-master") {
			masters[e.Value] = true
		}
	}
	for name := range masters {
		if t.ifaces[name] == nil {
			for _, i := range t.order {
				for _, e := range i.find("bond-master") {
					if e.Value == name {
						t.remark(e.Pos, e.Text, "%s has no stanza of its own", name)
					}
				}
			}
		}
	}
	for _, name := range sortedKeys(masters) {
		t.iface(name)
	}
	for _, i := range t.order {
		i.kind = t.kindOf(i, masters[i.name])
	}
}

func (t *translator) kindOf(i *iface, master bool) kind {
	switch {
	case i.has("vrf-table"):
		return vrf
	case i.has("bridge-ports", "bridge-vlan-aware"):
		return bridge
	case master, i.has("bond-slaves"), i.has("bond-mode") && !i.has("bond-master"):
		return bond
	case t.madeElsewhere(i):
		return absent
	case i.has("vlan-raw-device", "vlan-id"):
		return vlan
	case strings.Contains(i.name, "."):
		return vlan
	}
	return plain
}

// madeElsewhere reports whether the interface is made by something that weft has no word for, or is none: a stanza whose
// name only carries gnt-networking's prv-net-helper.
func (t *translator) madeElsewhere(i *iface) bool {
	elsewhere := false
	for _, s := range i.stanzas {
		switch {
		case s.Family == "can" || s.Family == "ipx":
		case slices.Contains([]string{"ppp", "wvdial", "tunnel", "v4tunnel", "6to4"}, s.Method):
		default:
			return len(i.entries) > 0 && !slices.ContainsFunc(i.entries, func(e *entry) bool {
				return !strings.Contains(e.Value, "prv-net-helper ")
			})
		}
		elsewhere = true
	}
	return elsewhere
}

// device makes the spec of the interface's kind, and for VLANs and VRFs all of it.
func (t *translator) device(i *iface) {
	switch i.kind {
	case bond:
		i.bond = &spec.Bond{Link: *i.link}
		i.link = &i.bond.Link
	case bridge:
		i.bridge = &spec.Bridge{Link: *i.link}
		i.link = &i.bridge.Link
	case vrf:
		i.vrf = &spec.VRF{Link: *i.link}
		i.link = &i.vrf.Link
		t.vrfDevice(i)
	case vlan:
		t.vlanDevice(i)
	}
}

// below returns an interface that a bond or a bridge names: where no stanza says what it is, a name such as bond0.104
// makes it a VLAN device, for bridge-utils and ifupdown2 create it.
func (t *translator) below(name string) *iface {
	if i := t.ifaces[name]; i != nil {
		return i
	}
	i := t.iface(name)
	if strings.Contains(name, ".") {
		i.kind = vlan
		t.vlanDevice(i)
	}
	return i
}

// vlanDevice finds the parent and the VLAN in the options, or else in the name: PARENT.ID, also with leading zeros, or
// vlanID. The options win only where the name tells nothing, as in the vlan package.
func (t *translator) vlanDevice(i *iface) {
	var parent, digits string
	if dot := strings.LastIndexByte(i.name, '.'); dot > 0 {
		parent, digits = i.name[:dot], i.name[dot+1:]
	} else {
		digits = strings.TrimPrefix(i.name, "vlan")
	}
	if e := i.last("vlan-raw-device"); e != nil {
		if parent != "" && parent != e.Value {
			e.fail("the name of %s says that it is on %s", i.name, parent)
		} else {
			parent = e.Value
		}
	}
	if e := i.last("vlan-id"); e != nil {
		digits = e.Value
	}
	id, err := strconv.Atoi(digits)
	if err != nil || id < 1 || id > 4094 || parent == "" {
		i.kind = absent
		for _, s := range i.stanzas {
			t.note(s.Pos, s.Text, "which VLAN of which interface this is does not show: it is not translated")
		}
		return
	}
	v := &spec.VLAN{Link: *i.link}
	if i.name != fmt.Sprintf("%s.%d", parent, id) {
		v.Parent, v.ID = parent, id
	}
	if e := i.last("vlan-protocol"); e != nil {
		switch strings.ToLower(e.Value) {
		case "802.1q":
		case "802.1ad":
			v.Protocol = "802.1ad"
		default:
			e.fail("not a VLAN protocol")
		}
	}
	i.vlan, i.link = v, &v.Link
	if dots := strings.Count(i.name, "."); dots > 1 && len(i.stanzas) > 0 {
		t.note(i.stanzas[0].Pos, i.stanzas[0].Text, "two VLAN tags: translated as VLAN %d on %s, as ifupdown2 does", id, parent)
	}
	t.below(parent).used = true
}

// vrfDevice translates ifupdown2's VRFs. Unless it was told not to, ifupdown2 ends the table with a route that lets
// nothing fall through to the main table.
func (t *translator) vrfDevice(i *iface) {
	e := i.last("vrf-table")
	switch n, err := strconv.ParseUint(e.Value, 10, 32); {
	case e.Value == "auto":
		i.vrf.Table = t.freeTable()
		t.remark(e.Pos, e.Text, "given table %d", i.vrf.Table)
	case err == nil && n > 0:
		i.vrf.Table = uint32(n)
	case t.tables[e.Value] > 0:
		i.vrf.Table = t.tables[e.Value]
	default:
		e.fail("not a routing table")
		i.kind = absent
		return
	}
	t.tables[i.name] = i.vrf.Table
	if d := i.last("vrf-default-route"); d != nil && d.Value != "yes" {
		return
	}
	for _, family := range []string{"inet", "inet6"} {
		t.routes = append(t.routes, &route{Route: spec.Route{
			To: "default", Type: "unreachable", Table: i.vrf.Table, Metric: lastMetric, Family: family,
		}, entry: e})
	}
}

// lastMetric is that of the kernel's documentation of VRFs (Documentation/networking/vrf.rst): behind every other route.
const lastMetric = 4278198272

// freeTable returns the first table of ifupdown2's range for VRFs that nothing has.
func (t *translator) freeTable() uint32 {
	taken := make(map[uint32]bool)
	for _, n := range t.tables {
		taken[n] = true
	}
	for _, i := range t.order {
		if e := i.find("vrf-table"); len(e) > 0 {
			if n, err := strconv.ParseUint(e[0].Value, 10, 32); err == nil {
				taken[uint32(n)] = true
			}
		}
	}
	n := uint32(1001)
	for taken[n] {
		n++
	}
	return n
}
