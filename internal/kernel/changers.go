// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"bufio"
	"bytes"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"weft/internal/netstate"
	"weft/internal/nft"
)

// changers knows which program, other than this process, changed objects of each kind last. The kernel says so in its own events: by
// the port of the netlink socket that asked for the change (nlmsg_pid; 0 where it was no request), for nftables by the process.
// Programs may be gone by the time that somebody wants to know, so they are looked up at once.
type changers struct {
	mu    sync.Mutex
	last  map[netstate.Kind]change
	ports map[uint32]string // who has a port, as far as it was looked up; "" for this process
	begun time.Time         // when ports was empty last

	touched map[netstate.Kind]bool // what of weft's the transaction of nftables that is being told changed
}

type change struct {
	who string
	at  time.Time
}

// How long a change counts as one of late, and how long a port is believed to be the same program's: ports come from process IDs,
// which the kernel uses again only after all others.
const (
	lately  = 30 * time.Second
	portAge = time.Minute
)

// Changer returns who changed an object of this kind last, in words; "" for nobody that is known.
func (h *Host) Changer(kind netstate.Kind) string {
	c := &h.changers
	c.mu.Lock()
	defer c.mu.Unlock()
	if last := c.last[kind]; time.Since(last.at) < lately {
		return last.who
	}
	if others := others(); kind == netstate.KindLink && len(others) > 0 {
		return "one of " + strings.Join(others, ", ") // of links the kernel does not say
	}
	return ""
}

// others returns the programs that talk to rtnetlink for longer than a moment, but for this one.
func others() (who []string) {
	procs, err := filepath.Glob("/proc/[0-9]*/fd")
	if err != nil {
		return nil
	}
	inodes := map[string]bool{}
	eachSocket(func(_, inode string) bool { inodes[inode] = true; return false })
	for _, fds := range procs {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(fds)))
		if err != nil || pid == os.Getpid() {
			continue
		}
		for inode := range sockets(strconv.Itoa(pid)) {
			if inodes[inode] {
				who = append(who, program(pid))
				break
			}
		}
	}
	return who
}

// note takes note of who asked for what an event tells of.
func (c *changers) note(m netlink.Message, family int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if family == unix.NETLINK_ROUTE {
		if kind := kindOf(m); kind != 0 && m.Header.PID != 0 {
			c.by(kind, m.Header.PID, "")
		}
		return
	}
	if c.touched == nil {
		c.touched = map[netstate.Kind]bool{}
	}
	if kind := touches(m); kind != 0 {
		c.touched[kind] = true
	}
	if pid, name := generationBy(m); pid != 0 { // the last word of a transaction
		for kind := range c.touched {
			c.by(kind, pid, name)
		}
		clear(c.touched)
	}
}

// missed takes note of events that nobody read.
func (c *changers) missed(family int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if family != unix.NETLINK_ROUTE {
		c.touched = map[netstate.Kind]bool{netstate.KindTable: true, netstate.KindElement: true} // for all that anybody knows
	}
}

// by takes note that the program at this port, of this name as far as the kernel says, changed an object of this kind. The caller
// holds mu.
func (c *changers) by(kind netstate.Kind, port uint32, name string) {
	if c.last == nil || time.Since(c.begun) > portAge {
		c.ports, c.begun = map[uint32]string{}, time.Now()
	}
	if c.last == nil {
		c.last = map[netstate.Kind]change{}
	}
	who, known := c.ports[port]
	if !known {
		who = whoHas(port)
		c.ports[port] = who
	}
	if name != "" && strings.HasPrefix(who, "process ") { // gone by now
		who = fmt.Sprintf("%s (%s)", name, who)
	}
	if who != "" {
		c.last[kind] = change{who, time.Now()}
	}
}

// touches returns which kind of object of weft's an event of nftables is about, 0 for none.
func touches(m netlink.Message) netstate.Kind {
	typ := int(m.Header.Type) & 0xff
	if typ == unix.NFT_MSG_NEWGEN || len(m.Data) < nfgenmsgSize {
		return 0
	}
	for at, v := range attrs(m.Data[nfgenmsgSize:]) {
		if at != unix.NFTA_TABLE_NAME { // also that of the table in chains, rules, sets and elements
			continue
		}
		switch {
		case getString(v) != nft.TableName:
			return 0
		case typ == unix.NFT_MSG_NEWSETELEM || typ == unix.NFT_MSG_DELSETELEM:
			return netstate.KindElement
		}
		return netstate.KindTable
	}
	return 0
}

