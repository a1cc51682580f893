// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"fmt"
	"reflect"
	"strings"

	"weft/internal/netstate"
)

// linkFaults are those of a link: every attribute that weft asks for, each by itself, and the link as a whole.
func linkFaults(d *drift, want *netstate.State, l netstate.Link) (all []fault) {
	d.Helper()
	add := func(class, name string, lines ...string) {
		all = append(all, fault{sort: linkSort(l), class: class, name: name, script: "ip -batch - <<'END'\n" + strings.Join(lines, "\n") + "\nEND"})
	}
	set := "link set dev " + l.Name + " "
	if l.Made() {
		add("deleted", "", "link del "+l.Name)
	}
	if l.IsUp() {
		add("down", "", set+"down")
		add("flapped", "", set+"down", set+"up")
		all[len(all)-1].maybe = true // a bridge that went down and up is as it was
	}
	v := reflect.ValueOf(l)
	for i := range v.NumField() {
		f, field := v.Type().Field(i).Name, v.Field(i)
		if field.IsZero() {
			continue
		}
		switch f {
		case "Name", "Kind", "Parent", "Up": // what it is, and what is done above and below
		case "MTU":
			add("altered", "mtu", set+fmt.Sprint("mtu ", l.MTU-100))
		case "MAC":
			add("altered", "address", set+"address 02:00:5e:00:00:99")
		case "Group":
			add("altered", "group", set+"group 0")
		case "Alias":
			add("altered", "alias", set+"alias theirs")
		case "Master":
			if l.MasterName() != "" {
				add("altered", "master", set+"nomaster")
			} else if vrf := otherVRF(want, l); vrf != "" { // that of somebody else's would be a conflict
				add("altered", "master", set+"master "+vrf)
			}
		case "VLAN":
			add("altered", "id", "link del "+l.Name, fmt.Sprintf("link add link %s name %s type vlan id 4000", l.Parent, l.Name))
		case "VRF":
			add("altered", "table", "link del "+l.Name, "link add name "+l.Name+" type vrf table 4000")
		case "Bond", "Bridge", "Port":
			attrFaults(d, want, l, field.Elem(), add)
		default:
			d.Errorf("no fault is known for %s of a link", f)
		}
	}
	return all
}

// otherVRF is a VRF of weft's that a link which is to be a port of none can be made a port of, or "".
func otherVRF(want *netstate.State, l netstate.Link) string {
	for vrf := range netstate.Of[netstate.Link](want) {
		if vrf.Kind == netstate.VRF && l.Kind != netstate.VRF && l.Kind != netstate.Bridge {
			return vrf.Name
		}
	}
	return ""
}

// linkSort is the sort of a link: its kind, or what weft has borrowed it for.
func linkSort(l netstate.Link) string {
	switch {
	case l.Made():
		return "link " + l.Kind
	case l.IsTap():
		return "link tap"
	}
	return "link port"
}

// otherWords are other values of the attributes that are words.
var otherWords = map[string]string{
	"mode": "balance-rr", "lacp_rate": "slow", "xmit_hash_policy": "layer2", "ad_select": "count", "primary": "eth1", "primary_reselect": "better",
}

// Attributes of a bond that can only be changed while it is down, and without members.
var whileDown, whileEmpty = map[string]bool{"mode": true, "lacp_rate": true, "xmit_hash_policy": true, "ad_select": true}, map[string]bool{"mode": true}

// attrFaults alter the attributes of a bond, a bridge or a port of a bridge, each by itself.
func attrFaults(d *drift, want *netstate.State, l netstate.Link, attrs reflect.Value, add func(class, name string, lines ...string)) {
	d.Helper()
	for i := range attrs.NumField() {
		field := attrs.Field(i)
		name, _, _ := strings.Cut(attrs.Type().Field(i).Tag.Get("json"), ",")
		if field.IsZero() {
			continue
		}
		value, ok := otherAttr(name, field.Elem())
		if !ok {
			d.Errorf("no other value is known for %s of %s", name, l.Name)
		}
		set := "link set dev " + l.Name
		change := fmt.Sprintf("%s type %s %s %s", set, l.Kind, name, value)
		switch {
		case attrs.Type() == reflect.TypeFor[netstate.PortAttrs]():
			add("altered", name, fmt.Sprintf("%s type bridge_slave %s %s", set, name, value))
		case whileEmpty[name]:
			var out, in []string
			for m := range netstate.Of[netstate.Link](want) {
				if m.MasterName() == l.Name {
					out, in = append(out, "link set dev "+m.Name+" nomaster"), append(in, "link set dev "+m.Name+" down", "link set dev "+m.Name+" master "+l.Name)
				}
			}
			add("altered", name, append(append(append([]string{set + " down"}, out...), change), append(in, set+" up")...)...)
		case whileDown[name]:
			add("altered", name, set+" down", change, set+" up")
		default:
			add("altered", name, change)
		}
	}
}

// otherAttr returns another value of an attribute than the one that is wanted.
func otherAttr(name string, v reflect.Value) (value string, ok bool) {
	switch v.Kind() {
	case reflect.Bool:
		return map[bool]string{true: "0", false: "1"}[v.Bool()], true
	case reflect.Uint32, reflect.Uint16:
		switch {
		case name == "min_links", name == "vlan_default_pvid":
			return map[bool]string{true: "1", false: "0"}[v.Uint() == 0], true
		}
		return fmt.Sprint(v.Uint() + 500), true
	}
	value, ok = otherWords[name]
	return value, ok
}
