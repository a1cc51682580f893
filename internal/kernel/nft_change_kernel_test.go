// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"weft/internal/netstate"
	"weft/internal/nft"
)

// arpTable is the table that a node with a routed network has.
func arpTable() nft.Table {
	return nft.Table{
		Family: nft.ARP, Name: nft.TableName,
		Sets: []nft.Set{{Name: "arp_source", Key: []string{"devgroup"}, Data: "ipv4_addr"}},
		Chains: []nft.Chain{{Name: "output", Hook: "output", Rules: []nft.Rule{
			{Exprs: []nft.Expr{"arp operation request", "arp saddr ip set oifgroup map @arp_source"}},
		}}},
	}.Canonical()
}

func arpSource(group, addr string) nft.Element {
	return nft.Element{Family: nft.ARP, Table: nft.TableName, Set: "arp_source", Parts: []string{group}, Value: addr}
}

// guardTable is a table with jumps, a verdict map and a concatenated set, as later filters are.
func guardTable() nft.Table {
	return nft.Table{
		Family: nft.BridgeFamily, Name: nft.TableName,
		Sets: []nft.Set{
			{Name: "guests", Key: []string{"ifname", "ether_addr"}},
			{Name: "ports", Key: []string{"ifname"}, Data: "verdict"},
		},
		Chains: []nft.Chain{
			{Name: "from_port", Hook: "prerouting", Priority: -300, Policy: "accept", Rules: []nft.Rule{
				{Exprs: []nft.Expr{"iifname . ether saddr != @guests", "counter", "drop"}}, {Exprs: []nft.Expr{"jump limited"}},
			}},
			{Name: "limited", Rules: []nft.Rule{{Exprs: []nft.Expr{"ip saddr 62.217.124.48/29", "accept"}}, {Exprs: []nft.Expr{"drop"}}}},
		},
	}.Canonical()
}

func guardElements() []netstate.Object {
	in := nft.Element{Family: nft.BridgeFamily, Table: nft.TableName, Set: "guests"}
	one, two, three := in, in, in
	one.Parts = []string{nft.IfName("tap0"), "aa:00:10:00:00:01"}
	two.Set, two.Parts, two.Value = "ports", []string{nft.IfName("tap0")}, "jump limited"
	three.Set, three.Parts, three.Value = "ports", []string{nft.IfName("tap1")}, "drop"
	return []netstate.Object{one, two, three}
}

// TestNftIntervals: prefixes as elements, listed by nft as they were meant, and found for the addresses in them.
func TestNftIntervals(t *testing.T) {
	s := newNftSpace(t)
	table := nft.Table{
		Family: nft.ARP, Name: nft.TableName,
		Sets: []nft.Set{
			{Name: "prefixes", Key: []string{"ifname", "ipv4_addr"}, Interval: true},
			{Name: "six", Key: []string{"ifname", "ipv6_addr"}, Interval: true},
		},
		Chains: []nft.Chain{{Name: "output", Hook: "output", Rules: []nft.Rule{{Exprs: []nft.Expr{"oifname . arp saddr ip @prefixes", "drop"}}}}},
	}.Canonical()
	if err := table.Check(); err != nil {
		t.Fatal(err)
	}
	element := func(set, dev, prefix string) nft.Element {
		e := nft.Element{Family: nft.ARP, Table: nft.TableName, Set: set, Parts: []string{nft.IfName(dev), prefix}}
		if err := table.CheckElement(e); err != nil {
			t.Fatal(err)
		}
		return e
	}
	elements := []nft.Element{
		element("prefixes", "bond0.993", "62.217.124.50/31"), element("prefixes", "bond0.993", "62.217.124.56/29"),
		element("prefixes", "tap0", "198.51.100.0/24"), element("prefixes", "tap1", "128.0.0.0/1"), element("six", "tap0", "2001:db8:5300::/57"),
	}
	all := []netstate.Object{table}
	for _, e := range elements {
		all = append(all, e)
	}
	s.apply(comes(all...)...)
	s.want(all...)
	if diff := cmp.Diff(table.Ruleset(elements), s.list(table)); diff != "" {
		t.Errorf("nft list (-ours +nft's):\n%s", diff)
	}
	s.apply(comes(all...)...) // again
	s.want(all...)
	s.apply(nft.Change{Old: elements[0]}, nft.Change{Old: elements[4]}, nft.Change{New: element("prefixes", "bond0.993", "62.217.124.48/30")})
	s.want(append(slices.Clone(all[:1]), all[2], all[3], all[4], element("prefixes", "bond0.993", "62.217.124.48/30"))...)

	// nft's own elements are read as ours, and a range that is no prefix as nothing of ours.
	s.nft(`add element arp weft prefixes { "tap2" . 10.0.0.0/8 }` + "\n" + `add element arp weft prefixes { "tap3" . 10.0.0.1-10.0.0.2 }`)
	s.want(append(slices.Clone(all[:1]), all[2], all[3], all[4], element("prefixes", "bond0.993", "62.217.124.48/30"), element("prefixes", "tap2", "10.0.0.0/8"),
		nft.Element{Family: nft.ARP, Table: nft.TableName, Set: "prefixes", Parts: []string{`"tap3"`, "unknown(0x0a000001-0x0a000002)"}})...)
}

