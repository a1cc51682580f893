// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"

	"weft/internal/agent"
	"weft/internal/kernel"
	"weft/internal/nic"
	"weft/internal/spec"
)

// options are the flags that every verb has.
type options struct {
	file, run string
}

// open reads the node file and opens the kernel of the network namespace that weft was started in.
func (o *options) open() (*agent.Node, func(), error) {
	s, err := o.spec()
	if err != nil {
		return nil, nil, err
	}
	host, err := kernel.Open("")
	if err != nil {
		return nil, nil, fmt.Errorf("open the kernel: %w", err)
	}
	closing := func() {
		if err := host.Close(); err != nil {
			fmt.Fprintln(os.Stderr, "weft: close the kernel:", err)
		}
	}
	return &agent.Node{Spec: s, Store: nic.Store{Dir: o.run}, Target: host}, closing, nil
}

func (o *options) spec() (*spec.Node, error) {
	data, err := os.ReadFile(o.file)
	if err != nil {
		return nil, fmt.Errorf("read the node file: %w", err)
	}
	return spec.Parse(o.file, data)
}
