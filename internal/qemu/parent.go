// SPDX-License-Identifier: Apache-2.0

package qemu

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// generations is how far up QEMU is looked for: the script may run weft by way of a shell or two.
const generations = 4

// Ancestor returns the guest of the QEMU process that is the nearest ancestor of process pid: the nearest that has taps on
// its command line. proc is where procfs is mounted. The error is ErrNoTap where there is none.
func Ancestor(proc string, pid int) (*Guest, error) {
	for range generations {
		stat, err := os.ReadFile(filepath.Join(proc, strconv.Itoa(pid), "stat"))
		if err != nil {
			return nil, fmt.Errorf("look for QEMU: %w", err)
		}
		if pid, err = parent(string(stat)); err != nil {
			return nil, err
		}
		if pid <= 1 {
			break
		}
		line, err := os.ReadFile(filepath.Join(proc, strconv.Itoa(pid), "cmdline"))
		if err != nil {
			return nil, fmt.Errorf("look for QEMU: %w", err)
		}
		args := strings.Split(strings.TrimSuffix(string(line), "\x00"), "\x00")
		g, err := Parse(args[1:])
		if err != nil {
			return nil, err
		}
		if len(g.taps) > 0 {
			return g, nil
		}
	}
	return nil, fmt.Errorf("look for QEMU above process %d: %w", pid, ErrNoTap)
}

// parent returns the parent of the process of this /proc/PID/stat (proc(5)). The second field, in parentheses, may have
// anything in it.
func parent(stat string) (int, error) {
	fields := strings.Fields(stat[strings.LastIndex(stat, ")")+1:])
	if len(fields) < 2 {
		return 0, errors.New("look for QEMU: /proc/PID/stat is not understood")
	}
	ppid, err := strconv.Atoi(fields[1])
	if err != nil {
		return 0, fmt.Errorf("look for QEMU: /proc/PID/stat: %w", err)
	}
	return ppid, nil
}