func TestNftElements(t *testing.T) {
	s := newNftSpace(t)
	guard, elements := guardTable(), guardElements()
	if err := guard.Check(); err != nil {
		t.Fatal(err)
	}
	all := append([]netstate.Object{guard}, elements...)
	s.apply(comes(all...)...)
	s.want(all...)
	var list []nft.Element
	for _, o := range elements {
		list = append(list, o.(nft.Element))
	}
	if diff := cmp.Diff(guard.Ruleset(list), s.list(guard)); diff != "" {
		t.Errorf("nft list (-ours +nft's):\n%s", diff)
	}
	s.apply(comes(all...)...) // again
	s.want(all...)

	drop, accept := elements[2].(nft.Element), elements[2].(nft.Element)
	accept.Value = "accept"
	s.apply(nft.Change{Old: drop, New: accept})
	s.want(guard, elements[0], elements[1], accept)
	s.apply(nft.Change{New: drop}) // the plan did not know of the other value
	s.want(all...)
	s.apply(nft.Change{Old: drop}, nft.Change{New: elements[1]})
	s.want(guard, elements[0], elements[1])
	s.apply(nft.Change{Old: drop}, nft.Change{Old: elements[0]}) // one is gone already
	s.want(guard, elements[1])
	s.apply(nft.Change{Old: elements[1]}, nft.Change{Old: guard})
	s.want()
	s.apply(nft.Change{Old: elements[1]}, nft.Change{Old: guard}) // gone already
	s.replay(comes(all...)...)
	s.want(all...)
}

func TestNftManyElements(t *testing.T) {
	s := newNftSpace(t)
	objects := []netstate.Object{arpTable()}
	for i := range 1000 {
		objects = append(objects, arpSource(fmt.Sprint(8700000+i), fmt.Sprintf("10.0.%d.%d", i/250, i%250)))
	}
	s.apply(comes(objects...)...)
	s.want(objects...)
	if want, have := strings.Count(s.list(arpTable()), " : 10.0."), 1000; want != have {
		t.Errorf("nft lists %d elements, want %d", want, have)
	}
	var gone []nft.Change
	for _, o := range objects[1:] {
		gone = append(gone, nft.Change{Old: o})
	}
	s.apply(gone...)
	s.want(objects[0])
}

