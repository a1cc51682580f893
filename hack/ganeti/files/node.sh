#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# node.sh WORK N: what a node is before anybody configures it. Its network is weft's.
set -eu
work=$1 n=$2
modprobe virtio_net
hostname "node$n.example.org"
echo "node$n.example.org" >/etc/hostname
cat >/etc/hosts <<EOF
127.0.0.1 localhost
10.0.0.10 cluster.example.org cluster
10.0.0.11 node1.example.org node1
10.0.0.12 node2.example.org node2
EOF
mkdir -p /run/sshd /run/lock /etc/weft
for dir in /usr/lib/python3* /usr/share/ganeti; do mount -t tmpfs -o mode=0755 python "$dir"; done
tar -C / -xf "$work/python.tar"
ln -sfn /proc/self/fd/0 /dev/stdin
ln -sfn /proc/self/fd/1 /dev/stdout
ln -sfn /proc/self/fd/2 /dev/stderr
cp "$work/weft" /usr/local/sbin/weft
cp "$work/node$n.yaml" /etc/weft/node.yaml
modprobe -a bonding 8021q vrf tun bridge
# The node's CPU, emulated, has what KVM needs, so that the instances need not be emulated once more: ten times as fast.
modprobe kvm_amd
# An emulated CPU needs more than five seconds for a TLS handshake, an emulated QEMU for an answer, and an emulated guest to let go
# of a card, when it is busy. These limits, and the wrapper below, are what is not Ganeti as Debian has it.
sed -i 's/^RPC_CONNECT_TIMEOUT = 5$/RPC_CONNECT_TIMEOUT = 60/' /usr/share/ganeti/3.0/ganeti/_constants.py
sed -i 's/ _SOCKET_TIMEOUT = 5$/ _SOCKET_TIMEOUT = 60/' /usr/share/ganeti/3.0/ganeti/hypervisor/hv_kvm/monitor.py
sed -i '/def _VerifyHotplugCommand/,/HasDevice/ s/range(5)/range(60)/' /usr/share/ganeti/3.0/ganeti/hypervisor/hv_kvm/__init__.py
# Instances give way to Ganeti, which gives up on its own jobs when they do not start in time.
cat >/usr/local/bin/kvm-nice <<'EOF'
#!/bin/sh
exec nice -n 5 /usr/bin/kvm "$@"
EOF
chmod +x /usr/local/bin/kvm-nice
busybox syslogd -O /var/log/syslog
/usr/sbin/sshd
echo "node$n: up"
exec sleep infinity
