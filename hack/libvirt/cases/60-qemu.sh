# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=dash
step "plain QEMU: its network script plugs the guest in"
for n in lv1 lv2; do
	on $n sh -c 'cat >/etc/weft/qemu-ifup-g6 && chmod 755 /etc/weft/qemu-ifup-g6' <<'EOF'
#!/bin/sh
exec weft qemu up --network public --ip 192.0.2.6 --ip 2001:db8:2::6 "$1"
EOF
	on $n sh -c 'cat >/etc/weft/qemu-ifdown && chmod 755 /etc/weft/qemu-ifdown' <<'EOF'
#!/bin/sh
exec weft qemu down "$1"
EOF
done
show lv1 cat /etc/weft/qemu-ifup-g6
# qemu NODE NAME WORDS ARGS...: a QEMU with the guest's image, in the background; its monitor is port 4447.
qemu() {
	n=$1 name=$2 words=$3
	shift 3
	# shellcheck disable=SC2016 # the shell on the node expands it
	on "$n" sh -c 'name=$1; shift; exec "$@" </dev/null >"/run/$name.out" 2>&1' sh "$name" \
		qemu-system-x86_64 -name "guest=$name,debug-threads=on" -accel tcg -cpu max -m 96 -nodefaults -display none -no-reboot \
		-kernel "$W/vmlinux" -initrd "$W/initrd" -append "$LEAN $words" -serial "file:/run/$name.console" -pidfile "/run/$name.pid" \
		-monitor tcp:127.0.0.1:4447,server=on,wait=off "$@" &
}
g6='weft.addr=192.0.2.6/32 weft.via=192.0.2.1'
tap6='tap,id=n0,ifname=tap6,script=/etc/weft/qemu-ifup-g6,downscript=/etc/weft/qemu-ifdown'
echo "\$ qemu-system-x86_64 ... -netdev $tap6 -device virtio-net-pci,netdev=n0,mac=52:54:00:00:00:06"
qemu lv1 g6 "$g6" -netdev "$tap6" -device virtio-net-pci,netdev=n0,mac=52:54:00:00:00:06,romfile=
t=$(tap lv1 52:54:00:00:00:06)
show lv1 weft nic show "$t"
said '"instance": "g6"'
within "$BOOT" ping -c 1 -W 1 192.0.2.6
show ping -c 1 -W 2 192.0.2.6

step "it ends by itself: its downscript unplugs it"
kill "$(lv1 cat /run/g6.pid)"
within 20 on lv1 sh -c '! ip link show tap6'
show lv1 weft nic list
silent 52:54:00:00:00:06

step "a network script that cannot plug in: QEMU does not start, and says why"
lv1 sed -i 's/--network public/--network pubilc/' /etc/weft/qemu-ifup-g6
refused lv1 qemu-system-x86_64 -nodefaults -display none -netdev "$tap6" -device virtio-net-pci,netdev=n0,mac=52:54:00:00:00:06,romfile=
said 'no network "pubilc" in the node file'
said 'network script'
lv1 sed -i 's/--network pubilc/--network public/' /etc/weft/qemu-ifup-g6

step "live migration: of a QEMU that waits for one (-incoming) the tap is prepared; the agent hears the guest and takes its addresses over"
qemu lv1 g6 "$g6" -netdev "$tap6" -device virtio-net-pci,netdev=n0,mac=52:54:00:00:00:06,romfile=
within "$BOOT" ping -c 1 -W 1 192.0.2.6
on lv2 sh -c 'weft agent >/run/agent.log 2>&1 & echo $! >/run/agent.pid'
within 20 lv2 grep -q ready /run/agent.log
qemu lv2 g6 "$g6" -incoming tcp:10.0.0.2:4446 -netdev "$tap6" -device virtio-net-pci,netdev=n0,mac=52:54:00:00:00:06,romfile=
t=$(tap lv2 52:54:00:00:00:06)
show lv2 weft nic show "$t"
said '"prepared": true'
show lv2 ip -4 route show table 993
silent 192.0.2.6
echo 'migrate -d tcp:10.0.0.2:4446' | lv1 busybox timeout 2 busybox nc 127.0.0.1 4447 >/dev/null || true
within "$BOOT" lv2 sh -c 'ip -4 route show table 993 | grep 192.0.2.6'
show lv2 cat /run/agent.log
said 'claimed tap=tap6'
show lv2 weft nic show "$t"
silent prepared
kill "$(lv1 cat /run/g6.pid)"
within 20 on lv1 sh -c '! ip link show tap6'
show lv1 weft nic list
silent 52:54:00:00:00:06
show ping -c 1 -W 2 192.0.2.6
kill "$(lv2 cat /run/g6.pid)"
within 20 on lv2 sh -c '! ip link show tap6'
show lv2 weft nic list
silent 52:54:00:00:00:06
# shellcheck disable=SC2016 # the shell on the node expands it
lv2 sh -c 'kill $(cat /run/agent.pid)'
