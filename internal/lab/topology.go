// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"strings"
)

// ifaceInfo is what iproute2 says about one interface, as far as the drawing shows it.
type ifaceInfo struct {
	Name     string   `json:"ifname"`
	Parent   string   `json:"link"`
	Flags    []string `json:"flags"`
	MAC      string   `json:"address"`
	Master   string   `json:"master"`
	LinkInfo struct {
		Kind string `json:"info_kind"`
		Data struct {
			ID    int    `json:"id"`
			Mode  string `json:"mode"`
			Table int    `json:"table"`
		} `json:"info_data"`
	} `json:"linkinfo"`
	Addrs []struct {
		Local  string `json:"local"`
		Length int    `json:"prefixlen"`
		Scope  string `json:"scope"`
	} `json:"addr_info"`
}

// interfaces reads a machine's interfaces.
func (l *Lab) interfaces(ctx context.Context, machine string) ([]ifaceInfo, error) {
	out, err := l.In(ctx, machine, "ip", "-d", "-j", "addr")
	if err == nil {
		err = out.Err()
	}
	if err != nil {
		return nil, fmt.Errorf("reading the interfaces of %s: %w", machine, err)
	}
	var list []ifaceInfo
	if err := json.Unmarshal([]byte(out.Stdout), &list); err != nil {
		return nil, fmt.Errorf("reading the interfaces of %s: %w", machine, err)
	}
	return list, nil
}

// Topology draws what is there: the machines, and in each node the interfaces, each below the one
// that carries it, down to the guests.
func (l *Lab) Topology(ctx context.Context) (string, error) {
	d := drawing{ifaces: map[string][]ifaceInfo{}, guests: map[string]string{}}
	machines, err := l.Machines()
	if err != nil {
		return "", err
	}
	for _, m := range machines {
		if d.ifaces[m], err = l.interfaces(ctx, m); err != nil {
			return "", err
		}
	}
	for name, g := range l.guests {
		d.guests[g.node+"/"+g.tap] = name
	}
	for _, m := range machines {
		d.machine(m)
	}
	return d.b.String(), nil
}

// drawing is a picture under way.
type drawing struct {
	b      strings.Builder
	ifaces map[string][]ifaceInfo
	guests map[string]string // "node/tap": guest
}

// machine draws one machine, unless it is a guest.
func (d *drawing) machine(name string) {
	for _, guest := range d.guests {
		if guest == name {
			return
		}
	}
	what := map[string]string{"inet": "internet", "rt": "router", "sw": "switch"}[name]
	if what == "" {
		what = "node"
	}
	fmt.Fprintf(&d.b, "%s (%s)\n", name, what)
	kids := map[string][]ifaceInfo{}
	for _, i := range d.ifaces[name] {
		if i.Name == "lo" {
			continue
		}
		kids[d.carrier(name, i)] = append(kids[d.carrier(name, i)], i)
	}
	for _, list := range kids {
		sort.Slice(list, func(a, b int) bool { return list[a].Name < list[b].Name })
	}
	d.tree(name, "", "", kids, 0)
}

// carrier is the interface below which i is drawn: what carries its frames outwards. A bond's
// members are not drawn below it but in its line.
func (d *drawing) carrier(machine string, i ifaceInfo) string {
	switch {
	case i.LinkInfo.Kind == "bridge" || i.LinkInfo.Kind == "vrf":
		// Below its port that leads outwards: the one that is no guest's.
		for _, port := range d.ifaces[machine] {
			if port.Master == i.Name && (port.LinkInfo.Kind == "vlan" || port.LinkInfo.Kind == "bond") && machine != "sw" {
				return port.Name
			}
		}
		return ""
	case i.LinkInfo.Kind == "vlan" && i.Parent != "":
		return i.Parent
	case i.Master != "" && i.LinkInfo.Kind != "vlan" && (machine == "sw" || i.LinkInfo.Kind != "bond"):
		return i.Master
	}
	return ""
}

// tree draws the interfaces below one.
func (d *drawing) tree(machine, below, indent string, kids map[string][]ifaceInfo, depth int) {
	if depth > 16 { // no stack of interfaces is that deep: never loop
		return
	}
	list := slices.DeleteFunc(slices.Clone(kids[below]), func(i ifaceInfo) bool { return d.isMember(machine, i) })
	for n, i := range list {
		branch, next := "├─ ", "│  "
		if n == len(list)-1 {
			branch, next = "└─ ", "   "
		}
		d.b.WriteString(indent + branch + d.line(machine, i) + "\n")
		d.tree(machine, i.Name, indent+next, kids, depth+1)
	}
}

func (d *drawing) isMember(machine string, i ifaceInfo) bool {
	for _, m := range d.ifaces[machine] {
		if m.Name == i.Master {
			return m.LinkInfo.Kind == "bond"
		}
	}
	return false
}

// line describes one interface.
func (d *drawing) line(machine string, i ifaceInfo) string {
	parts := []string{i.Name}
	switch i.LinkInfo.Kind {
	case "bond":
		var members []string
		for _, m := range d.ifaces[machine] {
			if m.Master == i.Name {
				members = append(members, m.Name)
			}
		}
		parts = append(parts, "bond "+i.LinkInfo.Data.Mode+" of "+strings.Join(members, " + "))
		if machine == "sw" && len(members) > 0 {
			parts = append(parts, "to "+d.peer(machine, members[0]))
		}
	case "vlan":
		parts = append(parts, fmt.Sprintf("VLAN %d", i.LinkInfo.Data.ID))
	case "bridge":
		parts = append(parts, "bridge")
	case "vrf":
		parts = append(parts, fmt.Sprintf("VRF, table %d", i.LinkInfo.Data.Table))
	case "veth":
		if d.guests[machine+"/"+i.Name] == "" {
			parts = append(parts, "to "+d.peer(machine, i.Name))
		}
	}
	parts = append(parts, addresses(i)...)
	if !slices.Contains(i.Flags, "UP") {
		parts = append(parts, "down")
	}
	text := strings.Join(parts, ", ")
	if guest := d.guests[machine+"/"+i.Name]; guest != "" {
		text += " ── " + guest
		for _, gi := range d.ifaces[guest] {
			if gi.Name != "lo" {
				text += " " + strings.Join(append([]string{gi.Name, gi.MAC}, addresses(gi)...), ", ")
			}
		}
	}
	return text
}

// peer is the machine at the other end of a fabric link.
func (d *drawing) peer(machine, dev string) string {
	for _, w := range append(fabricLinks(), thirdLinks()...) {
		switch {
		case w.a == machine && w.aDev == dev:
			return w.b
		case w.b == machine && w.bDev == dev:
			return w.a
		}
	}
	return "elsewhere"
}

// addresses are an interface's addresses, without link-local ones.
func addresses(i ifaceInfo) []string {
	var list []string
	for _, a := range i.Addrs {
		if a.Scope == "global" {
			list = append(list, fmt.Sprintf("%s/%d", a.Local, a.Length))
		}
	}
	return list
}