// kindOf returns what an event of rtnetlink is about, 0 for nothing of weft's.
func kindOf(m netlink.Message) netstate.Kind {
	switch m.Header.Type {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		return netstate.KindLink
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		return netstate.KindAddr
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		return netstate.KindRoute
	case unix.RTM_NEWRULE, unix.RTM_DELRULE:
		return netstate.KindRule
	case unix.RTM_NEWNEIGH, unix.RTM_DELNEIGH:
		if len(m.Data) > 0 && m.Data[0] == unix.AF_BRIDGE {
			return netstate.KindFDB
		}
		return netstate.KindNeigh
	case unix.RTM_NEWMDB, rtmDelMDB:
		return netstate.KindMDB
	case unix.RTM_NEWQDISC, unix.RTM_DELQDISC, unix.RTM_NEWTFILTER, unix.RTM_DELTFILTER:
		return netstate.KindLimit
	}
	return 0
}

// generationBy returns the process that changed the ruleset and its name, 0 where the event does not say.
func generationBy(m netlink.Message) (pid uint32, name string) {
	if int(m.Header.Type)&0xff != unix.NFT_MSG_NEWGEN || len(m.Data) < nfgenmsgSize {
		return 0, ""
	}
	for typ, v := range attrs(m.Data[nfgenmsgSize:]) {
		switch typ {
		case unix.NFTA_GEN_PROC_PID:
			pid = getU32BE(v)
		case unix.NFTA_GEN_PROC_NAME:
			name = getString(v)
		}
	}
	return pid, name
}

// pidMost is the greatest process ID there is (PID_MAX_LIMIT): ports above it are of programs with several sockets.
const pidMost = 1 << 22

// whoHas returns the program that a netlink port is of, "" for this one.
func whoHas(port uint32) string {
	if _, err := os.Stat(fmt.Sprintf("/proc/self/task/%d", port)); err == nil { // nftables names the thread
		return ""
	}
	if who := program(int(port)); who != "" {
		return who
	}
	inode := inodeOf(port)
	switch {
	case inode == "":
		if port > pidMost {
			return "a program that is gone"
		}
		return fmt.Sprintf("process %d, which is gone", port)
	case holds("self", inode):
		return ""
	}
	procs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return ""
	}
	for _, p := range procs {
		if pid, err := strconv.Atoi(filepath.Base(p)); err == nil && holds(filepath.Base(p), inode) {
			return program(pid)
		}
	}
	return fmt.Sprintf("netlink port %d", port)
}

// program says which program a process is, and of which unit: "ip (process 123, cron.service)". "" where there is no such process.
func program(pid int) string {
	dir := fmt.Sprintf("/proc/%d", pid)
	comm, err := os.ReadFile(dir + "/comm")
	if err != nil {
		return ""
	}
	words := fmt.Sprintf("process %d", pid)
	if cgroup, err := os.ReadFile(dir + "/cgroup"); err == nil {
		for part := range strings.SplitSeq(strings.TrimSpace(string(cgroup)), "/") {
			if strings.HasSuffix(part, ".service") || strings.HasSuffix(part, ".scope") {
				words += ", " + part
				break
			}
		}
	}
	return fmt.Sprintf("%s (%s)", bytes.TrimSpace(comm), words)
}

// inodeOf returns the inode of the rtnetlink socket with this port, "" for none.
func inodeOf(port uint32) (found string) {
	eachSocket(func(p, inode string) bool {
		if p == strconv.FormatUint(uint64(port), 10) {
			found = inode
		}
		return found != ""
	})
	return found
}

// eachSocket calls do with the port and the inode of each rtnetlink socket of this namespace (/proc/net/netlink) until it returns true.
func eachSocket(do func(port, inode string) bool) {
	f, err := os.Open("/proc/thread-self/net/netlink")
	if err != nil {
		return
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		// sk Eth Pid Groups Rmem Wmem Dump Locks Drops Inode
		if w := strings.Fields(lines.Text()); len(w) == 10 && w[1] == "0" && do(w[2], w[9]) {
			return
		}
	}
}

// holds reports whether a process has the socket of this inode open.
func holds(proc, inode string) bool {
	for i := range sockets(proc) {
		if i == inode {
			return true
		}
	}
	return false
}

// sockets yields the inodes of the sockets that a process has open.
func sockets(proc string) iter.Seq[string] {
	return func(yield func(string) bool) {
		fds, err := os.ReadDir("/proc/" + proc + "/fd")
		if err != nil {
			return
		}
		for _, fd := range fds {
			to, err := os.Readlink("/proc/" + proc + "/fd/" + fd.Name())
			if inode, ok := strings.CutPrefix(to, "socket:["); err == nil && ok && !yield(strings.TrimSuffix(inode, "]")) {
				return
			}
		}
	}
}
