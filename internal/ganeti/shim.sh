#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installed by weft ganeti install. Ganeti compares this file between nodes and copies it: it is the same on every node.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
command -v weft >/dev/null 2>&1 || {
	echo "$0: weft is not installed on this node"
	exit 1
}
exec weft ganeti hook -- "$0" "$@"
