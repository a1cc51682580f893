// SPDX-License-Identifier: Apache-2.0

package wire_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weft/internal/frame"
	"weft/internal/wire"
	"weft/internal/wire/wiretest"
)

func send(t testing.TB, s *wire.Socket, dev string, f frame.Frame) {
	t.Helper()
	if err := s.Send(wiretest.Device(t, s, dev).Index, f); err != nil {
		t.Fatal(err)
	}
}

func listen(t testing.TB, s *wire.Socket, ifindex int) <-chan wire.Event {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), wiretest.Patience)
	t.Cleanup(cancel)
	events, err := s.Listen(ctx, ifindex)
	if err != nil {
		t.Fatal(err)
	}
	return events
}

// stranger is the source of all frames that the tests send, as kernels speak by themselves.
var stranger = frame.MAC{0x02, 0xaa, 0, 0, 0, 1}

// heard returns what came from the stranger until the frame that ends the test, as lines.
func heard(t testing.TB, events <-chan wire.Event, names map[int]string, end func(frame.Message) bool) []string {
	t.Helper()
	var lines []string
	for e := range events {
		if e.Frame.Src != stranger {
			continue
		}
		if end(e.Frame.Msg) {
			return lines
		}
		line := fmt.Sprintf("%s: %T", names[e.Index], e.Frame.Msg)
		if a, ok := e.Frame.Msg.(frame.ARP); ok {
			line += " for " + a.TPA.String()
		}
		lines = append(lines, line)
	}
	t.Fatalf("the last frame was not heard; before it: %q", lines)
	return nil
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// arp is a frame of the stranger, told from others by the address that it asks for.
func arp(target string) frame.Frame { return frame.ARPProbe(stranger, addr(target)) }

// TestDevices: a frame is heard once, on the device whose protocols get it.
func TestDevices(t *testing.T) {
	here, ns := wiretest.Namespace(t)
	there, thereNS := wiretest.Namespace(t)
	events := listen(t, here, 0) // before there is any device
	wiretest.IP(t, ns, `link set lo up
link add eth0 type veth peer name eth0 netns `+thereNS+`
link add eth1 type veth peer name eth1 netns `+thereNS+`
link add bond0 type bond mode active-backup miimon 100
link set eth0 master bond0
link set eth1 master bond0
link add vrf993 type vrf table 993
link add link bond0 name bond0.993 type vlan id 993
link set bond0.993 master vrf993
link add br0 type bridge
link add port0 type veth peer name far0 netns `+thereNS+`
link set port0 master br0
link set vrf993 up
link set bond0 up
link set bond0.993 up
link set br0 up
link set port0 up
`)
	wiretest.IP(t, thereNS, `link set eth0 up
link set eth1 up
link set far0 up
link add link eth0 name eth0.993 type vlan id 993
link add link eth0 name eth0.50 type vlan id 50
link set eth0.993 up
link set eth0.50 up
`)
	tap := openTap(t, ns, "tap0")
	wiretest.IP(t, ns, "link set tap0 master vrf993 up\n")
	names := map[int]string{}
	for _, n := range []string{"bond0", "bond0.993", "tap0", "br0", "eth0", "eth1", "vrf993", "port0"} {
		names[wiretest.Device(t, here, n).Index] = n
	}
	wiretest.Until(t, func() (string, bool) { // eth0 is the member that hears
		out, ok := wiretest.Run(t, ns, "ip", "-d", "link", "show", "bond0")
		return out, ok && strings.Contains(out, "active_slave eth0")
	})

	write(t, tap, arp("192.0.2.1"))
	write(t, tap, frame.Frame{Dst: frame.Broadcast, Src: stranger, Msg: frame.RARP{Op: frame.OpReverseRequest, SHA: stranger, SPA: addr("0.0.0.0"), THA: stranger, TPA: addr("0.0.0.0")}})
	send(t, there, "eth0", arp("192.0.2.2"))
	send(t, there, "eth0.993", arp("192.0.2.3"))
	send(t, there, "eth0.50", arp("192.0.2.4"))                                                                                       // no such VLAN here
	send(t, there, "eth0.993", frame.Frame{Dst: frame.MAC{2, 0, 0, 0, 9, 9}, Src: stranger, Msg: arp("192.0.2.5").Msg})               // to another host
	send(t, there, "eth0.993", frame.Frame{Dst: wiretest.Device(t, here, "bond0.993").MAC, Src: stranger, Msg: arp("192.0.2.6").Msg}) // to this one
	send(t, there, "far0", arp("192.0.2.7"))                                                                                          // flooded by the bridge
	send(t, here, "bond0.993", arp("192.0.2.8"))                                                                                      // our own
	send(t, there, "eth0.993", arp("192.0.2.99"))
	got := heard(t, events, names, func(m frame.Message) bool { a, ok := m.(frame.ARP); return ok && a.TPA == addr("192.0.2.99") })
	want := []string{
		"tap0: frame.ARP for 192.0.2.1", "tap0: frame.RARP", "bond0: frame.ARP for 192.0.2.2", "bond0.993: frame.ARP for 192.0.2.3",
		"bond0.993: frame.ARP for 192.0.2.6", "br0: frame.ARP for 192.0.2.7",
	}
	compare(t, got, want)

	// Neighbour discovery, and nothing else of IPv6.
	ll, last := frame.LinkLocal(stranger), addr("2001:db8::99")
	dst := frame.MulticastMAC(frame.AllNodes)
	for _, m := range []frame.Message{
		frame.NS{Src: ll, Dst: frame.SolicitedNode(last), Target: addr("2001:db8::1"), SLLA: stranger},
		frame.NA{Src: ll, Dst: frame.AllNodes, Target: addr("2001:db8::1"), TLLA: stranger},
		frame.RS{Src: ll, Dst: frame.AllRouters},
		frame.RA{Src: ll, Dst: frame.AllNodes},
	} {
		write(t, tap, frame.Frame{Dst: dst, Src: stranger, Msg: m})
	}
	forwarded, err := frame.UnsolicitedNA(stranger, ll, addr("2001:db8::2")).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	forwarded[21] = 64 // the hop limit
	if _, err := tap.Write(forwarded); err != nil {
		t.Fatal(err)
	}
	send(t, there, "eth0.993", frame.UnsolicitedNA(stranger, ll, addr("2001:db8::3")))
	write(t, tap, frame.UnsolicitedNA(stranger, ll, last))
	got = heard(t, events, names, func(m frame.Message) bool { a, ok := m.(frame.NA); return ok && a.Target == last })
	compare(t, got, []string{"tap0: frame.NS", "tap0: frame.NA", "tap0: frame.RS", "tap0: frame.RA", "bond0.993: frame.NA"})
}

// compare is of sets: frames that come in on different processors may pass each other.
func compare(t *testing.T, got, want []string) {
	t.Helper()
	count := map[string]int{}
	for _, g := range got {
		count[g]++
	}
	for _, w := range want {
		if count[w] != 1 {
			t.Errorf("%q heard %d times", w, count[w])
		}
	}
	if len(got) != len(want) {
		t.Errorf("heard %q, want %q", got, want)
	}
}

// openTap makes a tap in a namespace and holds its far end, as QEMU does.
func openTap(t *testing.T, ns, name string) *os.File {
	t.Helper()
	type result struct {
		f   *os.File
		err error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread has changed its namespace
		f, err := func() (*os.File, error) {
			n, err := os.Open("/run/netns/" + ns)
			if err != nil {
				return nil, err
			}
			if err := errors.Join(unix.Setns(int(n.Fd()), unix.CLONE_NEWNET), n.Close()); err != nil {
				return nil, err
			}
			fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
			if err != nil {
				return nil, err
			}
			ifr, err := unix.NewIfreq(name)
			if err != nil {
				return nil, err
			}
			ifr.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
			return os.NewFile(uintptr(fd), "tap"), unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr)
		}()
		done <- result{f, err}
	}()
	r := <-done
	if r.err != nil {
		t.Fatal(r.err)
	}
	t.Cleanup(func() { _ = r.f.Close() })
	return r.f
}

