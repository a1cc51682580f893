// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"weft/internal/nft"
)

// TestNftCounters lets packets be dropped for one reason and not for another, and reads how many: as the chains count them,
// and not those of anybody else's tables.
func TestNftCounters(t *testing.T) {
	s := newNftSpace(t)
	read := func() map[string]uint64 {
		counts, err := readNftCounters(t.Context(), s.fd)
		if err != nil {
			t.Fatal(err)
		}
		return counts
	}
	if got := read(); len(got) != 0 {
		t.Errorf("without a table: %v", got)
	}
	drop := []nft.Rule{{Exprs: []nft.Expr{"counter", "drop"}}}
	table := nft.Table{Family: nft.Inet, Name: nft.TableName, Chains: []nft.Chain{
		{Name: "drop_here", Rules: drop},
		{Name: "drop_there", Rules: drop},
		{Name: "output", Hook: "output", Rules: []nft.Rule{
			{Exprs: []nft.Expr{"ip daddr 127.0.0.1", "jump drop_here"}}, {Exprs: []nft.Expr{"ip daddr 127.0.0.2", "jump drop_there"}},
		}},
	}}.Canonical()
	s.apply(comes(table)...)
	s.nft("table inet other {\n\tchain drop_here {\n\t\ttype filter hook output priority -400\n\t\tcounter\n\t}\n}\n")
	want := map[string]uint64{"drop_here": 0, "drop_there": 0}
	if diff := cmp.Diff(want, read()); diff != "" {
		t.Errorf("before (-want +got):\n%s", diff)
	}
	if out, err := s.run("", "ip", "link", "set", "lo", "up"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if out, err := s.run("", "ping", "-c", "3", "-i", "0.2", "-W", "1", "127.0.0.1"); err == nil {
		t.Fatalf("not dropped: %s", out)
	}
	want["drop_here"] = 3
	if diff := cmp.Diff(want, read()); diff != "" {
		t.Errorf("after three (-want +got):\n%s", diff)
	}
	s.want(table) // counting makes no difference
}