// TestNftDrift changes weft's table by hand in every way that could matter, sees each change, and undoes it.
func TestNftDrift(t *testing.T) {
	s := newNftSpace(t)
	table, element := arpTable(), arpSource("8700993", "62.217.124.49")
	for _, hand := range []string{
		"flush chain arp weft output",
		"add rule arp weft output drop",
		"add rule arp weft output counter",
		"insert rule arp weft output oifgroup 5 accept",
		"insert rule arp weft output meta mark 5 accept",
		"insert rule arp weft output arp operation 3 accept",
		"insert rule arp weft output oifgroup { 1, 2 } accept",
		"insert rule arp weft output limit rate 5/second accept",
		"insert rule arp weft output @nh,48,16 1 accept",
		"insert rule arp weft output meta priority 5 accept",
		"insert rule arp weft output oifname \"tap*\" accept",
		"insert rule arp weft output oifgroup 5-7 accept",
		"insert rule arp weft output return",
		"replace rule arp weft output handle 3 arp operation reply arp saddr ip set oifgroup map @arp_source",
		"replace rule arp weft output handle 3 arp operation request arp daddr ip set oifgroup map @arp_source",
		"replace rule arp weft output handle 3 arp operation request arp saddr ip set 1.2.3.4",
		"delete rule arp weft output handle 3",
		"add chain arp weft more",
		"add chain arp weft more { type filter hook input priority 3; policy drop; }",
		"add chain arp weft output { policy drop; }",
		"add set arp weft more { type ifname; }",
		"flush chain arp weft output; delete map arp weft arp_source",
		"flush chain arp weft output; delete chain arp weft output",
		"flush chain arp weft output; delete chain arp weft output; add chain arp weft output { type filter hook output priority 5; }",
		"flush chain arp weft output; delete chain arp weft output; add chain arp weft output { type filter hook input priority 0; }",
		"flush chain arp weft output; delete chain arp weft output; add chain arp weft output",
		"flush chain arp weft output; delete map arp weft arp_source; add map arp weft arp_source { type ifname : ipv4_addr; }",
		"flush chain arp weft output; delete map arp weft arp_source; add map arp weft arp_source { type devgroup : ipv4_addr; flags interval; }",
		"flush chain arp weft output; delete map arp weft arp_source; add map arp weft arp_source { type devgroup : ipv4_addr; flags timeout; timeout 1h; }",
		"flush chain arp weft output; delete map arp weft arp_source; add map arp weft arp_source { type devgroup : ipv4_addr; size 5; }",
		"flush chain arp weft output; delete map arp weft arp_source; add set arp weft arp_source { type devgroup; }",
		"flush chain arp weft output; delete map arp weft arp_source; add map arp weft arp_source { typeof meta l4proto : ip saddr; }",
		"flush chain arp weft output; delete map arp weft arp_source; add map arp weft arp_source { type devgroup : mark; }",
		"add map arp weft more { type devgroup : mark; }",
		"add map arp weft more { type devgroup : counter; }",
		"add map arp weft more { type devgroup : verdict; }; add element arp weft more { 5 : accept }",
		"add chain arp weft more; add map arp weft jumps { type devgroup : verdict; }; add element arp weft jumps { 5 : jump more }",
		"add table arp weft { flags dormant; }",
		"delete table arp weft",
		"flush map arp weft arp_source",
		"add element arp weft arp_source { 5 : 1.2.3.4 }",
		"delete element arp weft arp_source { 8700993 }; add element arp weft arp_source { 8700993 : 1.2.3.4 }",
		"add element arp weft arp_source { * : 1.2.3.4 }",
	} {
		t.Run(hand, func(t *testing.T) {
			s.t = t
			s.apply(nft.Change{Old: table})
			s.apply(comes(table, element)...)
			s.nft(hand)
			changes := nftDiff(s.observe(), table, element)
			if len(changes) == 0 {
				t.Fatalf("not seen:\n%s", strings.Join(nftTexts(s.observe()), "\n"))
			}
			s.apply(changes...)
			s.want(table, element)

			s.apply(nft.Change{Old: table})
			s.apply(comes(table, element)...)
			s.nft(hand)
			commands, err := nft.Transaction(changes)
			if err != nil {
				t.Fatal(err)
			}
			var text strings.Builder
			for _, c := range commands {
				fmt.Fprintln(&text, c)
			}
			s.nft(text.String())
			s.want(table, element)
		})
	}
}

// nftDiff is what a plan does: tables first, then elements, on what the change of the table leaves of them.
func nftDiff(have *netstate.State, table nft.Table, elements ...nft.Element) []nft.Change {
	var changes []nft.Change
	var want netstate.State
	want.Put(table)
	for _, e := range elements {
		want.Put(e)
	}
	old, ok := have.Get(table.Key()).(nft.Table)
	switch {
	case !ok:
		changes = comes(table)
	case !old.Meets(table):
		changes = append(changes, nft.Change{Old: old, New: table})
		for _, name := range old.Loses(table) {
			for e := range netstate.Of[nft.Element](have) {
				if e.Set == name {
					have.Delete(e.Key())
				}
			}
		}
	}
	for e := range netstate.Of[nft.Element](have) {
		if w := want.Get(e.Key()); w == nil || !e.Meets(w) {
			changes = append(changes, nft.Change{Old: e, New: w})
		}
	}
	for e := range netstate.Of[nft.Element](&want) {
		if have.Get(e.Key()) == nil {
			changes = append(changes, nft.Change{New: e})
		}
	}
	return changes
}

