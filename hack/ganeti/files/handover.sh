#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# handover.sh WORK N: takes the node's network from weft and gives it to ifupdown; weft keeps only the NICs.
set -eu
work=$1 n=$2
printf 'node: node%d\n' "$n" >/etc/weft/node.yaml
weft apply
cp "$work/interfaces$n" /etc/network/interfaces
mkdir -p /etc/iproute2/rt_tables.d
echo '993 public' >/etc/iproute2/rt_tables.d/lab.conf
for dev in bond0.992 bond0.993 vlan992 vrf993 bond0; do
	! ip link show "$dev" >/dev/null 2>&1 || ip link del "$dev"
done
ifup -a
ip -br addr
ip rule
