// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"maps"
	"slices"

	"weft/internal/spec"
)

// cameByBridge returns the prepared NICs of bridged networks whose guests have sent something, which the bridge has learned: they run
// here now. The others are expected from now on. (A packet socket hears nothing on a port of a bridge, which takes the frame before.)
func (l *Loop) cameByBridge(node *spec.Node, v *View) []Tap {
	node, err := spec.WithNICs(node, v.NICs)
	if err != nil || l.Expect == nil {
		return nil
	}
	var came []Tap
	expected := map[int]string{}
	for _, c := range v.NICs {
		n, link := node.Networks[c.Network], v.Have.Link(c.Name)
		if !c.Prepared || v.Absent[c.ID] || n == nil || !n.OnBridge() || link == nil || link.Status == nil {
			continue
		}
		if slices.Contains(link.Status.Learned, c.MAC) {
			came = append(came, Tap{NIC: c, Index: link.Status.Index})
			continue
		}
		expected[link.Status.Index] = c.MAC
	}
	l.mu.Lock()
	same := maps.Equal(l.expected, expected)
	l.expected = expected
	l.mu.Unlock()
	if !same {
		l.Expect(expected)
		signal(l.wake) // one may have come since this round looked
	}
	return came
}
