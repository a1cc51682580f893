// SPDX-License-Identifier: Apache-2.0

package ganeti

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"weft/internal/netstate"
	"weft/internal/spec"
)

// Running is the context of a NIC that was found in Ganeti's runtime files: its guest runs here, and nobody calls for it.
const Running Context = "running"

// Site is the node that a NIC is planned for.
type Site struct {
	Node     *spec.Node
	Have     *netstate.State   // what the kernel has: the uplinks of networks that the node file does not know are found in it
	NICs     []spec.NIC        // those that are plugged in by intent
	Tables   map[string]uint32 // the names of routing tables (iproute2's rt_tables)
	Settings Settings
}

// Plan is what is to be done for a NIC.
type Plan struct {
	NIC     spec.NIC
	Context Context
	// Probe says that somebody else might have the NIC's addresses: they are to be asked for before they are claimed.
	// After a migration the guest itself still has them on its old node, for all that the VLAN knows.
	Probe bool
	Notes []string // what Ganeti, or a tag, asks for and weft does not do, a line each
}

// Plan says how the NIC is to be plugged in. It is a pure function. The error is one line, names the variable that asks
// for what cannot be had, and means that the instance must not start.
func (s Site) Plan(e Environment, c Context) (Plan, error) {
	p := &planner{Site: s, e: e, plan: Plan{
		NIC:     spec.NIC{ID: e.ID, Name: e.Interface, MAC: e.MAC, Instance: e.Instance},
		Context: c,
	}}
	find := map[string]func() error{Routed: p.routed, Bridged: p.bridged, Ext: p.ext}[e.Mode]
	if find == nil {
		return Plan{}, fmt.Errorf("MODE: weft has no %s networks yet", e.Mode)
	}
	if err := p.tags(); err != nil {
		return Plan{}, err
	}
	if err := find(); err != nil {
		return Plan{}, err
	}
	n := p.network()
	if n.OnBridge() {
		return p.plan, p.apart(n) // the guest answers for itself: there is nothing to claim, and nothing to wait for
	}
	if err := p.addresses(n); err != nil {
		return Plan{}, err
	}
	nic := &p.plan.NIC
	nic.Prepared = c == MigrationBefore
	p.plan.Probe = !nic.Prepared && c != MigrationAfter && c != Running
	return p.plan, nil
}

type planner struct {
	Site
	e       Environment
	plan    Plan
	private bool // Ganeti has the network's guests kept apart by their MACs
}

func (p *planner) note(format string, args ...any) {
	p.plan.Notes = append(p.plan.Notes, fmt.Sprintf(format, args...))
}

// network returns the network that was found.
func (p *planner) network() *spec.Network { return p.of(&p.plan.NIC) }

func (p *planner) of(nic *spec.NIC) *spec.Network {
	if n := p.Node.Networks[nic.Network]; n != nil {
		return n
	}
	return nic.Net
}

// tags looks at the network's and the instance's tags. What weft does not do, and only leaves a comfort out, is a note.
func (p *planner) tags() error {
	var network []string
	if p.e.Network != nil {
		network = p.e.Network.Tags
	}
	for _, t := range network {
		switch t {
		case p.Settings.MACFilteredTag:
			p.private = true
		case p.Settings.NFDHCPDTag, p.Settings.MasqTag, p.Settings.DNSTag:
			p.note("NETWORK_TAGS: %s is not yet supported", t)
		}
	}
	p.profile()
	if p.Settings.IPSpoof && p.e.Mode == Routed {
		p.note("IPSPOOF of gnt-networking is not supported: the guest sends from its own addresses only")
	}
	if p.Settings.TapMAC != defaults().TapMAC && p.e.Mode == Routed {
		p.note("TAP_CONSTANT_MAC %s is not supported: the tap has %s", quoted(p.Settings.TapMAC), defaults().TapMAC)
	}
	return nil
}

// profile puts the NIC in the group that an instance's tag asks for, synnefo:network:IDENT:PROFILE, where IDENT is the NIC's index, name or
// UUID: a profile or a group of the node file. Of several tags the last one holds.
func (p *planner) profile() {
	nic := &p.plan.NIC
	for _, t := range p.e.Tags {
		f := strings.Split(t, ":")
		if len(f) != 4 || f[0] != "synnefo" || f[1] != "network" {
			continue
		}
		if id := f[2]; id != fmt.Sprint(p.e.Index) && id != p.e.Name && !strings.EqualFold(id, p.e.ID) {
			continue
		}
		_, there := p.Node.Group(f[3])
		switch {
		case f[3] == spec.Unprotected:
			nic.Groups = nil
		case p.Node.Groups == nil:
			p.note("TAGS: %s: the node file has no groups, and no firewall without them (groups: {} is for the profiles alone): the guest is as reachable as without it", t)
		case !there:
			p.note("TAGS: %s: there is no group %s in the node file: the guest is as reachable as without it", t, f[3])
		default:
			nic.Groups = []string{f[3]}
		}
	}
}

