#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Every file of the system, group and unit: what a package leaves behind shows here. Not what apt, dpkg and systemd keep for themselves.
find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /tmp -o -path /var/tmp -o -path /var/log -o -path /var/cache -o -path /var/lib/apt \
	-o -path /var/lib/dpkg -o -path /var/lib/systemd/timers -o -path /var/lib/systemd/random-seed -o -path /var/lib/private -o -path /usr/lib/modules -o -name '.pwd.lock' -o -path '/etc/*-' \) -prune -o -print | sort
ls /run
getent passwd
getent group
systemctl list-unit-files --no-legend | awk '$2 != "transient" { print $1, $2 }'
