# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=dash
step "plain QEMU without an agent: weft qemu claim waits until the guest runs on the target, and then claims"
for n in lv1 lv2; do
	on $n sh -c 'cat >/etc/weft/qemu-ifup-g7 && chmod 755 /etc/weft/qemu-ifup-g7' <<'EOT'
#!/bin/sh
exec weft qemu up --network public --ip 192.0.2.7 --ip 2001:db8:2::7 "$1"
EOT
done
# qemu7 NODE ARGS...: a QEMU whose guest is its firmware, with a monitor for this test (port 4447) and one for weft.
qemu7() {
	n=$1
	shift
	on "$n" sh -c 'exec "$@" </dev/null >/run/g7.out 2>&1' sh \
		qemu-system-x86_64 -name g7 -accel tcg -m 16 -nodefaults -display none -pidfile /run/g7.pid \
		-netdev tap,id=n0,ifname=tap7,script=/etc/weft/qemu-ifup-g7,downscript=no -device virtio-net-pci,netdev=n0,mac=52:54:00:00:00:07,romfile= \
		-monitor tcp:127.0.0.1:4447,server=on,wait=off -qmp unix:/run/g7.qmp,server=on,wait=off "$@" &
}
monitor() { echo "$2" | on "$1" busybox timeout 2 busybox nc 127.0.0.1 4447 >/dev/null || true; }
# claim7: weft qemu claim in the background on lv2; its status is /run/claim.status at the end.
claim7() {
	lv2 rm -f /run/claim.status
	echo "\$ lv2 weft qemu claim --qmp /run/g7.qmp tap7 &"
	# shellcheck disable=SC2016 # the shell on the node expands it
	on lv2 sh -c 'weft qemu claim --qmp /run/g7.qmp tap7 >/run/claim.out 2>&1; echo $? >/run/claim.status' &
	# It waits for the guest when it is the monitor's client.
	within 20 lv2 sh -c 'ss -x | grep -q "ESTAB.*/run/g7.qmp"'
}
# status7 NODE WORD: QEMU says that the guest is at this; it answers when it listens for a migration.
status7() { on "$1" sh -c "echo info status | busybox timeout 2 busybox nc 127.0.0.1 4447 | grep -q 'VM status: .*$2'"; }
claimed7() { on "$1" ip -4 route show table 993 | grep -q 192.0.2.7; }
qemu7 lv1
within "$BOOT" claimed7 lv1
# It waits with all of the guest's memory here as long as the guest does not go on (-S).
qemu7 lv2 -S -incoming tcp:10.0.0.2:4446
within "$BOOT" on lv2 sh -c 'weft nic list | grep tap7 | grep -q prepared'
claim7
within "$BOOT" status7 lv2 inmigrate
monitor lv1 'migrate -d tcp:10.0.0.2:4446'
within "$BOOT" status7 lv1 postmigrate
within "$BOOT" status7 lv2 'paused[^ ]*$' # not: paused (inmigrate)
show lv2 weft nic show tap7
said '"prepared": true'
show lv2 ip -4 route show table 993
silent 192.0.2.7
refused lv2 cat /run/claim.status

step "the guest goes on: claimed, announced"
on lv2 sh -c 'exec timeout 60 tcpdump -l -n -i up0 arp and host 192.0.2.7 >/run/arp.out 2>/run/arp.err' &
within 20 lv2 grep -q listening /run/arp.err
monitor lv2 cont
within 20 lv2 test -s /run/claim.status
show lv2 cat /run/claim.out
show lv2 cat /run/claim.status
said '^0$'
show lv2 weft nic show tap7
silent prepared
show lv2 ip -4 route show table 993
said 192.0.2.7
within 20 lv2 grep -q 'Request who-has 192.0.2.7.*tell 192.0.2.7\|Reply 192.0.2.7 is-at' /run/arp.out
show lv2 head -n 2 /run/arp.out
refused lv1 weft qemu claim --qmp /run/g7.qmp tap7
said "the source's monitor"
for n in lv1 lv2; do
	kill -KILL "$(on $n cat /run/g7.pid)"
	within 20 on $n sh -c '! ip link show tap7'
done

step "the source dies on the way: nothing is claimed"
qemu7 lv2 -incoming tcp:10.0.0.2:4446
within "$BOOT" on lv2 sh -c 'weft nic list | grep tap7 | grep -q prepared'
refused lv2 weft qemu claim --qmp /run/g7.qmp --timeout 2s tap7
said 'given up after 2s'
claim7
within "$BOOT" status7 lv2 inmigrate
echo | lv1 busybox timeout 2 busybox nc 10.0.0.2 4446 >/dev/null || true
within 20 lv2 test -s /run/claim.status
show lv2 cat /run/claim.out
said 'QEMU ended'
show lv2 cat /run/claim.status
said '^1$'
show lv2 ip -4 route show table 993
silent 192.0.2.7
