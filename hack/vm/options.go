// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
	"time"
)

const usage = `usage: go run ./hack/vm [-v] [-run REGEX] [-bench REGEX] [-timeout D] LANE PKG... [LANE PKG...]
       go run ./hack/vm [-icount] [-timeout D] [-mem MB] [-work DIR] -exec -- CMD [ARG...]

Runs tests in lanes, counts them, and prints a line per lane and the total. Lanes:
  -unit PKG...    go test on this machine
  -kernel PKG...  with a kernel that has bonding, VLANs, VRFs, bridges and nftables: this machine's
                  when it can and we are root, otherwise Debian's stock kernel in VMs (QEMU), one
                  for each CPU and at most 4 at once (one with -v). Each package gets a network
                  namespace of its own, WEFT_TEST_REQUIRE=kernel, and the path of a weft binary in
                  WEFT_TEST_BINARY. PKG:N runs it in N shards: with WEFT_TEST_SHARD=K/N its tests
                  leave out what is another shard's
  -vm PKG...      go test on this machine with WEFT_TEST_REQUIRE=vm: tests that boot VMs themselves
Options:
  -v              print all that the tests print
  -run REGEX      run the tests that match, in all lanes
  -bench REGEX    run the benchmarks that match and print what they print; no tests without -run
  -icount         the VM's clock counts the instructions of its one CPU, one a nanosecond, so that what is
                  measured does not depend on what else this machine does (time in which it waits is made up)
  -timeout D      of each package's tests (default 15m); of the whole VM with -exec (default none)

-exec runs one command as root in a VM that sees this machine's files, and ends with its status.
What the command writes is lost, unless it is below the folder of -work. -mem is the VM's memory.
`

// The lanes.
const (
	laneUnit   = "unit"
	laneKernel = "kernel"
	laneVM     = "vm"
)

// lane is where the tests of some packages run.
type lane struct {
	name     string
	packages []string
}

// options is the command line.
type options struct {
	help    bool
	verbose bool
	icount  bool
	run     string
	bench   string
	timeout time.Duration
	lanes   []lane
	exec    []string
	memory  int // MiB
	work    string
}

// parseArgs reads the command line. Flags may stand anywhere before --.
func parseArgs(args []string) (options, error) {
	o := options{}
	wantExec := false
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if strings.HasPrefix(arg, "--") && arg != "--" {
			arg = arg[1:]
		}
		value := func() (string, error) {
			if i++; i >= len(args) {
				return "", fmt.Errorf("%s needs a value", arg)
			}
			return args[i], nil
		}
		var err error
		switch arg {
		case "-h", "-help":
			o.help = true
		case "-icount":
			o.icount = true
		case "-v":
			o.verbose = true
		case "-run":
			o.run, err = value()
		case "-bench":
			o.bench, err = value()
		case "-work":
			o.work, err = value()
		case "-timeout", "-mem":
			var v string
			if v, err = value(); err == nil {
				err = o.setNumber(arg, v)
			}
		case "-exec":
			wantExec = true
		case "--":
			o.exec, i = args[i+1:], len(args)
		case "-" + laneUnit, "-" + laneKernel, "-" + laneVM:
			o.lanes = append(o.lanes, lane{name: arg[1:]})
		default:
			err = o.addPackage(arg)
		}
		if err != nil {
			return o, err
		}
	}
	return o, o.check(wantExec)
}

// setNumber sets an option that is no text.
func (o *options) setNumber(flag, v string) error {
	var err error
	if flag == "-timeout" {
		o.timeout, err = time.ParseDuration(v)
	} else {
		_, err = fmt.Sscanf(v, "%d", &o.memory)
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", flag, v, err)
	}
	return nil
}

// addPackage adds package patterns, separated by spaces as make writes them, to the last lane.
func (o *options) addPackage(arg string) error {
	if strings.HasPrefix(arg, "-") {
		return fmt.Errorf("there is no option %s", arg)
	}
	if len(o.lanes) == 0 {
		return fmt.Errorf("package %s stands before any lane", arg)
	}
	l := &o.lanes[len(o.lanes)-1]
	l.packages = append(l.packages, strings.Fields(arg)...)
	return nil
}

// check refuses command lines that make no sense, and fills in the default of -timeout.
func (o *options) check(wantExec bool) error {
	switch {
	case o.help:
		return nil
	case wantExec != (len(o.exec) > 0):
		return fmt.Errorf("-exec wants a command after --, and nothing else does")
	case wantExec && len(o.lanes) > 0:
		return fmt.Errorf("-exec and lanes do not go together")
	case !wantExec && len(o.lanes) == 0:
		return fmt.Errorf("no lane given")
	}
	for _, l := range o.lanes {
		if len(l.packages) == 0 {
			return fmt.Errorf("lane -%s has no packages", l.name)
		}
	}
	if o.bench != "" {
		o.verbose = true
		if o.run == "" {
			o.run = "^$"
		}
	}
	if !wantExec && o.timeout == 0 {
		o.timeout = 15 * time.Minute
	}
	return nil
}
