// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/mdlayher/socket"
	"golang.org/x/net/bpf"
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
}

// receiveBuffer is the size of a listening socket's buffer, in octets as the kernel counts them: some thousand frames,
// for the moment in which all guests of a node wake up.
const receiveBuffer = 4 << 20

// maxFrame is the largest frame that is read. Neighbour discovery is much smaller, and what is cut off is no frame.
const maxFrame = 2048

// Listen hears ARP, RARP and neighbour discovery on the device with this index, or on all devices, those too that come
// later, where it is 0. From a device's first frame on nothing is missed. The channel is closed when ctx ends, or when
// the kernel refuses to read on.
func (s *Socket) Listen(ctx context.Context, ifindex int) (<-chan Event, error) {
	var conns []*socket.Conn
	err := s.inside(func() error {
		for _, t := range []uint16{frame.EtherTypeARP, frame.EtherTypeRARP, frame.EtherTypeIPv6} {
			c, err := receiver(t, ifindex)
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
	for _, c := range conns {
		stop := context.AfterFunc(ctx, func() { _ = c.Close() })
		readers.Go(func() {
			read(ctx, c, events)
			if stop() {
				_ = c.Close()
			}
		})
	}
	go func() {
		readers.Wait()
		close(events)
	}()
	return events, nil
}

// receiver makes a socket that hears one protocol. It hears nothing before its filter stands: without a protocol it is
// deaf until it is bound.
func receiver(etherType uint16, ifindex int) (*socket.Conn, error) {
	c, err := socket.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0, "packet", nil)
	if err != nil {
		return nil, err
	}
	filter, err := bpf.Assemble(program(etherType))
	if err == nil {
		err = c.SetBPF(filter)
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

// program is the filter of a protocol's socket. It is all that a forwarded IPv6 packet pays.
//
// Frames for other hosts are left out, and with them those of VLANs that no device takes off the trunk: the kernel hands
// these up as if they had no tag, and marks them so.
func program(etherType uint16) []bpf.Instruction {
	const nextHeader, hopLimit, icmpType, icmpv6 = 20, 21, 54, 58
	p := []bpf.Instruction{}
	if etherType == frame.EtherTypeIPv6 {
		p = append(p,
			bpf.LoadAbsolute{Off: nextHeader, Size: 1},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: icmpv6, SkipFalse: 7},
			bpf.LoadAbsolute{Off: hopLimit, Size: 1},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: 255, SkipFalse: 5},
			bpf.LoadAbsolute{Off: icmpType, Size: 1},
			bpf.JumpIf{Cond: bpf.JumpLessThan, Val: 133, SkipTrue: 3},
			bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: 136, SkipTrue: 2},
		)
	}
	return append(p,
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.PACKET_OTHERHOST, SkipFalse: 1},
		bpf.RetConstant{Val: 0},
		bpf.RetConstant{Val: maxFrame},
	)
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
		f, err := frame.Parse(b[:n])
		if err != nil {
			continue // as the kernel's own protocols do
		}
		lost := lostSoFar(oob[:noob], before)
		select {
		case events <- Event{Index: ll.Ifindex, Frame: f, Lost: int(lost - before)}:
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
