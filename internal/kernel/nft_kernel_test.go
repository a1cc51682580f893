// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"weft/internal/netstate"
	"weft/internal/nft"
)

// nftSpace is a fresh network namespace with nf_tables in it.
type nftSpace struct {
	t  testing.TB
	fd int
}

// newNftSpace makes a namespace. Where that is impossible the test is skipped, unless the kernel lane requires it.
func newNftSpace(t testing.TB) nftSpace {
	t.Helper()
	type result struct {
		f   *os.File
		err error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- result{err: err}
			return
		}
		f, err := os.Open("/proc/thread-self/ns/net")
		done <- result{f, err}
	}()
	r := <-done
	if r.err == nil {
		t.Cleanup(func() { _ = r.f.Close() })
		_, r.err = exec.LookPath("nft")
	}
	if r.err != nil {
		if strings.Contains(os.Getenv("WEFT_TEST_REQUIRE"), "kernel") {
			t.Fatal(r.err)
		}
		t.Skipf("needs root, network namespaces and nft: %v", r.err)
	}
	return nftSpace{t, int(r.f.Fd())}
}

// run runs a command in the namespace.
func (s nftSpace) run(stdin, name string, args ...string) (string, error) {
	var out []byte
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if err := unix.Setns(s.fd, unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		cmd := exec.Command(name, args...)
		cmd.Stdin = strings.NewReader(stdin)
		var err error
		out, err = cmd.CombinedOutput()
		done <- err
	}()
	err := <-done
	return string(out), err
}

// nft runs nft with this input.
func (s nftSpace) nft(input string) {
	s.t.Helper()
	if out, err := s.run(input, "nft", "-f", "-"); err != nil {
		s.t.Fatalf("nft: %v\n%s\n%s", err, out, input)
	}
}

// list is what nft lists of a table.
func (s nftSpace) list(t nft.Table) string {
	s.t.Helper()
	out, err := s.run("", "nft", "--stateless", "list", "table", string(t.Family), t.Name)
	if err != nil {
		s.t.Fatalf("nft list table: %v\n%s", err, out)
	}
	return out
}

func (s nftSpace) observe() *netstate.State {
	s.t.Helper()
	objects, err := observeNft(s.fd)
	if err != nil {
		s.t.Fatal(err)
	}
	var state netstate.State
	state.Put(objects...)
	return &state
}

func (s nftSpace) apply(changes ...nft.Change) {
	s.t.Helper()
	if err := applyNft(s.fd, changes); err != nil {
		s.t.Fatal(err)
	}
}

// script is the lines that a plan prints for the changes.
func (s nftSpace) script(changes []nft.Change) string {
	s.t.Helper()
	commands, err := nft.Transaction(changes)
	if err != nil {
		s.t.Fatal(err)
	}
	var b strings.Builder
	for _, line := range nft.Lines(commands) {
		fmt.Fprintln(&b, line)
	}
	return b.String()
}

// replay runs the lines by a shell.
func (s nftSpace) replay(changes ...nft.Change) {
	s.t.Helper()
	if out, err := s.run("set -ex\n"+s.script(changes), "sh"); err != nil {
		s.t.Fatalf("%v\n%s", err, out)
	}
}

// replayAtOnce has a shell read the lines, and nft run what it made of them at once: many lines in the time of one.
func (s nftSpace) replayAtOnce(changes ...nft.Change) {
	s.t.Helper()
	out, err := s.run("nft() { printf '%s\\n' \"$*\"; }\n"+s.script(changes), "sh")
	if err != nil {
		s.t.Fatalf("%v\n%s", err, out)
	}
	s.nft(out)
}

// want fails unless just these objects stand in the kernel.
func (s nftSpace) want(objects ...netstate.Object) {
	s.t.Helper()
	var want netstate.State
	want.Put(objects...)
	have := s.observe()
	if diff := cmp.Diff(nftTexts(&want), nftTexts(have)); diff != "" {
		s.t.Fatalf("observed (-want +have):\n%s", diff)
	}
	for o := range want.All() {
		if !have.Get(o.Key()).Meets(o) {
			s.t.Errorf("%s does not meet %s", have.Get(o.Key()), o)
		}
	}
}

func nftTexts(s *netstate.State) []string {
	var lines []string
	for o := range s.All() {
		if t, ok := o.(nft.Table); ok {
			o = t.Canonical()
		}
		lines = append(lines, o.String())
	}
	return lines
}

