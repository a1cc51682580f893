// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"weft/internal/netstate"
)

// toldOf is an event of nftables about a table.
func toldOf(typ uint16, table string) netlink.Message {
	body := nftBody(unix.NFPROTO_INET, 0)
	body.string(unix.NFTA_TABLE_NAME, table)
	return netlink.Message{Header: nftHeader(typ, 0), Data: *body}
}

// committed is the event that ends a transaction.
func committed(pid uint32, name string) netlink.Message {
	body := nftBody(unix.NFPROTO_UNSPEC, 0)
	body.u32BE(unix.NFTA_GEN_PROC_PID, pid)
	body.string(unix.NFTA_GEN_PROC_NAME, name)
	return netlink.Message{Header: nftHeader(unix.NFT_MSG_NEWGEN, 0), Data: *body}
}

// TestChangersOfTables: who changes other tables is not blamed for weft's, who changes elements not for tables, and where events were
// missed the last one counts.
func TestChangersOfTables(t *testing.T) {
	const gone = pidMost - 1 // no process has this ID
	h := &Host{}
	say := func(events ...netlink.Message) {
		for _, e := range events {
			h.changers.note(e, unix.NETLINK_NETFILTER)
		}
	}
	expect := func(what, table, element string) {
		t.Helper()
		if got := h.Changer(netstate.KindTable); got != table {
			t.Errorf("%s: the tables were changed by %q, want %q", what, got, table)
		}
		if got := h.Changer(netstate.KindElement); got != element {
			t.Errorf("%s: the elements were changed by %q, want %q", what, got, element)
		}
	}
	say(toldOf(unix.NFT_MSG_NEWCHAIN, "filter"), committed(gone, "dockerd"))
	expect("another table", "", "")
	say(toldOf(unix.NFT_MSG_NEWSETELEM, "weft"), committed(gone-1, "weft"))
	expect("an element", "", "weft (process 4194302, which is gone)")
	say(toldOf(unix.NFT_MSG_DELTABLE, "filter"), toldOf(unix.NFT_MSG_DELTABLE, "weft"), committed(gone-2, "nft"))
	expect("flushed", "nft (process 4194301, which is gone)", "weft (process 4194302, which is gone)")
	say(toldOf(unix.NFT_MSG_NEWRULE, "filter"), committed(gone-3, "ufw"))
	expect("another table again", "nft (process 4194301, which is gone)", "weft (process 4194302, which is gone)")
	h.changers.missed(unix.NETLINK_NETFILTER)
	say(committed(gone-4, "x"))
	expect("missed", "x (process 4194299, which is gone)", "x (process 4194299, which is gone)")
}
