// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
)

// ifupdown gives the nodes' uplinks to ifupdown, in the way of gnt-networking's and the talk's recipes, leaves weft no
// network to know of, and starts and moves the instances again.
func (t *test) ifupdown(ctx context.Context) {
	r, b := routedInstance(), bridgedInstance()
	for _, node := range nodes() {
		t.must(ctx, node, node+"'s network is ifupdown's", fmt.Sprintf("sh %s/handover.sh %s %s", t.lab.dir, t.lab.dir, node[len("node"):]))
	}
	t.wait(ctx, short, "node1", "the nodes reach each other", "ping -c 1 -W 2 10.0.0.12 | tail -2 && ping -c 1 -W 2 10.0.0.1 | tail -2")
	t.wait(ctx, short, "node1", "the cluster's address is back", "gnt-cluster activate-master-ip; ip addr show | grep 10.0.0.10")
	t.must(ctx, "node1", "gnt-instance start", "gnt-instance start --force-multiple "+r.name+" "+b.name)
	t.plugged(ctx, "node1", r)
	t.sh(ctx, "node1", "weft nic list; ip rule; ip route show table 993; bridge link; cat /etc/weft/node.yaml")
	t.must(ctx, "node1", "the bridged instance is a port of vlan992", "weft nic list | grep "+b.mac+" && bridge link | grep tap")
	for _, i := range []instance{r, b} {
		t.pingable(ctx, i)
		t.reaches(ctx, "node1", i)
		t.move(ctx, i, "node2")
	}
}
