// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"weft/internal/netstate"
	"weft/internal/spec"
)

// lacking returns the devices of networks that are not managed and that are not there, and the network of each. Who makes
// them may take them away, as ifdown does, and make them again.
func (n *Node) lacking(nics []spec.NIC, have *netstate.State) (map[string]string, error) {
	node, err := spec.WithNICs(n.Spec, nics)
	if err != nil {
		return nil, err
	}
	all := node.Foreign()
	for dev := range all {
		if have.Link(dev) != nil {
			delete(all, dev)
		}
	}
	return all, nil
}

// waive takes out of what is wanted what cannot be had without the devices that are lacking, so that the rest of the node
// is kept: what hangs on them, and the taps that would be their ports, which wait in no network until it is there again.
func waive(want *netstate.State, lacking map[string]string) {
	for dev := range lacking {
		if want.Link(dev) != nil {
			continue // this file makes it
		}
		for _, port := range want.Above(dev) {
			drop(want, port.Name)
		}
		drop(want, dev)
	}
}

// dropAll removes a link from a state, with all that hangs on it and all that stands on it.
func dropAll(s *netstate.State, dev string) {
	for _, above := range s.Above(dev) {
		if above.Parent == dev {
			dropAll(s, above.Name)
		} else {
			drop(s, above.Name)
		}
	}
	drop(s, dev)
}
