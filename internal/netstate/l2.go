// SPDX-License-Identifier: Apache-2.0

package netstate

import (
	"fmt"
	"strings"
)

// BridgeVLAN is one VLAN of a port of a VLAN-aware bridge, or of the bridge itself (Self).
// It has no mark of its own: it is weft's where its port is.
type BridgeVLAN struct {
	Dev      string `json:"dev"`
	VID      uint16 `json:"vid"`
	PVID     bool   `json:"pvid,omitempty"`     // untagged frames that come in are of this VLAN
	Untagged bool   `json:"untagged,omitempty"` // frames of this VLAN leave without a tag
	Self     bool   `json:"self,omitempty"`     // Dev is the bridge
	Ours     bool   `json:"ours,omitempty"`     // set by the observer: Dev is a link of weft's
}

// Key returns the entry's identity: device and VLAN.
func (v BridgeVLAN) Key() Key { return Key{KindBridgeVLAN, fmt.Sprintf("%s vid %d", v.Dev, v.VID)} }

// Owned reports whether the port is weft's.
func (v BridgeVLAN) Owned() bool { return v.Ours }

// Meets reports whether the observed entry has the flags asked for.
func (v BridgeVLAN) Meets(want Object) bool {
	w, ok := want.(BridgeVLAN)
	return ok && v.Key() == w.Key() && v.PVID == w.PVID && v.Untagged == w.Untagged
}

// String spells the entry as the arguments of `bridge vlan`.
func (v BridgeVLAN) String() string {
	var w words
	w.add("dev", v.Dev)
	w.add("vid", v.VID)
	if v.PVID {
		w = append(w, "pvid")
	}
	if v.Untagged {
		w = append(w, "untagged")
	}
	if v.Self {
		w = append(w, "self")
	}
	return strings.Join(w, " ")
}

// FDB is a static entry of a bridge's forwarding database: frames to MAC leave by Dev. Unless it is sticky, a frame from MAC
// that comes by another port moves it there (br_fdb_update).
// It has no mark of its own: a static entry on a port of weft's is weft's.
type FDB struct {
	MAC    string `json:"mac"`
	Dev    string `json:"dev"`
	VLAN   uint16 `json:"vlan,omitempty"` // 0 on a bridge that is not VLAN-aware
	Sticky bool   `json:"sticky,omitempty"`
	Ours   bool   `json:"ours,omitempty"` // set by the observer: Dev is a link of weft's
}

// Key returns the entry's identity: MAC, device and VLAN.
func (f FDB) Key() Key { return Key{KindFDB, fmt.Sprintf("%s dev %s vlan %d", f.MAC, f.Dev, f.VLAN)} }

// Owned reports whether the port is weft's.
func (f FDB) Owned() bool { return f.Ours }

// Meets reports whether the observed entry is the one asked for.
func (f FDB) Meets(want Object) bool {
	w, ok := want.(FDB)
	return ok && f.Key() == w.Key() && f.Sticky == w.Sticky
}

// String spells the entry as the arguments of `bridge fdb`.
func (f FDB) String() string {
	s := fmt.Sprintf("%s dev %s", f.MAC, f.Dev)
	if f.VLAN != 0 {
		s += fmt.Sprintf(" vlan %d", f.VLAN)
	}
	s += " master static"
	if f.Sticky {
		s += " sticky"
	}
	return s
}

// Sysctl is a kernel setting below /proc/sys. It has no owner: weft sets what it needs, and a plan remembers the value
// that it replaced.
type Sysctl struct {
	Path  string `json:"path"` // below /proc/sys, such as "net/ipv4/conf/bond0.993/proxy_arp"
	Value string `json:"value"`
}

// Key returns the setting's identity, its path.
func (s Sysctl) Key() Key { return SysctlKey(s.Path) }

// SysctlKey returns the key of the setting at this path below /proc/sys.
func SysctlKey(path string) Key { return Key{KindSysctl, path} }

// Owned is always false: a setting cannot carry a mark, and is never removed.
func (s Sysctl) Owned() bool { return false }

// Meets reports whether the setting has the value asked for.
func (s Sysctl) Meets(want Object) bool { w, ok := want.(Sysctl); return ok && s == w }

// String spells the setting as the arguments of `sysctl -w`: dots between the parts, and a slash for each dot in an interface's name.
func (s Sysctl) String() string {
	return dotted.Replace(s.Path) + "=" + quoted(s.Value)
}

// dotted spells a path as sysctl does.
var dotted = strings.NewReplacer("/", ".", ".", "/")

// Dev returns the interface that the setting belongs to, or "" for a global one.
func (s Sysctl) Dev() string {
	p := strings.Split(s.Path, "/")
	if len(p) == 5 && p[0] == "net" && (p[1] == "ipv4" || p[1] == "ipv6") && (p[2] == "conf" || p[2] == "neigh") && p[3] != "all" && p[3] != "default" {
		return p[3]
	}
	return ""
}
