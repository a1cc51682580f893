#!/bin/busybox sh
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=dash
# The init of a QEMU guest. Its kernel command line says what it does:
# weft.addr=ADDRESS/LENGTH, weft.via=GATEWAY (on link), weft.ping=ADDRESS; each may be repeated.
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
while read -r m; do insmod "/modules/$m"; done </modules/order
echo 0 >/proc/sys/net/ipv6/conf/eth0/accept_dad
ip link set lo up
ip link set eth0 up
ping_list=
# shellcheck disable=SC2013 # words are what a command line is made of
for word in $(cat /proc/cmdline); do
	case $word in
	weft.addr=*) ip addr add "${word#*=}" dev eth0 ;;
	weft.via=*)
		# busybox's ip has no "onlink": a host route to the gateway does the same
		ip route add "${word#*=}" dev eth0
		ip route add default via "${word#*=}" dev eth0
		;;
	weft.ping=*) ping_list="$ping_list ${word#*=}" ;;
	esac
done
echo "guest: up $(cat /sys/class/net/eth0/address)"
for ip in $ping_list; do
	until ping -c 1 -W 1 "$ip" >/tmp.out 2>&1; do sleep 1; done
	grep 'bytes from' /tmp.out
	echo "guest: ping $ip ok"
done
echo "guest: done"
# From here on it only watches its link, as its host changes networks below it.
was=$(cat /sys/class/net/eth0/carrier_changes)
while sleep 1; do
	now=$(cat /sys/class/net/eth0/carrier_changes)
	[ "$now" = "$was" ] || echo "guest: carrier changed"
	was=$now
done
