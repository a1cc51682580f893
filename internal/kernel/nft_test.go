// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"weft/internal/nft"
)

// TestNftCodec encodes every expression, decodes it, and gets it back, without a kernel.
func TestNftCodec(t *testing.T) {
	for _, table := range nftTables(eachNftExpr) {
		for _, r := range table.Chains[1].Rules {
			exprs, err := encodeNftRule(table.Family, r)
			if err != nil {
				t.Fatal(err)
			}
			b, err := encodeNftExprs(table.Family, exprs)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(r, decodeNftRule(table.Family, decodeNftExprs(table.Family, b))); diff != "" {
				t.Errorf("%s %s (-want +have):\n%s", table.Family, r, diff)
			}
			if len(exprs) < 2 {
				continue
			}
			// A rule of which the end is missing is not the rule.
			if b, err = encodeNftExprs(table.Family, exprs[:len(exprs)-1]); err != nil {
				t.Fatal(err)
			}
			if have := decodeNftRule(table.Family, decodeNftExprs(table.Family, b)); have.String() == r.String() {
				t.Errorf("%s %s: the last expression does not matter", table.Family, r)
			}
		}
	}
}

// FuzzNftDecode looks for bytes that the decoders cannot bear, and for rules that they read as something that weft would not write so.
func FuzzNftDecode(f *testing.F) {
	for _, table := range nftTables(eachNftExpr) {
		for _, r := range table.Chains[1].Rules {
			exprs, err := encodeNftRule(table.Family, r)
			if err != nil {
				f.Fatal(err)
			}
			b, err := encodeNftExprs(table.Family, exprs)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(string(table.Family), []byte(b))
		}
	}
	f.Fuzz(func(t *testing.T, family string, b []byte) {
		rule := decodeNftRule(nft.Family(family), decodeNftExprs(nft.Family(family), b))
		for _, e := range rule.Exprs {
			if _, err := nft.Parse(e); err == nil {
				continue
			}
			if !strings.HasPrefix(string(e), "unknown(") {
				t.Errorf("%s: neither understood nor unknown", e)
			}
		}
		table, set, _ := decodeNftSet(b)
		element := nft.Element{Family: nft.Family(family), Table: table, Set: set.Name}
		list, err := decodeNftElements(b, element, nft.Set{Name: "s", Key: []string{"ifname", "ether_addr"}, Data: "verdict"})
		if err == nil && len(list) > 0 && len(list[0].Parts) > 0 && list[0].Parts[0] == "" {
			t.Errorf("%v: an element without a key", list)
		}
		decodeNftChain(nft.Family(family), b)
	})
}
