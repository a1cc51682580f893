// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Prefixes of the namespaces of the labs that may stand at the same time.
const (
	PrefixUp   = "weft-"     // weft lab up
	PrefixDemo = "weftdemo-" // weft lab demo
	PrefixRun  = "weftrun-"  // weft lab run
	PrefixTest = "wefttest-" // go test
)

// stateDir holds a folder for each lab: its lock, its nodes' files and the captures under way.
const stateDir = "/run/weft-lab"

// Options are how a lab is built.
type Options struct {
	Prefix string // of its namespaces: one of the Prefix constants
	Weft   string // path of the weft program that nodes run
	Pcap   string // folder that every link is recorded into; "" for none
	Cache  string // folder with the guests' kernel; "" for the default one
}

// Lab is one datacenter. Its methods are for one goroutine.
type Lab struct {
	opt      Options
	dir      string // below stateDir
	lock     *os.File
	guests   map[string]*guest
	captures map[string]*capture // by output file
	recorded map[string]bool     // files that links are or were recorded into
	applied  map[string]string   // node: file that it was last applied with
	agents   map[string]*agent   // by node
	pingers  map[string]*pinger
}

// New builds the fabric: switch, router, internet and the bare nodes. A lab of the same prefix that
// was killed is removed first; one that is in use is an error.
func New(ctx context.Context, opt Options) (*Lab, error) {
	l, err := open(opt)
	if err != nil {
		return nil, err
	}
	if err := l.build(ctx); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// Open is the lab that an earlier New left standing with Leave.
func Open(opt Options) (*Lab, error) {
	names, err := namespaces(opt.Prefix)
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, errors.New("no lab is up; build one with: weft lab up")
	}
	return open(opt)
}

func open(opt Options) (*Lab, error) {
	l := &Lab{
		opt:      opt,
		dir:      filepath.Join(stateDir, strings.TrimSuffix(opt.Prefix, "-")),
		guests:   map[string]*guest{},
		captures: map[string]*capture{},
		recorded: map[string]bool{},
		applied:  map[string]string{},
		agents:   map[string]*agent{},
		pingers:  map[string]*pinger{},
	}
	if err := os.MkdirAll(l.dir, 0o755); err != nil {
		return nil, fmt.Errorf("creating the lab's folder: %w", err)
	}
	f, err := os.OpenFile(l.dir+".lock", os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("locking the lab: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("another weft lab with namespaces %s* is running (%s.lock is held)", opt.Prefix, l.dir)
		}
		return nil, fmt.Errorf("locking the lab: %w", err)
	}
	l.lock = f
	return l, nil
}

// build makes the namespaces and everything in them.
func (l *Lab) build(ctx context.Context) error {
	if err := l.remove(); err != nil {
		return err
	}
	if err := os.MkdirAll(l.dir, 0o755); err != nil {
		return fmt.Errorf("creating the lab's folder: %w", err)
	}
	if l.opt.Pcap != "" {
		if err := os.MkdirAll(l.opt.Pcap, 0o755); err != nil {
			return fmt.Errorf("creating the folder for captures: %w", err)
		}
	}
	// The links' modules, where the kernel does not load them by itself. br_netfilter must stay out.
	_ = exec.CommandContext(ctx, "modprobe", "bonding", "max_bonds=0").Run()
	_ = exec.CommandContext(ctx, "modprobe", "-a", "8021q", "bridge", "vrf", "veth", "tun").Run()
	if err := l.buildFabric(ctx); err != nil {
		return err
	}
	for _, link := range fabricLinks() {
		if err := l.record(ctx, link); err != nil {
			return err
		}
	}
	return nil
}

// Close stops what runs in the lab, removes its namespaces and its folder, and lets go of its lock.
func (l *Lab) Close() error {
	err := errors.Join(l.stopCaptures(), l.closeShuttles(), l.remove())
	return errors.Join(err, l.lock.Close())
}

// Leave lets go of the lab and leaves it standing.
func (l *Lab) Leave() error { return l.lock.Close() }

// remove ends every process in the lab's namespaces, deletes these and the lab's folder.
func (l *Lab) remove() error {
	names, err := namespaces(l.opt.Prefix)
	if err != nil {
		return err
	}
	if len(names) > 0 {
		if err := endProcesses(names); err != nil {
			return err
		}
	}
	for _, name := range names {
		path := filepath.Join(netnsDir, name)
		// What ip netns del does; without EINVAL for a name that a killed lab left unmounted.
		if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("removing namespace %s: %w", name, err)
		}
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("removing namespace %s: %w", name, err)
		}
	}
	if err := os.RemoveAll(l.dir); err != nil {
		return fmt.Errorf("removing the lab's folder: %w", err)
	}
	return nil
}

