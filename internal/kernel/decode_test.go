// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"weft/internal/netstate"
)

// FuzzDecode feeds the decoders what no kernel says. They may not panic or loop.
func FuzzDecode(f *testing.F) {
	m := newMessage(&unix.IfInfomsg{Index: 1})
	m.string(unix.IFLA_IFNAME, "eth0")
	m.nested(unix.IFLA_LINKINFO, func() {
		m.string(unix.IFLA_INFO_KIND, "bond")
		m.nested(unix.IFLA_INFO_DATA, func() { m.u8(unix.IFLA_BOND_MODE, 4) })
		m.string(unix.IFLA_INFO_SLAVE_KIND, "bond")
		m.nested(unix.IFLA_INFO_SLAVE_DATA, func() { m.u16(unix.IFLA_BOND_SLAVE_AD_AGGREGATOR_ID, 1) })
	})
	f.Add([]byte(*m))
	r := newMessage(&unix.RtMsg{Family: unix.AF_INET, Dst_len: 8, Type: 1})
	r.bytes(unix.RTA_DST, []byte{10, 0, 0, 0})
	r.nested(unix.RTA_MULTIPATH, func() { *r = append(*r, 8, 0, 0, 0, 1, 0, 0, 0) })
	f.Add([]byte(*r))
	f.Fuzz(func(t *testing.T, b []byte) {
		names := map[int32]string{1: "eth0"}
		ls := links{name: names}
		if len(b) >= unix.SizeofIfInfomsg {
			l := parseLink(b)
			ls.all = append(ls.all, l)
			ls.resolve()
			l.setting("ipv6", "proxy_ndp")
			putVLANs(&netstate.State{}, netstate.BridgeVLAN{Dev: "eth0"}, b[unix.SizeofIfInfomsg:])
		}
		if route, ok := parseRoute(b, names); ok {
			_ = route.Key()
		}
		if rule, ok := parseRule(b); ok {
			_ = rule.Key()
		}
		if a, ok := parseAddr(b, names); ok && !a.Prefix.Addr().IsValid() {
			t.Errorf("address without an address: %v", a)
		}
		if n, ok := parseNeigh(b, names); ok && !n.IP.IsValid() {
			t.Errorf("neighbour without an address: %v", n)
		}
		parseFDB(b, ls)
	})
}

// TestMessage checks the encoding against what the decoder makes of it.
func TestMessage(t *testing.T) {
	m := newMessage(&unix.RtMsg{Family: unix.AF_INET6})
	if len(*m) != unix.SizeofRtMsg || (*m)[0] != unix.AF_INET6 {
		t.Fatalf("header: %x", *m)
	}
	m.u8(1, 5)
	m.u16(2, 700)
	m.string(3, "bond0")
	m.nested(4, func() { m.u32(5, 1<<30) })
	if len(*m)%4 != 0 {
		t.Errorf("%d bytes are not aligned", len(*m))
	}
	var got []string
	for typ, v := range attrs((*m)[unix.SizeofRtMsg:]) {
		switch typ {
		case 1:
			got = append(got, strconv.Itoa(int(getU8(v))))
		case 2:
			got = append(got, strconv.Itoa(int(getU16(v))))
		case 3:
			got = append(got, getString(v))
		case 4:
			for typ, v := range attrs(v) {
				got = append(got, strconv.Itoa(int(typ)), strconv.Itoa(int(getU32(v))))
			}
		}
	}
	if s := strings.Join(got, " "); s != "5 700 bond0 5 1073741824" {
		t.Errorf("got %s", s)
	}
}

func TestAttrsMalformed(t *testing.T) {
	for _, b := range [][]byte{nil, {1}, {3, 0, 1, 0}, {9, 0, 1, 0, 5}, {0, 0, 0, 0}} {
		for typ := range attrs(b) {
			t.Errorf("%x has an attribute %d", b, typ)
		}
	}
}

func TestSettingFile(t *testing.T) {
	for p, ok := range map[string]bool{
		"net/ipv4/ip_forward": true, "net/ipv4/conf/bond0.993/proxy_arp": true,
		"kernel/hostname": false, "net/../kernel/hostname": false, "/net/ipv4/ip_forward": false, "net//ipv4": false, "": false, "net/ipv4/": false,
	} {
		if _, err := settingFile(p); (err == nil) != ok {
			t.Errorf("%q: %v", p, err)
		}
	}
}

