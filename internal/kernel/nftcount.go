// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"

	"weft/internal/nft"
)

// Counters returns how many packets the rules of each chain of weft's have counted, since the table was made: by the
// chain's name, over all tables, and only chains that count. They are a status, not part of what is observed.
func (h *Host) Counters(ctx context.Context) (map[string]uint64, error) {
	counts, err := readNftCounters(ctx, h.thread.fd())
	if err != nil {
		return nil, fmt.Errorf("read the counters of nftables: %w", err)
	}
	return counts, nil
}

// readNftCounters is Counters in the network namespace of this file descriptor.
func readNftCounters(ctx context.Context, ns int) (map[string]uint64, error) {
	o, err := readNft(ns, false) // nothing where the kernel has no nf_tables
	if err != nil || len(o.tables) == 0 {
		return nil, err
	}
	c, err := dialNft(ns)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	counts := make(map[string]uint64)
	for _, t := range o.tables {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		body := nftBody(nftFamilies[t.Family], 0)
		body.string(unix.NFTA_RULE_TABLE, t.Name)
		rules, err := c.dump(unix.NFT_MSG_GETRULE, body)
		if err != nil {
			return nil, fmt.Errorf("list table %s %s: %w", t.Family, t.Name, err)
		}
		for _, b := range rules {
			countNftRule(counts, b[nfgenmsgSize:])
		}
	}
	return counts, nil
}

// countNftRule adds what a rule of weft's has counted to its chain's count.
func countNftRule(counts map[string]uint64, b []byte) {
	table, chain, exprs := nftRuleAttrs(b)
	if table != nft.TableName {
		return
	}
	for _, one := range attrs(exprs) {
		if packets, ok := nftPackets(one); ok {
			counts[chain] += packets
		}
	}
}

// nftPackets reads how many packets an expression has counted, if it is one that counts.
func nftPackets(b []byte) (packets uint64, ok bool) {
	name, data := nftExprAttrs(b)
	if name != "counter" {
		return 0, false
	}
	for typ, v := range attrs(data) {
		if typ == unix.NFTA_COUNTER_PACKETS && len(v) == 8 {
			packets = binary.BigEndian.Uint64(v)
		}
	}
	return packets, true
}