// endProcesses ends what runs in these namespaces: gently first, so that captures are written out.
func endProcesses(netns []string) error {
	for _, step := range []struct {
		sig  syscall.Signal
		wait time.Duration
	}{{syscall.SIGINT, 2 * time.Second}, {syscall.SIGKILL, 5 * time.Second}} {
		pids, err := processes(netns)
		if err != nil {
			return err
		}
		for _, pid := range pids {
			_ = syscall.Kill(pid, step.sig)
		}
		for end := time.Now().Add(step.wait); len(pids) > 0 && time.Now().Before(end); {
			time.Sleep(20 * time.Millisecond)
			if pids, err = processes(netns); err != nil {
				return err
			}
		}
		if len(pids) == 0 {
			return nil
		}
	}
	return nil // a zombie whose parent does not wait; it holds no namespace
}

// netns is the namespace of a machine of the lab.
func (l *Lab) netns(machine string) string { return l.opt.Prefix + machine }

// Machines lists the lab's machines: fabric, nodes and guests.
func (l *Lab) Machines() ([]string, error) {
	names, err := namespaces(l.opt.Prefix)
	if err != nil {
		return nil, err
	}
	for i := range names {
		names[i] = strings.TrimPrefix(names[i], l.opt.Prefix)
	}
	order := []string{"inet", "rt", "sw", "hv1", "hv2", thirdNode}
	rank := func(name string) int {
		if i := slices.Index(order, name); i >= 0 {
			return i
		}
		return len(order)
	}
	sort.SliceStable(names, func(i, j int) bool { return rank(names[i]) < rank(names[j]) })
	return names, nil
}

// has says whether the lab has this machine.
func (l *Lab) has(machine string) bool {
	_, err := os.Stat(filepath.Join(netnsDir, l.netns(machine)))
	return err == nil && machine != ""
}

// In runs a command in a machine's namespace.
func (l *Lab) In(ctx context.Context, machine string, argv ...string) (Output, error) {
	return l.inDir(ctx, machine, "", argv...)
}

func (l *Lab) inDir(ctx context.Context, machine, dir string, argv ...string) (Output, error) {
	if !l.has(machine) {
		return Output{}, fmt.Errorf("the lab has no machine %q", machine)
	}
	if len(argv) == 0 {
		return Output{}, fmt.Errorf("nothing to run in %s", machine)
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "WEFT="+l.opt.Weft) // for what calls weft by itself, as hypervisors do
	// A child that holds the output open must not hold the lab.
	cmd.WaitDelay = 2 * time.Second
	return output(l.netns(machine), cmd)
}

// NodeArgs are the global flags of weft for a node whose file is file; its NIC intents are kept
// beside that.
func (l *Lab) NodeArgs(node, file string) []string {
	dir := filepath.Dir(file)
	return []string{"--file", file, "--run", filepath.Join(dir, "run-"+node), "--lib", filepath.Join(dir, "lib-"+node)}
}

// Weft runs the weft program on a node with the file of that node.
func (l *Lab) Weft(ctx context.Context, node, file string, args ...string) (Output, error) {
	argv := append([]string{l.opt.Weft}, l.NodeArgs(node, file)...)
	out, err := l.inDir(ctx, node, filepath.Dir(file), append(argv, args...)...)
	if err == nil && len(args) > 0 && (args[0] == "apply" || args[0] == "nic") {
		l.applied[node] = file
	}
	return out, err
}

// File is where the lab keeps a node's file when no scenario brings one.
func (l *Lab) File(node string) string { return filepath.Join(l.dir, node+".yaml") }

// Converged fails when a node that weft was applied on has something left to change.
func (l *Lab) Converged(ctx context.Context) error {
	var errs []error
	for _, node := range l.nodes() {
		file, ok := l.applied[node]
		if !ok {
			continue
		}
		out, err := l.Weft(ctx, node, file, "plan")
		if err == nil && out.Code != 0 {
			err = fmt.Errorf("exit code %d:\n%s%s", out.Code, out.Stdout, out.Stderr)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("a second weft plan on %s is not empty: %w", node, err))
		}
	}
	return errors.Join(errs...)
}
