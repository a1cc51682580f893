// SPDX-License-Identifier: Apache-2.0

package nft

import "strings"

// maskedField is a frame's source of which only some bits are looked up. (A payload of as many bits is taken by nft 1.0.6,
// listed back, and never matches.)
const (
	maskedField = "ether saddr & "
	macText     = "ff:ff:ff:ff:ff:ff"
)

// CutMask returns the field that is loaded and the bits of it that count, nil for all: "ether saddr & ff:ff:f0:00:00:00" is
// "ether saddr" and six bytes.
func CutMask(name string) (base string, mask []byte) {
	text, ok := strings.CutPrefix(name, maskedField)
	if !ok {
		return name, nil
	}
	mask, err := Encode("ether_addr", text)
	if err != nil {
		return name, nil
	}
	return "ether saddr", mask
}

func masked(name string) bool {
	_, mask := CutMask(name)
	return mask != nil
}

// fieldOf returns a field of the list, masked or not; the zero field for what is none.
func fieldOf(name string) field {
	base, _ := CutMask(name)
	return fields[base]
}
