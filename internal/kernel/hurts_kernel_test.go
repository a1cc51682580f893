// SPDX-License-Identifier: Apache-2.0

package kernel_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"weft/internal/kernel"
	"weft/internal/netstate"
)

// chains returns the chains of others that drop, as they are named.
func chains(t *testing.T, h *kernel.Host) (names []string) {
	t.Helper()
	f, err := h.Foreign(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Unread) > 0 {
		t.Errorf("unread: %q", f.Unread)
	}
	for _, c := range f.Chains {
		name := c.String()
		if c.By != "" {
			name += " by " + c.By
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// TestForeignChains: the chains that drop are those that the tools made so, of whatever family, and no others.
func TestForeignChains(t *testing.T) {
	h, ns := newHost(t, "eth0")
	in := func(args ...string) { t.Helper(); run(t, "ip", append([]string{"netns", "exec", ns}, args...)...) }
	steps := []struct {
		do   string
		want []string
	}{
		{"", nil},
		{"iptables -N DOCKER", nil},
		{"iptables -P FORWARD DROP", []string{"chain ip filter FORWARD (hook forward, policy drop) by Docker"}},
		{"iptables -P FORWARD ACCEPT", nil},
		{"iptables -P INPUT DROP", []string{"chain ip filter INPUT (hook input, policy drop) by Docker"}},
		{"nft flush ruleset", nil},
		{"ip6tables -P FORWARD DROP", []string{"chain ip6 filter FORWARD (hook forward, policy drop) by iptables -P"}},
		{"nft delete table ip6 filter", nil},
		{"nft add table inet theirs; add chain inet theirs f { type filter hook forward priority 0; policy drop; }", []string{"chain inet theirs f (hook forward, policy drop)"}},
		{"nft add table inet theirs { flags dormant; }", nil},
		{"nft add table inet theirs; add chain inet theirs plain", []string{"chain inet theirs f (hook forward, policy drop)"}},
		{"nft flush ruleset", nil},
		{"nft add table bridge b; add chain bridge b p { type filter hook prerouting priority 0; policy drop; }", []string{"chain bridge b p (hook prerouting, policy drop)"}},
		{"nft flush ruleset", nil},
		{"nft add table netdev n; add chain netdev n i { type filter hook ingress device eth0 priority 0; policy drop; }", []string{"chain netdev n i (hook ingress, policy drop) on eth0"}},
		{"nft flush ruleset", nil},
		{"nft add table inet weft; add chain inet weft f { type filter hook forward priority 0; policy drop; }", nil},
		{"iptables-legacy -P FORWARD DROP", []string{"chain FORWARD of the legacy iptables table filter (policy DROP) by iptables -P"}},
		{"iptables-legacy -A FORWARD -s 192.0.2.0/24 -j ACCEPT", []string{"chain FORWARD of the legacy iptables table filter (policy DROP) by iptables -P"}},
		{"iptables-legacy -P FORWARD ACCEPT", nil},
		{"ip6tables-legacy -A INPUT -p tcp -m tcp --dport 22 -j DROP", nil},
		{"ip6tables-legacy -P FORWARD DROP", []string{"chain FORWARD of the legacy ip6tables table filter (policy DROP) by iptables -P"}},
	}
	for _, s := range steps {
		if args, nft := strings.CutPrefix(s.do, "nft "); nft {
			in("nft", args)
		} else if s.do != "" {
			in(strings.Fields(s.do)...)
		}
		if got := chains(t, h); !slices.Equal(got, s.want) {
			t.Errorf("after %q: %q, want %q", s.do, got, s.want)
		}
	}
}

// TestForwardingIsTold: who turns forwarding off wakes whoever watches.
func TestForwardingIsTold(t *testing.T) {
	h, ns := newHost(t, "eth0")
	for _, path := range []string{"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding", "net/ipv4/conf/eth0/forwarding", "net/ipv4/conf/eth0/proxy_arp"} {
		t.Run(strings.ReplaceAll(path, "/", "."), func(t *testing.T) {
			set := func(value string) { run(t, "ip", "netns", "exec", ns, "sysctl", "-qw", path+"="+value) }
			set("1")
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			changed, err := h.Watch(ctx)
			if err != nil {
				t.Fatal(err)
			}
			set("0")
			select {
			case <-changed:
			case <-time.After(20 * time.Second):
				t.Fatal("nobody was told")
			}
			asked := &netstate.State{}
			asked.Put(netstate.Sysctl{Path: path})
			if got := observe(t, h, asked).Get(netstate.SysctlKey(path)); got != (netstate.Sysctl{Path: path, Value: "0"}) {
				t.Errorf("%v", got)
			}
		})
	}
}

// TestWhoFlushed: who flushes the ruleset is named, though he is gone by then.
func TestWhoFlushed(t *testing.T) {
	h, ns := newHost(t)
	nft := func(args ...string) {
		t.Helper()
		run(t, "ip", append([]string{"netns", "exec", ns, "nft"}, args...)...)
	}
	nft("add table inet weft")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	if _, err := h.Watch(ctx); err != nil {
		t.Fatal(err)
	}
	nft("flush ruleset")
	for deadline := time.Now().Add(20 * time.Second); ; {
		who := h.Changer(netstate.KindTable)
		if strings.HasPrefix(who, "nft (process ") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("flushed by %q", who)
		}
	}
}
