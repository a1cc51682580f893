# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=dash
step "a network that the node does not have, a MAC that no interface has: the guest does not start, and virsh says why"
show lv1 virsh metadata g1 --uri urn:weft:1 --key weft --config --set \
	"<nics><nic mac='52:54:00:00:00:05' network='pubilc'><ip>192.0.2.5</ip></nic></nics>"
refused lv1 virsh start g1
said 'weft: interface 52:54:00:00:00:05: network "pubilc" is not in the node file'
show lv1 virsh metadata g1 --uri urn:weft:1 --key weft --config --set \
	"<nics><nic mac='52:54:00:00:00:50' network='public'><ip>192.0.2.5</ip></nic></nics>"
refused lv1 virsh start g1
said 'mac 52:54:00:00:00:50: no interface has it'

step "an address that somebody else has"
ip addr add 192.0.2.77/24 dev wire
show lv1 virsh metadata g1 --uri urn:weft:1 --key weft --config --set \
	"<nics><nic mac='52:54:00:00:00:05' network='public'><ip>192.0.2.77</ip></nic></nics>"
refused lv1 virsh start g1
said 'address in use: 192.0.2.77'
ip addr del 192.0.2.77/24 dev wire
show lv1 weft nic list
silent 52:54
show lv1 virsh metadata g1 --uri urn:weft:1 --key weft --config --set \
	"<nics><nic mac='52:54:00:00:00:05' network='public'><ip>192.0.2.5</ip><ip>2001:db8:2::5</ip></nic></nics>"
