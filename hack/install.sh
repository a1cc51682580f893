#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# install.sh {demo|test|attack|lint|libvirt|ganeti|deb}: install from Debian what a make target needs.
# Says what it installs, and nothing when nothing is missing. Debian 12 or newer; root, or sudo.
set -eu

usage() {
	echo "usage: hack/install.sh demo|test|attack|lint|libvirt|ganeti|deb   (install the Debian packages that the make target of that name needs; the last three: make test-libvirt, test-ganeti, test-deb)"
}

die() {
	echo "install.sh: $*" >&2
	exit 1
}

# QEMU's system emulators are split by the machine they emulate: only the own one is needed.
case $(uname -m) in
x86_64) qemu="qemu-system-x86" ;;
aarch64) qemu="qemu-system-arm ipxe-qemu" ;;
*) qemu= ;;
esac

# What runs the lab: QEMU and the tools that its acts, its guests and its proofs call.
lab="$qemu busybox-static ca-certificates iproute2 iputils-arping iputils-ping kmod nftables procps tcpdump xz-utils"
case ${1:-} in
demo) want=$lab ;;
test) want="$lab arptables conntrack curl ifenslave ifupdown iptables ipv6toolkit isc-dhcp-client socat" ;;
# dnsmasq-base is dnsmasq without its unit; radvd's starts nothing as long as there is no /etc/radvd.conf.
attack) want="$lab dnsmasq-base dsniff hping3 ipv6toolkit isc-dhcp-client python3-scapy radvd thc-ipv6 yersinia" ;;
lint) want="ca-certificates shellcheck" ;;
# The daemon and its QEMU driver without libvirt-daemon-system, which would start it on this machine.
libvirt) want="$lab libvirt-clients libvirt-daemon libvirt-daemon-driver-qemu" ;;
# Ganeti itself is installed into the nodes' own root.
ganeti) want="$qemu debian-archive-keyring kmod mmdebstrap openssh-client xz-utils" ;;
deb) want="$qemu debian-archive-keyring e2fsprogs kmod lintian mmdebstrap xz-utils" ;;
-h | --help | help)
	usage
	exit 0
	;;
*)
	usage >&2
	exit 2
	;;
esac
[ -n "$qemu" ] || [ "$1" = lint ] || die "no QEMU package is known for a $(uname -m) machine"

# Go comes from its user: Debian 12's (1.19) is too old to fetch the toolchain that go.mod names.
command -v go >/dev/null 2>&1 || die "go is not in PATH: install Go 1.21 or newer (https://go.dev/dl; it fetches the version of go.mod itself)"
gover=$(GOTOOLCHAIN=local go env GOVERSION 2>/dev/null || true)
case $gover in
go1.[0-9] | go1.[0-9].* | go1.1[0-9] | go1.1[0-9].* | go1.20 | go1.20.* | "")
	die "Go 1.21 or newer is needed (it fetches the version of go.mod itself); this is ${gover:-unknown} in $(command -v go)"
	;;
esac

if ! command -v dpkg-query >/dev/null 2>&1 || ! command -v apt-get >/dev/null 2>&1; then
	die "this is not a Debian system; needed, under Debian's names: $want"
fi

missing=
for p in $want; do
	case $(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null || true) in
	installed) ;;
	*) missing="$missing $p" ;;
	esac
done
missing=${missing# }
[ -n "$missing" ] || exit 0

root=
if [ "$(id -u)" -ne 0 ]; then
	command -v sudo >/dev/null 2>&1 || die "these packages are missing and installing them takes root or sudo: $missing"
	root="sudo"
fi

# Debconf must not ask, services must not start: the tools are wanted, not the daemons around them.
apt() {
	$root env DEBIAN_FRONTEND=noninteractive LC_ALL=C apt-get -q -y \
		-o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@"
}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
trap 'exit 1' HUP INT TERM
run() {
	if ! apt "$@" >"$log" 2>&1; then
		cat "$log" >&2
		die "apt-get $1 failed (see above); wanted: $missing"
	fi
}

echo "install.sh: installing from Debian for make $1: $missing"
run update
# shellcheck disable=SC2086 # a list of packages
run install --no-install-recommends $missing
sed -n 's/^Need to get \(.*\) of archives\./install.sh: fetched \1/p; s/^After this operation, \(.*\) of additional disk space will be used\./install.sh: using \1 of disk/p' "$log"
