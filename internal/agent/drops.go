// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"maps"
	"slices"
	"strings"

	"weft/internal/compile"
)

// Drop is how many packets the guards have dropped for one reason, since they were set up.
type Drop struct {
	Reason  string `json:"reason"` // the name of the guard's chain without "drop_": "source"
	Packets uint64 `json:"packets"`
	Why     string `json:"why"` // in words
}

// counting is a Target whose rules count.
type counting interface {
	Counters(ctx context.Context) (map[string]uint64, error)
}

// Drops returns what the guards have dropped, by reason in alphabetical order: none where there are no guards.
func (n *Node) Drops(ctx context.Context) ([]Drop, error) {
	target, ok := n.Target.(counting)
	if !ok {
		return nil, nil
	}
	counts, err := target.Counters(ctx)
	if err != nil {
		return nil, err
	}
	why := compile.Drops()
	var drops []Drop
	for _, chain := range slices.Sorted(maps.Keys(counts)) {
		if words, ok := why[chain]; ok {
			drops = append(drops, Drop{Reason: strings.TrimPrefix(chain, "drop_"), Packets: counts[chain], Why: words})
		}
	}
	return drops, nil
}
