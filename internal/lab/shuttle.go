// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// shuttle is what QEMU is to a VM's network: it holds the guest's own interface and the taps of the nodes, and carries
// frames between the guest and the tap at which the guest runs. A tap vanishes with its descriptor, as QEMU's does.
type shuttle struct {
	mac   net.HardwareAddr
	guest *os.File // the guest's eth0
	ended chan struct{}
	wg    sync.WaitGroup

	mu   sync.Mutex
	here *os.File // the tap at which the guest runs
	next *os.File // the tap at the target of a migration, until the guest runs there
	from *os.File // the tap at the source, once the guest has left it
}

// maxFrame is the largest frame that a tap without offloads hands over.
const maxFrame = 65536

// selfAnnounce is when QEMU announces a guest that goes on after a migration (qemu, net/announce.c: five rounds, the first
// pause 50 ms, each next one 100 ms longer).
var selfAnnounce = []time.Duration{0, 50 * time.Millisecond, 150 * time.Millisecond, 250 * time.Millisecond, 350 * time.Millisecond}

// openTap makes a TAP device that goes when the file is closed. It is down.
func openTap(netns, name string) (f *os.File, err error) {
	err = onThread(netns, func() error {
		// The device comes into being in the namespace in which the file was opened.
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		req, err := unix.NewIfreq(name)
		if err == nil {
			req.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
			err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
		}
		if err != nil {
			_ = unix.Close(fd)
			return err
		}
		f = os.NewFile(uintptr(fd), name)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("making tap %s in namespace %s: %w", name, netns, err)
	}
	return f, nil
}

// newShuttle carries frames between a guest's interface and a tap until it is closed.
func newShuttle(mac net.HardwareAddr, guest, tap *os.File) *shuttle {
	s := &shuttle{mac: mac, guest: guest, here: tap, ended: make(chan struct{})}
	s.carry(guest, func(frame []byte) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.send(frame)
	})
	s.hear(tap)
	return s
}

// carry hands each frame that comes from a device to f, until the device is closed.
func (s *shuttle) carry(dev *os.File, f func(frame []byte)) {
	s.wg.Go(func() {
		buf := make([]byte, maxFrame)
		for {
			n, err := dev.Read(buf)
			if err != nil {
				return
			}
			f(buf[:n])
		}
	})
}

// hear hands what comes from a tap to the guest, while it is the one at which the guest runs. Another one's frames are
// taken and dropped, as those of a paused VM are that is then ended.
func (s *shuttle) hear(tap *os.File) {
	s.carry(tap, func(frame []byte) {
		s.mu.Lock()
		here := s.here == tap
		s.mu.Unlock()
		if here {
			_, _ = s.guest.Write(frame)
		}
	})
}

// send hands a frame of the guest's to the node. A tap that is down takes none (EIO), and a cable neither.
func (s *shuttle) send(frame []byte) { _, _ = s.here.Write(frame) }

// prepare takes the tap of a migration's target.
func (s *shuttle) prepare(tap *os.File) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next != nil || s.from != nil {
		return errors.New("it migrates already")
	}
	s.next = tap
	s.hear(tap)
	return nil
}

// turn lets the guest go on at the target, and announces it as QEMU does: by RARP, and by these frames of its own.
func (s *shuttle) turn(own [][]byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next == nil {
		return errors.New("no target is prepared")
	}
	s.from, s.here, s.next = s.here, s.next, nil
	tap := s.here
	s.announce(own)
	s.wg.Go(func() {
		for _, wait := range selfAnnounce[1:] {
			select {
			case <-time.After(wait):
			case <-s.ended:
				return
			}
			s.mu.Lock()
			if s.here == tap {
				s.announce(own)
			}
			s.mu.Unlock()
		}
	})
	return nil
}

func (s *shuttle) announce(own [][]byte) {
	s.send(rarp(s.mac))
	for _, frame := range own {
		s.send(frame)
	}
}

// finish lets go of the tap at the source.
func (s *shuttle) finish() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.from == nil {
		return errors.New("it does not run on the target yet")
	}
	err := s.from.Close()
	s.from = nil
	return err
}

// abort lets go of the tap at the target; a guest that ran there goes on at the source.
func (s *shuttle) abort() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.from != nil {
		s.here, s.next, s.from = s.from, s.here, nil
	}
	if s.next == nil {
		return errors.New("it does not migrate")
	}
	err := s.next.Close()
	s.next = nil
	return err
}

// close lets go of all devices.
func (s *shuttle) close() error {
	close(s.ended)
	s.mu.Lock()
	var errs []error
	for _, f := range []*os.File{s.guest, s.here, s.next, s.from} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	s.mu.Unlock()
	s.wg.Wait()
	return errors.Join(errs...)
}

// EtherTypes and operations of what announces a guest.
const (
	typeARP        = 0x0806
	typeRARP       = 0x8035
	arpRequest     = 1
	reverseRequest = 3
)

// rarp is QEMU's announcement: a reverse request for the guest's own MAC, without an address.
func rarp(mac net.HardwareAddr) []byte {
	return broadcast(typeRARP, reverseRequest, mac, [4]byte{}, mac)
}

// gratuitous is what a Linux guest sends for an address of its own when virtio tells it to announce itself.
func gratuitous(mac net.HardwareAddr, addr [4]byte) []byte {
	return broadcast(typeARP, arpRequest, mac, addr, make(net.HardwareAddr, 6))
}

// broadcast is a frame of 60 bytes to all, with an ARP or RARP packet for IPv4 over Ethernet (RFC 826, RFC 903) whose sender
// and target have the same address.
func broadcast(etherType, operation uint16, mac net.HardwareAddr, addr [4]byte, target net.HardwareAddr) []byte {
	frame := append([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, mac...)
	frame = binary.BigEndian.AppendUint16(frame, etherType)
	frame = append(frame, 0, 1, 8, 0, 6, 4)
	frame = binary.BigEndian.AppendUint16(frame, operation)
	frame = append(append(frame, mac...), addr[:]...)
	frame = append(append(frame, target...), addr[:]...)
	return append(frame, make([]byte, 60-len(frame))...)
}
