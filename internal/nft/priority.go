// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"fmt"
	"strconv"
)

// namedPriority is a priority that nft lists by name, and by how much another is above or below it.
type namedPriority struct {
	name  string
	value int
	hook  string // the only hook where the name is known; "" for all
}

// nearPriority is how far from a named priority nft still names it.
const nearPriority = 10

// priorities are the names in nft's order of families (man nft, "standard priority names").
var priorities = map[Family][]namedPriority{
	ARP: {{"filter", 0, ""}},
	BridgeFamily: {
		{"dstnat", -300, "prerouting"}, {"filter", -200, ""}, {"out", 100, "output"}, {"srcnat", 300, "postrouting"},
	},
	Inet: internetPriorities, IP: internetPriorities, IP6: internetPriorities,
}

var internetPriorities = []namedPriority{
	{"raw", -300, ""}, {"mangle", -150, ""}, {"dstnat", -100, "prerouting"}, {"filter", 0, ""}, {"security", 50, ""},
	{"srcnat", 100, "postrouting"},
}

// priority spells a base chain's priority as nft lists it.
func priority(family Family, hook string, value int) string {
	for _, p := range priorities[family] {
		if p.hook != "" && p.hook != hook {
			continue
		}
		switch d := value - p.value; {
		case d == 0:
			return p.name
		case d > 0 && d <= nearPriority:
			return fmt.Sprintf("%s + %d", p.name, d)
		case d < 0 && d >= -nearPriority:
			return fmt.Sprintf("%s - %d", p.name, -d)
		}
	}
	return strconv.Itoa(value)
}
