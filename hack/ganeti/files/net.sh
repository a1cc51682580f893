#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The VM "net": a switch that the nodes' four cards are plugged into, the router, and the internet's one host.
# Addresses are those of weft's own lab.
set -eu
modprobe virtio_net
i=0
for port in h1e0 h1e1 h2e0 h2e1; do
	ip link set "eth$i" name "$port"
	i=$((i + 1))
done
ip netns add rt
ip netns add inet
ip link add p0 type veth peer name rt0 netns rt
ip -n rt link add wan type veth peer name eth0 netns inet
ip link add br0 type bridge vlan_filtering 1 mcast_snooping 0 forward_delay 0
sysctl -qw net.ipv6.conf.br0.disable_ipv6=1
ip link set br0 up
for port in p0 h1e0 h1e1 h2e0 h2e1; do
	ip link set "$port" master br0 up
	bridge vlan add dev "$port" vid 992
	bridge vlan add dev "$port" vid 993
done

# The router.
ip netns exec rt sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv6.conf.default.accept_dad=0
ip -n rt -batch - <<EOF
link set lo up
link set rt0 up
link set wan up
addr add 10.0.0.1/24 dev rt0
link add link rt0 name rt0.992 type vlan id 992
link add link rt0 name rt0.993 type vlan id 993
link set rt0.992 up
link set rt0.993 up
addr add 192.0.2.1/24 dev rt0.992
addr add 2001:db8:992::1/64 dev rt0.992 nodad
addr add 62.217.124.49/29 dev rt0.993
addr add 2001:db8:993::1/64 dev rt0.993 nodad
addr add 203.0.113.1/24 dev wan
addr add 2001:db8:ffff::1/64 dev wan nodad
EOF

# The internet.
ip -n inet -batch - <<EOF
link set lo up
link set eth0 up
addr add 203.0.113.80/24 dev eth0
addr add 2001:db8:ffff::80/64 dev eth0 nodad
route add default via 203.0.113.1
route add default via 2001:db8:ffff::1
EOF
echo "net: up"
exec sleep infinity
