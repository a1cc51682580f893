// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"
)

// ifupdown gives the nodes' uplinks to ifupdown, in the way of gnt-networking's and the talk's recipes, leaves weft no
// network to know of, and does the same with the instances again.
func (t *test) ifupdown(ctx context.Context) {
	for _, node := range nodes() {
		t.Must(ctx, node, node+"'s network is ifupdown's", fmt.Sprintf("sh %s/handover.sh %s %s", t.lab.Dir, t.lab.Dir, node[len("node"):]))
	}
	t.Wait(ctx, short, "node1", "the nodes reach each other", "ping -c 1 -W 2 10.0.0.12 | tail -2 && ping -c 1 -W 2 10.0.0.1 | tail -2"+pipefail)
	t.Wait(ctx, short, "node1", "the cluster's address is back", "gnt-cluster activate-master-ip; ip addr show | grep 10.0.0.10")
	t.Quiet(ctx, "net", "ip netns exec rt tcpdump -n -l -i rt0.993 arp >/tmp/arp 2>/dev/null &")
	t.started(ctx)
	t.Sh(ctx, "node1", "cat /etc/weft/node.yaml; weft nic list; ip rule; ip route show table 993; ip -6 route show table 993; bridge link")
	t.change(ctx, "soft")
	t.migrate(ctx)
	t.arp(ctx)
	t.verify(ctx)
}

// arp looks at who asked on the routed VLAN: the routers there see the network's own addresses.
func (t *test) arp(ctx context.Context) {
	const who = "grep -o 'who-has .*, length' /tmp/arp | sort | uniq -c"
	t.Must(ctx, "net", "the nodes ask in the VLAN by its own address", "pkill -INT tcpdump; "+who+"; grep -q 'tell 62.217.124.54' /tmp/arp")
	t.Must(ctx, "net", "and never by their management address", "! grep 'tell 10\\.0\\.' /tmp/arp")
}

// started starts both instances and looks at them from all sides.
func (t *test) started(ctx context.Context) {
	r, b := routedInstance(), bridgedInstance()
	t.ganeti(ctx, "gnt-instance start", "gnt-instance start --force-multiple "+r.name+" "+b.name)
	t.plugged(ctx, "node1", r)
	t.Must(ctx, "node1", "the bridged instance is a port of vlan992", "weft nic list | grep "+b.mac+" && bridge link | grep 'tap.*vlan992'")
	for _, i := range []instance{r, b} {
		t.pingable(ctx, i)
		t.reaches(ctx, "node1", i)
	}
}

// unchanged waits until the node has nothing of weft's beside what its file asks for: on ifupdown's uplinks, nothing at all.
func (t *test) unchanged(ctx context.Context, node string) {
	t.Wait(ctx, 30*time.Second, node, "no route, rule, neighbour or proxy of weft's is left on "+node,
		"! { ip route show table all proto 87; ip -6 route show table all proto 87; ip neigh show proxy; ip -6 neigh show proxy; "+
			"ip rule | grep tap; ip -6 rule | grep tap; weft nic list | grep tap; ip -br link show type tun; } 2>&1 | grep .")
}
