// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"

	"weft/hack/rig"
)

// node is a Debian as its installer leaves it, as far as the test needs: systemd, udev, man pages, completions, and
// the tools by which a sysadmin looks at it.
func node() rig.Root {
	return rig.Root{
		Name: "deb",
		Packages: strings.Fields(`systemd-sysv udev dbus kmod procps iproute2 nftables iputils-ping curl bash-completion man-db
			less bsdextrautils`),
		Hooks: []string{finish},
	}
}

// finish is run with the new root as $1. The cards get names of their own from udev, which renames them while the machine
// boots; the journal is kept, and root needs no password on the console.
const finish = `set -eu
echo node >"$1/etc/hostname"
echo '127.0.0.1 localhost node' >"$1/etc/hosts"
mkdir -p "$1/var/log/journal"
for port in port0:0a port1:0b wire0:1a wire1:1b; do
	printf '[Match]\nMACAddress=02:00:00:00:00:%s\n[Link]\nName=%s\n' "${port#*:}" "${port%:*}" >"$1/etc/systemd/network/10-${port%:*}.link"
done
`
