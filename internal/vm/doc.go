// SPDX-License-Identifier: Apache-2.0

// Package vm runs a program in a QEMU guest that boots Debian's stock kernel, for machines whose
// running kernel cannot make the links that weft configures. The guest sees the host's files at
// the same paths (read-only below a RAM overlay) or another root of the caller's, has no network card
// that the caller did not ask for, and powers off when the program ends; its exit code, standard
// output and standard error arrive as if it had run here.
//
// It owns the kernel in the cache folder, the initramfs (whose only program is the calling
// executable), the QEMU process and the channel to it. It never uses root on the host, never
// listens on a network, never writes outside the cache folder, the work folder and a temporary
// folder, and knows nothing about networking beyond asking whether the running kernel suffices.
package vm
