// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Host is one network namespace of the running kernel. It may be used by several goroutines: its methods take turns.
type Host struct {
	thread *thread
	ioctl  int // a socket in the namespace, for SIOCGIFINDEX

	expected atomic.Pointer[map[int]string] // see Expect
	changers changers                       // see Changer
	written  written                        // tells Watch of settings

	surroundings surroundings // see Foreign

	mu   sync.Mutex
	conn *netlink.Conn // rtnetlink; nil until first needed, and after a transport error
	genl *ethtool      // nil until first needed; then its conn is nil where the kernel has no ethtool netlink
}

// Open returns the host of the network namespace at this path, such as /run/netns/hv1; "" means the caller's own.
// Nothing is read or changed yet. Close it after use.
func Open(netns string) (*Host, error) {
	t, err := startThread(netns)
	if err != nil {
		return nil, fmt.Errorf("open network namespace %s: %w", netns, err)
	}
	h := &Host{thread: t, ioctl: -1}
	t.do(func() { h.ioctl, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0) })
	if err != nil {
		t.stop()
		return nil, fmt.Errorf("open socket in network namespace: %w", err)
	}
	return h, nil
}

// Close releases the host. A Watch on it ends with its own context.
func (h *Host) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.reset()
	err := unix.Close(h.ioctl)
	h.thread.stop()
	return err
}

// reset drops the connections; the next request opens new ones.
func (h *Host) reset() {
	if h.conn != nil {
		_ = h.conn.Close() // nothing is lost: requests are acknowledged one by one
		h.conn = nil
	}
	if h.genl != nil && h.genl.conn != nil {
		_ = h.genl.conn.Close()
	}
	h.genl = nil
}

// dial opens a netlink socket of this family in the namespace, with errors explained and requests checked.
func (h *Host) dial(family int) (*netlink.Conn, error) {
	c, err := netlink.Dial(family, &netlink.Config{NetNS: h.thread.fd(), Strict: true, MessageBufferSize: 1 << 16})
	if err != nil {
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	return c, nil
}

// link returns the rtnetlink connection.
func (h *Host) link() (*netlink.Conn, error) {
	if h.conn == nil {
		c, err := h.dial(unix.NETLINK_ROUTE)
		if err != nil {
			return nil, err
		}
		h.conn = c
	}
	return h.conn, nil
}

// request sends one request that changes something and waits for the kernel's answer.
func (h *Host) request(typ netlink.HeaderType, flags netlink.HeaderFlags, body message) error {
	_, err := h.exchange(typ, flags|netlink.Acknowledge, body)
	return err
}

// exchange sends one request and returns the bodies of the answers.
func (h *Host) exchange(typ netlink.HeaderType, flags netlink.HeaderFlags, body message) ([]netlink.Message, error) {
	c, err := h.link()
	if err != nil {
		return nil, err
	}
	answers, err := c.Execute(netlink.Message{Header: netlink.Header{Type: typ, Flags: netlink.Request | flags}, Data: body})
	return answers, h.explain(err)
}

// dumpTries bounds how often a dump is repeated because the tables changed under it.
const dumpTries = 10

// dump returns the bodies of all messages of a dump. A dump that the kernel marks as inconsistent is repeated.
func (h *Host) dump(ctx context.Context, typ netlink.HeaderType, body message) ([][]byte, error) {
	for range dumpTries {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		c, err := h.link()
		if err != nil {
			return nil, err
		}
		all, torn, err := dumpOnce(c, typ, body)
		if err != nil {
			return nil, h.explain(err)
		}
		if !torn {
			return all, nil
		}
	}
	return nil, fmt.Errorf("dump changed %d times while it was read: %w", dumpTries, unix.EAGAIN)
}

func dumpOnce(c *netlink.Conn, typ netlink.HeaderType, body message) (all [][]byte, torn bool, err error) {
	req, err := c.Send(netlink.Message{Header: netlink.Header{Type: typ, Flags: netlink.Request | netlink.Dump}, Data: body})
	if err != nil {
		return nil, false, err
	}
	for m, err := range c.ReceiveIter() {
		if err != nil {
			return nil, false, err
		}
		if m.Header.Sequence != req.Header.Sequence {
			continue
		}
		torn = torn || m.Header.Flags&netlink.DumpInterrupted != 0
		all = append(all, m.Data)
	}
	return all, torn, nil
}

// explain turns an answer of the kernel into its error number with the kernel's own words, and drops the connection
// after any other error, whose answer may still be on its way.
func (h *Host) explain(err error) error {
	if err == nil {
		return nil
	}
	var op *netlink.OpError
	var errno unix.Errno
	if !errors.As(err, &op) || !errors.As(op.Err, &errno) || errors.As(op.Err, new(*os.SyscallError)) {
		h.reset()
		return err
	}
	if op.Message != "" {
		return fmt.Errorf("%w: %s", errno, op.Message)
	}
	return errno
}

// index returns the index of the link of this name.
func (h *Host) index(name string) (int32, error) {
	req, err := unix.NewIfreq(name)
	if err == nil {
		err = unix.IoctlIfreq(h.ioctl, unix.SIOCGIFINDEX, req)
	}
	if err != nil {
		return 0, fmt.Errorf("find link %q: %w", name, err)
	}
	return int32(req.Uint32()), nil
}

// ignore returns nil for an error that is one of those: what was to go is gone already.
func ignore(err error, gone ...unix.Errno) error {
	for _, e := range gone {
		if errors.Is(err, e) {
			return nil
		}
	}
	return err
}