func comes(objects ...netstate.Object) []nft.Change {
	var changes []nft.Change
	for _, o := range objects {
		changes = append(changes, nft.Change{New: o})
	}
	return changes
}

// nftSets are sets of every type, for nftExprs.
var nftSets = []nft.Set{
	{Name: "asked4", Key: []string{"ifname", "ipv4_addr"}, Dynamic: true},
	{Name: "asked6", Key: []string{"ifname", "ipv6_addr"}, Dynamic: true},
	{Name: "by_group", Key: []string{"devgroup"}},
	{Name: "by_mac", Key: []string{"ether_addr"}},
	{Name: "by_name", Key: []string{"ifname"}},
	{Name: "by_v4", Key: []string{"ipv4_addr"}},
	{Name: "by_v6", Key: []string{"ipv6_addr"}},
	{Name: "flood", Key: []string{"ifname"}, Dynamic: true},
	{Name: "group_hop", Key: []string{"devgroup", "ipv4_addr"}},
	{Name: "group_mac", Key: []string{"devgroup", "ether_addr"}},
	{Name: "group_mac_target", Key: []string{"devgroup", "ether_addr", nft.ToTarget}},
	{Name: "group_mac_v4", Key: []string{"devgroup", "ether_addr", "ipv4_addr"}},
	{Name: "group_mac_v6", Key: []string{"devgroup", "ether_addr", "ipv6_addr"}},
	{Name: "group_target", Key: []string{"devgroup", nft.ToTarget}},
	{Name: "group_v4", Key: []string{"devgroup"}, Data: "ipv4_addr"},
	{Name: "marks", Key: []string{"ifname"}, Data: "mark"},
	{Name: "name_mac", Key: []string{"ifname", "ether_addr"}},
	{Name: "name_target", Key: []string{"ifname", nft.ToTarget}},
	{Name: "name_v4", Key: []string{"ifname", "ipv4_addr"}},
	{Name: "name_v4_map", Key: []string{"ifname"}, Data: "ipv4_addr"},
	{Name: "name_v6", Key: []string{"ifname", "ipv6_addr"}},
	{Name: "sighted", Key: []string{"devgroup", "ether_addr"}, Dynamic: true},
	{Name: "verdicts", Key: []string{"ifname"}, Data: "verdict"},
}

