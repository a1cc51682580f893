#!/bin/busybox sh
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=dash
# The init of an instance. Its kernel command line says what each of its cards has:
# weft.N.addr=ADDRESS/LENGTH and weft.N.via=GATEWAY (on link) for ethN, now or when it is plugged in.
# On its serial console it runs the lines that it reads.
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
while read -r m; do insmod "/modules/$m"; done </modules/order
ip link set lo up
echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad
echo 1 >/proc/sys/net/ipv4/conf/default/arp_notify

# configure DEVICE: what the command line says about it.
configure() {
	echo 0 >"/proc/sys/net/ipv6/conf/$1/accept_dad"
	ip link set "$1" up
	# shellcheck disable=SC2013 # words are what a command line is made of
	for word in $(cat /proc/cmdline); do
		case $word in
		"weft.${1#eth}.addr="*) ip addr add "${word#*=}" dev "$1" ;;
		"weft.${1#eth}.via="*)
			# busybox's ip has no "onlink": a host route to the gateway does the same
			ip route add "${word#*=}" dev "$1"
			ip route add default via "${word#*=}" dev "$1"
			;;
		esac
	done
	echo "guest: $1 $(cat "/sys/class/net/$1/address")"
}

# watch configures each card once. Its loop starts no process: an instance that idles must not cost its node anything.
watch() {
	mkfifo /tick
	exec 3<>/tick
	known=
	while :; do
		for path in /sys/class/net/eth*; do
			[ -e "$path" ] || continue
			read -r id <"$path/ifindex"
			case " $known " in
			*" $id "*) ;;
			*)
				known="$known $id"
				configure "${path##*/}"
				;;
			esac
		done
		[ -e /ready ] || { : >/ready; echo "guest: ready"; }
		# shellcheck disable=SC3045 # busybox's read has -t
		read -r -t 2 _ <&3
	done
}
watch >/dev/ttyS0 2>&1 &
stty -echo </dev/ttyS0
while :; do
	while read -r line; do eval "$line"; done </dev/ttyS0 >/dev/ttyS0 2>&1
	sleep 1
done
