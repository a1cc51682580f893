// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"weft/internal/netstate"
)

// getLink reads one link; nil when there is none of this name.
func (h *Host) getLink(ctx context.Context, name string) (*netstate.Link, error) {
	index, err := h.index(name)
	if err != nil {
		return nil, ignore(err, unix.ENODEV)
	}
	ls, err := h.dumpLinks(ctx) // all of them: master, parent and members go by index
	if err != nil {
		return nil, err
	}
	for i := range ls.all {
		if ls.all[i].index == index {
			return &ls.all[i].Link, nil
		}
	}
	return nil, nil
}

// createLink makes a link with all that it must have at birth, in weft's group from its first moment on, and then sets
// the rest. A link that an interrupted run made, or the bond that the kernel makes by itself when the bonding module is
// loaded, is taken over.
func (h *Host) createLink(ctx context.Context, l netstate.Link) error {
	m, err := h.birthMessage(l)
	if err != nil {
		return err
	}
	err = h.request(unix.RTM_NEWLINK, netlink.Create|netlink.Excl, *m)
	if errors.Is(err, unix.EEXIST) {
		return h.takeOver(ctx, l, err)
	}
	if err != nil {
		return err
	}
	return h.setLink(netstate.Link{Name: l.Name, Kind: l.Kind, Alias: l.Alias, Master: l.Master, Up: l.Up, Port: l.Port})
}

func (h *Host) birthMessage(l netstate.Link) (*message, error) {
	m := newMessage(&unix.IfInfomsg{})
	m.string(unix.IFLA_IFNAME, l.Name)
	if l.Parent != "" {
		parent, err := h.index(l.Parent)
		if err != nil {
			return nil, err
		}
		m.u32(unix.IFLA_LINK, uint32(parent))
	}
	m.common(l)
	return m, h.info(m, l)
}

// takeOver makes the existing link of l's name into l where it is weft's, or a bond that nobody uses.
func (h *Host) takeOver(ctx context.Context, l netstate.Link, exists error) error {
	have, err := h.getLink(ctx, l.Name)
	if err != nil || have == nil {
		return errors.Join(exists, err)
	}
	left, lacks := netstate.Missing(*have, l)
	unused := have.Kind == netstate.Bond && have.GroupID() == 0 && !have.IsUp() && have.MasterName() == "" && *have.Alias == ""
	switch {
	case have.Kind != l.Kind:
		return exists
	case !lacks:
		return nil
	case !have.Owned() && !unused:
		return exists
	}
	if left.Parent != "" || left.VLAN != nil || left.VRF != nil {
		return exists // another link: those cannot change
	}
	return h.setLink(left)
}

// common adds the attributes that every link has and that can be given at birth.
func (m *message) common(l netstate.Link) {
	if l.MAC != "" {
		m.mac(unix.IFLA_ADDRESS, l.MAC)
	}
	if l.MTU != 0 {
		m.u32(unix.IFLA_MTU, l.MTU)
	}
	m.optU32(unix.IFLA_GROUP, l.Group)
}

// info adds IFLA_LINKINFO: the kind with the settings that l asks for.
func (h *Host) info(m *message, l netstate.Link) error {
	var failed error
	m.nested(unix.IFLA_LINKINFO, func() {
		m.string(unix.IFLA_INFO_KIND, l.Kind)
		m.nested(unix.IFLA_INFO_DATA, func() {
			if l.Bond != nil {
				failed = h.bondData(m, l.Bond)
			}
			if v := l.VLAN; v != nil {
				failed = vlanData(m, v)
			}
			if l.Bridge != nil {
				bridgeData(m, l.Bridge)
			}
			if l.VRF != nil {
				m.u32(unix.IFLA_VRF_TABLE, l.VRF.Table)
			}
		})
	})
	return failed
}

func vlanData(m *message, v *netstate.VLANAttrs) error {
	m.u16(unix.IFLA_VLAN_ID, v.ID)
	switch v.Protocol {
	case "", "802.1Q":
	case "802.1ad":
		m.u16BE(unix.IFLA_VLAN_PROTOCOL, unix.ETH_P_8021AD)
	default:
		return fmt.Errorf("vlan protocol %q: %w", v.Protocol, unix.EINVAL)
	}
	return nil
}

