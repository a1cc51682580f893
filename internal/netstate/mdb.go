// SPDX-License-Identifier: Apache-2.0

package netstate

import (
	"fmt"
	"net/netip"
)

// MDB is a permanent entry of a bridge's multicast database: packets to Group leave by the port Dev, whether its guest has said that
// it listens or not. There are none on a bridge that does not snoop.
// It has no mark of its own: a permanent entry of a port of weft's is weft's.
type MDB struct {
	Bridge string     `json:"bridge"`
	Dev    string     `json:"dev"`
	Group  netip.Addr `json:"group"`
	Ours   bool       `json:"ours,omitempty"` // set by the observer: Dev is a link of weft's
}

// Key returns the entry's identity.
func (m MDB) Key() Key { return Key{KindMDB, m.String()} }

// Owned reports whether the port is weft's.
func (m MDB) Owned() bool { return m.Ours }

// Meets reports whether the observed entry is the one asked for.
func (m MDB) Meets(want Object) bool { return m.Key() == want.Key() }

// String spells the entry as the arguments of `bridge mdb`.
func (m MDB) String() string {
	return fmt.Sprintf("dev %s port %s grp %s permanent", m.Bridge, m.Dev, m.Group)
}