func TestTelling(t *testing.T) {
	neigh := func(typ netlink.HeaderType, family uint8, state uint16, flags uint8) netlink.Message {
		return netlink.Message{Header: netlink.Header{Type: typ}, Data: *newMessage(&neighHeader{Family: family, State: state, Flags: flags})}
	}
	of := func(m netlink.Message, protocol uint8) netlink.Message {
		body := message(m.Data)
		body.u8(ndaProtocol, protocol)
		m.Data = body
		return m
	}
	group := func(typ netlink.HeaderType, state uint8) netlink.Message {
		m := newMessage(&mdbHeader{Family: unix.AF_BRIDGE})
		m.nested(mdbaMDB, func() {
			m.nested(mdbaMDBEntry, func() { m.bytes(mdbaMDBEntryInfo, *newMessage(&mdbEntry{State: state})) })
		})
		return netlink.Message{Header: netlink.Header{Type: typ}, Data: *m}
	}
	for _, tt := range []struct {
		m    netlink.Message
		want bool
	}{
		{group(unix.RTM_NEWMDB, 0), false}, // a guest listens
		{group(unix.RTM_NEWMDB, mdbPermanent), true},
		{group(rtmDelMDB, mdbPermanent), true},
		{netlink.Message{Header: netlink.Header{Type: unix.RTM_NEWMDB}}, false},
		{netlink.Message{Header: netlink.Header{Type: unix.RTM_NEWLINK}}, true},
		{neigh(unix.RTM_NEWNEIGH, unix.AF_INET, unix.NUD_REACHABLE, 0), false},
		{neigh(unix.RTM_DELNEIGH, unix.AF_INET, unix.NUD_STALE, 0), false},
		{neigh(unix.RTM_NEWNEIGH, unix.AF_INET, unix.NUD_PERMANENT, 0), true},
		{neigh(unix.RTM_DELNEIGH, unix.AF_INET, unix.NUD_FAILED, 0), false}, // one that nobody answered to
		{of(neigh(unix.RTM_DELNEIGH, unix.AF_INET, unix.NUD_FAILED, 0), netstate.Protocol), true},
		{of(neigh(unix.RTM_DELNEIGH, unix.AF_INET, unix.NUD_FAILED, 0), 4), false},
		{neigh(unix.RTM_NEWNEIGH, unix.AF_INET6, 0, unix.NTF_PROXY), true},
		{neigh(unix.RTM_NEWNEIGH, unix.AF_BRIDGE, unix.NUD_REACHABLE, unix.NTF_MASTER), false},
		{neigh(unix.RTM_DELNEIGH, unix.AF_BRIDGE, unix.NUD_NOARP, unix.NTF_MASTER), true},
	} {
		if got := telling(tt.m); got != tt.want {
			t.Errorf("%v %x: %v, want %v", tt.m.Header.Type, tt.m.Data, got, tt.want)
		}
	}
}

// TestExplain: an answer of the kernel keeps its number and its words.
func TestExplain(t *testing.T) {
	h := &Host{ioctl: -1, thread: &thread{}}
	err := h.explain(&netlink.OpError{Op: "receive", Err: unix.EBUSY, Message: "Device is busy."})
	if !errors.Is(err, unix.EBUSY) || err.Error() != "device or resource busy: Device is busy." {
		t.Errorf("got %v", err)
	}
	if ignore(err, unix.EBUSY) != nil || ignore(err, unix.EEXIST) == nil {
		t.Error("ignore does not look inside")
	}
}

// TestOverflow: a socket whose buffer ran full says that something has changed, and goes on.
func TestOverflow(t *testing.T) {
	if !strings.Contains(os.Getenv("WEFT_TEST_REQUIRE"), "kernel") {
		t.Skip("makes a network namespace: the kernel lane runs it")
	}
	ns := "kt-overflow-" + strconv.Itoa(os.Getpid())
	ip := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %v: %v\n%s", args, err, out)
		}
	}
	ip("netns", "add", ns)
	defer ip("netns", "del", ns)
	h, err := Open("/run/netns/" + ns)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = h.Close() }()
	c, err := h.join(unix.NETLINK_ROUTE, routeGroups)
	if err != nil {
		t.Fatal(err)
	}
	ip("-n", ns, "link", "set", "lo", "up")    // an alias of a link that is down makes no event
	if err := c.SetReadBuffer(1); err != nil { // the kernel makes it its least
		t.Fatal(err)
	}
	flood := func() {
		t.Helper()
		for i := range 50 {
			if err := h.setLink(netstate.Link{Name: "lo", Alias: new(strconv.Itoa(i))}); err != nil {
				t.Fatal(err)
			}
		}
	}
	flood() // and nobody reads
	if _, err := c.Receive(); !errors.Is(err, unix.ENOBUFS) {
		t.Fatalf("the buffer did not overflow: %v", err)
	}
	flood()
	changed, ended := make(chan struct{}, 1), make(chan struct{})
	go func() { (&Host{}).receive(c, unix.NETLINK_ROUTE, changed); close(ended) }()
	<-changed
	ip("-n", ns, "link", "set", "lo", "down")
	<-changed
	_ = c.Close()
	<-ended
}
