// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"fmt"
	"strings"

	"weft/internal/netstate"
)

// wayOut says how frames leave by a device at the moment: its MAC and the members and partners of the bonds below it. It is
// "" while nothing leaves. When it changes, switches have to learn anew where the node's addresses are.
func wayOut(have *netstate.State, dev string) string {
	var way []string
	for range 16 { // deeper stacks are not made
		l := have.Link(dev)
		if l == nil || !l.IsUp() || l.Status == nil || !l.Status.Carrier {
			return ""
		}
		way = append(way, dev+" "+l.MAC)
		if b := l.Status.Bond; b != nil {
			way = append(way, strings.TrimSpace(fmt.Sprintf("via %s", b.ActiveMember)))
			if b.PartnerMAC != "" {
				way = append(way, fmt.Sprintf("aggregator %d of %d ports, partner %s", b.AggregatorID, b.Ports, b.PartnerMAC))
			}
		}
		if l.Parent == "" {
			break
		}
		dev = l.Parent
	}
	return strings.Join(way, ", ")
}
