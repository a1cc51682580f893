# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=dash
# The nodes of test.sh, which reads this file: namespaces, a libvirtd in each, and guests.

# world makes the VLAN: a bridge that is the router, with a port for each node.
world() {
	mount --make-rprivate /
	if [ -e /dev/kvm ]; then mount --bind /dev/null /dev/kvm; fi # libvirt would try it
	ip link set lo up
	ip link add wire type bridge
	ip link set wire up
	ip addr add 192.0.2.1/24 dev wire
	ip addr add 2001:db8:2::1/64 dev wire nodad
	export POLICY=rules
	if ip link add vrf-try type vrf table 9999 2>/dev/null; then
		ip link del vrf-try
		POLICY=vrf
	fi
	# Nor can every kernel make weft's bridges; there, somebody else's has to do.
	managed=true
	if [ "$POLICY" = rules ]; then managed=false; fi
	# Seconds until a guest is up, and what its kernel need not do for it. In a VM of hack/vm it is emulated twice, and
	# goes without ACPI, too: only detaching an interface takes that.
	export BOOT=60
	export LEAN="console=ttyS0 quiet panic=-1 mitigations=off random.trust_cpu=on apparmor=0 audit=0 cryptomgr.notests lsm= nokaslr no_timer_check nosoftlockup nowatchdog 8250.nr_uarts=1 rcupdate.rcu_expedited=1"
	if grep -q WEFT_VM_INIT /proc/cmdline; then
		BOOT=400
		LEAN="$LEAN acpi=off"
	fi
	# The daemon's user comes with a package that would start the daemon.
	cp /etc/passwd /etc/group "$W"
	grep -q ^libvirt-qemu: "$W/passwd" || echo 'libvirt-qemu:x:64055:64055::/var/lib/libvirt:/usr/sbin/nologin' >>"$W/passwd"
	grep -q ^libvirt-qemu: "$W/group" || echo 'libvirt-qemu:x:64055:' >>"$W/group"
	grep -q ^kvm: "$W/group" || echo 'kvm:x:64056:' >>"$W/group"
	guest_image
}

# node NAME NUMBER makes a node: up0 is on the VLAN, mgmt leads to the other node.
node() {
	mkdir -p "$W/$1"
	# It lives as long as test.sh does.
	unshare --net --mount --uts sh -c "echo \$\$ >$W/$1.pid && exec sleep infinity" &
	within 5 test -s "$W/$1.pid"
	pid=$(cat "$W/$1.pid")
	within 5 sh -c "[ \$(readlink /proc/$pid/ns/net) != \$(readlink /proc/$$/ns/net) ]"
	ip link add "$1" type veth peer name up0 netns "$pid"
	ip link set "$1" up master wire
	ip link add "m$1" type veth peer name mgmt netns "$pid"
	ip link show mgmt0 >/dev/null 2>&1 || ip link add mgmt0 type bridge
	ip link set mgmt0 up
	ip link set "m$1" up master mgmt0
	# shellcheck disable=SC2016 # the shell on the node expands it
	on "$1" sh -eu -c '
		hostname "$1"
		mount --make-rprivate /
		for d in /run /etc/libvirt /var/lib/libvirt /var/cache/libvirt /var/log/libvirt /etc/weft; do
			mkdir -p "$d"
			mount -t tmpfs none "$d"
		done
		ln -sfn /run /var/run 2>/dev/null || true
		mount -t sysfs none /sys
		mount --bind "$W/passwd" /etc/passwd
		mount --bind "$W/group" /etc/group
		ip link set lo up
		ip link set mgmt up
		ip addr add "10.0.0.$2/24" dev mgmt
	' sh "$1" "$2"
	on "$1" sh -c 'cat >/etc/weft/node.yaml' <<-EOF
		node: $1
		networks:
		  public:
		    mode: routed
		    uplink: up0
		    table: 993
		    policy: $POLICY
		    ipv4: {subnet: 192.0.2.0/24, gateway: 192.0.2.1, arp_source: 192.0.2.254}
		    ipv6: {subnet: "2001:db8:2::/64", gateway: "2001:db8:2::1"}
		  lan:
		    mode: bridged
		    bridge: lan0
		    managed: $managed
	EOF
	if [ "$managed" = false ]; then on "$1" ip link add lan0 up type bridge; fi
	on "$1" sh -c 'cat >/etc/libvirt/qemu.conf' <<-EOF
		user = "root"
		group = "root"
		security_driver = "none"
		namespaces = []
		cgroup_controllers = []
		stdio_handler = "file"
		remember_owner = 0
	EOF
	on "$1" sh -c 'cat >/etc/libvirt/libvirtd.conf' <<-EOF
		host_uuid = "00000000-0000-4000-8000-00000000000$2"
		unix_sock_dir = "$W/$1"
		auth_unix_rw = "none"
		log_outputs = "4:file:$W/$1.log"
	EOF
}