func bridgeData(m *message, b *netstate.BridgeAttrs) {
	if b.STP != nil {
		m.u32(unix.IFLA_BR_STP_STATE, uint32(bit(*b.STP)))
	}
	m.optU32(unix.IFLA_BR_FORWARD_DELAY, b.ForwardDelay)
	m.optU32(unix.IFLA_BR_AGEING_TIME, b.AgeingTime)
	m.optBool(unix.IFLA_BR_VLAN_FILTERING, b.VLANFiltering)
	if b.DefaultPVID != nil {
		m.u16(unix.IFLA_BR_VLAN_DEFAULT_PVID, *b.DefaultPVID)
	}
	m.optBool(unix.IFLA_BR_MCAST_SNOOPING, b.MulticastSnooping)
	m.optBool(unix.IFLA_BR_MCAST_QUERIER, b.MulticastQuerier)
}

// setLink sets exactly the fields that l gives. It is one request, except where kernels do the parts of one in an order
// that fails: going up comes after the other attributes (IFF_UP and IFLA_MASTER), and STP goes off before the forward
// delay goes below what STP allows.
func (h *Host) setLink(l netstate.Link) error {
	parts := []netstate.Link{l}
	if l.IsUp() && (l.MAC != "" || l.MTU != 0 || l.Master != nil) {
		parts[0].Up = nil
		parts = append(parts, netstate.Link{Name: l.Name, Up: l.Up})
	}
	if b := l.Bridge; b != nil && b.STP != nil && !*b.STP && b.ForwardDelay != nil {
		off := netstate.Link{Name: l.Name, Bridge: &netstate.BridgeAttrs{STP: b.STP}}
		parts = append([]netstate.Link{off}, parts...)
	}
	for _, p := range parts {
		if err := h.setLinkOnce(p); err != nil {
			return err
		}
	}
	if l.Port != nil {
		return h.setPort(l.Name, *l.Port)
	}
	return nil
}

func (h *Host) setLinkOnce(l netstate.Link) error {
	index, err := h.index(l.Name)
	if err != nil {
		return err
	}
	head := unix.IfInfomsg{Index: index}
	if l.Up != nil {
		head.Change = unix.IFF_UP
		if *l.Up {
			head.Flags = unix.IFF_UP
		}
	}
	m := newMessage(&head)
	m.common(l)
	if l.Alias != nil {
		m.bytes(unix.IFLA_IFALIAS, []byte(*l.Alias))
	}
	if l.Master != nil {
		var master int32 // 0: none
		if *l.Master != "" {
			if master, err = h.index(*l.Master); err != nil {
				return err
			}
		}
		m.u32(unix.IFLA_MASTER, uint32(master))
	}
	switch {
	case l.VLAN != nil || l.VRF != nil || l.Parent != "":
		return fmt.Errorf("parent, VLAN and table are fixed at birth: %w", unix.EINVAL)
	case l.Bond != nil:
		l.Kind = netstate.Bond
		err = h.info(m, l)
	case l.Bridge != nil:
		l.Kind = netstate.Bridge
		err = h.info(m, l)
	}
	if err != nil || head.Change == 0 && len(*m) == unix.SizeofIfInfomsg {
		return err // nothing to set
	}
	return h.request(unix.RTM_NEWLINK, 0, *m)
}

// deleteLink deletes a link that weft made. One of another kind under this name is not the link that was meant.
func (h *Host) deleteLink(ctx context.Context, l netstate.Link) error {
	have, err := h.getLink(ctx, l.Name)
	if err != nil || have == nil {
		return err
	}
	if l.Kind != "" && have.Kind != l.Kind {
		return fmt.Errorf("it is a %s and no longer a %s: %w", have.Kind, l.Kind, unix.EBUSY)
	}
	index, err := h.index(l.Name)
	if err == nil {
		err = h.request(unix.RTM_DELLINK, 0, *newMessage(&unix.IfInfomsg{Index: index}))
	}
	return ignore(err, unix.ENODEV)
}
