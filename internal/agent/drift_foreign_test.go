// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"regexp"
	"slices"
	"strings"
)

// foreignThings are of every kind, made by hand, and none of them is weft's.
const foreignThings = `
ip -batch - <<'END'
link add theirs0 address 02:aa:00:00:00:01 type veth peer name theirs1 address 02:aa:00:00:00:02
link add theirbr address 02:aa:00:00:00:03 type bridge mcast_snooping 1
link set theirs1 master theirbr
link set theirs0 up
link set theirs1 up
link set theirbr up
link add link theirs0 name theirs0.7 type vlan id 7
link add theirbond address 02:aa:00:00:00:04 type bond mode active-backup
link add theirvrf address 02:aa:00:00:00:05 type vrf table 77
link set theirvrf up
addr add 198.51.101.1/24 dev theirs0
addr add 2001:db8:77::1/64 dev theirs0 nodad
route add 198.51.101.128/25 via 198.51.101.9
route add 198.51.101.64/26 dev theirs0 table 77
route add 2001:db8:78::/64 via 2001:db8:77::9
rule add pref 777 from 198.51.101.0/24 lookup 77
neigh add 198.51.101.7 lladdr 02:aa:00:00:00:07 dev theirs0 nud permanent
neigh add proxy 198.51.101.8 dev theirs0
neigh add proxy 2001:db8:77::8 dev theirs0
END
ip -6 rule add pref 777 from 2001:db8:77::/64 lookup 77
bridge -batch - <<'END'
fdb add 02:aa:00:00:00:09 dev theirs1 master static
vlan add dev theirs1 vid 9
mdb add dev theirbr port theirs1 grp 239.1.1.1 permanent
END
tc -batch - <<'END'
qdisc add dev theirs0 root handle 1: tbf rate 10mbit burst 64kb latency 50ms
qdisc add dev theirs0 ingress
filter add dev theirs0 ingress pref 87 protocol all matchall action police rate 10mbit burst 64kb
END
echo 1 >/proc/sys/net/ipv4/conf/theirs0/proxy_arp
echo 1 >/proc/sys/net/ipv4/conf/theirs0/arp_ignore
` + foreignHarmed

// foreignHarmed are those of them that stand among weft's own, and that go when somebody flushes that.
const foreignHarmed = `
ip -batch - <<'END'
route replace 198.19.0.0/16 dev theirs0 table 993
route replace 2001:db8:79::/64 dev theirs0 table 993
route replace 198.19.0.0/16 dev theirs0 table 500
END
nft -f - <<'END'
add table inet theirs
flush table inet theirs
add chain inet theirs input { type filter hook input priority 0; }
add rule inet theirs input ip saddr 198.51.101.200 drop
add table arp theirs
END
`

// lookForeign lists all that may be theirs.
const lookForeign = `
ip -d -o -batch - <<'END'
link show
addr show dev theirs0
route show table main
route show table 77
route show table 993
route show table 500
rule show pref 777
neigh show dev theirs0 nud permanent
neigh show proxy dev theirs0
END
ip -6 -o -batch - <<'END'
route show table main
route show table 77
route show table 993
rule show pref 777
neigh show proxy dev theirs0
END
bridge -batch - <<'END'
fdb show dev theirs1
vlan show dev theirs1
mdb show dev theirbr
END
echo theirs $(cat /proc/sys/net/ipv4/conf/theirs0/proxy_arp /proc/sys/net/ipv4/conf/theirs0/arp_ignore)
tc qdisc show dev theirs0 | sed 's/^/theirs /'
tc filter show dev theirs0 ingress | sed 's/^/theirs /'
nft list table inet theirs | sed 's/^/theirs /'
nft list table arp theirs | sed 's/^/theirs /'
`

// theirs is that part of the list that is, without what changes by itself.
func theirs(list string) string {
	var lines []string
	for line := range strings.Lines(list) {
		if strings.Contains(line, "theirs") || strings.Contains(line, "theirbr") || strings.Contains(line, "theirvrf") || strings.Contains(line, "theirbond") || strings.Contains(line, "lookup 77") {
			lines = append(lines, changing.ReplaceAllString(strings.TrimSpace(line), ""))
		}
	}
	slices.Sort(lines) // the kernel lists some things in the order of hashes
	return strings.Join(lines, "\n")
}

// changing are indexes and timers.
var changing = regexp.MustCompile(`^[0-9]+: | *[a-z_]*timer *[0-9.]*`)
