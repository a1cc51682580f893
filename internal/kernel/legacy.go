// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"weft/internal/foreign"
)

// legacy is one family of the iptables that are not nftables, which hand their whole ruleset out by getsockopt(2).
type legacy struct {
	family        string
	socket, level int
	names         string // the file that lists its tables
	target        int    // where an entry says how far it is to its target (ipt_entry.target_offset, ip6t_entry.target_offset)
}

var legacies = []legacy{
	{"ip", unix.AF_INET, unix.SOL_IP, "/proc/thread-self/net/ip_tables_names", 88},
	{"ip6", unix.AF_INET6, unix.SOL_IPV6, "/proc/thread-self/net/ip6_tables_names", 140},
}

// Of linux/netfilter_ipv4/ip_tables.h and linux/netfilter/x_tables.h; those of ip6_tables.h are the same.
const (
	iptGetInfo    = 64 // IPT_SO_GET_INFO
	iptGetEntries = 65 // IPT_SO_GET_ENTRIES
	sizeofIptInfo = 84 // struct ipt_getinfo
	sizeofIptGet  = 40 // struct ipt_get_entries, up to the entries
	xtTargetSize  = 32 // struct xt_entry_target, before the verdict of a standard one
	verdictDrop   = -1 // -NF_DROP - 1

	hookForward = 2       // NF_INET_FORWARD
	legacyMost  = 8 << 20 // a larger ruleset is not read
	legacyTries = 5
)

// legacyChains looks whether the forward chain of a legacy table filter drops. The kernel would load the table for who asks for one
// that is not there, so only what its list names is asked for.
func legacyChains(f *foreign.Facts) {
	for _, l := range legacies {
		tables, err := os.ReadFile(l.names)
		if err != nil || !slices.Contains(strings.Fields(string(tables)), "filter") {
			continue // root's to read; not there where no such table was ever made
		}
		drops, err := l.dropsForwarded()
		if err != nil {
			f.Unread = append(f.Unread, fmt.Sprintf("the legacy table filter of family %s (%v)", l.family, err))
		}
		if drops {
			f.Chains = append(f.Chains, foreign.Chain{Family: l.family, Table: "filter", Name: "FORWARD", Hook: "forward", Legacy: true, By: "iptables -P"})
		}
	}
}

// dropsForwarded reports whether the policy of FORWARD in the table filter is DROP.
func (l legacy) dropsForwarded() (bool, error) {
	fd, err := unix.Socket(l.socket, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return false, err
	}
	defer func() { _ = unix.Close(fd) }()
	for range legacyTries {
		info := make([]byte, sizeofIptInfo)
		copy(info, "filter")
		if err = getsockopt(fd, l.level, iptGetInfo, info); err != nil {
			return false, err
		}
		// name[32], valid_hooks, hook_entry[5], underflow[5], num_entries, size
		policy, size := native.Uint32(info[32+4+20+4*hookForward:]), native.Uint32(info[32+4+20+20+4:])
		if size > legacyMost {
			return false, fmt.Errorf("%d bytes of rules", size)
		}
		all := make([]byte, sizeofIptGet+int(size))
		copy(all, "filter")
		native.PutUint32(all[32:], size)
		if err = getsockopt(fd, l.level, iptGetEntries, all); err == nil {
			return l.verdict(all[sizeofIptGet:], int(policy)) == verdictDrop, nil
		}
		if !errors.Is(err, unix.EAGAIN) { // it has another size by now
			break
		}
	}
	return false, err
}

// verdict returns the verdict of the entry there, 0 for none.
func (l legacy) verdict(entries []byte, at int) int32 {
	if at < 0 || at+l.target+2 > len(entries) {
		return 0
	}
	at += int(native.Uint16(entries[at+l.target:])) + xtTargetSize
	if at+4 > len(entries) {
		return 0
	}
	return int32(native.Uint32(entries[at:]))
}

// getsockopt fills b, which says what is asked for.
func getsockopt(fd, level, name int, b []byte) error {
	n := uint32(len(b))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(name),
		uintptr(unsafe.Pointer(&b[0])), uintptr(unsafe.Pointer(&n)), 0)
	switch {
	case errno != 0:
		return errno
	case int(n) != len(b):
		return errors.New("an answer of another size")
	}
	return nil
}
