// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"weft/internal/frame"
)

// Device looks a device up by its name. Nothing is remembered: a bond's address changes with its members, a name comes
// back as another device.
func (s *Socket) Device(name string) (Device, error) {
	d := Device{Name: name}
	fail := func(err error) (Device, error) { return Device{}, fmt.Errorf("find device %s: %w", name, err) }
	index, err := s.index(name)
	if err != nil {
		return fail(err)
	}
	d.Index = index
	s.mu.Lock()
	defer s.mu.Unlock()
	if d.MAC, err = s.mac(index); err != nil {
		return fail(err)
	}
	if d.LinkLocal, err = s.linkLocal(index); err != nil {
		return fail(err)
	}
	return d, nil
}

func (s *Socket) index(name string) (int, error) {
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return 0, err
	}
	raw, err := s.send.SyscallConn()
	if err != nil {
		return 0, err
	}
	var asked error
	err = raw.Control(func(fd uintptr) { asked = unix.IoctlIfreq(int(fd), unix.SIOCGIFINDEX, ifr) })
	return int(ifr.Uint32()), errors.Join(err, asked)
}

// mac reads a device's address by binding the sending socket to it: its name (getsockname) then has the address. As the
// socket hears no protocol, this has no other effect.
func (s *Socket) mac(index int) (frame.MAC, error) {
	if err := s.send.Bind(&unix.SockaddrLinklayer{Ifindex: index}); err != nil {
		return frame.MAC{}, err
	}
	name, err := s.send.Getsockname()
	if err != nil {
		return frame.MAC{}, err
	}
	ll, ok := name.(*unix.SockaddrLinklayer)
	if !ok || int(ll.Halen) != len(frame.MAC{}) {
		return frame.MAC{}, errors.New("it has no Ethernet address")
	}
	return frame.MAC(ll.Addr[:6]), nil
}

// The flags of an IPv6 address that is not in use: linux/if_addr.h.
const notInUse = unix.IFA_F_TENTATIVE | unix.IFA_F_DADFAILED

// linkLocal finds a device's first link-local address in /proc/net/if_inet6: address, device, prefix length, scope and
// flags in hexadecimal, and the device's name.
func (s *Socket) linkLocal(index int) (netip.Addr, error) {
	if s.inet6 == nil {
		return netip.Addr{}, nil
	}
	if _, err := s.inet6.Seek(0, io.SeekStart); err != nil {
		return netip.Addr{}, err
	}
	lines := bufio.NewScanner(s.inet6)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 6 {
			continue
		}
		dev, err := strconv.ParseUint(f[1], 16, 31)
		flags, err2 := strconv.ParseUint(f[4], 16, 32)
		octets, err3 := hex.DecodeString(f[0])
		if err := errors.Join(err, err2, err3); err != nil {
			return netip.Addr{}, fmt.Errorf("read %s: %w", s.inet6.Name(), err)
		}
		a, ok := netip.AddrFromSlice(octets)
		if ok && int(dev) == index && flags&notInUse == 0 && a.IsLinkLocalUnicast() {
			return a, nil
		}
	}
	return netip.Addr{}, lines.Err()
}
