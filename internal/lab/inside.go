// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"weft/internal/vm"
)

// envInside, set to 1, says that this process runs in the lab's VM.
const envInside = "WEFT_LAB_INSIDE"

// When a lab runs in a VM.
const (
	VMAuto   = "auto"   // where the running kernel lacks something, or the user is not root
	VMAlways = "always" // also where it would go without
	VMNever  = "never"  // not at all
)

// NeedsVM says whether the lab must run in a VM, and what for: what the running kernel lacks.
func NeedsVM(mode string) (needed bool, lacks []string, err error) {
	switch mode {
	case VMNever:
		return false, nil, nil
	case VMAuto, VMAlways:
	default:
		return false, nil, fmt.Errorf("--vm %s: it is %s, %s or %s", mode, VMAuto, VMAlways, VMNever)
	}
	if os.Getenv(envInside) == "1" {
		return false, nil, nil
	}
	if mode == VMAlways {
		return true, nil, nil
	}
	lacks, err = vm.KernelLacks()
	return len(lacks) > 0, lacks, err
}

// InVM is one run of this program in a VM.
type InVM struct {
	Args    []string // of weft
	Why     []string // what the running kernel lacks
	Cache   string   // folder of the VM's kernel; "" for the default one
	WorkDir string   // shared for writing, at the same path
	Console string   // socket for further commands; "" for none
	Out     io.Writer
	Err     io.Writer
}

// Run boots the VM, runs weft in it and returns its exit code.
func (v InVM) Run(ctx context.Context) (int, error) {
	p := newPaper(v.Out)
	if len(v.Why) > 0 {
		p.printf("%s\n", p.dim("This kernel or user cannot do: "+strings.Join(v.Why, ", ")+". The lab runs in a VM with Debian's kernel."))
	}
	img, err := vm.Prepare(ctx, v.Cache, func(line string) { p.printf("%s\n", line) })
	if err != nil {
		return 0, err
	}
	exe, err := os.Executable()
	if err != nil {
		return 0, fmt.Errorf("finding this program: %w", err)
	}
	dir, err := os.Getwd()
	if err != nil {
		return 0, fmt.Errorf("finding the working folder: %w", err)
	}
	cache := v.Cache
	if cache == "" {
		cache = vm.CacheDir()
	}
	env := []string{envInside + "=1", envCache + "=" + cache}
	if p.terminal {
		env = append(env, envTerminal+"=1")
	}
	for _, name := range []string{"NO_COLOR", "TERM"} {
		if value := os.Getenv(name); value != "" {
			env = append(env, name+"="+value)
		}
	}
	stop := p.progress("booting " + img.String() + " under QEMU")
	defer stop()
	return vm.Run(ctx, vm.Config{
		Image: img, Argv: append([]string{exe}, v.Args...), Env: env, Dir: dir, WorkDir: v.WorkDir,
		Stdout: v.Out, Stderr: v.Err, Console: v.Console, Booted: stop,
	})
}

// envCache tells the lab in the VM where the host keeps kernels.
const envCache = "WEFT_LAB_CACHE"

// CacheDir is the folder of kernels that was asked for, or that the host of the VM uses; "" is the
// default one.
func CacheDir(asked string) string {
	if asked != "" {
		return asked
	}
	return os.Getenv(envCache)
}

// upMark is what the lab in the VM prints when it is up and stays.
const upMark = "\x00weft lab is up\n"

// untilUp passes on what a VM prints, and calls up when it has printed upMark.
type untilUp struct {
	out io.Writer
	up  func()
}

// Write implements io.Writer.
func (u *untilUp) Write(b []byte) (int, error) {
	if u.out == nil {
		return len(b), nil
	}
	text, _, found := bytes.Cut(b, []byte(upMark))
	if _, err := u.out.Write(text); err != nil {
		return 0, err
	}
	if found {
		u.out = nil
		u.up()
	}
	return len(b), nil
}