// ext takes LINK for the name of a network of the node file.
func (p *planner) ext() error {
	if p.Node.Networks[p.e.Link] == nil {
		return fmt.Errorf("LINK: in mode ext it is the name of a network of the node file, which has no %s", quoted(p.e.Link))
	}
	p.plan.NIC.Network = p.e.Link
	return nil
}

// matching returns the names of the node file's networks that are so, in order.
func (p *planner) matching(is func(name string, n *spec.Network) bool) []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(p.Node.Networks)) {
		if is(name, p.Node.Networks[name]) {
			names = append(names, name)
		}
	}
	return names
}

// bridged finds the network of LINK, a bridge, and of the vlan nicparam.
func (p *planner) bridged() error {
	br, vlan := p.e.Link, p.e.VLAN
	if !ifName(br) {
		return fmt.Errorf("LINK: %s is no bridge", quoted(br))
	}
	if len(vlan.Tagged) > 0 && vlan.Untagged == 0 {
		return fmt.Errorf("VLAN: a guest with tagged VLANs alone is not yet supported, only one that has a VLAN untagged besides")
	}
	for _, vid := range vlan.Tagged {
		found := p.matching(func(_ string, n *spec.Network) bool { return n.OnBridge() && n.BridgeName() == br && n.VLAN == vid })
		if len(found) == 0 {
			return fmt.Errorf("VLAN: the node file has no network that is VLAN %d of %s", vid, br)
		}
		p.plan.NIC.Tagged = append(p.plan.NIC.Tagged, found[0])
	}
	aware := p.Node.Bridges[br] != nil && p.Node.Bridges[br].VLANAware
	found := p.matching(func(_ string, n *spec.Network) bool {
		return n.OnBridge() && n.BridgeName() == br && (n.VLAN == vlan.Untagged || vlan.IsZero() && !aware)
	})
	switch {
	case len(found) == 1:
		p.plan.NIC.Network = found[0]
		return nil
	case aware && vlan.IsZero():
		return fmt.Errorf("VLAN: %s is a bridge of many VLANs, and the NIC has no vlan", br)
	case len(found) > 1:
		return fmt.Errorf("LINK: %s is the bridge of the networks %s", br, strings.Join(found, ", "))
	case aware || p.Node.Bridges[br] == nil && len(p.matching(func(_ string, n *spec.Network) bool { return n.BridgeName() == br })) > 0:
		return fmt.Errorf("VLAN: the node file has no network that is VLAN %d of %s", vlan.Untagged, br)
	}
	l := p.Have.Link(br)
	if l == nil || l.Kind != netstate.Bridge {
		return fmt.Errorf("LINK: there is no bridge %s on this node", br)
	}
	if !vlan.IsZero() && (l.Bridge == nil || l.Bridge.VLANFiltering == nil || !*l.Bridge.VLANFiltering) {
		return fmt.Errorf("VLAN: the bridge %s is not VLAN-aware (vlan_filtering is off)", br)
	}
	name := br
	if !vlan.IsZero() {
		name = fmt.Sprintf("%s.%d", br, vlan.Untagged)
	}
	n := &spec.Network{Mode: spec.Bridged, Bridge: br, VLAN: vlan.Untagged, MTU: int(l.MTU)}
	if p.private {
		n.Mode, n.MACMask = spec.Private, p.Settings.MACMask
	}
	p.own(n, name)
	return nil
}

