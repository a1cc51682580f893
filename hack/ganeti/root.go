// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"

	"weft/hack/rig"
)

// nodeRoot is a Ganeti node, without what nobody reads in it.
func nodeRoot() rig.Root {
	return rig.Root{
		Name: "ganeti", Packages: packages(),
		Options: []string{
			"--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/doc/*",
			"--dpkgopt=path-exclude=/usr/share/locale/*",
		},
		Hooks: []string{`mkdir -p -m 0700 "$1/root/.ssh"`, finishRoot},
	}
}

// packages are those of a Ganeti node, and the tools of the test. Not ca-certificates: libcurl reads all of
// them for each connection, for which an emulated CPU takes longer than Ganeti waits.
func packages() []string {
	return strings.Fields(`ganeti ganeti-os-noop qemu-system-x86 socat openssh-server openssh-client iproute2 nftables
		iputils-ping iputils-arping tcpdump ifupdown bridge-utils vlan ifenslave arptables iptables busybox-static kmod procps psmisc
		python3 less`)
}

// finishRoot is run with the new root as $1. The nodes share ssh's host keys, because Ganeti knows
// all of them by the cluster's name, and root's key, by which gnt-cluster verify logs in.
const finishRoot = `set -eu
ssh-keygen -q -t rsa -N '' -C root@example.org -f "$1/root/.ssh/id_rsa"
cp "$1/root/.ssh/id_rsa.pub" "$1/root/.ssh/authorized_keys"
printf 'UseDNS no\nPermitRootLogin yes\n' >"$1/etc/ssh/sshd_config.d/lab.conf"
mkdir -p "$1/etc/weft"
`
