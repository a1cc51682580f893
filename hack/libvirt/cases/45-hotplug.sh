# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=dash
# In a VM of hack/vm, guests have no ACPI to detach anything with.
! grep -q WEFT_VM_INIT /proc/cmdline || return 0
step "an interface is attached to a guest that runs, then goes to another network, then is detached: libvirt runs no hook, weft libvirt update does it"
lv1 virsh domstate g1 | grep -q running || show lv1 virsh start g1
# It has to run: a guest that boots still passes over a detach.
within "$BOOT" ping -c 1 -W 1 192.0.2.5
show lv1 virsh attach-interface g1 bridge lan0 --mac 52:54:00:00:00:45 --model virtio --live
show lv1 weft nic list
silent 52:54:00:00:00:45
show lv1 sh -c 'virsh dumpxml g1 | weft libvirt update'
show lv1 weft nic list
said 'up  *52:54:00:00:00:45  *lan'
show lv1 virsh metadata g1 --uri urn:weft:1 --key weft --live --set \
	"<nics><nic mac='52:54:00:00:00:05' network='public'><ip>192.0.2.5</ip><ip>192.0.2.15</ip></nic></nics>"
show lv1 sh -c 'virsh dumpxml g1 | weft libvirt update'
show lv1 weft nic list
said 'up  *52:54:00:00:00:05  *public  *192.0.2.5 192.0.2.15'
show lv1 virsh detach-interface g1 bridge --mac 52:54:00:00:00:45 --live
# The guest has to let go of it.
within "$BOOT" lv1 sh -c '! virsh domiflist g1 | grep 52:54:00:00:00:45'
show lv1 sh -c 'virsh dumpxml g1 | weft libvirt update'
show lv1 weft nic list
silent 52:54:00:00:00:45
show lv1 virsh destroy g1
