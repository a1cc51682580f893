// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// allSteps are the letters of the steps, in the order in which they build on each other.
const allSteps = "a"

// run runs the steps of these letters.
func (t *test) run(ctx context.Context, letters string) {
	steps := map[rune]struct {
		what string
		run  func(context.Context)
	}{
		'a': {"Ganeti as it is", t.cluster},
	}
	for _, letter := range letters {
		s, ok := steps[letter]
		if !ok || ctx.Err() != nil {
			t.check(false, "step %c: no such step, or interrupted", letter)
			return
		}
		t.step = string(letter)
		fmt.Printf("\n== %c. %s [%.1f min]\n", letter, s.what, time.Since(t.began).Minutes())
		s.run(ctx)
	}
}

// initCluster is the cluster's creation. Instances boot the lab's kernel; their cards have no boot ROM,
// which would only spend an emulated CPU's time.
func (t *test) initCluster() string {
	return "gnt-cluster init --no-ssh-init --no-etc-hosts --master-netdev bond0 --master-netmask 24 \\\n" +
		"  --enabled-hypervisors kvm --enabled-disk-templates diskless --ipolicy-disk-templates diskless \\\n" +
		"  --ipolicy-bounds-specs min:nic-count=0,cpu-count=1,disk-count=0,spindle-use=0,disk-size=1M,memory-size=16M" +
		"/max:nic-count=8,cpu-count=4,disk-count=4,spindle-use=8,disk-size=1T,memory-size=4G \\\n" +
		"  --nic-parameters mode=bridged,link=vlan992 \\\n" +
		"  --hypervisor-parameters kvm:kernel_path=" + t.lab.dir + "/vmlinux,initrd_path=" + t.lab.dir + "/guest.cpio," +
		"serial_console=true,migration_downtime=300,kvm_extra='-global virtio-net-pci.romfile=' \\\n" +
		"  --mac-prefix aa:00:00 cluster.example.org"
}

// cluster makes a cluster of the two nodes.
func (t *test) cluster(ctx context.Context) {
	for n := 1; n <= 2; n++ {
		t.must(ctx, fmt.Sprintf("node%d", n), fmt.Sprintf("node%d has its network", n), "weft apply >/dev/null && ip -br addr show bond0")
	}
	t.wait(ctx, time.Minute, "node1", "the nodes reach each other", "ping -c 1 -W 2 10.0.0.12 | tail -2 && ping -c 1 -W 2 10.0.0.1 | tail -2")
	t.must(ctx, "node1", "gnt-cluster init", t.initCluster())
	t.must(ctx, "node1", "gnt-node add", "gnt-node add --no-ssh-key-check node2.example.org </dev/null")
	r := t.sh(ctx, "node1", "gnt-cluster verify")
	t.check(r.ok() && !strings.Contains(r.out, "ERROR"), "gnt-cluster verify is clean")
}
