// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"weft/hack/rig"
)

// allSteps are the letters of the steps, in the order in which they build on each other.
const allSteps = "abcdefgh"

// patience is how long a loaded machine that emulates one may take.
const patience = 3 * time.Minute

// test is one run of the steps.
type test struct {
	*rig.Transcript
	machine *machine
}

// run runs the steps of these letters.
func (t *test) run(ctx context.Context, letters string) {
	t.Play(ctx, letters, map[rune]rig.Step{
		'a': {What: "lintian", Run: t.lintian},
		'b': {What: "installed, without a node file", Run: t.install},
		'c': {What: "a node file, and guests", Run: t.network},
		'd': {What: "stop, start, kill, hang: the guests notice nothing", Run: t.disturb},
		'e': {What: "another version", Run: t.upgrade},
		'f': {What: "what is gone comes back: links, and the whole machine", Run: t.reboot},
		'g': {What: "removed, the network stays", Run: t.remove},
		'h': {What: "purged, nothing is left", Run: t.purge},
	})
}

// apt is what a sysadmin types, without what is only for a terminal.
const apt = "apt-get -qq -y -o Dpkg::Use-Pty=0 "

// must, quiet and wait are those of the transcript, in the one VM. $D is the run's folder.
func (t *test) must(ctx context.Context, what, script string) bool {
	return t.Must(ctx, "node", what, t.here(script))
}

func (t *test) wait(ctx context.Context, what, script string) bool {
	return t.Wait(ctx, patience, "node", what, t.here(script))
}

func (t *test) quiet(ctx context.Context, script string) rig.Result {
	return t.Quiet(ctx, "node", t.here(script))
}

func (t *test) here(script string) string { return strings.ReplaceAll(script, "$D", t.Dir) }

// install installs the package on a machine that has no node file, and looks at what it brings.
func (t *test) install(ctx context.Context) {
	t.quiet(ctx, "sh $D/files.sh >/var/tmp/files; sh $D/state.sh all >/var/tmp/bare")
	t.must(ctx, "apt install", apt+"install $D/weft.deb")
	t.must(ctx, "the unit is up and enabled", "systemctl is-active weft && systemctl is-enabled weft && systemctl --no-pager -n 3 status weft")
	t.must(ctx, "the agent is ready", "systemctl show -p NRestarts weft | grep -x NRestarts=0 && journalctl -o cat -u weft | grep msg=ready")
	t.must(ctx, "without a node file it changes nothing", "sh $D/state.sh all | diff /var/tmp/bare - && ! nft list tables | grep .")
	t.must(ctx, "man pages", "man weft-agent | col -b | head -5; man -l /usr/share/man/man8/weft.8.gz | grep -q 'SEE ALSO' && man -w weft-nic-add && whatis weft")
	t.must(ctx, "bash completes", `. /usr/share/bash-completion/bash_completion; _completion_loader weft
COMP_WORDS=(weft sta) COMP_CWORD=1 COMP_LINE='weft sta' COMP_POINT=8 COMP_TYPE=9; __start_weft; echo "${COMPREPLY[@]}" | grep status`)
	t.must(ctx, "the example's one mistake is that its cards are not here",
		"weft plan -f /usr/share/doc/weft/examples/node.yaml 2>&1 | tee /dev/stderr | grep -c 'no interface eth' | grep -x 2")
	t.clean(ctx)
}

// clean asks whether the journal has nothing of the unit that somebody should look at.
func (t *test) clean(ctx context.Context) {
	t.must(ctx, "no error or warning in the journal of this boot", "! journalctl -b -q -p warning -u weft -o short --no-hostname | grep .")
}

// network gives the node a file and guests.
func (t *test) network(ctx context.Context) {
	t.must(ctx, "a file with a mistake: reload fails and says where", `sed s/members/memebers/ $D/node.yaml >/etc/weft/node.yaml
! systemctl reload weft && journalctl -q -n 5 -o cat -u weft | grep 'did you mean "members"' && systemctl is-active weft`)
	t.must(ctx, "nothing was changed", "sh $D/state.sh all | diff /var/tmp/bare -")
	t.quiet(ctx, "journalctl --rotate; journalctl --vacuum-time=1s")
	t.must(ctx, "systemctl reload makes the network", "cp $D/node.yaml /etc/weft/node.yaml && systemctl reload weft && weft plan && ip -br link show master bond0")
	t.wait(ctx, "the router answers", "ping -c 1 -W 2 10.0.0.1 | tail -2; exit ${PIPESTATUS[0]}")
	t.guests(ctx)
	t.quiet(ctx, "useradd -G weft member; useradd other")
	t.must(ctx, "a member of the group weft reads the status", "ls -l /run/weft/weft.sock; runuser -u member -- weft status")
	t.must(ctx, "somebody else does not", "! runuser -u other -- weft status")
	t.clean(ctx)
}

