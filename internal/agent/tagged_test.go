// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"testing"

	"weft/internal/agent"
	"weft/internal/kernel/kerneltest"
	"weft/internal/netstate"
	"weft/internal/nic"
	"weft/internal/spec"
)

// TestTagged: a guest gets further networks by tags, in either form of bridge, before its tap goes up; they move with the file, and go
// with the NIC or with the word.
func TestTagged(t *testing.T) {
	apart := `networks: {web: {mode: bridged, uplink: eth0, vlan: 10}, db: {mode: bridged, uplink: eth0, vlan: 20}}`
	one := `bridges: {br0: {ports: [eth0], vlan_aware: true}}
networks: {web: {mode: bridged, bridge: br0, vlan: 10}, db: {mode: bridged, bridge: br0, vlan: 20}}`
	k := kerneltest.NewFake("eth0", "tap0")
	n := &agent.Node{Spec: parse(t, apart+"\n"), Store: nic.Store{Dir: t.TempDir()}, Target: k}
	guest := spec.NIC{ID: "u0", Name: "tap0", MAC: "aa:00:00:00:00:01", Network: "web", Tagged: []string{"db"}}
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check := func(master string) *netstate.State {
		t.Helper()
		v, err := n.View(t.Context())
		if err != nil || v.Conflict != nil || !v.Plan.Empty() {
			t.Fatal(err, v.Conflict, v.Plan.Ops)
		}
		l := v.Have.Link("tap0.20")
		switch {
		case master == "" && l != nil:
			t.Errorf("still there: %s", l)
		case master != "" && (l == nil || l.MasterName() != master || l.Parent != "tap0" || !l.IsUp()):
			t.Errorf("want a port of %s, have %v", master, l)
		}
		return v.Have
	}
	do(n.Apply(t.Context()))
	before := len(k.Applied())
	do(n.Plug(t.Context(), guest))
	check("vlan20")
	up := false
	for _, op := range k.Applied()[before:] {
		for _, c := range op.Changes {
			l, ok := c.New.(netstate.Link)
			if ok && l.Name == "tap0" && l.IsUp() {
				up = true
			}
			if ok && l.Name == "tap0.20" && l.MasterName() != "" && up {
				t.Error("the tap was up before what is on it was in its place")
			}
		}
	}
	if !up {
		t.Error("the tap never went up")
	}

	n.Spec = parse(t, one+"\n")
	do(n.Apply(t.Context()))
	have := check("br0")
	if v, ok := have.Get(netstate.BridgeVLAN{Dev: "tap0.20", VID: 20}.Key()).(netstate.BridgeVLAN); !ok || !v.PVID || !v.Untagged {
		t.Errorf("tap0.20: %v", v)
	}
	if have.Get(netstate.BridgeVLAN{Dev: "tap0.20", VID: 1}.Key()) != nil || have.Get(netstate.BridgeVLAN{Dev: "tap0", VID: 20}.Key()) != nil {
		t.Error("a port is in a VLAN that is not its own")
	}

	untagged := guest
	untagged.Tagged = nil
	do(n.Plug(t.Context(), untagged))
	check("")
	do(n.Plug(t.Context(), guest))
	check("br0")
	do(n.Unplug(t.Context(), guest.ID))
	check("")
}