# libvirtd_up NODE starts the daemon, whose socket everybody reaches: virsh migrate speaks to both.
libvirtd_up() {
	# shellcheck disable=SC2016 # the shell on the node expands it
	on "$1" sh -c 'libvirtd >/dev/null 2>&1 & echo $! >"$0"' "$W/$1/daemon.pid"
	within 60 on "$1" virsh list
}

libvirtd_down() {
	kill "$(cat "$W/$1/daemon.pid")"
	within 20 sh -c "! kill -0 $(cat "$W/$1/daemon.pid") 2>/dev/null"
}

# guest_image writes $W/vmlinux and $W/initrd: busybox, the modules of a virtio card and the lab's init.
guest_image() {
	for k in "${XDG_CACHE_HOME:-$HOME/.cache}"/weft/kernel/debian-*/*; do
		[ -e "$k/vmlinux" ] && cache=$k
	done
	[ -n "${cache:-}" ] || fail "no kernel for guests: go run ./hack/vm -exec -- true fetches it"
	cp "$cache/vmlinux" "$W/vmlinux"
	r=$W/root
	mkdir -p "$r/bin" "$r/dev" "$r/proc" "$r/sys" "$r/modules"
	cp /bin/busybox "$r/bin/busybox"
	cp "$HERE/../../internal/lab/guestinit.sh" "$r/init"
	chmod 755 "$r/init"
	for m in virtio_pci virtio_net; do
		modprobe -d "$cache" -S "$(basename "$cache")" --show-depends "$m"
	done | sed -n 's/^insmod \([^ ]*\).*/\1/p' | while read -r f; do
		b=$(basename "$f")
		b=${b%.xz}
		[ -e "$r/modules/$b" ] && continue
		case $f in
		*.xz) xz -dc "$f" >"$r/modules/$b" ;;
		*) cp "$f" "$r/modules/$b" ;;
		esac
		echo "$b" >>"$r/modules/order"
	done
	(cd "$r" && find . | busybox cpio -o -H newc >"$W/initrd" 2>/dev/null)
}

# domain NAME UUID WORDS INTERFACES prints a domain: a guest of 96 MiB whose init takes the words.
domain() {
	cat <<-EOF
		<domain type='qemu'>
		  <name>$1</name>
		  <uuid>$2</uuid>
		  <memory unit='MiB'>96</memory>
		  <vcpu>1</vcpu>
		  <os>
		    <type arch='x86_64' machine='pc'>hvm</type>
		    <kernel>$W/vmlinux</kernel>
		    <initrd>$W/initrd</initrd>
		    <cmdline>$LEAN $3</cmdline>
		  </os>
		  <features><acpi/></features>
		  <cpu mode='maximum'/>
		  <devices>
		    <emulator>/usr/bin/qemu-system-x86_64</emulator>
		    $4
		    <serial type='file'><source path='/run/$1.console'/></serial>
		    <memballoon model='none'/>
		  </devices>
		</domain>
	EOF
}
