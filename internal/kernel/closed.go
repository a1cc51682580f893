// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"weft/internal/netstate"
	"weft/internal/nft"
)

// ClosedTable is the name of the tables that Hold makes.
const ClosedTable = "weft_closed"

// ErrHeld says that somebody else holds the taps closed.
var ErrHeld = errors.New("another process does that already")

// closedComment is what nft list shows of them.
const closedComment = "drops what comes from or goes to a tap and no table weft has looked at, as after nft flush ruleset; goes with its owner"

// nftTableOwner is NFT_TABLE_F_OWNER: only the socket that made the table may change it, and it goes when that is closed (Linux 5.12).
const nftTableOwner = 0x2

// nftaTableUserdata is NFTA_TABLE_USERDATA (nf_tables.h), which the library does not have.
const nftaTableUserdata = 6

// Hold keeps the taps closed for as long as weft's guards are gone, until it is closed, or this process ends: in a table that
// nft flush ruleset leaves alone, because it has an owner, whatever comes from a tap, or is forwarded to one, and was not looked at
// by the guards (nft.Judged) is dropped. It is to be called when the guards stand. The error is ErrHeld where a process does that already.
func (h *Host) Hold() (io.Closer, error) {
	c, err := dialNft(h.thread.fd())
	if err != nil {
		return nil, fmt.Errorf("hold the taps closed: %w", err)
	}
	var requests []nftRequest
	for _, family := range []nft.Family{nft.BridgeFamily, nft.Inet, nft.ARP} {
		more, err := closedRequests(family)
		if err != nil {
			_ = c.Close()
			return nil, fmt.Errorf("hold the taps closed: %w", err)
		}
		requests = append(requests, more...)
	}
	if err := c.transact(requests); err != nil {
		_ = c.Close()
		if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EEXIST) {
			err = ErrHeld
		}
		return nil, fmt.Errorf("hold the taps closed: %w", err)
	}
	return c, nil
}

// closedChain drops what it sees of one direction, by the group of the tap.
type closedChain struct {
	nft.Chain
	group expr.MetaKey
}

// closedChains are those of a family. Their priorities are the next after the guards', so that nothing comes in between.
func closedChains(family nft.Family) []closedChain {
	chain := func(name, hook string, guards int, group expr.MetaKey) closedChain {
		return closedChain{nft.Chain{Name: name, Type: "filter", Hook: hook, Priority: guards + 1, Policy: "accept"}, group}
	}
	if family == nft.ARP {
		return []closedChain{chain("from_tap", "input", 0, expr.MetaKeyIIFGROUP)}
	}
	return []closedChain{
		chain("from_tap", "prerouting", nft.GuardPriority, expr.MetaKeyIIFGROUP),
		chain("to_tap", "forward", 0, expr.MetaKeyOIFGROUP),
	}
}

// closedRequests are the messages that make the table of one family.
func closedRequests(family nft.Family) ([]nftRequest, error) {
	number := nftFamilies[family]
	request := func(typ uint16, flags netlink.HeaderFlags, body *message) nftRequest {
		return nftRequest{"table " + string(family) + " " + ClosedTable, netlink.Message{Header: nftHeader(typ, netlink.Create|flags), Data: *body}}
	}
	table := nftBody(number, 0)
	table.string(unix.NFTA_TABLE_NAME, ClosedTable)
	table.u32BE(unix.NFTA_TABLE_FLAGS, nftTableOwner)
	table.bytes(nftaTableUserdata, append([]byte{0, byte(len(closedComment) + 1)}, closedComment+"\x00"...)) // NFTNL_UDATA_TABLE_COMMENT
	requests := []nftRequest{request(unix.NFT_MSG_NEWTABLE, netlink.Excl, table)}
	for _, chain := range closedChains(family) {
		body := nftBody(number, 0)
		body.string(unix.NFTA_CHAIN_TABLE, ClosedTable)
		if err := encodeNftChain(body, family, chain.Chain, true); err != nil {
			return nil, err
		}
		requests = append(requests, request(unix.NFT_MSG_NEWCHAIN, 0, body))
		rules, err := closedRules(chain.group)
		if err != nil {
			return nil, err
		}
		for _, exprs := range rules {
			data, err := encodeNftExprs(family, exprs)
			if err != nil {
				return nil, err
			}
			body := nftBody(number, 0)
			body.string(unix.NFTA_RULE_TABLE, ClosedTable)
			body.string(unix.NFTA_RULE_CHAIN, chain.Name)
			body.bytes(unix.NFTA_RULE_EXPRESSIONS|unix.NLA_F_NESTED, data)
			requests = append(requests, request(unix.NFT_MSG_NEWRULE, netlink.Append, body))
		}
	}
	return requests, nil
}

// closedRules drop what comes from a tap, or goes to one, without the guards' word, and take the word off the rest. The taps are
// known by their groups, which are a range, so that the table is never to be changed.
func closedRules(group expr.MetaKey) ([][]expr.Any, error) {
	word, err := nft.Parse(nft.Judged)
	if err != nil {
		return nil, err
	}
	forget, err := encodeNftTerm(nft.Term{Op: "priority", Value: "none"})
	if err != nil {
		return nil, err
	}
	tap := []expr.Any{
		nftMeta(group),
		&expr.Byteorder{SourceRegister: nftReg1, DestRegister: nftReg1, Op: expr.ByteorderHton, Len: 4, Size: 4},
		&expr.Range{
			Op: expr.CmpOpEq, Register: nftReg1,
			FromData: binary.BigEndian.AppendUint32(nil, netstate.GroupTap), ToData: binary.BigEndian.AppendUint32(nil, netstate.GroupUplink-1),
		},
	}
	drop := []expr.Any{
		nftMeta(expr.MetaKeyPRIORITY), &expr.Cmp{Op: expr.CmpOpNeq, Register: nftReg1, Data: native.AppendUint32(nil, nft.Priorities[word.Value])},
		&expr.Counter{}, &expr.Verdict{Kind: expr.VerdictDrop},
	}
	return [][]expr.Any{slices.Concat(tap, drop), slices.Concat(tap, forget)}, nil
}