// guests are the addresses of the two: a bridged one, and a routed one that has both.
func guests() []string { return []string{"192.0.2.53", "62.217.124.51", "2001:db8:993::51"} }

// guests starts the guests and pings them.
func (t *test) guests(ctx context.Context) {
	t.must(ctx, "two guests are plugged in", "sh $D/guests.sh && weft nic list")
	for _, addr := range guests() {
		t.wait(ctx, addr+" answers", "ip netns exec rt ping -c 1 -W 2 "+addr+" | tail -2; exit ${PIPESTATUS[0]}")
	}
}

// through runs a script while the router pings every guest, and asks whether any ping was lost. The kernel must
// not tell of any change of a link, address, route or rule meanwhile, and what stands must be the very same.
func (t *test) through(ctx context.Context, what, script string) {
	t.quiet(ctx, "sh $D/pings.sh start; sh $D/state.sh >/tmp/before")
	t.quiet(ctx, "ip -o monitor link address route rule >/tmp/monitor 2>&1 &")
	t.must(ctx, what, script)
	t.quiet(ctx, "sh $D/pings.sh stop; pkill -x ip")
	for _, addr := range guests() {
		p := rig.CountPings(t.quiet(ctx, "cat /tmp/pings."+addr).Out, 100*time.Millisecond)
		t.Check(p.Answered > 20 && p.Last && p.Lost == 0, "%s: no ping of %s lost: %d answered, %d lost", what, addr, p.Answered, p.Lost)
	}
	t.must(ctx, what+": nothing of the network was changed", "! grep . /tmp/monitor && sh $D/state.sh | diff /tmp/before -")
}

// pid tells the agent's process; again waits until it is another one than was left in /tmp/pid, and up.
const (
	pid   = "systemctl show --value -p MainPID weft"
	again = `timeout 180 bash -c 'until p=$(` + pid + `) && [ $p != 0 ] && [ $p != $(cat /tmp/pid) ] && systemctl -q is-active weft; do sleep 0.5; done'`
)

// disturb does to the agent what may happen to it.
func (t *test) disturb(ctx context.Context) {
	t.through(ctx, "systemctl restart", pid+" >/tmp/pid; systemctl restart weft && "+again)
	t.through(ctx, "systemctl stop, and start", "systemctl stop weft; ! systemctl is-active weft && systemctl start weft && systemctl is-active weft")
	t.through(ctx, "kill -9", pid+" >/tmp/pid; systemctl kill -s KILL weft && "+again)
	t.quiet(ctx, `mkdir -p /etc/systemd/system/weft.service.d && printf '[Service]\nWatchdogSec=15\n' >/etc/systemd/system/weft.service.d/test.conf
systemctl daemon-reload; systemctl restart weft`)
	t.through(ctx, "an agent that hangs (SIGSTOP) is restarted by the watchdog", pid+" >/tmp/pid; kill -STOP $(cat /tmp/pid) && "+again+
		" && journalctl -q -o cat -u weft | grep -i 'watchdog timeout'")
	t.quiet(ctx, "rm -r /etc/systemd/system/weft.service.d; systemctl daemon-reload; systemctl restart weft")
	t.trial(ctx)
}

// trial has the agent itself begin a change on trial, and stops it: the change is undone all the same.
func (t *test) trial(ctx context.Context) {
	t.must(ctx, "a change on trial, made by the agent", `sed 's/10.0.0.11/10.0.0.12/' $D/node.yaml >/etc/weft/node.yaml
curl -sS --fail-with-body --unix-socket /run/weft/weft.sock -X POST -H 'Content-Type: application/json' -d '{"confirm": "10s"}' http://weft/v1/apply | head -c 300
ip -br addr show bond0 | grep 10.0.0.12`)
	t.must(ctx, "the agent is stopped meanwhile", "systemctl stop weft; ! systemctl is-active weft")
	t.wait(ctx, "the change is undone in time", "ip -br addr show bond0 | grep 10.0.0.11 && diff $D/node.yaml /etc/weft/node.yaml && ls /etc/weft")
	t.must(ctx, "the agent starts again", "rm /etc/weft/*.reverted-*; systemctl start weft && systemctl is-active weft && weft plan")
}

