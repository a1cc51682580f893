#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# pings.sh start: the router pings every guest, ten times a second. pings.sh stop: after some more answers, it ends.
set -eu
cd /tmp
guests="192.0.2.53 62.217.124.51 2001:db8:993::51"
case $1 in
start) for addr in $guests; do ip netns exec rt ping -n -i 0.1 "$addr" >"pings.$addr" 2>&1 & done ;;
esac
for addr in $guests; do
	want=$(($(grep -c 'bytes from' "pings.$addr" || true) + 10))
	timeout 60 sh -c "until [ \$(grep -c 'bytes from' 'pings.$addr') -ge $want ]; do sleep 0.1; done" || true
done
case $1 in
stop)
	pkill -INT -x ping
	while pgrep -x ping >/dev/null; do sleep 0.1; done
	;;
esac
