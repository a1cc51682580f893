#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# test.sh [WEFT]: weft with a real libvirtd, on two nodes that are namespaces of this machine, and the transcript of it.
#
# Everything is in network, mount, UTS and PID namespaces of its own, the daemons' folders are tmpfs: nothing of it reaches the machine
# that it runs on. Where the kernel has VRFs the routed network uses one, else rules. Needs root and what
# hack/install.sh libvirt installs. Guests are emulated (no KVM).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
weft=${1:-$here/../../bin/weft}
WEFT=$(realpath "$weft")
export WEFT

if [ "${WEFT_LIBVIRT_STAGE:-}" = "" ]; then
	work=$(mktemp -d)
	trap 'rm -rf "$work"' EXIT
	WEFT_LIBVIRT_STAGE=world W=$work unshare --net --mount --uts --pid --fork --kill-child --mount-proc sh "$here/test.sh" "$WEFT"
	exit
fi

step() { printf '\n== %s\n' "$*"; }
fail() {
	printf 'FAIL: %s\n' "$*"
	for n in lv1 lv2; do
		echo "-- the end of libvirtd's log on $n"
		tail -n 15 "$W/$n.log" 2>/dev/null || true
	done
	exit 1
}
# show CMD...: print a command, run it, print what it says; it must succeed.
show() {
	echo "\$ $*"
	"$@" >"$W/out" 2>&1 || { cat "$W/out"; fail "$*"; }
	sed '/^$/d' "$W/out"
}
# refused CMD...: the same for one that must fail.
refused() {
	echo "\$ $*"
	if "$@" >"$W/out" 2>&1; then cat "$W/out"; fail "not refused: $*"; fi
	sed '/^$/d' "$W/out"
}
said() { grep -q -- "$1" "$W/out" || fail "that does not say: $1"; }
silent() { if grep -q -- "$1" "$W/out"; then fail "that says: $1"; fi; }
# within SECONDS CMD...: until it succeeds.
within() {
	end=$(($(date +%s) + $1))
	shift
	until "$@" >"$W/try" 2>&1; do
		[ "$(date +%s)" -lt "$end" ] || { cat "$W/try"; fail "in time: $*"; }
		sleep 0.2
	done
}
# on NODE CMD...: on a node. Node lv1's libvirt is spoken to by "on lv1 virsh ...".
on() {
	node=$1
	shift
	LIBVIRT_DEFAULT_URI="qemu+unix:///system?socket=$W/$node/libvirt-sock" nsenter -t "$(cat "$W/$node.pid")" -n -m -u "$@"
}
# The lines that follow a test need nothing but these names.
lv1() { on lv1 "$@"; }
lv2() { on lv2 "$@"; }

mkdir "$W/bin"
ln -s "$WEFT" "$W/bin/weft"
export PATH="$W/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# shellcheck source=hack/libvirt/nodes.sh
. "$here/nodes.sh"

step "two nodes, the router of their VLAN, and a libvirtd on each"
world
node lv1 1
node lv2 2
show lv1 cat /etc/weft/node.yaml
show lv1 weft apply
show lv2 weft apply
show lv1 weft libvirt install
show lv1 weft libvirt install
lv2 weft libvirt install >/dev/null
show lv1 cat /etc/libvirt/hooks/qemu.d/weft
libvirtd_up lv1
libvirtd_up lv2
show lv1 virsh version --daemon

for t in "$here"/cases/*.sh; do
	# shellcheck source=/dev/null
	. "$t"
done
echo
echo "ok: all of it"
