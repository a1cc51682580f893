// SPDX-License-Identifier: Apache-2.0

// Command churn wears a node out: NICs that come and go by the thousand under a real agent, many at once, with an agent that is killed
// at random moments, while lasting guests beside them are pinged all the time. It says how fast that goes, what the agent's memory does
// and what the guests lost, and fails if anything of the churned NICs is left, or memory grows. Then it counts what an idle agent with
// many NICs takes.
//
// Everything is in network namespaces of its own: with VRF, bond and VLANs where the running kernel has them, else bridged and routed by
// rules over plain devices. It looks at the node from outside, by ip, bridge, nft, the agent's socket and /proc, and imports nothing
// of weft's.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// options are the command line's.
type options struct {
	weft   string
	cycles int
	atOnce int
	kills  int
	killed int // cycles while the agent is killed
	idle   int
	minute time.Duration
	most   time.Duration
	seed   uint64
}

func main() {
	var o options
	flag.StringVar(&o.weft, "weft", "bin/weft", "the weft binary")
	flag.IntVar(&o.cycles, "cycles", 20000, "NICs that are attached and detached under one agent")
	flag.IntVar(&o.atOnce, "at-once", 200, "NICs that are there at once")
	flag.IntVar(&o.kills, "kills", 200, "times that the agent is killed, during further cycles")
	flag.IntVar(&o.killed, "kill-cycles", 4000, "those further cycles")
	flag.IntVar(&o.idle, "idle", 1000, "NICs beside which the idle agent is measured at the end; 0 for no such measurement")
	flag.DurationVar(&o.minute, "idle-time", time.Minute, "how long it is measured")
	flag.DurationVar(&o.most, "most", 0, "how long each of the two churns goes on at most: on a slow machine, as many cycles and kills as fit (0: no limit)")
	flag.Uint64Var(&o.seed, "seed", rand.Uint64(), "what the random moments come from")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := run(ctx, os.Stdout, o); err != nil {
		fmt.Fprintln(os.Stderr, "churn:", err)
		os.Exit(1)
	}
}

// run makes the node, wears it out and removes it.
func run(ctx context.Context, out io.Writer, o options) (err error) {
	if o.weft, err = filepath.Abs(o.weft); err != nil {
		return err
	}
	began := time.Now()
	say := func(format string, args ...any) {
		fmt.Fprintf(out, "%7.1fs  %s\n", time.Since(began).Seconds(), fmt.Sprintf(format, args...))
	}
	say("seed %d", o.seed)
	dir, err := os.MkdirTemp("/dev/shm", "weft-churn-") // in memory, as /run is
	if err != nil {
		if dir, err = os.MkdirTemp("", "weft-churn-"); err != nil {
			return err
		}
	}
	w, err := build(ctx, o.weft, dir)
	if err != nil {
		return errors.Join(err, w.remove(), os.RemoveAll(dir))
	}
	say("%s", w.words())
	c := &churn{world: w, options: o, say: say, random: rand.New(rand.NewPCG(o.seed, 0))}
	if err = c.all(ctx); err != nil {
		say("the agent's log ends with:\n%s", w.agent.tail())
	}
	return errors.Join(err, w.remove(), os.RemoveAll(dir))
}
