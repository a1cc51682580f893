// SPDX-License-Identifier: Apache-2.0

package libvirt

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/google/uuid"

	"weft/internal/spec"
)

// nicID returns the ID of a domain's interface: the UUID of version 5 (RFC 9562 section 5.5) of its MAC in the domain's
// UUID. It is the same in every hook and on every node.
func nicID(domain uuid.UUID, mac string) string {
	return uuid.NewSHA1(domain, []byte(strings.ToLower(mac))).String()
}

// owns reports whether a NIC was plugged in for this domain.
func (d *Domain) owns(n spec.NIC) bool { return n.ID == nicID(d.UUID, n.MAC) }

// mayConcern reports whether the domain can have an interface of weft's, before the node file is looked at.
func (d *Domain) mayConcern() bool {
	return len(d.Wanted) > 0 || slices.ContainsFunc(d.Interfaces, func(i Interface) bool { return i.Bridge != "" })
}

// NICs returns the domain's interfaces that are plugged into one of the networks: those that the metadata names, and
// those on the bridge of a bridged network. All others are not weft's.
func (d *Domain) NICs(networks map[string]*spec.Network) ([]spec.NIC, error) {
	wanted := map[string]Wanted{}
	for _, w := range d.Wanted {
		if _, twice := wanted[w.MAC]; twice {
			return nil, fmt.Errorf("metadata of %s: mac %s is there twice", d.Name, w.MAC)
		}
		wanted[w.MAC] = w
	}
	var nics []spec.NIC
	named := map[string]bool{}
	for _, i := range d.Interfaces {
		if named[i.MAC] {
			return nil, fmt.Errorf("mac %s: two interfaces of %s have it", i.MAC, d.Name)
		}
		var w Wanted
		w, named[i.MAC] = wanted[i.MAC]
		delete(wanted, i.MAC)
		if !named[i.MAC] {
			name, err := byBridge(networks, i)
			if err != nil {
				return nil, err
			}
			if name == "" {
				continue
			}
			w = Wanted{MAC: i.MAC, Network: name}
		}
		if err := i.fits(w.Network, networks[w.Network]); err != nil {
			return nil, err
		}
		n, err := spec.ParseNIC(nicID(d.UUID, i.MAC), i.Target, i.MAC, w.Network, w.Addresses, w.Prefixes)
		if err != nil {
			return nil, err
		}
		n.Instance = d.Name
		nics = append(nics, n)
	}
	for _, mac := range slices.Sorted(maps.Keys(wanted)) {
		return nil, fmt.Errorf("metadata of %s: mac %s: no interface has it", d.Name, mac)
	}
	return nics, nil
}

// fits returns an error where an interface of this kind cannot be plugged into the network; net is nil for a network
// that the node does not have.
func (i *Interface) fits(name string, net *spec.Network) error {
	switch {
	case net == nil:
		return fmt.Errorf("interface %s: network %q is not in the node file", i.MAC, name)
	case i.Type != "ethernet" && i.Bridge == "":
		return fmt.Errorf("interface %s is of type %q: weft plugs in those of type ethernet or bridge", i.MAC, i.Type)
	case i.Bridge != "" && i.Bridge != net.BridgeName():
		return fmt.Errorf("interface %s is on bridge %s, and network %s is not: make it <interface type='ethernet'>", i.MAC, i.Bridge, name)
	case i.Target == "":
		return fmt.Errorf("interface %s has no tap", i.MAC)
	}
	return nil
}

// byBridge returns the bridged network that an interface without metadata is on by its bridge, and by its VLAN where
// several networks share a bridge; "" for none.
func byBridge(networks map[string]*spec.Network, i Interface) (string, error) {
	if i.Bridge == "" {
		return "", nil
	}
	var found []string
	for name, net := range networks {
		if net.BridgeName() == i.Bridge && (len(i.VLANs) == 0 || slices.Contains(i.VLANs, net.VLAN)) {
			found = append(found, name)
		}
	}
	slices.Sort(found)
	switch len(found) {
	case 0:
		return "", nil
	case 1:
		return found[0], nil
	}
	return "", fmt.Errorf("interface %s: bridge %s has the networks %s: name one in the domain's metadata", i.MAC, i.Bridge, strings.Join(found, ", "))
}
