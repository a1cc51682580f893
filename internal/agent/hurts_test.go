// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"bytes"
	"context"
	"log/slog"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"weft/internal/agent"
	"weft/internal/foreign"
	"weft/internal/kernel/kerneltest"
	"weft/internal/netstate"
	"weft/internal/nic"
)

const rulesFile = bondFile + `
networks:
  old: {mode: routed, policy: rules, uplink: bond0, vlan: 100, ipv4: {subnet: 198.51.100.0/24, gateway: 198.51.100.1}}
`

const wideFile = `links: {eth1: {addresses: [10.1.0.11/24]}}
routes: [{to: 10.0.0.0/8, via: 10.1.0.1}]
`

const theirsFile = `links: {eth1: {}}
networks:
  lan: {mode: bridged, managed: false, bridge: br0}
  old: {mode: routed, managed: false, table: 100, uplink: eth0, ipv4: {subnet: 198.51.100.0/24}, ipv6: {subnet: "2001:db8:100::/64"}}
`

func chain(family, hook string, devices ...string) foreign.Chain {
	return foreign.Chain{Family: family, Table: "t", Name: "c", Hook: hook, Devices: devices}
}

func someRoute(t *testing.T, dst string, table, metric uint32, dev string) netstate.Route {
	t.Helper()
	return netstate.Route{Dst: netip.MustParsePrefix(dst), Table: table, Metric: metric, Dev: dev, Protocol: 3}.Canonical()
}

// hurtCase is one thing of others on a node, and the hurts that are to be named: name, a blank, object.
type hurtCase struct {
	what, file string
	facts      foreign.Facts
	put        []netstate.Object
	want       []string
}

func chainCases() []hurtCase {
	one := func(c foreign.Chain) foreign.Facts { return foreign.Facts{Chains: []foreign.Chain{c}} }
	calls := func(c foreign.Chain, calls ...string) foreign.Facts {
		return foreign.Facts{Chains: []foreign.Chain{c}, Calls: calls}
	}
	const ipt, ip6t = "net.bridge.bridge-nf-call-iptables", "net.bridge.bridge-nf-call-ip6tables"
	legacy := foreign.Chain{Family: "ip", Table: "filter", Name: "FORWARD", Hook: "forward", Legacy: true}
	return []hurtCase{
		{"routed guests are forwarded", routedFile, one(chain("ip", "forward")), nil, []string{"forward-policy-drop chain ip t c (hook forward, policy drop)"}},
		{"of both families", routedFile, one(chain("inet", "forward")), nil, []string{"forward-policy-drop chain inet t c (hook forward, policy drop)"}},
		{"in iptables of old", routedFile, one(legacy), nil, []string{"forward-policy-drop chain FORWARD of the legacy iptables table filter (policy DROP)"}},
		{"before routing", routedFile, one(chain("ip6", "prerouting")), nil, []string{"prerouting-policy-drop chain ip6 t c (hook prerouting, policy drop)"}},
		{"a family that no network has", rulesFile, one(chain("ip6", "forward")), nil, nil},
		{"bridged guests are not forwarded", bridgedFile, one(chain("ip", "forward")), nil, nil},
		{"but where br_netfilter is on", bridgedFile, calls(chain("ip", "forward"), ipt), nil,
			[]string{"br-netfilter " + ipt + " = 1", "forward-policy-drop chain ip t c (hook forward, policy drop)"}},
		{"for that family", bridgedFile, calls(chain("ip", "forward"), ip6t), nil, []string{"br-netfilter " + ip6t + " = 1"}},
		{"nobody is bridged", rulesFile, foreign.Facts{Calls: []string{ipt}}, nil, nil},
		{"what the host may hear is its own business", routedFile, one(chain("inet", "input")), nil, nil},
		{"what crosses bridges", bridgedFile, one(chain("bridge", "prerouting")), nil, []string{"bridge-policy-drop chain bridge t c (hook prerouting, policy drop)"}},
		{"there are none", rulesFile, one(chain("bridge", "forward")), nil, nil},
		{"the host speaks by no bridge", routedFile, one(chain("bridge", "input")), nil, nil},
		{"the node asks and answers", routedFile, one(chain("arp", "output")), nil, []string{"arp-policy-drop chain arp t c (hook output, policy drop)"}},
		{"on a link of ours", bridgedFile, one(chain("netdev", "ingress", "eth9", "eth0")), nil, []string{"ingress-policy-drop chain netdev t c (hook ingress, policy drop) on eth9, eth0"}},
		{"on links of others", bridgedFile, one(chain("netdev", "ingress", "eth9")), nil, nil},
		{"what could not be read", routedFile, foreign.Facts{Unread: []string{"the legacy table filter of family ip (operation not permitted)"}}, nil,
			[]string{"legacy-iptables the legacy table filter of family ip (operation not permitted)"}},
	}
}

