// SPDX-License-Identifier: Apache-2.0

package netstate

// Traffic is what a link has received and sent since it was made, as the host sees it (struct rtnl_link_stats64): what a
// tap receives its guest has sent.
type Traffic struct {
	RxPackets, TxPackets, RxBytes, TxBytes, RxDropped, TxDropped uint64
}
