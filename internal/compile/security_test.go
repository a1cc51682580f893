// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"maps"
	"slices"
	"testing"

	"weft/internal/spec"
)

// TestTrusts: whatever a NIC can be trusted with turns something off, and nothing else does.
func TestTrusts(t *testing.T) {
	if have := slices.Sorted(maps.Keys(trusts)); !slices.Equal(have, spec.Trusts) {
		t.Errorf("words %v, of spec %v", have, spec.Trusts)
	}
	for word, reasons := range trusts {
		for _, reason := range reasons {
			if Drops()[reason] == "" {
				t.Errorf("%s: nothing is dropped for %s", word, reason)
			}
		}
	}
}