func objectCases(t *testing.T) []hurtCase {
	route := func(dst string, table, metric uint32, dev string) []netstate.Object {
		return []netstate.Object{someRoute(t, dst, table, metric, dev)}
	}
	via := someRoute(t, "62.217.124.52/30", 993, 0, "bond0.993")
	reject := netstate.Route{Dst: netip.MustParsePrefix("62.217.124.52/32"), Table: 993, Type: "blackhole", Protocol: 4}.Canonical()
	local := netstate.Route{Dst: netip.MustParsePrefix("62.217.124.50/32"), Table: 993, Type: "local", Dev: "bond0.993", Protocol: 2}.Canonical()
	rule := netstate.Rule{Family: 4, Priority: 0, From: netip.MustParsePrefix("198.51.100.0/24"), Table: 77, Action: "lookup"}
	late := rule
	late.Priority = 100
	manager := func(program string, index int) foreign.Facts {
		return foreign.Facts{Managers: []foreign.Manager{{Program: program, Process: 7, Index: index, Says: "file: it is mine"}}}
	}
	return []hurtCase{
		{"half of the default", routedFile, foreign.Facts{}, route("0.0.0.0/1", 993, 0, "eth1"), []string{"route-shadowed route 0.0.0.0/1 dev eth1 table 993 proto 3"}},
		{"all of IPv6", routedFile, foreign.Facts{}, route("2000::/3", 993, 1024, "eth1"), []string{"route-shadowed route 2000::/3 dev eth1 table 993 proto 3 metric 1024"}},
		{"a default before ours", routedFile, foreign.Facts{}, route("::/0", 993, 1, "eth1"), []string{"route-shadowed route ::/0 dev eth1 table 993 proto 3 metric 1"}},
		{"a default behind ours", routedFile, foreign.Facts{}, route("0.0.0.0/0", 993, 7, "eth1"), nil},
		{"a guest's address, before ours", routedFile, foreign.Facts{}, route("2001:db8:993::53/128", 993, 1, "eth1"), []string{"route-shadowed route 2001:db8:993::53 dev eth1 table 993 proto 3 metric 1"}},
		{"part of the subnet", routedFile, foreign.Facts{}, route("62.217.124.52/30", 993, 0, "eth1"), []string{"route-shadowed route 62.217.124.52/30 dev eth1 table 993 proto 3"}},
		{"part of the subnet, to where it leads anyway", routedFile, foreign.Facts{}, []netstate.Object{via}, nil},
		{"part of the subnet, to nowhere", routedFile, foreign.Facts{}, []netstate.Object{reject}, []string{"route-shadowed route blackhole 62.217.124.52 table 993 proto 4"}},
		{"an address of the host's own", routedFile, foreign.Facts{}, []netstate.Object{local}, nil},
		{"another network behind the default", routedFile, foreign.Facts{}, route("198.18.0.0/15", 993, 0, "eth1"), nil},
		{"another table", routedFile, foreign.Facts{}, route("62.217.124.52/30", 77, 0, "eth1"), nil},
		{"half of the host's own default", bondFile, foreign.Facts{}, route("128.0.0.0/1", 254, 0, "eth1"), []string{"route-shadowed route 128.0.0.0/1 dev eth1 proto 3"}},
		{"the network of the host's own address", wideFile, foreign.Facts{}, route("10.1.0.0/24", 254, 0, "eth1"), nil},
		{"part of what the file leads elsewhere", wideFile, foreign.Facts{}, route("10.2.0.0/24", 254, 0, "eth0"), []string{"route-shadowed route 10.2.0.0/24 dev eth0 proto 3"}},
		{"a family that the network has not", rulesFile, foreign.Facts{}, route("::/0", 100, 1024, "eth1"), []string{"route-shadowed route ::/0 dev eth1 table 100 proto 3 metric 1024"}},
		{"the owner's default in a table of his", theirsFile, foreign.Facts{}, route("0.0.0.0/0", 100, 0, "eth0"), nil},
		{"a rule before all of weft's", routedFile, foreign.Facts{}, []netstate.Object{rule}, []string{"rule-early IPv4 rule pref 0 from 198.51.100.0/24 lookup 77"}},
		{"a rule that stands where they belong", routedFile, foreign.Facts{}, []netstate.Object{late}, nil},
		{"where no rule of weft's is", bridgedFile, foreign.Facts{}, []netstate.Object{rule}, nil},
		{"networkd takes a member", bridgedFile, manager("systemd-networkd", 3), nil, []string{"networkd link eth0 (file: it is mine)"}},
		{"NetworkManager takes a member", bridgedFile, manager("NetworkManager", 4), nil, []string{"networkmanager link eth1 (file: it is mine)"}},
		{"a link of somebody else's", bridgedFile, manager("systemd-networkd", 5), nil, nil},
		{"forwarding off", routedFile, foreign.Facts{}, []netstate.Object{netstate.Sysctl{Path: "net/ipv6/conf/all/forwarding", Value: "0"}}, []string{"forwarding-off sysctl net.ipv6.conf.all.forwarding=0"}},
	}
}

