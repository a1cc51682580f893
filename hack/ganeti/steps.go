// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"strings"
	"time"

	"weft/hack/rig"
)

// allSteps are the letters of the steps, in the order in which they build on each other.
const allSteps = "abcdefgh"

// Limits of waiting for a machine that emulates machines that emulate machines.
const (
	patience = 10 * time.Minute
	short    = time.Minute
)

// run runs the steps of these letters.
func (t *test) run(ctx context.Context, letters string) {
	t.Play(ctx, letters, map[rune]rig.Step{
		'a': {What: "Ganeti as it is: a cluster, its networks, an instance", Run: t.stock},
		'b': {What: "weft ganeti install", Run: t.install},
		'c': {What: "instances of both networks, plugged in by weft", Run: t.start},
		'd': {What: "reboot, hotplug", Run: func(ctx context.Context) { t.change(ctx, "soft", "hard") }},
		'e': {What: "live migration, there and back", Run: t.migrate},
		'f': {What: "stop: nothing is left", Run: t.stop},
		'g': {What: "the same on uplinks that ifupdown made, with no network in node.yaml", Run: t.ifupdown},
		'h': {What: "stop, remove, uninstall", Run: t.remove},
	})
}

// initCluster is the cluster's creation. Instances boot the lab's kernel; their cards have no boot ROM,
// which would only spend an emulated CPU's time.
func (t *test) initCluster() string {
	return `gnt-cluster init --no-ssh-init --no-etc-hosts --master-netdev bond0 --master-netmask 24 \
  --enabled-hypervisors kvm --enabled-disk-templates diskless --ipolicy-disk-templates diskless \
  --ipolicy-bounds-specs ` +
		"min:nic-count=0,cpu-count=1,disk-count=0,spindle-use=0,disk-size=1M,memory-size=16M" +
		"/max:nic-count=8,cpu-count=4,disk-count=4,spindle-use=8,disk-size=1T,memory-size=4G" + ` \
  --nic-parameters mode=bridged,link=vlan992 \
  --hypervisor-parameters kvm:kvm_path=/usr/local/bin/kvm-nice,kernel_path=` + t.lab.Dir + "/vmlinux,initrd_path=" + t.lab.Dir + "/guest.cpio," +
		`serial_console=true,migration_downtime=300,kvm_extra='-global virtio-net-pci.romfile=' \
  --mac-prefix aa:00:00 cluster.example.org`
}

// addNetworks are the cluster's networks: the same that the nodes have.
const addNetworks = `set -e
gnt-network add --network 62.217.124.48/29 --gateway 62.217.124.49 --network6 2001:db8:993::/64 \
  --gateway6 2001:db8:993::1 --tags=ip-less-routed --add-reserved-ips=62.217.124.54 public
gnt-network connect --nic-parameters mode=routed,link=993 public default
gnt-network add --network 192.0.2.0/24 --gateway 192.0.2.1 --network6 2001:db8:992::/64 \
  --gateway6 2001:db8:992::1 --tags=bridged tenants
gnt-network connect --nic-parameters mode=bridged,link=vlan992 tenants default
gnt-network list`

// stock makes a cluster of the two nodes and starts an instance in the way that Ganeti itself knows.
func (t *test) stock(ctx context.Context) {
	for _, node := range nodes() {
		t.Must(ctx, node, node+" has its network", "weft apply >/dev/null && ip -br addr show bond0")
	}
	t.Wait(ctx, short, "node1", "the nodes reach each other", "ping -c 1 -W 2 10.0.0.12 | tail -2 && ping -c 1 -W 2 10.0.0.1 | tail -2")
	t.Must(ctx, "node1", "gnt-cluster init", t.initCluster())
	t.ganeti(ctx, "gnt-node add", "gnt-node add --no-ssh-key-check node2.example.org </dev/null")
	t.Must(ctx, "node1", "the networks are added and connected", addNetworks)
	t.ganeti(ctx, "gnt-instance add", bridgedInstance().add())
	t.ganeti(ctx, "the instance starts", "gnt-instance start "+bridgedInstance().name)
	t.Must(ctx, "node1", "its tap is in the bridge", "bridge link | grep tap0 && pgrep -af kvm.*"+bridgedInstance().name+" | cut -c 1-60")
	t.ganeti(ctx, "the instance stops", "gnt-instance stop --timeout 1 "+bridgedInstance().name)
}

// verify asks Ganeti whether all is well. What is printed is without what it says in any case.
func (t *test) verify(ctx context.Context) {
	r := t.Sh(ctx, "node1", "gnt-cluster verify 2>&1 | grep -v ' \\* \\|^Waiting\\|^Submitted'; exit ${PIPESTATUS[0]}")
	t.Check(r.OK() && !strings.Contains(r.Out, "ERROR") && !strings.Contains(r.Out, "WARNING"), "gnt-cluster verify is clean")
}

// install gives Ganeti to weft.
func (t *test) install(ctx context.Context) {
	for _, node := range nodes() {
		t.Sh(ctx, node, "setsid weft agent >>/var/log/weft-agent.log 2>&1 </dev/null &")
		t.Wait(ctx, short, node, "weft agent runs", "grep -q msg=ready /var/log/weft-agent.log")
		t.Must(ctx, node, "weft ganeti install", "find /etc/ganeti | sort >/tmp/etc-ganeti; weft ganeti install && ls -l /etc/ganeti/kvm-vif-bridge")
	}
	t.ganeti(ctx, "gnt-cluster redist-conf", "gnt-cluster redist-conf")
	for _, node := range nodes() {
		t.Must(ctx, node, "redist-conf leaves weft's script on "+node, "weft ganeti install --check && ! test -L /etc/ganeti/kvm-vif-bridge")
	}
	t.verify(ctx)
}

// nodes are the names of the cluster's nodes.
func nodes() []string { return machines()[1:] }