// nftExprs has every form of nft.Expr.
var nftExprs = strings.Split(strings.TrimSpace(`
accept
drop
jump other
return
counter
fib saddr . iif oif missing
fib saddr . iif oif exists
fib daddr . iif oif missing
fib daddr . iif oif exists
fib daddr oif missing
fib daddr oif exists
meta priority set root
meta priority set none
ip6 daddr set @th,64,128
ip6 daddr set ip6 daddr & ff02::1:ffff:ffff | ff02::1:ff00:0
ct zone set 993
fib daddr . mark . iif oif exists
fib daddr . mark oif missing
fib daddr type local
meta mark set 0x00000000
meta mark set 0x00865131
meta mark set iifname map @marks
update @flood { iifname limit rate over 5/second burst 30 packets }
update @flood { oifname limit rate over 2000/second burst 1 packets }
add @asked4 { iifname . ip daddr }
add @asked6 { iifname . ip6 daddr }
iifname . ip daddr @asked4
meta l4proto udp
meta l4proto != ipv6-icmp
udp dport 67
udp dport 67-68
udp sport 67
tcp dport 22
tcp dport 8000-8100
tcp dport != 80
ct direction reply
ct direction != original
ct state related
vlan id 992
vlan id != 992
meta l4proto icmp
meta l4proto esp
meta l4proto ospf
udp dport != 547
icmpv6 type nd-redirect
iifgroup 8700993
iifgroup != 8700993
oifgroup 255
oifgroup 256
iifgroup @by_group
oifgroup != @by_group
iifname "bond0.993"
iifname != "tap0"
oifname "abcdefghijklmno"
iifname @by_name
oifname != @by_name
ip saddr 192.0.2.1
ip saddr != 192.0.2.1
ip saddr 10.0.0.0/8
ip saddr 10.1.0.0/16
ip saddr 62.217.124.48/29
ip daddr != 62.217.124.48/29
ip daddr 0.0.0.0
ip daddr 128.0.0.0/1
ip saddr 192.0.2.0/31
ip saddr @by_v4
ip daddr != @by_v4
ip6 saddr ::
ip6 saddr fe80::/10
ip6 saddr 2001:db8::/32
ip6 daddr != 2001:db8:993::/64
ip6 daddr 2001:db8:993::53
ip6 saddr 2001:db8::/127
ip6 saddr @by_v6
ip6 daddr != @by_v6
ether saddr aa:00:10:00:00:01
ether saddr != aa:00:10:00:00:01
ether saddr @by_mac
arp operation request
arp operation reply
arp operation != reply
arp saddr ip 62.217.124.49
arp saddr ip != 0.0.0.0
arp saddr ip @by_v4
arp saddr ip set oifgroup map @group_v4
arp saddr ip set iifgroup map @group_v4
arp saddr ip set oifname map @name_v4_map
icmpv6 type nd-router-solicit
icmpv6 type nd-router-advert
icmpv6 type nd-neighbor-solicit
icmpv6 type != nd-neighbor-advert
iifname . arp saddr ip != @name_v4
iifname . arp saddr ip @name_v4
iifname . ip saddr @name_v4
oifname . ip daddr != @name_v4
iifname . ip6 saddr != @name_v6
iifname . ether saddr != @name_mac
oifname . ether saddr @name_mac
ether daddr @by_mac
ether daddr != 01:80:c2:00:00:0e
ether type ip
ether type != arp
ether type ip6
ether type 8021q
ether type 8021ad
ether type 0x8035
iifname . arp saddr ether @name_mac
iifname . arp daddr ip @name_v4
arp daddr ip != 192.0.2.1
arp htype != 1
arp hlen != 6
arp plen 4
meta pkttype broadcast
meta pkttype != multicast
meta l4proto igmp
meta l4proto vrrp
meta l4proto != 255
icmpv6 type mld-listener-query
icmpv6 type mld-listener-report
icmpv6 type != mld-listener-done
icmpv6 type mld2-listener-report
iifname . @th,64,128 @name_target
iifgroup . @th,64,128 != @group_target
oifgroup . ether saddr @group_mac
iifgroup . ether saddr != @group_mac
oifname . ether saddr & ff:ff:f0:00:00:00 @name_mac
iifgroup . ether saddr & ff:ff:ff:00:00:00 != @group_mac
iifgroup . ether saddr & ff:ff:f0:00:00:00 . ip saddr @group_mac_v4
iifgroup . ether saddr & ff:ff:f0:00:00:00 . arp daddr ip @group_mac_v4
iifgroup . ether saddr & ff:ff:f0:00:00:00 . ip6 saddr @group_mac_v6
iifgroup . ether saddr & ff:ff:f0:00:00:00 . @th,64,128 @group_mac_target
update @sighted { iifgroup . ether saddr timeout 1s }
add @sighted { oifgroup . ether saddr }
frag frag-off != 0
frag frag-off 0
ip6 hoplimit 255
ip6 hoplimit != 1
ether type ip igmp type membership-query
ether type ip igmp type != membership-query
`), "\n")

// nftTables returns, for each family, a table with one rule of each of the expressions that it can have.
func nftTables(rules func(family nft.Family) []nft.Rule) []nft.Table {
	var tables []nft.Table
	for _, family := range []nft.Family{nft.Inet, nft.IP, nft.IP6, nft.ARP, nft.BridgeFamily} {
		t := nft.Table{Family: family, Name: nft.TableName, Sets: nftSets, Chains: []nft.Chain{{Name: "other"}}}
		hook := "prerouting" // where fib is allowed
		if family == nft.ARP {
			hook = "output"
		}
		var fit []nft.Rule
		for _, r := range rules(family) {
			t.Chains = []nft.Chain{{Name: "other"}, {Name: "rules", Hook: hook, Rules: []nft.Rule{r}}}
			if t.Check() == nil {
				fit = append(fit, r)
			}
		}
		t.Chains[1].Rules = fit
		tables = append(tables, t.Canonical())
	}
	return tables
}

func eachNftExpr(nft.Family) []nft.Rule {
	var rules []nft.Rule
	for _, e := range nftExprs {
		rules = append(rules, nft.Rule{Exprs: []nft.Expr{nft.Expr(e)}})
	}
	return rules
}

