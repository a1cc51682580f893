# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=dash
step "a routed guest: <interface type='ethernet'>, its network and addresses in the metadata"
domain g1 11111111-1111-4111-8111-111111111111 "weft.addr=192.0.2.5/32 weft.via=192.0.2.1 weft.addr=2001:db8:2::5/128 weft.via=2001:db8:2::1 weft.ping=192.0.2.1" \
	"<interface type='ethernet'><mac address='52:54:00:00:00:05'/><model type='virtio'/></interface>" >"$W/g1.xml"
show lv1 virsh define "$W/g1.xml"
show lv1 virsh metadata g1 --uri urn:weft:1 --key weft --config --set \
	"<nics><nic mac='52:54:00:00:00:05' network='public'><ip>192.0.2.5</ip><ip>2001:db8:2::5</ip></nic></nics>"
lv1 weft plan >"$W/before" 2>&1
show lv1 virsh start g1
show lv1 weft nic list
said 'vnet0  *up  *52:54:00:00:00:05  *public  *192.0.2.5 2001:db8:2::5'
show lv1 ip -4 route show table 993
said '^192.0.2.5 dev vnet0'
show lv1 ip -d link show vnet0
[ "$POLICY" = rules ] || said 'master vrf993'
show lv1 ip -6 neigh show proxy
said '^2001:db8:2::5 dev up0'
show lv1 weft status
within "$BOOT" ping -c 1 -W 1 192.0.2.5
show ping -c 1 -W 2 192.0.2.5
within 10 ping -c 1 -W 1 2001:db8:2::5
show ping -c 1 -W 2 2001:db8:2::5

step "it ends: nothing of it is left"
show lv1 virsh destroy g1
show lv1 weft nic list
silent 52:54
show lv1 ip -4 route show table 993
silent 192.0.2.5
show lv1 weft status
