// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// point is an interface whose incoming packets are captured while attacks go on.
//
// It is a packet socket that is emptied now and then, because a capture that wakes for each packet takes more of an emulated
// machine than what it looks at, and too few packets of a storm are then sent for it to be one.
type point struct {
	name, machine, dev string

	socket int

	mu      sync.Mutex
	packets []seenPacket // since forget
	lost    int          // of these, what the socket had no room for
}

// seenPacket is a captured packet.
type seenPacket struct {
	at   time.Time
	data []byte // the beginning of it, its VLAN tag in place
	size int    // bytes that it had
}

// readPoints reads lines NAME MACHINE DEV.
func readPoints(text string) ([]*point, error) {
	var list []*point
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		if len(words) != 3 {
			return nil, fmt.Errorf("points: %q is not NAME MACHINE DEV", strings.TrimSpace(line))
		}
		list = append(list, &point{name: words[0], machine: words[1], dev: words[2]})
	}
	return list, nil
}

const (
	snapLen    = 512                    // bytes of a packet that are kept
	emptyEvery = 100 * time.Millisecond // how often a socket is emptied
	socketRoom = 128 << 20              // bytes of the kernel's that wait in it
)

// watch starts the capture.
func (p *point) watch(l *Lab) error {
	err := onThread(l.netns(p.machine), func() error {
		dev, err := net.InterfaceByName(p.dev)
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		err = errors.Join(
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, socketRoom),
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
			unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1),
			unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1),
			unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: ethAll, Ifindex: dev.Index}),
		)
		if err != nil {
			_ = unix.Close(fd)
			return err
		}
		p.socket = fd
		return nil
	})
	if err != nil {
		return fmt.Errorf("capturing %s on %s: %w", p.dev, p.machine, err)
	}
	return nil
}

// watchAll captures at all points until the function is called that it returns.
func watchAll(l *Lab, points []*point) (stop func(), err error) {
	for i, p := range points {
		if err := p.watch(l); err != nil {
			for _, p := range points[:i] {
				_ = unix.Close(p.socket)
			}
			return nil, err
		}
	}
	stopped := make(chan struct{})
	var ended sync.WaitGroup
	ended.Go(func() {
		tick := time.NewTicker(emptyEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				for _, p := range points {
					p.empty()
				}
			case <-stopped:
				return
			}
		}
	})
	return func() {
		close(stopped)
		ended.Wait()
		for _, p := range points {
			_ = unix.Close(p.socket)
		}
	}, nil
}

// ethAll is ETH_P_ALL in the byte order of the wire.
var ethAll = binary.NativeEndian.Uint16([]byte{0, unix.ETH_P_ALL})

// empty takes what waits in the socket.
func (p *point) empty() {
	p.mu.Lock()
	defer p.mu.Unlock()
	var data [snapLen]byte
	var control [256]byte
	for {
		n, c, _, _, err := unix.Recvmsg(p.socket, data[:], control[:], unix.MSG_TRUNC|unix.MSG_DONTWAIT)
		if err != nil {
			break
		}
		p.packets = append(p.packets, readPacket(data[:min(n, snapLen)], n, control[:c]))
	}
	if stats, err := unix.GetsockoptTpacketStats(p.socket, unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
		p.lost += int(stats.Drops)
	}
}

// readPacket makes a packet of what the kernel says of it: when it came, and its VLAN tag, which is not with the data.
func readPacket(data []byte, size int, control []byte) seenPacket {
	p := seenPacket{at: time.Now(), data: bytes.Clone(data), size: size}
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return p
	}
	for _, m := range messages {
		native := binary.NativeEndian
		switch {
		case m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_TIMESTAMPNS && len(m.Data) >= 16: // struct timespec
			p.at = time.Unix(int64(native.Uint64(m.Data)), int64(native.Uint64(m.Data[8:])))
		case m.Header.Level == unix.SOL_PACKET && m.Header.Type == unix.PACKET_AUXDATA && len(m.Data) >= 20 && len(p.data) >= 12: // struct tpacket_auxdata
			status, tci, tpid := native.Uint32(m.Data), native.Uint16(m.Data[16:]), native.Uint16(m.Data[18:])
			if status&unix.TP_STATUS_VLAN_VALID == 0 {
				continue
			}
			if status&unix.TP_STATUS_VLAN_TPID_VALID == 0 {
				tpid = unix.ETH_P_8021Q
			}
			tag := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, tpid), tci)
			p.data, p.size = slices.Insert(p.data, 12, tag...), p.size+len(tag)
		}
	}
	return p
}

// seen are the packets since forget, and how many more the socket had no room for.
func (p *point) seen() (packets []seenPacket, lost int) {
	p.empty()
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.packets), p.lost
}

// count is how many they are.
func (p *point) count() int {
	p.empty()
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.packets) + p.lost
}

// forget has the next attack begin.
func (p *point) forget() {
	p.empty()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.packets, p.lost = nil, 0
}

// duration is the time from the first of these packets to the last.
func duration(packets []seenPacket) time.Duration {
	if len(packets) == 0 {
		return 0
	}
	return max(0, packets[len(packets)-1].at.Sub(packets[0].at))
}

// pcapOf is a capture file with these packets.
func pcapOf(packets []seenPacket) []byte {
	words := func(b []byte, list ...uint32) []byte {
		for _, v := range list {
			b = binary.NativeEndian.AppendUint32(b, v)
		}
		return b
	}
	file := words(nil, 0xa1b2c3d4)
	file = binary.NativeEndian.AppendUint16(file, 2)
	file = binary.NativeEndian.AppendUint16(file, 4)
	file = words(file, 0, 0, snapLen+4, 1 /* Ethernet */)
	for _, p := range packets {
		file = words(file, uint32(p.at.Unix()), uint32(p.at.Nanosecond()/1000), uint32(len(p.data)), uint32(p.size))
		file = append(file, p.data...)
	}
	return file
}

// countPackets counts the packets that match a filter of tcpdump's, which is looked at also when there are none.
func countPackets(ctx context.Context, packets []seenPacket, filter string) (int, error) {
	cmd := exec.CommandContext(ctx, "tcpdump", "-n", "-r", "-", "--count", filter)
	cmd.Stdin = bytes.NewReader(pcapOf(packets))
	out, err := output("", cmd)
	if err == nil {
		err = out.Err()
	}
	if err != nil {
		return 0, fmt.Errorf("counting what matches %q: %w", filter, err)
	}
	word, _, _ := strings.Cut(strings.TrimSpace(out.Stdout), " ")
	n, err := strconv.Atoi(word)
	if err != nil {
		return 0, fmt.Errorf("counting packets: tcpdump printed no number: %q", out.Stdout)
	}
	return n, nil
}

// keepPackets writes what was captured during an attack to a file.
func keepPackets(packets []seenPacket, file string) error {
	if err := os.WriteFile(file, pcapOf(packets), 0o644); err != nil {
		return fmt.Errorf("keeping a capture: %w", err)
	}
	return nil
}
