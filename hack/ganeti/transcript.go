// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"weft/hack/rig"
)

// test is one run of the steps.
type test struct {
	*rig.Transcript
	lab *lab
}

// busy is what Ganeti says of a job that it gave up because its own daemons, or QEMU's monitor, were too slow for it, as on a loaded
// machine: nothing of the job ran, or the guest was not told to end.
var busy = []string{"Getting the lockfile of the client", "Failed to send command 'system_powerdown'"}

// slow reports whether that is why a job failed.
func slow(r rig.Result) bool {
	return !r.OK() && slices.ContainsFunc(busy, func(words string) bool { return strings.Contains(r.Out, words) })
}

// ganeti is Must for a command that is a job of Ganeti's. A job that was too slow for Ganeti is asked for again, up to three times in all.
func (t *test) ganeti(ctx context.Context, what, script string) bool {
	r := t.Sh(ctx, "node1", script)
	for again := 0; again < 2 && slow(r); again++ {
		fmt.Println("    (too slow for Ganeti: once more)")
		r = t.Sh(ctx, "node1", script)
	}
	return t.Check(r.OK(), "%s", what)
}
