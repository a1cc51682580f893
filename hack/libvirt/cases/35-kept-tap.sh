# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=dash
step "a tap that is there before the guest and after it: <target managed='no'/>"
lv1 ip tuntap add mode tap name keep0
domain g5 55555555-5555-4555-8555-555555555555 "weft.addr=192.0.2.55/32 weft.via=192.0.2.1" \
	"<interface type='ethernet'><mac address='52:54:00:00:00:55'/><target dev='keep0' managed='no'/><model type='virtio'/></interface>" |
	sed "s|<memory|<metadata><weft:nics xmlns:weft='urn:weft:1'><weft:nic mac='52:54:00:00:00:55' network='public'><weft:ip>192.0.2.55</weft:ip></weft:nic></weft:nics></metadata><memory|" >"$W/g5.xml"
show lv1 virsh create "$W/g5.xml"
show lv1 weft nic list
said 'keep0  *up  *52:54:00:00:00:55  *public  *192.0.2.55'
within "$BOOT" ping -c 1 -W 1 192.0.2.55
show lv1 virsh destroy g5
show lv1 weft nic list
silent keep0
show lv1 ip link show keep0
said 'state DOWN'
said 'group default'
lv1 ip link del keep0
