#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# state.sh [all]: the node's network, without what the kernel counts or learns; all with every sysctl.
ip -o link | sed 's/ qlen .*//'
ip addr
for family in -4 -6; do
	ip $family rule
	ip $family route show table all
	ip $family neigh show nud permanent
	ip $family neigh show proxy
done
bridge vlan
bridge fdb | grep permanent
nft -sta list ruleset 2>/dev/null | sed '/^table [a-z]* weft_closed /,/^}/d'
[ "${1:-}" != all ] || grep -rs . /proc/sys/net | grep -v 'nf_conntrack_count\|/retrans\|/sw\.\|/wire\|/proc/sys/net/core/netdev_budget'