// TestNftExprs writes every form of expression, reads it back equal, has nft list it in the same words, and has nft write
// the printed lines to the same effect.
func TestNftExprs(t *testing.T) {
	used := make(map[string]bool)
	for _, table := range nftTables(eachNftExpr) {
		t.Run(string(table.Family), func(t *testing.T) {
			for _, r := range table.Chains[1].Rules {
				used[r.String()] = true
			}
			roundNft(t, table)
		})
	}
	for _, e := range nftExprs {
		if !used[e] && !t.Failed() {
			t.Errorf("no family takes %q", e)
		}
	}
}

// roundNft writes the table, reads it back equal, compares nft's list of it, and has nft write the printed lines.
func roundNft(t *testing.T, table nft.Table) {
	s := newNftSpace(t)
	table = s.possible(table)
	s.apply(nft.Change{New: table})
	s.want(table)
	if diff := cmp.Diff(table.Ruleset(nil), s.list(table)); diff != "" {
		t.Errorf("nft list (-ours +nft's):\n%s", diff)
	}
	s.apply(nft.Change{Old: table})
	s.want()
	s.replayAtOnce(nft.Change{New: table})
	s.want(table)
}

// possible leaves out what frames have of connections where the kernel has no module for it and the test may do without.
func (s nftSpace) possible(table nft.Table) nft.Table {
	if table.Family != nft.BridgeFamily || strings.Contains(os.Getenv("WEFT_TEST_REQUIRE"), "kernel") {
		return table
	}
	out, err := s.run("add table bridge probe; add chain bridge probe c; add rule bridge probe c ct direction reply; delete table bridge probe;", "nft", "-f", "-")
	if err == nil {
		return table
	}
	s.t.Logf("without connections of frames: %s", out)
	i := slices.IndexFunc(table.Chains, func(c nft.Chain) bool { return c.Name == "rules" })
	table.Chains[i].Rules = slices.DeleteFunc(table.Chains[i].Rules, func(r nft.Rule) bool {
		return slices.ContainsFunc(r.Exprs, func(e nft.Expr) bool { return strings.HasPrefix(string(e), "ct ") })
	})
	return table
}

// TestNftPorts is TestNftExprs for what only the hook forward knows: the port of a VRF that a packet came by, and whom it goes to.
func TestNftPorts(t *testing.T) {
	hops := []nft.Expr{
		"iifname . rt ip nexthop @asked4", "meta sdifname . rt ip6 nexthop @asked6", "iifgroup . rt ip nexthop != @group_hop", "rt ip6 nexthop @by_v6",
		"add @asked4 { meta sdifname . rt ip nexthop }", "add @asked6 { iifname . rt ip6 nexthop }",
	}
	for family, more := range map[nft.Family][]nft.Expr{nft.Inet: hops, nft.IP6: nil} {
		forward := nft.Chain{Name: "rules", Hook: "forward"}
		for _, e := range append([]nft.Expr{
			`meta sdifname "tap0"`, `meta sdifname != "tap0"`, "meta sdifname @by_name", "meta sdifname . ip6 daddr @asked6", "add @asked6 { meta sdifname . ip6 daddr }",
			"update @flood { meta sdifname limit rate over 20/second burst 100 packets }", "meta mark set meta sdifname map @marks",
		}, more...) {
			forward.Rules = append(forward.Rules, nft.Rule{Exprs: []nft.Expr{e}})
		}
		t.Run(string(family), func(t *testing.T) {
			table := nft.Table{Family: family, Name: nft.TableName, Sets: nftSets, Chains: []nft.Chain{forward}}.Canonical()
			if err := table.Check(); err != nil {
				t.Fatal(err)
			}
			roundNft(t, table)
		})
	}
}

// TestNftPairs has nft write every two expressions side by side, where it puts things together that it would not have put
// alone, and reads them back.
func TestNftPairs(t *testing.T) {
	pairs := func(nft.Family) []nft.Rule {
		var rules []nft.Rule
		for _, a := range nftExprs {
			for _, b := range nftExprs {
				rules = append(rules, nft.Rule{Exprs: []nft.Expr{nft.Expr(a), nft.Expr(b)}})
			}
		}
		return rules
	}
	for _, table := range nftTables(pairs) {
		t.Run(fmt.Sprintf("%s_%d", table.Family, len(table.Chains[1].Rules)), func(t *testing.T) {
			s := newNftSpace(t)
			table := s.possible(table)
			commands, err := nft.Transaction(comes(table))
			if err != nil {
				t.Fatal(err)
			}
			var text bytes.Buffer
			for _, c := range commands {
				fmt.Fprintln(&text, c)
			}
			s.nft(text.String())
			s.want(table)
		})
	}
}
