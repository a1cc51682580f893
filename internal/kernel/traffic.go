// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"

	"weft/internal/netstate"
)

// Traffic returns what each link has received and sent since it was made.
func (h *Host) Traffic(ctx context.Context) (map[string]netstate.Traffic, error) {
	bodies, err := h.dump(ctx, unix.RTM_GETLINK, *newMessage(&unix.IfInfomsg{}))
	if err != nil {
		return nil, fmt.Errorf("read the links' counters: %w", err)
	}
	all := make(map[string]netstate.Traffic, len(bodies))
	for _, b := range bodies {
		if len(b) < unix.SizeofIfInfomsg {
			continue
		}
		var name string
		var t netstate.Traffic
		for typ, v := range attrs(b[unix.SizeofIfInfomsg:]) {
			switch {
			case typ == unix.IFLA_IFNAME:
				name = getString(v)
			case typ == unix.IFLA_STATS64 && len(v) >= 64: // struct rtnl_link_stats64
				t = netstate.Traffic{
					RxPackets: native.Uint64(v), TxPackets: native.Uint64(v[8:]), RxBytes: native.Uint64(v[16:]), TxBytes: native.Uint64(v[24:]),
					RxDropped: native.Uint64(v[48:]), TxDropped: native.Uint64(v[56:]),
				}
			}
		}
		all[name] = t
	}
	return all, nil
}
