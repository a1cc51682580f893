# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=dash
step "live migration: on its target the guest's tap is prepared, and its addresses follow as soon as it runs there"
on lv2 sh -c 'weft agent >/run/agent.log 2>&1 & echo $! >/run/agent.pid'
on lv1 sh -c 'weft agent >/run/agent.log 2>&1 & echo $! >/run/agent.pid'
within 20 lv2 grep -q ready /run/agent.log
within 20 lv1 grep -q ready /run/agent.log
lv1 virsh domstate g1 | grep -q running || show lv1 virsh start g1
within "$BOOT" ping -c 1 -W 1 192.0.2.5
ping -D -i 0.1 -W 1 192.0.2.5 >"$W/ping" 2>&1 &
pinging=$!
echo '$ lv1 virsh migrate --live g1 qemu+unix:///system?socket=.../lv2 tcp://10.0.0.2'
lv1 virsh migrate --live g1 "qemu+unix:///system?socket=$W/lv2/libvirt-sock" tcp://10.0.0.2 >"$W/migrated" 2>&1 &
migrating=$!
t=$(tap lv2 52:54:00:00:00:05) || { cat "$W/migrated" >&2; exit 1; }
show lv2 weft nic show "$t"
said '"prepared": true'
wait "$migrating" || { cat "$W/migrated"; fail "virsh migrate"; }
show lv2 weft nic list
said 'up  *52:54:00:00:00:05  *public'
show lv2 cat /run/agent.log
show lv1 cat /run/agent.log
show lv1 weft nic list
silent 52:54
within 20 ping -c 1 -W 1 192.0.2.5
show lv2 ip -4 route show table 993
said '^192.0.2.5 dev'
show lv1 ip -4 route show table 993
silent '192.0.2.5'
kill -INT "$pinging"
wait "$pinging" || true
tail -n 3 "$W/ping"

step "a migration that is called off: nothing is left on its target"
# shellcheck disable=SC2016 # the shell on the node expands it
lv1 sh -c 'kill $(cat /run/agent.pid); cp /run/weft/node.yaml /run/applied; echo "networks: {}" >/run/weft/node.yaml'
refused lv2 virsh migrate --live g1 "qemu+unix:///system?socket=$W/lv1/libvirt-sock" tcp://10.0.0.1
said 'network "public" is not in the node file'
lv1 cp /run/applied /run/weft/node.yaml
show lv1 weft nic list
silent 52:54
show lv1 ls /run/weft/libvirt
silent 1111
show lv2 virsh list
said 'g1  *running'
show ping -c 1 -W 2 192.0.2.5
show lv2 virsh destroy g1
show lv2 weft nic list
silent 52:54
# shellcheck disable=SC2016 # the shell on the node expands it
lv2 sh -c 'kill $(cat /run/agent.pid)'
