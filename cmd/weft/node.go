// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"weft/internal/agent"
	"weft/internal/kernel"
	"weft/internal/nic"
	"weft/internal/spec"
)

// options are the flags that every verb has.
type options struct {
	file, run, lib string
}

// open reads the node file and opens the kernel of the network namespace that weft was started in.
func (o *options) open() (*agent.Node, func(), error) { return o.openWith(o.spec) }

// openHeld opens the node as an agent holds it, for hooks and for verbs about NICs: a file that is being edited, and that nobody
// applied yet, has no bearing on them.
func (o *options) openHeld() (*agent.Node, func(), error) {
	return o.openWith(func() (*spec.Node, []byte, error) { return o.held(nic.Store{Dir: o.run}) })
}

// openBare opens the node without any file, for verbs that end a trial: they know what it was.
func (o *options) openBare() (*agent.Node, func(), error) {
	return o.openWith(func() (*spec.Node, []byte, error) { return &spec.Node{}, nil, nil })
}

// openForNew is openHeld for a verb that brings a NIC: it takes a file.
func (o *options) openForNew() (*agent.Node, func(), error) {
	return o.openWith(func() (*spec.Node, []byte, error) {
		s, text, err := o.held(nic.Store{Dir: o.run})
		if err == nil && text == nil {
			return o.spec()
		}
		return s, text, err
	})
}

func (o *options) openWith(read func() (*spec.Node, []byte, error)) (*agent.Node, func(), error) {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	trials, err := o.settle(context.Background(), log)
	if err != nil {
		return nil, nil, err
	}
	s, text, err := read()
	if err != nil {
		return nil, nil, err
	}
	host, err := kernel.Open("")
	if err != nil {
		return nil, nil, fmt.Errorf("open the kernel: %w", err)
	}
	air, store := &agent.LinkAir{Log: log}, nic.Store{Dir: o.run}
	closing := func() {
		if err := errors.Join(air.Close(), host.Close()); err != nil {
			fmt.Fprintln(os.Stderr, "weft: close the kernel:", err)
		}
	}
	return &agent.Node{
		Spec: s, Text: text, Store: store, Target: host, Air: air, Log: log, Trials: trials,
		Repeat: func(c spec.NIC) error { return o.repeat(store, c.ID) },
	}, closing, nil
}

// A doing is what a verb does with the node, and a look what it does with a view of it.
type (
	doing func(c *cobra.Command, node *agent.Node, args []string) error
	look  func(c *cobra.Command, node *agent.Node, v *agent.View, args []string) error
	verb  func(c *cobra.Command, args []string) error
)

// withNode returns a verb's function that opens the node, does something with it, and closes it.
func (o *options) withNode(do doing) verb { return with(o.open, do) }

// withNICs is withNode for a verb about NICs alone.
func (o *options) withNICs(do doing) verb { return with(o.openHeld, do) }

// withBare is withNode for a verb that ends a trial.
func (o *options) withBare(do doing) verb { return with(o.openBare, do) }

func with(open func() (*agent.Node, func(), error), do doing) verb {
	return func(c *cobra.Command, args []string) error {
		node, closing, err := open()
		if err != nil {
			return err
		}
		defer closing()
		return do(c, node, args)
	}
}

// withView is withNode for a verb that only looks.
func (o *options) withView(do look) verb { return o.withNode(viewed(do)) }

func viewed(do look) doing {
	return func(c *cobra.Command, node *agent.Node, args []string) error {
		v, err := node.View(c.Context())
		if err != nil {
			return err
		}
		return do(c, node, v, args)
	}
}

// spec reads the node file.
func (o *options) spec() (*spec.Node, []byte, error) {
	text, err := os.ReadFile(o.file)
	if err != nil {
		return nil, nil, fmt.Errorf("read the node file: %w", err)
	}
	s, err := spec.Parse(o.file, text)
	return s, text, err
}
