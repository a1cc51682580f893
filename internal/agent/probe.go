// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"

	"weft/internal/netstate"
)

// Probe is a question whose answer tells whether a node is reachable.
type Probe struct {
	text string
	ask  func(context.Context, *Node) error
}

// String returns the probe as it was written.
func (p Probe) String() string { return p.text }

// Probes is what a probe may be, for a usage text.
const Probes = `gateway (every default gateway of the main table answers ARP or neighbour discovery), neigh:ADDRESS%DEV (that one does), tcp:HOST:PORT (a connection opens) or exec:COMMAND (sh -c ends with 0)`

// ParseProbe reads a probe: see Probes.
func ParseProbe(text string) (Probe, error) {
	kind, rest, _ := strings.Cut(text, ":")
	p := Probe{text: text}
	switch {
	case text == "gateway":
		p.ask = askGateways
	case kind == "neigh":
		addr, dev, ok := strings.Cut(rest, "%")
		a, err := netip.ParseAddr(addr)
		if err != nil || !ok || dev == "" {
			return p, fmt.Errorf("%q: write neigh:ADDRESS%%DEV", text)
		}
		p.ask = func(ctx context.Context, n *Node) error { return n.answers(ctx, []Claim{{Dev: dev, Addr: a}}) }
	case kind == "tcp":
		if _, _, err := net.SplitHostPort(rest); err != nil {
			return p, fmt.Errorf("%q: %w", text, err)
		}
		p.ask = func(ctx context.Context, _ *Node) error { return connects(ctx, rest) }
	case kind == "exec" && strings.TrimSpace(rest) != "":
		p.ask = func(ctx context.Context, _ *Node) error { return succeeds(ctx, rest) }
	default:
		return p, fmt.Errorf("%q is none of %s", text, Probes)
	}
	return p, nil
}

// parsed returns the probes that were checked before they were written down.
func parsed(texts []string) (probes []Probe) {
	for _, text := range texts {
		p, err := ParseProbe(text)
		if err != nil {
			p.ask = func(context.Context, *Node) error { return err }
		}
		probes = append(probes, p)
	}
	return probes
}

func askGateways(ctx context.Context, n *Node) error {
	have, err := n.Target.Observe(ctx, nil)
	if err != nil {
		return fmt.Errorf("observe: %w", err)
	}
	var ways []Claim
	for r := range netstate.Of[netstate.Route](have) {
		if r.Table != netstate.TableMain || r.Dst.Bits() != 0 {
			continue
		}
		for _, h := range append([]netstate.NextHop{{Via: r.Via, Dev: r.Dev}}, r.NextHops...) {
			if h.Via.IsValid() {
				ways = append(ways, Claim{Dev: h.Dev, Addr: h.Via})
			}
		}
	}
	if len(ways) == 0 {
		return errors.New("there is no default gateway")
	}
	return n.answers(ctx, ways)
}

// answers asks neighbours for their addresses and returns an error for those that say nothing.
func (n *Node) answers(ctx context.Context, who []Claim) error {
	holders, err := n.Air.Ask(ctx, who)
	if err != nil {
		return err
	}
	var silent []error
	for _, c := range who {
		found := false
		for _, h := range holders {
			found = found || h.Addr == c.Addr && h.Dev == c.Dev
		}
		if !found {
			silent = append(silent, fmt.Errorf("%s on %s does not answer", c.Addr, c.Dev))
		}
	}
	return errors.Join(silent...)
}

func connects(ctx context.Context, addr string) error {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	return c.Close()
}

func succeeds(ctx context.Context, command string) error {
	out, err := exec.CommandContext(ctx, "sh", "-c", command).CombinedOutput()
	if err == nil {
		return nil
	}
	if said := strings.TrimSpace(string(out)); said != "" {
		return fmt.Errorf("%w: %.200s", err, said)
	}
	return err
}
