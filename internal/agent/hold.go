// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"io"
	"log/slog"

	"weft/internal/netstate"
)

// Unguarded returns the first nftables table that is not there as this weft makes it; "" when all stand.
func (v *View) Unguarded() string {
	for want := range v.Want.Kinds(netstate.KindTable) {
		if have := v.Have.Get(want.Key()); have == nil || !have.Meets(want) {
			return want.Key().String()
		}
	}
	return ""
}

// holding is what keeps the taps closed while the guards are gone.
type holding struct {
	closer io.Closer // nil: nobody does, or another process
	said   string    // the last error
}

// begin has them held, unless they are. It may fail, where another process does it or the kernel cannot (before Linux 5.12).
func (h *holding) begin(hold func() (io.Closer, error), log *slog.Logger) {
	if hold == nil || h.closer != nil {
		return
	}
	c, err := hold()
	if err == nil {
		h.closer, h.said = c, ""
		return
	}
	if err.Error() != h.said {
		h.said = err.Error()
		log.Warn("a ruleset that somebody flushes leaves the taps open", "err", err)
	}
}

func (h *holding) end(log *slog.Logger) {
	if h.closer == nil {
		return
	}
	if err := h.closer.Close(); err != nil {
		log.Warn("let go of the taps", "err", err)
	}
}