func write(t *testing.T, tap *os.File, f frame.Frame) {
	t.Helper()
	b, err := f.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tap.Write(b); err != nil {
		t.Fatal(err)
	}
}

// TestDevice compares what is read of a device with what was set.
func TestDevice(t *testing.T) {
	s, ns := wiretest.Namespace(t)
	wiretest.IP(t, ns, "link add eth0 address 02:00:00:00:00:07 type veth peer name eth1\nlink set eth1 up\nlink set eth0 up\n")
	var d wire.Device
	wiretest.Until(t, func() (string, bool) { d = wiretest.Device(t, s, "eth0"); return fmt.Sprint(d), d.LinkLocal.IsValid() }) // duplicate address detection takes a second
	if d.Name != "eth0" || d.MAC.String() != "02:00:00:00:00:07" || d.LinkLocal != addr("fe80::ff:fe00:7") {
		t.Errorf("%+v", d)
	}
	if out, ok := wiretest.Run(t, ns, "ip", "link", "show", "eth0"); !ok || !strings.HasPrefix(out, fmt.Sprintf("%d: eth0@", d.Index)) {
		t.Errorf("device %d: %s", d.Index, out)
	}
	wiretest.IP(t, ns, "link set eth0 address 02:00:00:00:00:08\n")
	if d := wiretest.Device(t, s, "eth0"); d.MAC.String() != "02:00:00:00:00:08" {
		t.Errorf("after a change: %+v", d)
	}
	wiretest.IP(t, ns, "link del eth0\n")
	if d, err := s.Device("eth0"); !errors.Is(err, unix.ENODEV) || err.Error() != "find device eth0: no such device" {
		t.Errorf("%+v, %v", d, err)
	}
	if err := s.Send(d.Index, arp("192.0.2.1")); !errors.Is(err, unix.ENXIO) {
		t.Errorf("send on a device that is gone: %v", err)
	}
	if _, err := s.Device("lo"); err != nil {
		t.Error(err)
	}
	if err := s.Send(wiretest.Device(t, s, "lo").Index, arp("192.0.2.1")); !errors.Is(err, unix.ENETDOWN) {
		t.Errorf("send on a device that is down: %v", err)
	}
}

