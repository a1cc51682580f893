// SPDX-License-Identifier: Apache-2.0

// Package wire sends and hears the frames of package frame on all devices of one network namespace, through packet
// sockets (packet(7)). It owns the sockets and nothing that they say: it changes no device, no address and no sysctl,
// and it knows no network, NIC or claim.
//
// What is sent goes straight to the device: no nftables hook of the arp, inet or bridge family sees it, so that an
// announcement does not depend on the filters that hold the kernel's own answers back.
package wire

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"sync"

	"github.com/mdlayher/socket"
	"golang.org/x/sys/unix"

	"weft/internal/frame"
)

// Socket sends on, and hears from, the devices of one network namespace. Its methods may be called at any time from
// any goroutine.
type Socket struct {
	ns    *os.File // the namespace, for the sockets of Listen
	send  *socket.Conn
	mu    sync.Mutex // held while send is bound to a device, or inet6 read
	inet6 *os.File   // /proc/net/if_inet6; nil in a kernel without IPv6
}

// Device is a network device at the moment of asking.
type Device struct {
	Name      string
	Index     int
	MAC       frame.MAC
	LinkLocal netip.Addr // an address that is in use, without a zone; not valid where there is none yet
}

// Open makes a Socket in the network namespace at this path; "" is the caller's own. It takes CAP_NET_RAW there.
func Open(netns string) (*Socket, error) {
	if netns == "" {
		netns = "/proc/thread-self/ns/net"
	}
	ns, err := os.Open(netns)
	if err != nil {
		return nil, fmt.Errorf("open network namespace: %w", err)
	}
	s := &Socket{ns: ns}
	err = s.inside(func() error {
		// Protocol 0: this one only sends.
		if s.send, err = socket.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0, "packet", nil); err != nil {
			return err
		}
		// An open file of /proc/net stays in its namespace.
		s.inet6, err = os.Open("/proc/thread-self/net/if_inet6")
		if errors.Is(err, os.ErrNotExist) {
			err = nil
		}
		return err
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open packet socket: %w", err), s.Close())
	}
	return s, nil
}

// inside runs f in the namespace, on a thread that ends with it.
func (s *Socket) inside(f func() error) error {
	done := make(chan error, 1)
	go func() {
		// Never unlocked: the thread must not serve anybody else.
		runtime.LockOSThread()
		if err := unix.Setns(int(s.ns.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- os.NewSyscallError("setns", err)
			return
		}
		done <- f()
	}()
	return <-done
}

// Close ends sending. A Listen ends with its context.
func (s *Socket) Close() error {
	err := s.ns.Close()
	if s.send != nil {
		err = errors.Join(err, s.send.Close())
	}
	if s.inet6 != nil {
		err = errors.Join(err, s.inet6.Close())
	}
	return err
}

// Send puts a frame on the device with this index. The error is the kernel's: ENXIO or ENODEV where there is no such
// device, ENETDOWN where it is not up.
func (s *Socket) Send(ifindex int, f frame.Frame) error {
	b, err := f.Marshal()
	if err != nil {
		return err
	}
	to := &unix.SockaddrLinklayer{Ifindex: ifindex, Protocol: uint16(b[13])<<8 | uint16(b[12]), Halen: 6}
	copy(to.Addr[:], f.Dst[:])
	if err := s.sendTo(b, to); err != nil {
		return fmt.Errorf("send %T on device %d: %w", f.Msg, ifindex, err)
	}
	return nil
}

// sendTo tries once: a device whose queue is full must not hold up the others, and what matters is sent again.
func (s *Socket) sendTo(b []byte, to unix.Sockaddr) error {
	raw, err := s.send.SyscallConn()
	if err != nil {
		return err
	}
	var sent error
	err = raw.Write(func(fd uintptr) bool {
		for {
			if sent = unix.Sendto(int(fd), b, unix.MSG_DONTWAIT, to); !errors.Is(sent, unix.EINTR) {
				return true
			}
		}
	})
	return errors.Join(err, os.NewSyscallError("sendto", sent))
}

// Join makes the device take frames for a multicast group that its own hardware may otherwise not hand up, until leave
// is called or the Socket is closed.
func (s *Socket) Join(ifindex int, group frame.MAC) (leave func() error, err error) {
	mreq := unix.PacketMreq{Ifindex: int32(ifindex), Type: unix.PACKET_MR_MULTICAST, Alen: uint16(len(group))}
	copy(mreq.Address[:], group[:])
	if err := s.send.SetsockoptPacketMreq(unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &mreq); err != nil {
		return nil, fmt.Errorf("join %s on device %d: %w", group, ifindex, err)
	}
	return func() error { return s.send.SetsockoptPacketMreq(unix.SOL_PACKET, unix.PACKET_DROP_MEMBERSHIP, &mreq) }, nil
}
