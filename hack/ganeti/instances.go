// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"

	"weft/hack/rig"
)

// Hosts of the internet, which instances and it ping each other from.
const (
	internet4 = "203.0.113.80"
	internet6 = "2001:db8:ffff::80"
)

// instance is one virtual machine with a card in one network, and what its guest gives itself.
type instance struct {
	name, network, mac string
	ip4, ip6           string
	args               string // of its kernel: the addresses of its cards
}

// routedInstance has the address that its MAC makes of the network's /64: what gnt-networking means with a
// NIC in a network that has an IPv6 subnet. Its second card is plugged in later, in the bridged network.
func routedInstance() instance {
	i := instance{name: "rou1.example.org", network: "public", mac: "aa:00:00:00:00:51",
		ip4: "62.217.124.51", ip6: "2001:db8:993:0:a800:ff:fe00:51"}
	i.args = fmt.Sprintf("weft.0.addr=%s/32 weft.0.addr=%s/128 weft.0.via=62.217.124.49 weft.0.via=2001:db8:993::1 weft.1.addr=192.0.2.61/24",
		i.ip4, i.ip6)
	return i
}

func bridgedInstance() instance {
	i := instance{name: "bri1.example.org", network: "tenants", mac: "aa:00:00:00:00:53",
		ip4: "192.0.2.53", ip6: "2001:db8:992::53"}
	i.args = fmt.Sprintf("weft.0.addr=%s/24 weft.0.addr=%s/64 weft.0.via=192.0.2.1 weft.0.via=2001:db8:992::1", i.ip4, i.ip6)
	return i
}

// kernelArgs leave out of a kernel what costs an emulated CPU time and is not tested here.
const kernelArgs = "quiet panic=-1 mitigations=off random.trust_cpu=on apparmor=0 audit=0 cryptomgr.notests nokaslr no_timer_check " +
	"nosoftlockup nowatchdog 8250.nr_uarts=1 rcupdate.rcu_expedited=1"

// add is the command that makes the instance.
func (i instance) add() string {
	return fmt.Sprintf(`gnt-instance add -t diskless --no-install -o noop --no-ip-check --no-name-check \
  -B memory=128M,vcpus=1 --no-start -n node1.example.org --net 0:ip=%s,network=%s,mac=%s \
  -H 'kvm:kernel_args=%s %s' %s`, i.ip4, i.network, i.mac, kernelArgs, i.args, i.name)
}

// guest is a command that runs a line in the instance's shell, on its serial console, until it has said
// something that matches want.
func (i instance) guest(line, want string) string {
	return fmt.Sprintf(`s=/var/run/ganeti/kvm-hypervisor/ctrl/%s.serial
{ echo %q; sleep 3; } | timeout 6 socat - UNIX-CONNECT:$s | tr -d '\r' | sed '/%s/q' | tail -4 | grep -A4 -B4 '%s'`, i.name, line, want, want)
}

// inet runs a command on the internet's host.
func inet(command string) string { return "ip netns exec inet " + command }

// pingable waits until the internet gets answers of the instance, IPv4 and IPv6.
func (t *test) pingable(ctx context.Context, i instance) bool {
	ok := t.Wait(ctx, patience, "net", i.name+" answers the internet, IPv4", inet("ping -c 1 -W 5 "+i.ip4+" | tail -4"+pipefail))
	return t.Wait(ctx, patience, "net", i.name+" answers the internet, IPv6", inet("ping -c 1 -W 5 "+i.ip6+" | tail -4"+pipefail)) && ok
}

// pipefail ends a pipeline whose first command decides.
const pipefail = "; exit ${PIPESTATUS[0]}"

// reaches asks the guest itself to ping the internet, and reads its console.
func (t *test) reaches(ctx context.Context, node string, i instance) {
	for _, addr := range []string{internet4, internet6} {
		t.Wait(ctx, 3*short, node, i.name+"'s console: it reaches "+addr, i.guest("ping -c 1 -W 10 "+addr, "1 packets received"))
	}
}

// start makes an instance in the routed network, and starts that and the bridged one.
func (t *test) start(ctx context.Context) {
	t.ganeti(ctx, "gnt-instance add", routedInstance().add())
	t.started(ctx)
}

// plugged asks whether a node has all that a routed instance needs, and shows it.
func (t *test) plugged(ctx context.Context, node string, i instance) {
	t.Wait(ctx, short, node, node+" routes to "+i.name+" and answers for it", fmt.Sprintf(
		"weft nic list | grep %s && ip route show table 993 | grep ^%s && ip -6 route show table 993 | grep ^%s && ip -6 neigh show proxy | grep ^%s",
		i.mac, i.ip4, i.ip6, i.ip6))
}

// unplugged asks whether a node has anything of an instance left, and shows that. Stock Ganeti calls nothing when
// a NIC goes; the agent sees it. That the other node has the instance now is what any neighbour of theirs may have learned.
func (t *test) unplugged(ctx context.Context, node string, i instance) {
	other := map[string]string{"node1": "02:00:00:00:02:00", "node2": "02:00:00:00:01:00"}[node]
	t.Wait(ctx, short, node, "nothing of "+i.name+" is left on "+node, fmt.Sprintf(
		"! { weft nic list | grep %s; ip route show table all | grep %s; ip -6 route show table all | grep %s; "+
			"{ ip neigh show | grep %s; ip -6 neigh show | grep %s; } | grep -v ' dev bond0.993 lladdr %s '; "+
			"ip -6 neigh show proxy | grep %s; nft list ruleset 2>/dev/null | grep -e %s -e %s; } | grep .",
		i.mac, i.ip4, i.ip6, i.ip4, i.ip6, other, i.ip6, i.ip4, i.ip6))
}

