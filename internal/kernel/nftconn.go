// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// nftConn is a netlink socket of nf_tables in one network namespace.
type nftConn struct{ *netlink.Conn }

// nftBufferSize is the size of the buffers for what is read and for a transaction that is written.
const nftBufferSize = 8 << 20

// dialNft opens a socket in the network namespace of this file descriptor; 0 means the caller's own.
func dialNft(ns int) (*nftConn, error) {
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: ns, Strict: true, MessageBufferSize: 1 << 16})
	if err != nil {
		return nil, err
	}
	return &nftConn{c}, nil
}

// nfgenmsgSize is the size of struct nfgenmsg, which every message starts with.
const nfgenmsgSize = 4

// nftBody starts the body of a message with its struct nfgenmsg.
func nftBody(family uint8, resource uint16) *message {
	m := message{family, unix.NFNETLINK_V0}
	m = binary.BigEndian.AppendUint16(m, resource)
	return &m
}

func (m *message) u32BE(typ uint16, v uint32) { m.bytes(typ, binary.BigEndian.AppendUint32(nil, v)) }

func getU32BE(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return binary.BigEndian.Uint32(b)
}

func nftHeader(typ uint16, flags netlink.HeaderFlags) netlink.Header {
	return netlink.Header{Type: netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | typ), Flags: netlink.Request | flags}
}

// dump returns the attributes of every message of a dump.
func (c *nftConn) dump(typ uint16, body *message) ([][]byte, error) {
	msgs, err := c.Execute(netlink.Message{Header: nftHeader(typ, netlink.Dump), Data: *body})
	if err != nil {
		return nil, nftError(err)
	}
	out := make([][]byte, 0, len(msgs))
	for _, m := range msgs {
		if len(m.Data) >= nfgenmsgSize {
			out = append(out, m.Data)
		}
	}
	return out, nil
}

// generation returns the number of the ruleset, which every transaction of anybody's raises.
func (c *nftConn) generation() (uint32, error) {
	msgs, err := c.Execute(netlink.Message{Header: nftHeader(unix.NFT_MSG_GETGEN, 0), Data: *nftBody(unix.NFPROTO_UNSPEC, 0)})
	if err != nil {
		return 0, nftError(err)
	}
	for _, m := range msgs {
		if len(m.Data) < nfgenmsgSize {
			continue
		}
		for typ, v := range attrs(m.Data[nfgenmsgSize:]) {
			if typ == unix.NFTA_GEN_ID {
				return getU32BE(v), nil
			}
		}
	}
	return 0, errors.New("the kernel named no generation of the ruleset")
}

// nftRequest is one message of a transaction and, for errors, what it is.
type nftRequest struct {
	what string
	netlink.Message
}

// transact sends the messages as one batch: all of them take effect, or none. The error names the first message that the
// kernel refused.
func (c *nftConn) transact(requests []nftRequest) error {
	mark := func(typ uint16) netlink.Message {
		return netlink.Message{Header: netlink.Header{Type: netlink.HeaderType(typ), Flags: netlink.Request}, Data: *nftBody(unix.NFPROTO_UNSPEC, unix.NFNL_SUBSYS_NFTABLES)}
	}
	batch := []netlink.Message{mark(unix.NFNL_MSG_BATCH_BEGIN)}
	for _, r := range requests {
		batch = append(batch, r.Message)
	}
	last := &batch[len(batch)-1]
	last.Header.Flags |= netlink.Acknowledge // its acknowledgement is that of the whole: it comes after the commit
	batch = append(batch, mark(unix.NFNL_MSG_BATCH_END))
	for _, set := range []func(int) error{c.SetWriteBuffer, c.SetReadBuffer} {
		if err := set(nftBufferSize); err != nil {
			return err
		}
	}
	sent, err := c.SendMessages(batch)
	if err != nil {
		return nftError(err)
	}
	_, err = c.Receive()
	if err == nil {
		return nil
	}
	var op *netlink.OpError
	if errors.As(err, &op) {
		for i, m := range sent {
			if m.Header.Sequence == op.Sequence && i > 0 && i <= len(requests) {
				return fmt.Errorf("%s: %w", requests[i-1].what, nftError(err))
			}
		}
	}
	return nftError(err)
}

// nftError takes the library's words off an error of the kernel's and keeps the kernel's.
func nftError(err error) error {
	var op *netlink.OpError
	if !errors.As(err, &op) {
		return err
	}
	if op.Message != "" {
		return fmt.Errorf("%w: %s", op.Err, op.Message)
	}
	return op.Err
}
