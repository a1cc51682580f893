// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"

	"weft/internal/netstate"
	"weft/internal/nft"
	"weft/internal/plan"
)

// observeTables puts the nftables tables of weft's name and their elements.
func (h *Host) observeTables(ctx context.Context, s *netstate.State, _ links) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	objects, err := observeNft(h.thread.fd())
	if err != nil {
		return err
	}
	s.Put(objects...)
	return nil
}

// applyTables makes changes to tables and elements in one transaction. Its errors name the object.
func (h *Host) applyTables(changes []plan.Change) error {
	all := make([]nft.Change, 0, len(changes))
	for _, c := range changes {
		all = append(all, nft.Change{Old: c.Old, New: c.New})
	}
	return applyNft(h.thread.fd(), all)
}