// change reboots the routed instance, in each of these ways, and changes its cards while it runs.
func (t *test) change(ctx context.Context, reboots ...string) {
	i := routedInstance()
	for _, kind := range reboots {
		t.ganeti(ctx, "gnt-instance reboot, "+kind, "gnt-instance reboot -t "+kind+" --shutdown-timeout 1 "+i.name)
		t.plugged(ctx, "node1", i)
		t.pingable(ctx, i)
	}
	t.ganeti(ctx, "a NIC is plugged in while the instance runs",
		i.modify("-1:add,ip=192.0.2.61,network=tenants,mac=aa:00:00:00:00:61")+" && weft nic list | grep aa:00:00:00:00:61")
	t.Wait(ctx, 3*short, "net", "its new card answers its router", "ip netns exec rt ping -c 1 -W 5 192.0.2.61 | tail -4"+pipefail)

	t.ganeti(ctx, "its first NIC gets another address while it runs", i.modify("0:modify,ip=62.217.124.52"))
	was := i
	i.ip4 = "62.217.124.52"
	t.plugged(ctx, "node1", i)
	t.Wait(ctx, short, "node1", "no route to the old address", "! ip route show table 993 | grep "+was.ip4)
	t.Wait(ctx, 3*short, "node1", "the guest takes its new address", i.guest("ip addr add 62.217.124.52/32 dev eth0; ip addr show eth0", "inet 62.217.124.52"))
	t.pingable(ctx, i)

	t.ganeti(ctx, "and its old address again", i.modify("0:modify,ip="+was.ip4))
	t.plugged(ctx, "node1", was)
	t.pingable(ctx, was)
	t.ganeti(ctx, "its second NIC is pulled out while it runs", i.modify("-1:remove"))
	t.Wait(ctx, short, "node1", "nothing is left of it", "! weft nic list | grep aa:00:00:00:00:61")
	t.pingable(ctx, was)
}

// modify is the command that changes the NICs of the instance that runs. Ganeti takes a guest's refusal for a success.
func (i instance) modify(nic string) string {
	return fmt.Sprintf("gnt-instance modify -f --net %s --hotplug %s >/tmp/modify 2>&1; s=$?; cat /tmp/modify; [ $s -eq 0 ] && ! grep -qi 'could not hotplug' /tmp/modify",
		nic, i.name)
}

// migrate moves both instances to node2 and back, pinged all the while.
func (t *test) migrate(ctx context.Context) {
	for _, i := range []instance{routedInstance(), bridgedInstance()} {
		for _, to := range []string{"node2", "node1"} {
			t.move(ctx, i, to)
		}
	}
}

// move migrates an instance and counts the pings that it did not answer.
func (t *test) move(ctx context.Context, i instance, to string) {
	from := map[string]string{"node1": "node2", "node2": "node1"}[to]
	for _, addr := range []string{i.ip4, i.ip6} {
		t.Quiet(ctx, "net", inet("ping -n -D -i 0.5 "+addr+" >/tmp/pings."+addr+" 2>&1 &"))
	}
	ok := t.ganeti(ctx, i.name+" migrates to "+to, "gnt-instance migrate -f -n "+to+".example.org "+i.name)
	if i.network == "public" {
		t.plugged(ctx, to, i)
		t.unplugged(ctx, from, i)
	} else {
		t.Wait(ctx, short, to, "it is a port of vlan992 on "+to, "weft nic list | grep "+i.mac)
		t.Wait(ctx, short, from, "nothing of it is left on "+from, "! weft nic list | grep "+i.mac)
	}
	t.pingable(ctx, i)
	t.Quiet(ctx, "net", "pkill -INT ping; while pgrep ping >/dev/null; do sleep 0.1; done")
	for _, addr := range []string{i.ip4, i.ip6} {
		r := t.Quiet(ctx, "net", "cat /tmp/pings."+addr)
		p := rig.CountPings(r.Out, 500*time.Millisecond)
		fmt.Printf("    pings to %s: %s\n", addr, p)
		t.Check(ok && p.Answered > 0 && p.Last, "%s answers %s after the move to %s", i.name, addr, to)
	}
	t.Sh(ctx, to, "grep ' weft\\[.*'"+i.name+" /var/log/syslog | tail -1")
}

// stop stops both instances.
func (t *test) stop(ctx context.Context) {
	t.ganeti(ctx, "gnt-instance stop", "gnt-instance stop --force-multiple --timeout 1 "+routedInstance().name+" "+bridgedInstance().name)
	for _, node := range nodes() {
		t.unplugged(ctx, node, routedInstance())
		t.unplugged(ctx, node, bridgedInstance())
	}
	t.Sh(ctx, "node1", "weft nic list; ip route show table 993; ip -6 neigh show proxy; ip rule")
}

// remove removes what the test made. The nodes' uplinks are ifupdown's by now.
func (t *test) remove(ctx context.Context) {
	t.ganeti(ctx, "gnt-instance stop", "gnt-instance stop --force-multiple --timeout 1 "+routedInstance().name+" "+bridgedInstance().name)
	for _, i := range []instance{routedInstance(), bridgedInstance()} {
		t.ganeti(ctx, "gnt-instance remove", "gnt-instance remove -f "+i.name)
	}
	for _, node := range nodes() {
		t.unplugged(ctx, node, routedInstance())
		t.unplugged(ctx, node, bridgedInstance())
		t.unchanged(ctx, node)
		t.Must(ctx, node, "weft ganeti uninstall", "weft ganeti uninstall && ! weft ganeti install --check >/dev/null")
		t.Must(ctx, node, "/etc/ganeti is as it was before the install", "find /etc/ganeti | sort | diff /tmp/etc-ganeti - && ! find /var/lib/weft -type f | grep .")
	}
	t.verify(ctx)
}
