// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"weft/internal/netstate"
	"weft/internal/spec"
)

// Claim is an address of a guest that the node answers for on the uplink device of its network.
type Claim struct {
	Dev    string
	Addr   netip.Addr
	Source netip.Addr // IPv4: who the node asks as on that device; the zero Addr where the file does not say
}

// Holder is somebody else who has an address.
type Holder struct {
	Claim
	MAC string // lower-case hex with colons
}

// Claims returns the addresses that the node answers for with these NICs: those of routed networks, but of no NIC that is
// only prepared.
func Claims(node *spec.Node, nics []spec.NIC) []Claim {
	node, err := spec.WithNICs(node, nics)
	if err != nil {
		return nil // they were not valid together, and none was plugged in
	}
	var all []Claim
	for _, c := range nics {
		n := node.Networks[c.Network]
		if n == nil || n.Mode != spec.Routed || c.Prepared {
			continue
		}
		for _, a := range c.Addresses {
			family := 6
			if a.Is4() {
				family = 4
			}
			if claim := (Claim{Dev: node.FamilyUplink(n, family), Addr: a}); claim.Dev != "" {
				if n.IPv4 != nil && a.Is4() {
					claim.Source = n.IPv4.ARPSource
				}
				all = append(all, claim)
			}
		}
	}
	return all
}

// vacant returns an error that names everybody else who has an address of the NIC's.
func (n *Node) vacant(ctx context.Context, c spec.NIC) error {
	claims := Claims(n.Spec, []spec.NIC{c})
	if n.Air == nil || n.Force || len(claims) == 0 {
		return nil
	}
	holders, err := n.Air.Ask(ctx, claims)
	if err != nil {
		return fmt.Errorf("ask who has the addresses of %s: %w", c.Name, err)
	}
	if len(holders) == 0 {
		return nil
	}
	var who []string
	for _, h := range holders {
		who = append(who, fmt.Sprintf("%s is that of %s on %s", h.Addr, h.MAC, h.Dev))
	}
	return fmt.Errorf("plug in %s: address in use: %s", c.Name, strings.Join(who, ", "))
}

// tell announces the NIC's addresses. Its guest is plugged in by then, whatever comes of it.
func (n *Node) tell(ctx context.Context, c spec.NIC) {
	claims := Claims(n.Spec, []spec.NIC{c})
	if n.Air == nil || len(claims) == 0 {
		return
	}
	err := n.Air.Tell(ctx, claims)
	if n.Repeat != nil {
		err = errors.Join(err, n.Repeat(c))
	}
	if err != nil {
		n.log().Warn("not announced", "tap", c.Name, "err", err)
	}
}

// Announce tells the VLANs once more which addresses of the NIC with this ID are here. A NIC whose tap is gone is not
// announced, whoever has forgotten to say that it went.
func (n *Node) Announce(ctx context.Context, id string) ([]Claim, error) {
	nics, err := n.Store.List()
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(nics, func(c spec.NIC) bool { return c.ID == id })
	if i < 0 {
		return nil, fmt.Errorf("announce %s: no such nic", id)
	}
	have, err := n.Target.Observe(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("observe: %w", err)
	}
	if !there(have, nics[i]) {
		return nil, fmt.Errorf("announce %s: its tap is gone", nics[i].Name)
	}
	claims := Claims(n.Spec, nics[i:i+1])
	if len(claims) == 0 {
		return nil, fmt.Errorf("announce %s: the node answers for none of its addresses", nics[i].Name)
	}
	return claims, n.Air.Tell(ctx, claims)
}

// prepare sets whether the NIC with this ID is only prepared. A release forgets that the guest was here: its tap stays
// plugged in and guarded, and the node answers for none of its addresses. The NIC keeps its tap: another VM's that has the
// name by now is not its own.
func (n *Node) prepare(ctx context.Context, id string, prepared bool) error {
	c, err := n.nic(id)
	if err != nil {
		return err
	}
	if c.Prepared = prepared; !prepared {
		if err := n.vacant(ctx, c); err != nil {
			return err
		}
	}
	err = n.change(ctx, id, &c, func(nics []spec.NIC, have *netstate.State) ([]spec.NIC, error) {
		nics = slices.Clone(nics)
		i := slices.IndexFunc(nics, func(o spec.NIC) bool { return o.ID == id })
		if i < 0 {
			return nil, fmt.Errorf("%s: no such nic", id)
		}
		if !there(have, nics[i]) {
			return nil, fmt.Errorf("%s: its tap is gone", nics[i].Name)
		}
		nics[i].Prepared, nics[i].Was = prepared, nil
		c = nics[i]
		return nics, nil
	})
	if err == nil {
		n.tell(ctx, c)
	}
	return err
}

// nic returns the NIC with this ID.
func (n *Node) nic(id string) (spec.NIC, error) {
	nics, err := n.Store.List()
	if err != nil {
		return spec.NIC{}, err
	}
	for _, c := range nics {
		if c.ID == id {
			return c, nil
		}
	}
	return spec.NIC{}, fmt.Errorf("%s: no such nic", id)
}

// Claim makes the node answer for the addresses of a NIC that was prepared: its guest runs here now.
func (n *Node) Claim(ctx context.Context, id string) error { return n.prepare(ctx, id, false) }

// Release makes the node answer for the NIC's addresses no more: its guest runs elsewhere now.
func (n *Node) Release(ctx context.Context, id string) error { return n.prepare(ctx, id, true) }