// TestLost: what a slow reader misses is counted, and what is heard and what is lost is what was sent.
func TestLost(t *testing.T) {
	here, ns := wiretest.Namespace(t)
	wiretest.IP(t, ns, "link add eth0 type veth peer name eth1\nlink set eth0 up\nlink set eth1 up\n")
	wiretest.Until(t, func() (string, bool) {
		err := here.Send(wiretest.Device(t, here, "eth1").Index, arp("192.0.2.1"))
		return fmt.Sprint(err), err == nil
	})
	events := listen(t, here, wiretest.Device(t, here, "eth0").Index)
	const sent = 20_000 // more than the buffer holds
	from := wiretest.Device(t, here, "eth1").Index
	// Frames wait on the way while the machine is busy, and the sender is refused when they fill its buffer.
	say := func() {
		wiretest.Until(t, func() (string, bool) {
			err := here.Send(from, arp("192.0.2.2"))
			if err != nil && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.ENOBUFS) {
				t.Fatal(err)
			}
			return fmt.Sprint(err), err == nil
		})
	}
	for range sent {
		say()
	}
	// The loss shows with the first frame after it, so go on until it does.
	count, lost, more := 0, 0, 0
	next := time.NewTicker(time.Millisecond)
	defer next.Stop()
	for lost == 0 || count+lost < sent+more {
		select {
		case e, ok := <-events:
			if !ok {
				t.Fatalf("%d frames heard and %d lost of %d", count, lost, sent+more)
			}
			if a, ok := e.Frame.Msg.(frame.ARP); ok && a.TPA == addr("192.0.2.2") {
				count, lost = count+1, lost+e.Lost
			}
		case <-next.C:
			say()
			more++
		}
	}
	if lost == 0 || count+lost != sent+more {
		t.Errorf("%d frames heard and %d lost of %d", count, lost, sent+more)
	}
}

// TestFlood: one device's flood is heard in part, and drowns nobody who speaks on another: not one frame.
func TestFlood(t *testing.T) {
	here, ns := wiretest.Namespace(t)
	events := listen(t, here, 0)
	floods, quiet := openTap(t, ns, "tap0"), openTap(t, ns, "tap1")
	wiretest.IP(t, ns, "link set tap0 up\nlink set tap1 up\n")
	from := wiretest.Device(t, here, "tap0").Index
	const spoken, each = 20, 1000 // together more than a buffer holds
	var talk sync.WaitGroup
	defer talk.Wait()
	talk.Go(func() {
		flood, err := arp("192.0.2.1").Marshal()
		for i := range spoken {
			for range each {
				_, failed := floods.Write(flood)
				err = errors.Join(err, failed)
			}
			word, failed := arp(fmt.Sprintf("198.51.100.%d", i)).Marshal()
			_, unsaid := quiet.Write(word)
			err = errors.Join(err, failed, unsaid)
		}
		if err != nil {
			t.Error(err)
		}
	})
	flooded, limited, heard := 0, 0, map[netip.Addr]bool{}
	for e := range events {
		a, isARP := e.Frame.Msg.(frame.ARP)
		switch {
		case e.Lost > 0:
			t.Fatalf("%d frames were lost", e.Lost)
		case e.Limited && e.Index == from:
			limited++
		case e.Limited:
			t.Fatalf("device %d is limited", e.Index)
		case isARP && e.Index == from:
			flooded++
		case isARP:
			heard[a.TPA] = true
		}
		if len(heard) == spoken {
			break
		}
	}
	if flooded == 0 || flooded > spoken*each*3/4 || limited == 0 || len(heard) != spoken {
		t.Errorf("heard %d frames of the flood, limited %d times, and %d frames of the other; want some, some, and %d", flooded, limited, len(heard), spoken)
	}
}

// TestEnd: the channel is closed when the context ends, and a device that flaps is heard again.
func TestEnd(t *testing.T) {
	here, ns := wiretest.Namespace(t)
	wiretest.IP(t, ns, "link add eth0 type veth peer name eth1\nlink set eth0 up\nlink set eth1 up\n")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	events, err := here.Listen(ctx, wiretest.Device(t, here, "eth0").Index)
	if err != nil {
		t.Fatal(err)
	}
	for _, target := range []string{"192.0.2.1", "192.0.2.2"} {
		from := wiretest.Device(t, here, "eth1").Index
		wiretest.Until(t, func() (string, bool) { err := here.Send(from, arp(target)); return fmt.Sprint(err), err == nil })
		heard(t, events, nil, func(m frame.Message) bool { a, ok := m.(frame.ARP); return ok && a.TPA == addr(target) })
		wiretest.IP(t, ns, "link set eth0 down\nlink set eth0 up\n")
	}
	cancel()
	for range events {
		continue
	}
}

func TestOpen(t *testing.T) {
	if s, err := wire.Open("/run/netns/none such"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v, %v", s, err)
	}
	if s, err := wire.Open("/dev/null"); !errors.Is(err, unix.EINVAL) {
		t.Errorf("%v, %v", s, err)
	}
}
