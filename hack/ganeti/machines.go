// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"weft/hack/rig"
	"weft/internal/vm"
)

//go:embed files/*.sh files/node.yaml files/interfaces
var files embed.FS

// lab is three VMs: two nodes, and one that is the switch, the router and the internet.
type lab struct {
	*rig.Fleet
	weft string // the binary
	root string
	img  vm.Image
}

// machines are the names of the VMs.
func machines() []string { return []string{"net", "node1", "node2"} }

// prepare writes what the VMs and the instances boot into the lab's folder.
func (l *lab) prepare(ctx context.Context) error {
	binary, err := os.ReadFile(l.weft)
	if err != nil {
		return fmt.Errorf("reading the weft binary: %w", err)
	}
	kernel, err := os.ReadFile(l.img.Kernel())
	if err != nil {
		return fmt.Errorf("reading the instances' kernel: %w", err)
	}
	initrd, err := guestArchive(ctx, l.img, l.root)
	if err != nil {
		return err
	}
	write := map[string][]byte{"weft": binary, "vmlinux": kernel, "guest.cpio": initrd}
	for n := 1; n <= 2; n++ {
		for _, name := range []string{"node%d.yaml", "interfaces%d"} {
			text, err := files.ReadFile("files/" + strings.Replace(name, "%d", "", 1))
			if err != nil {
				return err
			}
			write[fmt.Sprintf(name, n)] = bytes.ReplaceAll(text, []byte("NODE"), []byte(strconv.Itoa(n)))
		}
	}
	for _, name := range []string{"net.sh", "node.sh", "handover.sh"} {
		if write[name], err = files.ReadFile("files/" + name); err != nil {
			return err
		}
	}
	for name, data := range write {
		if err := os.WriteFile(filepath.Join(l.Dir, name), data, 0o755); err != nil {
			return fmt.Errorf("preparing the lab: %w", err)
		}
	}
	return l.python(ctx)
}

// python puts all that Ganeti imports into one file, which the nodes unpack into their memory: Python looks for each module in
// several places, and over 9p that takes an emulated CPU longer than what the module is for.
func (l *lab) python(ctx context.Context) error {
	dirs, err := filepath.Glob(filepath.Join(l.root, "usr/lib/python3*"))
	if err != nil {
		return fmt.Errorf("packing the nodes' Python: %w", err)
	}
	args := []string{"-C", l.root, "--exclude=usr/lib/python3.*/test", "-cf", filepath.Join(l.Dir, "python.tar"), "usr/share/ganeti"}
	for _, dir := range dirs {
		args = append(args, "usr/lib/"+filepath.Base(dir))
	}
	if out, err := exec.CommandContext(ctx, "tar", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("packing the nodes' Python: %w\n%s", err, rig.LastLines(string(out), 5))
	}
	return nil
}

// wireArgs are a VM's network cards. A wire is a socket in the lab's folder; the switch's side listens.
func (l *lab) wireArgs(name string) []string {
	var args []string
	for n := 1; n <= 2; n++ {
		for e := range 2 {
			wire := fmt.Sprintf("h%de%d", n, e)
			server, mac := "on", fmt.Sprintf("02:00:00:00:5c:%d%d", n, e)
			if name != "net" {
				server, mac = "off", fmt.Sprintf("02:00:00:00:0%d:0%d", n, e)
				if name != fmt.Sprintf("node%d", n) {
					continue
				}
			}
			args = append(args,
				"-netdev", fmt.Sprintf("stream,id=%s,server=%s,addr.type=unix,addr.path=%s", wire, server, filepath.Join(l.Dir, wire)),
				"-device", fmt.Sprintf("virtio-net-pci,netdev=%s,mac=%s,romfile=", wire, mac))
		}
	}
	return args
}

// boot starts one VM and returns when it takes commands. A node has two CPUs on a busy machine as well: the instances in it take one.
func (l *lab) boot(ctx context.Context, name string) error {
	cfg := vm.Config{
		Image: l.img, Root: l.root, Devices: l.wireArgs(name), Memory: 3072, CPUs: 2, Boot: 15 * time.Minute,
		Argv: []string{"sh", filepath.Join(l.Dir, "node.sh"), l.Dir, name[len(name)-1:]},
	}
	if name == "net" {
		cfg.CPUs, cfg.Memory, cfg.Argv = 1, 512, []string{"sh", filepath.Join(l.Dir, "net.sh")}
	}
	ended, err := l.Boot(ctx, name, cfg, name+": up")
	if err == nil {
		l.Need(name, ended)
	}
	return err
}

// up boots all VMs.
func (l *lab) up(ctx context.Context) error {
	if err := l.boot(ctx, "net"); err != nil {
		return err
	}
	ended := make(chan error, 2)
	for _, name := range machines()[1:] {
		go func() { ended <- l.boot(ctx, name) }()
	}
	return errors.Join(<-ended, <-ended)
}
