// SPDX-License-Identifier: Apache-2.0

package spec

import (
	"fmt"
	"strconv"
	"strings"
)

// Rates are how fast a guest receives (in) and sends (out), in the spelling of tc(8). What is not said has no limit.
type Rates struct {
	In       string `yaml:"in,omitempty" json:"in,omitempty"`
	Out      string `yaml:"out,omitempty" json:"out,omitempty"`
	BurstIn  string `yaml:"burst_in,omitempty" json:"burst_in,omitempty"`
	BurstOut string `yaml:"burst_out,omitempty" json:"burst_out,omitempty"`
}

const (
	minRate, maxRate   = 64_000, 32_000_000_000 // bits per second: 32 bits of bytes in a second are a little more
	minBurst, maxBurst = 64 << 10, 1 << 30      // bytes: a packet that is still to be cut into segments has up to 64 KiB
	longBurst          = 60                     // seconds that a burst may last at most
	shortBurst         = 50                     // in a second: a default burst lasts 20 ms at least
)

// Limit returns the rates as numbers: bits per second, 0 for no limit, and bytes. A burst that is not said is 128 KiB, or what the
// rate sends in 20 ms.
func (r *Rates) Limit(out bool) (rate uint64, burst uint32) {
	rateText, burstText := r.In, r.BurstIn
	if out {
		rateText, burstText = r.Out, r.BurstOut
	}
	rate, _ = parseRate(rateText)
	size, _ := parseSize(burstText)
	if size == 0 {
		size = max(128<<10, min(rate/8/shortBurst, maxBurst))
	}
	return rate, uint32(size)
}

// NICRates returns the rates of a NIC: its own, or its network's.
func (n *Network) NICRates(nic *NIC) *Rates {
	if nic.Rates != nil {
		return nic.Rates
	}
	return n.Rates
}

// mistakes returns what is wrong with the rates, by the key that has it.
func (r *Rates) mistakes() map[string]string {
	all := map[string]string{}
	for _, d := range []struct{ key, rate, burst string }{{"in", r.In, r.BurstIn}, {"out", r.Out, r.BurstOut}} {
		rate, badRate := parseRate(d.rate)
		size, badSize := parseSize(d.burst)
		if d.rate != "" && badRate != "" {
			all[d.key] = badRate
		}
		switch {
		case d.burst == "":
		case badSize != "":
			all["burst_"+d.key] = badSize
		case d.rate == "":
			all["burst_"+d.key] = d.burst + ": there is no rate to be above"
		case badRate == "" && size*8 > rate*longBurst:
			all["burst_"+d.key] = fmt.Sprintf("%s takes more than a minute at %s", d.burst, d.rate)
		}
	}
	return all
}

// rateMistakes returns what is wrong with the rates that the NIC has of its own.
func (n *NIC) rateMistakes() Errors {
	if n.Rates == nil {
		return nil
	}
	var errs Errors
	wrong := n.Rates.mistakes()
	for _, key := range sorted(wrong) {
		errs = append(errs, Error{Path: "nic " + n.Name, Msg: "rates." + key + ": " + wrong[key]})
	}
	return errs
}

// checkRates finds rates that do not go together.
func (c *checker) checkRates(n *Network, p path) {
	if n.Rates == nil {
		return
	}
	wrong := n.Rates.mistakes()
	for _, key := range sorted(wrong) {
		if q := p.key("rates").key(key); !c.unread(q) {
			c.fail(q, "%s", wrong[key])
		}
	}
}

func badRate(text string) string { _, why := parseRate(text); return why }

func badSize(text string) string { _, why := parseSize(text); return why }

// parseRate returns a rate in bits per second, a whole number of bytes.
func parseRate(text string) (uint64, string) {
	rate, ok := quantity(text, map[string]float64{"bit": 1, "kbit": 1e3, "mbit": 1e6, "gbit": 1e9, "kibit": 1 << 10, "mibit": 1 << 20, "gibit": 1 << 30})
	switch {
	case !ok && strings.HasSuffix(strings.ToLower(text), "bps"):
		return 0, text + " is bytes per second for tc and bits for others: write it in bit, kbit, mbit or gbit"
	case !ok:
		return 0, clipped(strconv.Quote(text)) + " is not a rate such as 100mbit"
	case rate < minRate || rate > maxRate:
		return 0, text + ": want 64kbit to 32gbit"
	}
	return uint64(rate) / 8 * 8, ""
}

// parseSize returns a size in bytes.
func parseSize(text string) (uint64, string) {
	size, ok := quantity(text, map[string]float64{"b": 1, "k": 1 << 10, "kb": 1 << 10, "m": 1 << 20, "mb": 1 << 20, "g": 1 << 30, "gb": 1 << 30})
	switch {
	case !ok:
		return 0, clipped(strconv.Quote(text)) + " is not a size in bytes such as 256kb"
	case size < minBurst || size > maxBurst:
		return 0, text + ": want 64kb, which is one large packet, to 1gb"
	}
	return uint64(size), ""
}

// quantity reads a decimal number with a unit.
func quantity(text string, units map[string]float64) (float64, bool) {
	number := strings.TrimRight(strings.ToLower(text), "abcdefghijklmnopqrstuvwxyz")
	unit, known := units[strings.ToLower(text)[len(number):]]
	for _, r := range number {
		known = known && (r >= '0' && r <= '9' || r == '.')
	}
	v, err := strconv.ParseFloat(number, 64)
	return v * unit, known && err == nil && len(number) <= 20
}
