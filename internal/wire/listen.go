// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/mdlayher/socket"
	"golang.org/x/sys/unix"

	"weft/internal/frame"
)

// Event is a frame that came in on a device, and was for this host: for its address, for a group or for all.
//
// The device is the one that the protocols see: the VLAN device and not its parent, the bond and not its member, the tap
// also where it is a port of a VRF. The ports of a bridge are not heard: what they bring is a bridge's to forward, and
// only what it hands up to the host is heard, on the bridge. What this host itself sends is never heard.
type Event struct {
	Index int // of the device
	Frame frame.Frame
	Lost  int // frames that were lost before this one, because the events were not taken fast enough
	// Limited says that this is no frame: the device has brought so many that more of it are not heard for a moment.
	Limited bool
}

// receiveBuffer is the size of a listening socket's buffer, in octets as the kernel counts them: some thousand frames,
// for the moment in which all guests of a node wake up.
const receiveBuffer = 4 << 20

// maxFrame is the largest frame that is read. Neighbour discovery is much smaller, and what is cut off is no frame.
const maxFrame = 2048

// Listen hears ARP, RARP and neighbour discovery on the device with this index, or on all devices, those too that come
// later, where it is 0. From a device's first frame on nothing is missed; but of all devices, what one brings beyond some thousand frames a
// second is not heard, so that its flood drowns no other's. The channel is closed when ctx ends, or when the kernel refuses to read on.
func (s *Socket) Listen(ctx context.Context, ifindex int) (<-chan Event, error) {
	var conns []*socket.Conn
	err := s.inside(func() error {
		f, err := newFilters(ifindex == 0)
		if err != nil {
			return err
		}
		defer f.close()
		for _, t := range []uint16{frame.EtherTypeARP, frame.EtherTypeRARP, frame.EtherTypeIPv6} {
			c, err := receiver(t, ifindex, f)
			if err != nil {
				return err
			}
			conns = append(conns, c)
		}
		return nil
	})
	if err != nil {
		for _, c := range conns {
			err = errors.Join(err, c.Close())
		}
		return nil, fmt.Errorf("listen on device %d: %w", ifindex, err)
	}
	events := make(chan Event)
	var readers sync.WaitGroup
	ctx, cancel := context.WithCancel(ctx)
	for _, c := range conns {
		stop := context.AfterFunc(ctx, func() { _ = c.Close() })
		readers.Go(func() {
			read(ctx, c, events)
			cancel() // to hear in part would be to take silence for an answer
			if stop() {
				_ = c.Close()
			}
		})
	}
	go func() {
		readers.Wait()
		cancel()
		close(events)
	}()
	return events, nil
}

// receiver makes a socket that hears one protocol. It hears nothing before its filter stands: without a protocol it is
// deaf until it is bound.
func receiver(etherType uint16, ifindex int, f *filters) (*socket.Conn, error) {
	c, err := socket.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0, "packet", nil)
	if err != nil {
		return nil, err
	}
	filter, err := f.program(etherType)
	if err == nil {
		err = c.SetsockoptInt(unix.SOL_SOCKET, unix.SO_ATTACH_BPF, filter)
	}
	if err == nil {
		err = c.SetsockoptInt(unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1)
	}
	if err == nil && c.SetsockoptInt(unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil {
		// Without CAP_NET_ADMIN in the first namespace, as much as anybody may have.
		err = c.SetsockoptInt(unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer)
	}
	if err == nil {
		err = c.Bind(&unix.SockaddrLinklayer{Ifindex: ifindex, Protocol: etherType>>8 | etherType<<8})
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// read hands on what a socket hears until it is closed.
func read(ctx context.Context, c *socket.Conn, events chan<- Event) {
	b, oob := make([]byte, maxFrame), make([]byte, unix.CmsgSpace(4))
	var before uint32 // frames lost in the socket's life, as of the event before
	for {
		n, noob, _, from, err := c.Recvmsg(context.Background(), b, oob, 0)
		if errors.Is(err, unix.ENETDOWN) {
			continue // the device went down; the socket hears it again when it comes up
		}
		if err != nil {
			return
		}
		ll, ok := from.(*unix.SockaddrLinklayer)
		if !ok {
			continue
		}
		e := Event{Index: ll.Ifindex, Limited: n == cut}
		if e.Frame, err = frame.Parse(b[:n]); err != nil && !e.Limited {
			continue // as the kernel's own protocols do
		}
		lost := lostSoFar(oob[:noob], before)
		e.Lost = int(lost - before)
		select {
		case events <- e:
			before = lost
		case <-ctx.Done():
			return
		}
	}
}

// lostSoFar reads the count that SO_RXQ_OVFL adds to a message once frames were lost.
func lostSoFar(oob []byte, before uint32) uint32 {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return before
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SO_RXQ_OVFL && len(m.Data) >= 4 {
			return binary.NativeEndian.Uint32(m.Data)
		}
	}
	return before
}
