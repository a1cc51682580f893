// SPDX-License-Identifier: Apache-2.0

package ganeti

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"weft/internal/netstate"
	"weft/internal/spec"
)

// routed finds the network of LINK: a routing table by number or name, or a routed network's own name.
func (p *planner) routed() error {
	if !p.e.VLAN.IsZero() {
		p.note("VLAN: a routed NIC has none")
	}
	link := p.e.Link
	if link == "" {
		return fmt.Errorf("LINK: a routed NIC needs a routing table; the main table is the node's own")
	}
	table, isTable := p.table(link)
	found := p.matching(func(name string, n *spec.Network) bool {
		return n.Mode == spec.Routed && (isTable && n.TableNumber() == table || name == link)
	})
	switch {
	case len(found) == 1:
		p.plan.NIC.Network = found[0]
		return nil
	case len(found) > 1:
		return fmt.Errorf("LINK: %s is the network %s", link, strings.Join(found, " as well as the table of network "))
	case !isTable:
		return fmt.Errorf("LINK: %s is neither a routing table (rt_tables) nor a routed network of the node file", quoted(link))
	case table == 0 || table > 65535 || table >= netstate.TableDefault && table <= netstate.TableLocal:
		return fmt.Errorf("LINK: table %s cannot be a network's: 1 to 65535 can, except 253 to 255, which are the kernel's", link)
	}
	name := link
	if _, err := strconv.Atoi(link); err == nil {
		name = "table" + link
	}
	if g := p.e.Network; g != nil && g.Name != "" {
		name = g.Name
	}
	n, err := p.foreign(table)
	if err != nil {
		return err
	}
	p.own(n, name)
	return nil
}

func (p *planner) table(link string) (uint32, bool) {
	if n, err := strconv.ParseUint(link, 10, 32); err == nil {
		return uint32(n), true
	}
	n, ok := p.Tables[link]
	return n, ok
}

// foreign describes a routed network whose table and uplinks somebody else looks after: from what Ganeti says of it, and
// from the table itself.
func (p *planner) foreign(table uint32) (*spec.Network, error) {
	n := &spec.Network{Mode: spec.Routed, Table: table}
	var subnet4, subnet6 netip.Prefix
	var gateway4, gateway6 netip.Addr
	if g := p.e.Network; g != nil {
		subnet4, gateway4, subnet6, gateway6 = g.Subnet, g.Gateway, g.Subnet6, g.Gateway6
	}
	four, six := p.way(table, subnet4, false, p.e.IP), p.way(table, subnet6, true, p.e.IP)
	n.Uplink = four.dev
	if four.subnet.IsValid() {
		n.IPv4 = &spec.Prefix{Subnet: four.subnet, Gateway: orGateway(gateway4, four)}
	}
	if six.subnet.IsValid() && six.dev == "" {
		p.note("NETWORK_SUBNET6: table %d has no IPv6 uplink: the guest gets no IPv6", table)
	} else if six.subnet.IsValid() {
		n.IPv6 = &spec.Prefix{Subnet: six.subnet, Gateway: orGateway(gateway6, six)}
		if six.dev != four.dev {
			n.IPv6.Uplink = six.dev
		}
	}
	if n.IPv4 == nil && n.IPv6 == nil {
		return nil, fmt.Errorf("LINK: neither one of Ganeti's networks nor table %d says which subnet the NIC is in", table)
	}
	return n, nil
}

// orGateway returns what Ganeti says, or the gateway of the table's default route where that one is of the subnet.
func orGateway(said netip.Addr, w way) netip.Addr {
	if said.IsValid() || !w.subnet.Contains(w.gateway) && !w.gateway.IsLinkLocalUnicast() {
		return said
	}
	return w.gateway
}

// way is where a routing table leads to in one family.
type way struct {
	dev     string
	subnet  netip.Prefix
	gateway netip.Addr
}

// way finds the device that a table's default route leaves by, or else the one that the subnet is on. Where Ganeti gives
// no subnet, it is the most specific prefix on a device of the table that the NIC's address is in.
func (p *planner) way(table uint32, subnet netip.Prefix, six bool, ip netip.Addr) way {
	w := way{subnet: subnet}
	var onSubnet string
	best := uint64(1 << 32)
	for r := range netstate.Of[netstate.Route](p.Have) {
		if r.Table != table || r.Type != "unicast" || r.Dst.Addr().Is6() != six || r.Owned() {
			continue
		}
		dev, via := r.Dev, r.Via
		if len(r.NextHops) > 0 {
			dev, via = r.NextHops[0].Dev, r.NextHops[0].Via
		}
		switch {
		case dev == "":
		case r.Dst.Bits() == 0:
			if uint64(r.Metric) < best {
				best, w.dev, w.gateway = uint64(r.Metric), dev, via
			}
		case r.Dst == subnet:
			onSubnet = dev
		case !subnet.IsValid() && !via.IsValid() && !r.Dst.IsSingleIP() && ip.IsValid() && r.Dst.Contains(ip) && r.Dst.Bits() > w.subnet.Bits():
			w.subnet, onSubnet = r.Dst, dev
		}
	}
	if w.dev == "" {
		w.dev = onSubnet
	}
	return w
}

// unused returns the name, made one that a node file could have, or that name and a part of a digest of the network where the
// node file, or another NIC's network, has the name.
func (p *planner) unused(name string, n *spec.Network) string {
	name = strings.Map(func(r rune) rune {
		if r == ':' || r == '@' {
			return '_'
		}
		return r
	}, name)
	if len(name) > 50 {
		name = name[:50]
	}
	taken := p.Node.Networks[name] != nil
	for _, c := range p.NICs {
		taken = taken || c.ID != p.e.ID && c.Network == name
	}
	if !taken {
		return name
	}
	data, err := json.Marshal(n)
	if err != nil {
		return name // a Network always encodes
	}
	return fmt.Sprintf("%s-%x", name, sha256.Sum256(data))[:len(name)+1+8]
}
