// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"weft/internal/agent"
	"weft/internal/plan"
)

func newApplyCommand(o *options) *cobra.Command {
	var quiet bool
	var window time.Duration
	var probes []string
	c := &cobra.Command{
		Use:   "apply [PLAN]",
		Short: "Make the node what its file and its NICs say",
		Long: `Make the node what its file and its NICs say, print each step once it is done, and end only when a fresh
look at the kernel leaves nothing to do. With PLAN, a file that weft plan -o wrote, apply just that plan, and refuse
if the node, the file or the NICs are not what they were when it was made.

With --confirm the change is on trial: unless weft confirm comes within that time, the node goes back to what it was, its node file
too, whatever becomes of this command, its terminal, the agent or the machine. With --probe as well, the node confirms by itself when all probes have succeeded
three times in a row, and the command waits for it.

An ssh session that dies does not stop it. What an interrupted apply left half done, the next one finishes.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if window < 0 || window == 0 && (len(probes) > 0 || c.Flags().Changed("confirm")) {
				return errors.New("--confirm wants a time, such as 60s, and --probe goes with it")
			}
			var saved *plan.Plan
			if len(args) == 1 {
				p, err := readPlan(args[0])
				if err != nil {
					return err
				}
				saved = p
			}
			node, closing, err := o.open()
			if err != nil {
				return err
			}
			defer closing()
			steps, end := printSteps(node, c.OutOrStdout(), quiet)
			defer end()
			if window > 0 {
				err = o.tryOut(c, node, saved, window, probes)
			} else if saved != nil {
				err = node.ApplyPlan(c.Context(), *saved)
			} else {
				err = node.Apply(c.Context())
			}
			if err != nil {
				return err
			}
			if *steps == 0 && !quiet {
				fmt.Fprintln(c.OutOrStdout(), "# nothing to do")
			}
			return nil
		},
	}
	c.Flags().BoolVarP(&quiet, "quiet", "q", false, "print no steps")
	c.Flags().DurationVar(&window, "confirm", 0, "undo the change after this time, such as 60s, unless weft confirm comes")
	c.Flags().StringArrayVar(&probes, "probe", nil, "with --confirm: "+agent.Probes+"; may be repeated")
	return c
}

func readPlan(file string) (*plan.Plan, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the plan: %w", err)
	}
	var p plan.Plan
	if err := json.Unmarshal(data, &p); err != nil {
		return nil, fmt.Errorf("read the plan %s: %w", file, err)
	}
	return &p, nil
}

// printSteps prints each step of the node's that is done. The steps never wait for the printing: over a network that is
// being changed, a terminal may not take a line before the change is complete.
func printSteps(node *agent.Node, w io.Writer, quiet bool) (steps *int, end func()) {
	steps = new(int)
	q := newQueue()
	node.Done = func(op plan.Op) {
		*steps++
		if !quiet {
			q.put(op.Lines())
		}
	}
	var printing sync.WaitGroup
	printing.Go(func() {
		for line := range q.lines() {
			if _, err := fmt.Fprintln(w, line); err != nil {
				return // nobody listens any more
			}
		}
	})
	return steps, func() { q.end(); printing.Wait() }
}

// queue is an unbounded queue of lines: put never waits.
type queue struct {
	mu    sync.Mutex
	more  *sync.Cond
	items []string
	ended bool
}

func newQueue() *queue {
	q := &queue{}
	q.more = sync.NewCond(&q.mu)
	return q
}

func (q *queue) put(lines []string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.items = append(q.items, lines...)
	q.more.Signal()
}

func (q *queue) end() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.ended = true
	q.more.Signal()
}

// lines yields the lines until the queue was ended and is empty.
func (q *queue) lines() func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for {
			q.mu.Lock()
			for len(q.items) == 0 && !q.ended {
				q.more.Wait()
			}
			batch := q.items
			q.items = nil
			q.mu.Unlock()
			if len(batch) == 0 {
				return
			}
			for _, line := range batch {
				if !yield(line) {
					return
				}
			}
		}
	}
}