// TestNftReplace changes rules and sets of a table, and keeps the elements of the set that stays.
func TestNftReplace(t *testing.T) {
	s := newNftSpace(t)
	old, elements := guardTable(), guardElements()
	s.apply(comes(append(elements, old)...)...)
	next := guardTable()
	next.Sets[0].Key = []string{"ifname"} // guests
	next.Sets = append(next.Sets, nft.Set{Name: "more", Key: []string{"ipv6_addr"}})
	next.Chains[0].Policy = "drop"
	next.Chains[0].Priority = 5
	next.Chains[0].Rules = []nft.Rule{{Exprs: []nft.Expr{"iifname @guests", "jump limited"}}, {Exprs: []nft.Expr{"ip6 saddr @more", "jump fresh"}}}
	next.Chains = append(next.Chains, nft.Chain{Name: "fresh"})
	next = next.Canonical()
	if err := next.Check(); err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(old.Loses(next), " "), "guests"; got != want {
		t.Fatalf("loses %q, want %q", got, want)
	}
	s.apply(nft.Change{Old: old, New: next})
	s.want(next, elements[1], elements[2])
	s.apply(nft.Change{Old: next, New: old}, nft.Change{New: elements[0]})
	s.want(append(elements, old)...)
	s.replay(nft.Change{Old: old, New: next})
	s.want(next, elements[1], elements[2])
}

// TestNftForeign leaves what is not weft's as it is.
func TestNftForeign(t *testing.T) {
	s := newNftSpace(t)
	s.nft("table inet firewall {\n set weft { type ipv4_addr; elements = { 1.2.3.4 } }\n chain output { type filter hook output priority 0; policy accept; socket wildcard 0 accept; }\n}\n" +
		"table arp other {\n map arp_source { type devgroup : ipv4_addr; }\n chain output { type filter hook output priority 0; arp saddr ip set oifgroup map @arp_source; }\n}\n")
	before, err := s.run("", "nft", "list", "ruleset")
	if err != nil {
		t.Fatal(err, before)
	}
	s.want()
	s.apply(comes(arpTable(), arpSource("5", "1.2.3.4"))...)
	s.apply(nft.Change{Old: arpTable()})
	s.want()
	if after, err := s.run("", "nft", "list", "ruleset"); err != nil || after != before {
		t.Errorf("the foreign ruleset changed: %v (-before +after):\n%s", err, cmp.Diff(before, after))
	}
}

// TestNftFailure has the kernel refuse a part of a transaction: nothing of it takes effect, and the error names the part.
func TestNftFailure(t *testing.T) {
	s := newNftSpace(t)
	table, element := arpTable(), arpSource("5", "1.2.3.4")
	s.apply(comes(table, element)...)
	broken := arpTable()
	broken.Chains[0].Rules = []nft.Rule{{Exprs: []nft.Expr{"counter"}}, {Exprs: []nft.Expr{"arp saddr ip @nowhere", "drop"}}}
	stray := arpSource("6", "1.2.3.4")
	stray.Set = "nowhere"
	for _, test := range []struct {
		name    string
		changes []nft.Change
		want    string
	}{
		{"rule", []nft.Change{{Old: table, New: broken}, {Old: element}}, "nft add rule arp weft output arp saddr ip @nowhere drop: no such file or directory"},
		{"element", []nft.Change{{Old: element}, {New: stray}}, "nft add element arp weft nowhere { 6 : 1.2.3.4 }: no such file or directory"},
		{"element type", comes(nft.Element{Family: nft.ARP, Table: nft.TableName, Set: "arp_source", Parts: []string{"2001:db8::1"}, Value: "1.2.3.4"}),
			"nft add element arp weft arp_source { 2001:db8::1 : 1.2.3.4 }: invalid argument"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := applyNft(s.fd, test.changes)
			if err == nil || err.Error() != test.want {
				t.Errorf("error %v, want %s", err, test.want)
			}
			if !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EINVAL) {
				t.Errorf("%v does not wrap the error number", err)
			}
			s.want(table, element)
		})
	}
}

