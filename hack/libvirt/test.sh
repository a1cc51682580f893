#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# test.sh [WEFT [CASE...]]: weft with a real libvirtd, on two nodes that are namespaces of this machine, and the transcript.
# CASE is the beginning of the name of a file in cases; without any all are run.
#
# Everything is in network, mount, UTS and PID namespaces of its own, the daemons' folders are tmpfs: nothing of it reaches the machine
# that it runs on. Where the kernel has VRFs the routed network uses one, else rules. Needs root and what
# hack/install.sh libvirt installs. Guests are emulated (no KVM), and in a VM of hack/vm, for its VRFs, emulated twice: a
# guest takes minutes to boot there, and "go run ./hack/vm -exec -- sh hack/libvirt/test.sh bin/weft 10 20" is what is
# worth the time.
set -eu
HERE=$(cd "$(dirname "$0")" && pwd)
weft=${1:-$HERE/../../bin/weft}
WEFT=$(realpath "$weft")
export WEFT

if [ "${WEFT_LIBVIRT_STAGE:-}" = "" ]; then
	[ "$(id -u)" = 0 ] || {
		echo "test.sh: namespaces with devices in them take root" >&2
		exit 1
	}
	work=$(mktemp -d)
	trap 'rm -rf "$work"' EXIT
	[ $# -eq 0 ] || shift
	# The first process of a PID namespace inherits the QEMUs, which are daemons, and has to wait for them at their end.
	WEFT_LIBVIRT_STAGE=world W=$work unshare --net --mount --uts --pid --fork --kill-child --mount-proc \
		sh -c '"$@" & wait $!' init sh "$HERE/test.sh" "$WEFT" "$@"
	exit
fi

step() { printf '\n== %s\n' "$*"; }
fail() {
	{
		printf 'FAIL: %s\n' "$*"
		for n in lv1 lv2; do
			echo "-- the end of libvirtd's log on $n"
			grep -v -i -e cgroup -e dbus "$W/$n.log" | tail -n 3
			# shellcheck disable=SC2016 # the shell on the node expands it
			on "$n" sh -c 'for c in /run/*.console; do echo "-- $c"; tail -n 10 "$c"; done'
		done
	} >&2
	exit 1
}
# show CMD...: print a command, run it, print what it says; it must succeed.
show() {
	echo "\$ $*"
	"$@" >"$W/out" 2>&1 || { cat "$W/out" >&2; fail "$*"; }
	sed '/^$/d' "$W/out"
}
# refused CMD...: the same for one that must fail.
refused() {
	echo "\$ $*"
	if "$@" >"$W/out" 2>&1; then cat "$W/out" >&2; fail "not refused: $*"; fi
	sed '/^$/d' "$W/out"
}
said() { grep -q -- "$1" "$W/out" || fail "that does not say: $1"; }
silent() { if grep -q -- "$1" "$W/out"; then fail "that says: $1"; fi; }
# within SECONDS CMD...: until it succeeds.
within() {
	end=$(($(date +%s) + $1))
	shift
	until "$@" >"$W/try" 2>&1; do
		[ "$(date +%s)" -lt "$end" ] || { cat "$W/try" >&2; fail "in time: $*"; }
		sleep 0.2
	done
}
# on NODE CMD...: on a node. Node lv1's libvirt is spoken to by "on lv1 virsh ...".
on() {
	node=$1
	shift
	LIBVIRT_DEFAULT_URI="qemu+unix:///system?socket=$W/$node/libvirt-sock" nsenter -t "$(cat "$W/$node.pid")" -n -m -u "$@"
}
# tap NODE MAC: the tap of the NIC with this MAC, once it is plugged in.
tap() {
	within "$BOOT" sh -c "[ -n \"\$($(command -v nsenter) -t $(cat "$W/$1.pid") -n -m -u weft nic list | grep -m 1 $2)\" ]"
	on "$1" weft nic list | awk -v mac="$2" '$3 == mac {print $1}'
}
lv1() { on lv1 "$@"; }
lv2() { on lv2 "$@"; }

mkdir "$W/bin"
ln -s "$WEFT" "$W/bin/weft"
export PATH="$W/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# shellcheck source=hack/libvirt/nodes.sh
. "$HERE/nodes.sh"

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

[ $# -eq 0 ] || shift
[ $# -gt 0 ] || set -- ''
for c; do
	for t in "$HERE/cases/$c"*.sh; do
		# shellcheck source=/dev/null
		. "$t"
	done
done
echo
echo "ok: all of it"
