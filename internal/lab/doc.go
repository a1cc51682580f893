// SPDX-License-Identifier: Apache-2.0

// Package lab is a datacenter in network namespaces: a switch with LACP and VLANs, a router with an
// internet behind it, two nodes (or three) with two bare interfaces each, and guests behind taps. It runs
// scenarios (txtar files) and the demo on it, or leaves it standing for a person to look around. A guest of tapguest
// migrates: this process is its QEMU, and holds its taps.
//
// It owns the namespaces that carry its prefix and what runs in them, and removes both; of the
// host's own namespace it changes nothing. It builds with the real ip, bridge, nft and tcpdump
// and drives nodes by running the weft program in their namespaces: it never calls weft's own
// packages, so that what passes here is what an operator gets. Where the running kernel lacks the
// links that this takes, the same program runs itself in a VM (package vm).
package lab
