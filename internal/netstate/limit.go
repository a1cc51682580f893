// SPDX-License-Identifier: Apache-2.0

package netstate

import "fmt"

// Limit is how fast a device may carry packets in one direction. What leaves by it is shaped, by its root qdisc (tc-tbf(8)); what
// comes in by it is policed, because nobody is there to queue it (tc-police(8)).
// Its mark is the qdisc's handle, or the filter's preference. Whatever else stands in its place is somebody else's.
type Limit struct {
	Dev     string `json:"dev"`
	Ingress bool   `json:"ingress,omitempty"` // for what comes in by the device
	Rate    uint64 `json:"rate,omitempty"`    // bits per second
	Burst   uint32 `json:"burst,omitempty"`   // bytes at once
	Foreign string `json:"foreign,omitempty"` // set by the observer: the kind of somebody else's qdisc in its place
}

// Marks of a Limit.
const (
	LimitHandle = 0x8787 // of the root qdisc, its upper 16 bits
	LimitPref   = 87     // of the filter
)

// LimitMTU is the size in bytes of the largest packet that is policed as one: of one that is still to be cut into segments.
const LimitMTU = 65535

// Key returns the limit's identity: its device and direction.
func (l Limit) Key() Key { return Key{KindLimit, "dev " + l.Dev + " " + l.direction()} }

func (l Limit) direction() string {
	if l.Ingress {
		return "ingress"
	}
	return "root"
}

// Owned reports whether it is weft's.
func (l Limit) Owned() bool { return l.Foreign == "" }

// Meets reports whether the observed limit is the one asked for. The kernel counts the burst in units of time, so that it comes
// back almost as it was given.
func (l Limit) Meets(want Object) bool {
	w, ok := want.(Limit)
	return ok && l.Key() == w.Key() && l.Foreign == "" && l.Rate == w.Rate && max(l.Burst, w.Burst)-min(l.Burst, w.Burst) <= w.Burst/100
}

// Queue is how many bytes wait at most: what is sent in 50 ms, and the burst.
func (l Limit) Queue() uint32 { return uint32(l.Rate/8/20) + l.Burst }

// String spells the limit as the arguments of `tc qdisc` or `tc filter`.
func (l Limit) String() string {
	switch {
	case l.Foreign != "":
		return fmt.Sprintf("dev %s %s %s", l.Dev, l.direction(), l.Foreign)
	case l.Ingress:
		return fmt.Sprintf("dev %s ingress protocol all pref %d handle 1 matchall action police rate %dbit burst %db mtu %db conform-exceed drop/continue",
			l.Dev, LimitPref, l.Rate, l.Burst, LimitMTU)
	}
	return fmt.Sprintf("dev %s root handle %x: tbf rate %dbit burst %db limit %db", l.Dev, LimitHandle, l.Rate, l.Burst, l.Queue())
}
