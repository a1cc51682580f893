#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What the node's cards are plugged into, in a namespace of its own: a switch, and the router of every VLAN behind it.
set -eu
until state=$(systemctl is-system-running --wait 2>/dev/null) || [ "$state" = degraded ]; do sleep 1; done
ip netns add rt
ip link set wire0 netns rt
ip link set wire1 netns rt
ip netns exec rt sysctl -qw net.ipv6.conf.default.accept_dad=0
ip -n rt -batch - <<EOT
link set lo up
link add sw type bridge mcast_snooping 0 forward_delay 0
link set wire0 master sw up
link set wire1 master sw up
link set sw up
link add link sw name sw.992 up type vlan id 992
link add link sw name sw.993 up type vlan id 993
addr add 10.0.0.1/24 dev sw
addr add 192.0.2.1/24 dev sw.992
addr add 62.217.124.49/29 dev sw.993
addr add 2001:db8:993::1/64 dev sw.993 nodad
EOT
echo "node: up, $state"
exec sleep infinity
