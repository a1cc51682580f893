#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Two guests, one in each network: namespaces, whose card's other end is the node's tap.
set -eu
guest() { # NAME TAP MAC
	ip netns add "$1"
	ip link add "$2" type veth peer name eth0 address "$3" netns "$1"
	ip netns exec "$1" sysctl -qw net.ipv6.conf.eth0.accept_dad=0
	ip -n "$1" link set lo up
	ip -n "$1" link set eth0 up
}
guest g1 tap0 aa:00:00:00:00:53
ip -n g1 addr add 192.0.2.53/24 dev eth0
guest g2 tap1 aa:00:00:00:00:51
ip -n g2 addr add 62.217.124.51/32 dev eth0
ip -n g2 addr add 2001:db8:993::51/128 dev eth0
ip -n g2 route add default via 62.217.124.49 dev eth0 onlink
ip -n g2 route add default via 2001:db8:993::1 dev eth0 onlink
weft nic add --name tap0 --mac aa:00:00:00:00:53 --network tenants
weft nic add --name tap1 --mac aa:00:00:00:00:51 --network public --ip 62.217.124.51 --ip 2001:db8:993::51
