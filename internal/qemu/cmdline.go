// SPDX-License-Identifier: Apache-2.0

// Package qemu finds out from QEMU's command line whose interface a tap is: QEMU tells its network script nothing but
// the tap's name.
//
// It owns the reading of that command line, in both forms that QEMU takes (key=value and JSON). It never talks to QEMU
// and never touches a kernel.
package qemu

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"
)

// Guest is what a QEMU process was started with.
type Guest struct {
	Name     string    // of -name, "" for none
	UUID     uuid.UUID // of -uuid, uuid.Nil for none
	Incoming bool      // it waits for a migration
	taps     []tap
}

// tap is a tap backend; mac is "" where the command line leaves it to QEMU.
type tap struct {
	ifname string // "" where the kernel chose it
	mac    string
}

// Parse reads the arguments of a QEMU process, without its name.
func Parse(args []string) (*Guest, error) {
	g := &Guest{}
	taps := map[string]*tap{} // by the backend's id
	var order []string
	macs := map[string]string{} // by the backend's id
	for i := 0; i+1 < len(args); i++ {
		name, isOption := strings.CutPrefix(args[i], "-")
		if !isOption {
			continue
		}
		name = strings.TrimPrefix(name, "-") // QEMU takes both
		if !slices.Contains([]string{"name", "uuid", "incoming", "netdev", "device", "nic"}, name) {
			continue
		}
		i++
		var err error
		switch name {
		case "name":
			g.Name = options(args[i], "guest")["guest"]
		case "uuid":
			if g.UUID, err = uuid.Parse(args[i]); err != nil {
				return nil, fmt.Errorf("read QEMU's command line: -uuid %.80q: %w", args[i], err)
			}
		case "incoming":
			g.Incoming = true
		case "netdev":
			o := options(args[i], "type")
			if o["type"] == "tap" && taps[o["id"]] == nil {
				taps[o["id"]] = &tap{ifname: o["ifname"]}
				order = append(order, o["id"])
			}
		case "device":
			if o := options(args[i], "driver"); o["netdev"] != "" {
				macs[o["netdev"]] = o["mac"]
			}
		case "nic":
			if o := options(args[i], "type"); o["type"] == "tap" {
				g.taps = append(g.taps, tap{ifname: o["ifname"], mac: o["mac"]})
			}
		}
	}
	for _, id := range order {
		t := taps[id]
		t.mac = macs[id]
		g.taps = append(g.taps, *t)
	}
	return g, nil
}

// options reads the argument of an option: JSON, or key=value separated by commas, of which a double one is a comma
// itself. What has no key in the first place is the value of first.
func options(arg, first string) map[string]string {
	all := map[string]string{}
	if strings.HasPrefix(arg, "{") {
		var values map[string]any
		if err := json.Unmarshal([]byte(arg), &values); err != nil {
			return all // QEMU itself does not start with it
		}
		for k, v := range values {
			if s, ok := v.(string); ok {
				all[k] = s
			}
		}
		return all
	}
	for i, part := range split(arg) {
		k, v, has := strings.Cut(part, "=")
		switch {
		case has:
			all[k] = v
		case i == 0:
			all[first] = part
		}
	}
	return all
}

// split cuts at single commas and makes double ones single.
func split(arg string) []string {
	var parts []string
	var b strings.Builder
	for i := 0; i < len(arg); i++ {
		switch {
		case arg[i] != ',':
			b.WriteByte(arg[i])
		case i+1 < len(arg) && arg[i+1] == ',':
			b.WriteByte(',')
			i++
		default:
			parts = append(parts, b.String())
			b.Reset()
		}
	}
	return append(parts, b.String())
}

// ErrNoTap says that no command line has the tap: QEMU was told of it later (netdev_add), or from a file, or did not call.
var ErrNoTap = errors.New("no QEMU has this tap on its command line")

// MAC returns the MAC of the guest's interface behind a tap.
func (g *Guest) MAC(ifname string) (string, error) {
	var found *tap
	unnamed := 0
	for i, t := range g.taps {
		switch {
		case t.ifname == ifname:
			found = &g.taps[i]
		case t.ifname == "":
			unnamed++
		}
	}
	if found == nil && unnamed == 1 {
		found = &g.taps[slices.IndexFunc(g.taps, func(t tap) bool { return t.ifname == "" })]
	}
	switch {
	case found == nil && unnamed > 1:
		return "", fmt.Errorf("%s: several taps have no ifname= on QEMU's command line: give them one", ifname)
	case found == nil:
		return "", fmt.Errorf("%s: %w", ifname, ErrNoTap)
	case found.mac == "":
		return "", fmt.Errorf("%s: QEMU's command line has no mac= for it: give it one", ifname)
	}
	return strings.ToLower(found.mac), nil
}