// TestHurts: what of others hurts is named, and what does not is not.
func TestHurts(t *testing.T) {
	for _, c := range append(chainCases(), objectCases(t)...) {
		t.Run(c.what, func(t *testing.T) {
			host := &alive{Fake: kerneltest.NewFake("eth0", "eth1", "tap0", "tap1"), index: map[string]int{"lo": 1, "eth0": 3, "eth1": 4, "tap1": 5}}
			n := &agent.Node{Spec: parse(t, c.file), Store: nic.Store{Dir: t.TempDir()}, Target: host}
			must(t, n.Apply(t.Context()))
			if c.file == routedFile {
				must(t, n.Plug(t.Context(), routedGuest(false)))
			}
			hurts := func() (named []string) {
				t.Helper()
				v, err := n.View(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				all, err := n.Hurts(t.Context(), v)
				if err != nil {
					t.Fatal(err)
				}
				for _, h := range all {
					if h.Why == "" {
						t.Errorf("%s does what?", h.Name)
					}
					named = append(named, h.Name+" "+h.Object)
				}
				return named
			}
			if got := hurts(); got != nil {
				t.Errorf("of a healthy node: %q", got)
			}
			host.surround(c.facts)
			host.Disturb(func(s *netstate.State) { s.Put(c.put...) })
			if got := hurts(); !slices.Equal(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

// TestNothingHurtsBeforeTheFirstApply: what weft has not made yet nobody took away.
func TestNothingHurtsBeforeTheFirstApply(t *testing.T) {
	n := &agent.Node{Spec: parse(t, routedFile), Store: nic.Store{Dir: t.TempDir()}, Target: kerneltest.NewFake("eth0", "eth1")}
	v, err := n.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if all, err := n.Hurts(t.Context(), v); err != nil || len(all) > 0 {
		t.Errorf("%v, %v", all, err)
	}
}

// said is what a log has said.
type said struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *said) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

// take returns the lines since the last time that speak of hurts, without what comes before the message.
func (s *said) take() (lines []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for line := range strings.Lines(s.text.String()) {
		if strings.Contains(line, "hurt") {
			_, line, _ = strings.Cut(strings.TrimSpace(line), " msg=")
			lines = append(lines, line)
		}
	}
	s.text.Reset()
	return lines
}

// TestLoopSaysWhatHurts: once while it lasts and once when it is over, with a count of each for Prometheus; what was taken away is
// named though it is back at once.
func TestLoopSaysWhatHurts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &said{}
		k, end := begin(t, routedFile, slog.New(slog.NewTextHandler(log, nil)))
		defer end()
		k.plug(t, routedGuest(false))
		expect := func(what string, want ...string) {
			t.Helper()
			k.rest()
			if got := log.take(); !slices.Equal(got, want) {
				t.Errorf("%s:\n%s\nwant\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		}
		expect("healthy")
		c := chain("ip", "forward")
		c.By = "Docker"
		k.host.surround(foreign.Facts{Chains: []foreign.Chain{c}})
		expect("a chain", `"what is not weft's hurts" name=forward-policy-drop object="chain ip t c (hook forward, policy drop)" why="what guests of routed networks send and receive, unless a rule there accepts it, is dropped" by=Docker`)
		k.host.surround(foreign.Facts{Chains: []foreign.Chain{c}})
		expect("still")
		metrics := func() string {
			w := httptest.NewRecorder()
			k.Stats.Handler().ServeHTTP(w, httptest.NewRequestWithContext(context.Background(), "GET", "/metrics", nil))
			return w.Body.String()
		}
		for _, want := range []string{`weft_hurts{name="forward-policy-drop"} 1`, `weft_hurts{name="networkd"} 0`, `weft_agent_hurts_total{name="forward-policy-drop"} 1`} {
			if !strings.Contains(metrics(), want+"\n") {
				t.Errorf("no %s", want)
			}
		}
		k.host.surround(foreign.Facts{})
		expect("over", `"hurts no more" name=forward-policy-drop object="chain ip t c (hook forward, policy drop)"`)
		if want := `weft_hurts{name="forward-policy-drop"} 0`; !strings.Contains(metrics(), want+"\n") {
			t.Errorf("no %s", want)
		}
		k.host.Disturb(func(s *netstate.State) { s.Put(netstate.Sysctl{Path: "net/ipv4/ip_forward", Value: "0"}) })
		expect("forwarding", `"what somebody took away hurt, and is back" name=forwarding-off object="sysctl net.ipv4.ip_forward=0" why="nothing is forwarded to guests and from them"`)
		k.host.Disturb(func(s *netstate.State) {
			for o := range s.All() {
				if kind := o.Key().Kind; kind == netstate.KindTable && o.Key().ID == "inet weft" || kind == netstate.KindElement && strings.HasPrefix(o.Key().ID, "inet weft ") {
					s.Delete(o.Key())
				}
			}
		})
		expect("flushed", `"what somebody took away hurt, and is back" name=ruleset-flushed object="table inet weft" why="guests may send whatever they like, unless an agent holds their taps closed" by="nft (process 7)"`)
		if want := `weft_agent_hurts_total{name="ruleset-flushed"} 1`; !strings.Contains(metrics(), want+"\n") {
			t.Errorf("no %s", want)
		}
	})
}
