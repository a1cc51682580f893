# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=dash
step "a bridged guest: <interface type='bridge'> on the bridge of a network, without metadata"
domain g2 22222222-2222-4222-8222-222222222222 "weft.addr=10.9.9.2/24" \
	"<interface type='bridge'><mac address='52:54:00:00:00:02'/><source bridge='lan0'/><model type='virtio'/></interface>" >"$W/g2.xml"
show lv1 virsh create "$W/g2.xml"
show lv1 weft nic list
said 'up  *52:54:00:00:00:02  *lan  *-'
t=$(tap lv1 52:54:00:00:00:02)
show lv1 ip link show "$t"
said 'master lan0'
show lv1 weft status
said 'node lv1: converged'

step "bridged by an <interface type='ethernet'> with metadata, and by libvirt's own network on the bridge"
cat >"$W/net.xml" <<-EOF
	<network><name>lan</name><forward mode='bridge'/><bridge name='lan0'/></network>
EOF
show lv1 virsh net-create "$W/net.xml"
domain g3 33333333-3333-4333-8333-333333333333 "weft.addr=10.9.9.3/24 weft.ping=10.9.9.2" \
	"<interface type='ethernet'><mac address='52:54:00:00:00:03'/><model type='virtio'/></interface>
	<interface type='network'><mac address='52:54:00:00:00:33'/><source network='lan'/><model type='virtio'/></interface>" |
	sed "s|<memory|<metadata><weft:nics xmlns:weft='urn:weft:1'><weft:nic mac='52:54:00:00:00:03' network='lan'/></weft:nics></metadata><memory|" >"$W/g3.xml"
show lv1 virsh create "$W/g3.xml"
show lv1 weft nic list
said 'up  *52:54:00:00:00:03  *lan'
said 'up  *52:54:00:00:00:33  *lan'
within "$BOOT" lv1 grep -q 'guest: ping 10.9.9.2 ok' /run/g3.console
show lv1 grep 'guest: ping' /run/g3.console
show lv1 virsh destroy g3
show lv1 weft nic list
silent '52:54:00:00:00:.3'

step "a bridge that is nobody's of weft's"
lv1 ip link add br-other up type bridge
domain g4 44444444-4444-4444-8444-444444444444 "" \
	"<interface type='bridge'><mac address='52:54:00:00:00:04'/><source bridge='br-other'/><model type='virtio'/></interface>" >"$W/g4.xml"
show lv1 virsh create "$W/g4.xml"
show lv1 weft nic list
silent 52:54:00:00:00:04
show lv1 virsh destroy g4
