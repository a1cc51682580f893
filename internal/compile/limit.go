// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"weft/internal/netstate"
	"weft/internal/spec"
)

// limit asks for how fast a guest receives and sends. What it receives leaves by its tap, and waits there; what it sends comes in.
func (b *builder) limit(who, tap string, r *spec.Rates) {
	if r == nil {
		return
	}
	for _, ingress := range []bool{false, true} {
		if rate, burst := r.Limit(ingress); rate > 0 {
			b.put(who, netstate.Limit{Dev: tap, Ingress: ingress, Rate: rate, Burst: burst})
		}
	}
}