// TestNftPriorities has nft list a base chain of every priority near a named one, at every hook.
func TestNftPriorities(t *testing.T) {
	for family, hooks := range map[nft.Family][]string{
		nft.Inet: nftInternetHooks[:5], nft.IP6: nftInternetHooks[:5], nft.BridgeFamily: nftInternetHooks[:5], nft.ARP: {"input", "output"},
	} {
		t.Run(string(family), func(t *testing.T) {
			s := newNftSpace(t)
			table := nft.Table{Family: family, Name: nft.TableName}
			for _, hook := range hooks {
				for _, near := range []int{-300, -200, -150, -100, 0, 50, 100, 300} {
					for _, d := range []int{-11, -10, -1, 0, 1, 10, 11} {
						table.Chains = append(table.Chains, nft.Chain{Name: fmt.Sprintf("c%d", len(table.Chains)), Hook: hook, Priority: near + d, Policy: "drop"})
					}
				}
			}
			s.apply(nft.Change{New: table})
			table = table.Canonical()
			s.want(table)
			// nft lists chains in the order in which they were made, which is that of the names.
			if diff := cmp.Diff(table.Ruleset(nil), s.list(table)); diff != "" {
				t.Errorf("nft list (-ours +nft's):\n%s", diff)
			}
		})
	}
}

// TestNftListing compares the order and the line breaks of elements of every type with nft's. (It lists elements of concatenated
// keys in no order.)
func TestNftListing(t *testing.T) {
	table := nft.Table{Family: nft.Inet, Name: nft.TableName, Sets: nftSets, Chains: []nft.Chain{{Name: "other"}}}
	var elements []nft.Element
	var objects []netstate.Object
	for set, keys := range map[string]string{
		"by_group": "300 100 70001 65536 255 256", "by_mac": "01:02:03:04:05:06 aa:00:00:00:00:01 00:00:00:00:00:ff",
		"by_name": `"tap0" "tap1" "a" "bond0.993" "zz" "tap10"`, "by_v4": "10.0.0.1 10.0.0.2 9.0.0.9 1.2.3.4 200.0.0.1",
		"by_v6": "2001:db8::1 ::1 fe80::1 2001:db8:0:1::ffff", "group_v4": "300:10.0.0.1 5:10.0.0.3",
		"name_v4_map": `"tap1":1.2.3.4 "tap0":5.6.7.8`, "verdicts": `"tap2":accept "tap1":drop`,
		"v4_map": "1.2.3.4:10 1.2.3.3:11 0.0.0.0:12",
	} {
		for key := range strings.FieldsSeq(keys) {
			e := nft.Element{Family: nft.Inet, Table: nft.TableName, Set: set, Parts: []string{key}}
			if strings.Contains(set, "_map") || set == "group_v4" || set == "verdicts" {
				k, v, _ := strings.Cut(key, ":")
				e.Parts, e.Value = []string{k}, v
			}
			elements = append(elements, e)
			objects = append(objects, e)
		}
	}
	table.Sets = append(table.Sets[:len(table.Sets):len(table.Sets)], nft.Set{Name: "v4_map", Key: []string{"ipv4_addr"}, Data: "devgroup"})
	table = table.Canonical()
	s := newNftSpace(t)
	s.apply(comes(append(objects, table)...)...)
	s.want(append(objects, table)...)
	if diff := cmp.Diff(table.Ruleset(elements), s.list(table)); diff != "" {
		t.Errorf("nft list (-ours +nft's):\n%s", diff)
	}
}

func BenchmarkNftObserve(b *testing.B) {
	s := newNftSpace(b)
	objects := []netstate.Object{arpTable()}
	for i := range 1000 {
		objects = append(objects, arpSource(fmt.Sprint(8700000+i), fmt.Sprintf("10.0.%d.%d", i/250, i%250)))
	}
	s.apply(comes(objects...)...)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := observeNft(s.fd); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkNftApply(b *testing.B) {
	s := newNftSpace(b)
	s.apply(comes(arpTable())...)
	var come, gone []nft.Change
	for i := range 1000 {
		e := arpSource(fmt.Sprint(8700000+i), fmt.Sprintf("10.0.%d.%d", i/250, i%250))
		come, gone = append(come, nft.Change{New: e}), append(gone, nft.Change{Old: e})
	}
	b.ReportAllocs()
	for b.Loop() {
		s.apply(come...)
		s.apply(gone...)
	}
}
