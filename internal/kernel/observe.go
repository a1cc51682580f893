// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"
	"fmt"

	"weft/internal/netstate"
)

// Observe reads the namespace: links, addresses, routes of all tables but local, rules, permanent and proxy
// neighbours, static forwarding entries, VLANs of VLAN-aware bridges, limits, and the nftables tables of weft's name with their
// elements. Foreign objects are among them. want may be nil; it says which sysctls to read.
func (h *Host) Observe(ctx context.Context, want *netstate.State) (*netstate.State, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := &netstate.State{}
	ls, err := h.dumpLinks(ctx)
	if err != nil {
		return nil, fmt.Errorf("observe links: %w", err)
	}
	if err := h.observeSpeeds(ls); err != nil {
		return nil, fmt.Errorf("observe speeds: %w", err)
	}
	for i := range ls.all {
		s.Put(ls.all[i].Link)
	}
	for _, part := range []struct {
		name string
		read func(context.Context, *netstate.State, links) error
	}{
		{"bridge VLANs", h.observeVLANs},
		{"addresses", h.observeAddrs},
		{"rules", h.observeRules},
		{"routes", h.observeRoutes},
		{"neighbours", h.observeNeighs},
		{"forwarding entries", h.observeFDB},
		{"multicast entries", h.observeMDB},
		{"limits", h.observeLimits},
		{"sysctls", func(ctx context.Context, s *netstate.State, ls links) error {
			return h.observeSysctls(ctx, s, ls, want)
		}},
		{"nftables", h.observeTables},
	} {
		if err := part.read(ctx, s, ls); err != nil {
			return nil, fmt.Errorf("observe %s: %w", part.name, err)
		}
	}
	return s, nil
}
