// SPDX-License-Identifier: Apache-2.0

// Package kernel is the edge to one network namespace of a Linux kernel: it observes it, applies the operations of a plan
// to it and watches it.
//
// It owns every netlink message, every ifindex and every access to /proc/sys. Observing takes one dump per kind of object,
// whatever the number of links. Applying an operation that was applied before is not an error: a step that was
// interrupted can be repeated.
//
// It never decides what ought to be (package plan does), never runs another program, and never prints.
package kernel