// upgrade installs a higher version, and the same again.
func (t *test) upgrade(ctx context.Context) {
	t.quiet(ctx, `sed -i 's/^WEFT_AGENT=.*/WEFT_AGENT="--log-level debug"/' /etc/default/weft`)
	t.through(ctx, "dpkg -i of a higher version", pid+" >/tmp/pid; dpkg -i $D/next.deb && "+again+" && dpkg -s weft | grep '^Version.*next'")
	t.must(ctx, "/etc/default/weft is as the sysadmin left it, and used", "grep debug /etc/default/weft && tr '\\0' ' ' </proc/$("+pid+")/cmdline | grep -e '--log-level debug'")
	t.through(ctx, "the same version again", pid+" >/tmp/pid; dpkg -i $D/next.deb && "+again)
	t.through(ctx, "back to the lower one", pid+" >/tmp/pid; "+apt+"install --allow-downgrades $D/weft.deb && "+again)
	t.must(ctx, "systemctl stop lasts through no upgrade, systemctl disable does", `systemctl disable --now weft 2>&1; dpkg -i $D/next.deb
! systemctl is-active weft && ! systemctl is-enabled weft && systemctl enable --now weft 2>&1 && systemctl is-active weft`)
}

// reboot takes the node's links away, and then the machine.
func (t *test) reboot(ctx context.Context) {
	t.must(ctx, "the agent is down and somebody takes the links away", "systemctl stop weft; ip link del bond0; ip link del vlan992; ip link del vrf993; nft flush ruleset; ! weft plan >/dev/null")
	t.must(ctx, "start: the node is as its file and NICs say", "systemctl start weft && weft plan && weft status")
	t.wait(ctx, "a guest answers", "ip netns exec rt ping -c 1 -W 2 62.217.124.51 | tail -2; exit ${PIPESTATUS[0]}")
	if t.machine.ended == nil {
		t.Check(false, "this VM cannot be rebooted: it is another process's")
		return
	}
	t.Sh(ctx, "node", "systemctl reboot")
	select {
	case <-t.machine.ended:
	case <-ctx.Done():
		return
	}
	err := t.machine.boot(ctx)
	if !t.Check(err == nil, "it boots again") {
		fmt.Println(err)
		return
	}
	t.must(ctx, "nobody did anything, and the node is as its file says", "uptime -p; systemctl is-active weft && weft plan && weft status")
	t.must(ctx, "the network stood before what is ordered after it", `systemd-analyze critical-chain weft.service network.target --no-pager
ready=$(systemctl show --value -p ActiveEnterTimestampMonotonic weft) network=$(systemctl show --value -p ActiveEnterTimestampMonotonic network.target)
echo "ready at $ready, network.target at $network"; [ "$ready" -gt 0 ] && [ "$ready" -le "$network" ]`)
	t.wait(ctx, "the router answers", "ping -c 1 -W 2 10.0.0.1 | tail -2; exit ${PIPESTATUS[0]}")
	t.guests(ctx)
	t.clean(ctx)
}

// remove removes the package: the network stays, and so does what was configured.
func (t *test) remove(ctx context.Context) {
	t.must(ctx, "hypervisors call weft", `mkdir -p /etc/ganeti && weft ganeti install && weft libvirt install && ls /etc/ganeti /etc/libvirt/hooks/qemu.d`)
	t.through(ctx, "apt remove", apt+"remove weft && ! test -e /usr/bin/weft")
	t.must(ctx, "the unit is down and gone, the configuration is there", "! systemctl is-active weft; ! systemctl cat weft && ls -l /etc/weft /etc/default/weft")
	t.must(ctx, "hypervisors call nothing that is gone", "! find /etc/ganeti /etc/libvirt -type f | grep .")
	t.through(ctx, "apt install again", apt+"install $D/weft.deb && systemctl is-active weft && systemctl is-enabled weft && weft plan")
}

// purge purges the package, with the guests running.
func (t *test) purge(ctx context.Context) {
	t.quiet(ctx, "userdel member; userdel other; rm -rf /etc/ganeti /etc/libvirt")
	t.through(ctx, "apt purge", apt+"purge weft")
	t.must(ctx, "systemctl status knows no such unit", "systemctl status weft 2>&1 | grep 'could not be found'")
	t.must(ctx, "no file, user, group or unit is left", "sh $D/files.sh | diff /var/tmp/files -")
	t.must(ctx, "dpkg knows nothing of it", "! dpkg -s weft 2>/dev/null && ! dpkg -L weft 2>/dev/null")
	t.must(ctx, "and the network stands", "ip -br link show master bond0 && ip -br addr show bond0 | grep 10.0.0.11")
}
