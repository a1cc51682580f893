// SPDX-License-Identifier: Apache-2.0

package ganeti

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// RuntimeDir is where Ganeti's kvm hypervisor keeps what it knows of running instances.
const RuntimeDir = "/var/run/ganeti/kvm-hypervisor"

// Runtime is Ganeti's runtime folder and the machine's processes, both only read.
type Runtime struct {
	Dir  string // RuntimeDir
	Proc string // /proc
}

// Context is the moment of an instance's life at which Ganeti calls for one of its NICs.
type Context string

// The contexts. Failover is a cold start.
const (
	ColdStart       Context = "cold start"       // also a hard reboot and the start after a failover: there is no guest yet
	SoftReboot      Context = "soft reboot"      // the same, and the files of the time before are still there: also a start after QEMU crashed
	Hotplug         Context = "hotplug"          // the guest runs here and gets a NIC, or a NIC with other settings
	MigrationBefore Context = "before migration" // the guest still runs on another node
	MigrationAfter  Context = "after migration"  // the guest runs here, and its old node has given it up
)

// Contexts are all moments of which Context tells one.
var Contexts = []Context{ColdStart, SoftReboot, Hotplug, MigrationBefore, MigrationAfter}

// Context tells the moment of a call. Ganeti 3.2 says it for migrations. Before, what tells is whether the runtime file of
// the instance is there (Ganeti writes it before it calls on a start, and last of all on the target of a migration) and
// whether its QEMU runs. A runtime file left over from an earlier failed start makes a migration look like a start, so a
// tap that Ganeti has noted for this NIC already, under a running QEMU, counts for more: only a migration does that.
func (r Runtime) Context(e Environment) Context {
	switch e.Phase {
	case "pre":
		return MigrationBefore
	case "post":
		return MigrationAfter
	}
	_, err := os.Stat(r.file("conf", e.Instance+".runtime"))
	known := err == nil
	noted, err := os.ReadFile(r.file("nic", e.Instance, strconv.Itoa(e.Index)))
	switch alive := r.Alive(e.Instance); {
	case alive && err == nil && strings.TrimSpace(string(noted)) == e.Interface:
		return MigrationAfter
	case alive && known:
		return Hotplug
	case alive:
		return MigrationAfter
	case !known:
		return MigrationBefore
	case err == nil:
		return SoftReboot
	}
	return ColdStart
}

// file returns a path below the runtime folder. The parts were checked to hold no slash and not to begin with a dot.
func (r Runtime) file(parts ...string) string {
	return filepath.Join(append([]string{r.Dir}, parts...)...)
}

// Alive reports whether the instance's QEMU runs.
func (r Runtime) Alive(instance string) bool {
	_, ok := r.pid(instance)
	return ok
}

// pid returns the process of the instance's QEMU. The number in Ganeti's file may be another process's by now: QEMU has
// the instance's name behind -name.
func (r Runtime) pid(instance string) (int, bool) {
	text, err := os.ReadFile(r.file("pid", instance))
	if err != nil {
		return 0, false
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid <= 1 {
		return 0, false
	}
	args, err := r.args(pid)
	if err != nil {
		return 0, false
	}
	for i := 1; i < len(args); i++ {
		name, _, _ := strings.Cut(args[i], ",")
		if args[i-1] == "-name" && name == instance {
			return pid, true
		}
	}
	return 0, false
}

// args returns a process's command line; that of a zombie is empty.
func (r Runtime) args(pid int) ([]string, error) {
	data, err := os.ReadFile(filepath.Join(r.Proc, strconv.Itoa(pid), "cmdline"))
	if err != nil {
		return nil, fmt.Errorf("read the command line of process %d: %w", pid, err)
	}
	var args []string
	for _, a := range bytes.Split(bytes.TrimSuffix(data, []byte{0}), []byte{0}) {
		args = append(args, string(a))
	}
	return args, nil
}

// instances returns the names that have a file of this suffix in a folder of the runtime.
func (r Runtime) instances(dir, suffix string) ([]string, error) {
	entries, err := os.ReadDir(r.file(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read Ganeti's runtime files: %w", err)
	}
	var names []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), suffix); ok && hostName(name) {
			names = append(names, name)
		}
	}
	return names, nil
}
