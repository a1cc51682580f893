// SPDX-License-Identifier: Apache-2.0

// Command ganeti tests weft under a real Ganeti: Debian's packages in two VMs, which a third connects to
// each other and to an internet of its own. It makes the nodes' root file system (once), boots the
// VMs, runs the steps, prints a transcript of them, and ends the VMs. It owns the folder of one run; it
// opens no port and makes no interface on this machine. The VM itself is package internal/vm's. The nodes are emulated (never
// this machine's KVM), and so is the virtualization of their CPUs, by which KVM runs the instances in them.
package main

import (
	"context"
	"flag"

	"weft/hack/rig"
	"weft/internal/vm"
)

const usage = `Tests weft under Debian's Ganeti 3.0 in the VMs net, node1 and node2 (QEMU, emulated). Prints what it ran and what it saw, with
PASS or FAIL for each thing that was asked, and exits 1 unless all passed.`

func main() {
	l := &lab{}
	flag.StringVar(&l.weft, "weft", "bin/weft", "the weft binary that the nodes get")
	rig.Main(rig.Command{
		Name: "ganeti", Usage: usage, Steps: allSteps, Start: l.start,
		Run: func(ctx context.Context, f *rig.Fleet, t *rig.Transcript, steps string) {
			l.Fleet = f
			(&test{lab: l, Transcript: t}).run(ctx, steps)
		},
	})
}

// start makes the lab's folder and boots.
func (l *lab) start(ctx context.Context, f *rig.Fleet, say func(string)) (err error) {
	l.Fleet = f
	if l.img, err = vm.Prepare(ctx, "", say); err != nil {
		return err
	}
	if l.root, err = nodeRoot().Make(ctx, say); err != nil {
		return err
	}
	if err := l.prepare(ctx); err != nil {
		return err
	}
	say("booting node1, node2 and the network between them")
	return l.up(ctx)
}
