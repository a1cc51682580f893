# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=dash
step "libvirt is restarted: guests run on, and what was lost of them is plugged in again"
show lv1 virsh start g1
within "$BOOT" ping -c 1 -W 1 192.0.2.5
t=$(tap lv1 52:54:00:00:00:05)
show lv1 weft nic del "$t"
show lv1 weft nic list
libvirtd_down lv1
libvirtd_up lv1
tap lv1 52:54:00:00:00:05 >/dev/null
show lv1 weft nic list
within 10 ping -c 1 -W 1 192.0.2.5
show lv1 virsh list

step "a node file full of mistakes that nobody applied: guests start and end as before"
lv1 cp /etc/weft/node.yaml /etc/weft/node.yaml.good
lv1 sh -c 'echo "networks: {public: {mode: rooted}}" >/etc/weft/node.yaml'
show lv1 virsh destroy g1
show lv1 virsh start g1
within "$BOOT" ping -c 1 -W 1 192.0.2.5

step "a node without any file that makes sense: a restart of libvirt kills no guest for it, a start is refused"
lv1 cp /run/weft/node.yaml /run/applied
lv1 cp /etc/weft/node.yaml /run/weft/node.yaml
libvirtd_down lv1
libvirtd_up lv1
show lv1 virsh list
said 'g1  *running'
said 'g2  *running'
show ping -c 1 -W 2 192.0.2.5
show lv1 virsh destroy g2
refused lv1 virsh create "$W/g2.xml"
said "node.yaml:1:.*rooted"
lv1 cp /run/applied /run/weft/node.yaml
lv1 mv /etc/weft/node.yaml.good /etc/weft/node.yaml
show lv1 virsh create "$W/g2.xml"
show lv1 virsh destroy g2

step "saved and restored"
show lv1 virsh save g1 /run/g1.save
show lv1 weft nic list
silent 52:54
show lv1 virsh restore /run/g1.save
show lv1 weft nic list
said 'up  *52:54:00:00:00:05  *public'
within 20 ping -c 1 -W 1 192.0.2.5