// apart sees to it that a network which Ganeti wants private is. Losing a tenant's isolation without a word would be worse than a
// VM that does not start. The other way round is safe: a guest of a private network sees less.
func (p *planner) apart(n *spec.Network) error {
	if p.private && n.Mode != spec.Private {
		return fmt.Errorf("NETWORK_TAGS: %s asks for a network that keeps tenants apart, and %s is %s: say mode: private in the node file", p.Settings.MACFilteredTag, p.plan.NIC.Network, n.Mode)
	}
	if p.private && n.Mask() != p.Settings.MACMask {
		return fmt.Errorf("NETWORK_TAGS: %s has tenants told apart by MAC_MASK %s, and the mac_mask of %s is %s", p.Settings.MACFilteredTag, quoted(p.Settings.MACMask), p.plan.NIC.Network, n.Mask())
	}
	for _, c := range p.NICs {
		if o := p.of(&c); o != nil && o.OnBridge() && o.Mode != n.Mode && o.BridgeName() == n.BridgeName() && o.VLAN == n.VLAN && c.ID != p.e.ID {
			p.note("LINK: %s is plugged in as %s, and %s on the same bridge as %s: what is bridged there sees all tenants", p.e.Interface, n.Mode, c.Name, o.Mode)
			break
		}
	}
	return nil
}

// own plugs the NIC into a network that somebody else made and the node file does not know. Of a bridge or a table there is one
// description at a time: that of the NICs that are there already, which may be older than what Ganeti says now.
func (p *planner) own(n *spec.Network, name string) {
	n.Managed = new(false)
	nic := &p.plan.NIC
	for _, c := range p.NICs {
		if o := c.Net; o == nil || c.ID == p.e.ID || p.Node.Networks[c.Network] != nil || o.Mode != n.Mode || o.Table != n.Table || o.Bridge != n.Bridge || o.VLAN != n.VLAN {
			continue
		}
		if !reflect.DeepEqual(c.Net, n) {
			p.note("LINK: %s is plugged in as it was when %s came: Ganeti, or the node, has changed it since", p.e.Link, c.Name)
		}
		nic.Network, nic.Net = c.Network, c.Net
		return
	}
	nic.Network, nic.Net = p.unused(name, n), n
}

// addresses gives the NIC those that Ganeti means it to have: IP, and the one that the guest makes itself from its MAC.
func (p *planner) addresses(n *spec.Network) error {
	nic := &p.plan.NIC
	off := func(family string) bool { return slices.Contains(p.e.Tags, "disable_"+family) }
	if ip := p.e.IP; ip.IsValid() && !off(map[bool]string{true: "ipv4", false: "ipv6"}[ip.Is4()]) {
		f, word := n.IPv4, "IPv4"
		if ip.Is6() {
			f, word = n.IPv6, "IPv6"
		}
		if f == nil {
			return fmt.Errorf("IP: network %s has no %s, and the NIC has %s", nic.Network, word, ip)
		}
		if !f.Subnet.Contains(ip) {
			return fmt.Errorf("IP: %s is not in %s of network %s", ip, f.Subnet, nic.Network)
		}
		nic.Addresses = append(nic.Addresses, ip)
	}
	if six := p.eui64(); six.IsValid() && !off("ipv6") && !slices.Contains(nic.Addresses, six) {
		switch {
		case n.IPv6 == nil && nic.Net != nil: // said already
		case n.IPv6 == nil:
			p.note("NETWORK_SUBNET6: network %s has no IPv6 on this node: the guest gets none", nic.Network)
		case !n.IPv6.Subnet.Contains(six):
			return fmt.Errorf("NETWORK_SUBNET6: the guest's %s is not in %s of network %s", six, n.IPv6.Subnet, nic.Network)
		default:
			nic.Addresses = append(nic.Addresses, six)
		}
	}
	if len(nic.Addresses) > 0 {
		return nil
	}
	return fmt.Errorf("IP: a routed NIC is reached by its addresses, and this one has neither IPv4 nor IPv6 in network %s", nic.Network)
}

// eui64 returns the address that the guest makes from its MAC in the network's IPv6 subnet (RFC 4291 appendix A, RFC 4862), the
// zero Addr if there is no /64 to make it in.
func (p *planner) eui64() netip.Addr {
	if p.e.Network == nil || !p.e.Network.Subnet6.IsValid() {
		return netip.Addr{}
	}
	subnet := p.e.Network.Subnet6
	mac, err := net.ParseMAC(p.e.MAC)
	if err != nil || len(mac) != 6 {
		return netip.Addr{} // Parse lets none through
	}
	if subnet.Bits() != 64 {
		p.note("NETWORK_SUBNET6: %s is not a /64: the guest gets no IPv6 address", subnet)
		return netip.Addr{}
	}
	a := subnet.Addr().As16()
	copy(a[8:], []byte{mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]})
	return netip.AddrFrom16(a)
}
