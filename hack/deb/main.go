// SPDX-License-Identifier: Apache-2.0

// Command deb tests the Debian package: it is installed, used, upgraded, removed and purged as a sysadmin does it, in a VM that is a
// Debian with systemd as its first process, while the network pings guests through it.
//
// It owns the folder of one run, with the packages and the VM's disk. It opens no port and makes no interface on this machine.
package main

import (
	"context"
	"embed"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"weft/hack/rig"
	"weft/internal/vm"
)

const usage = `Tests the Debian package in the VM node, a Debian 12 with systemd (QEMU, emulated). Prints what it ran and what it saw, with
PASS or FAIL for each thing that was asked, and exits 1 unless all passed.`

//go:embed files
var files embed.FS

// machine is the VM, and how it is booted again.
type machine struct {
	*rig.Fleet
	deb   string
	cfg   vm.Config
	ended <-chan error
}

func main() {
	m := &machine{}
	flag.StringVar(&m.deb, "deb", "", "the package (default: the one in bin)")
	rig.Main(rig.Command{
		Name: "deb", Usage: usage, Steps: allSteps, Start: m.start,
		Run: func(ctx context.Context, f *rig.Fleet, t *rig.Transcript, steps string) {
			m.Fleet = f
			(&test{Transcript: t, machine: m}).run(ctx, steps)
		},
	})
}

// start makes the packages and the disk, and boots.
func (m *machine) start(ctx context.Context, f *rig.Fleet, say func(string)) (err error) {
	m.Fleet = f
	if err := m.packages(ctx); err != nil {
		return err
	}
	if m.cfg.Image, err = vm.Prepare(ctx, "", say); err != nil {
		return err
	}
	root, err := node().Make(ctx, say)
	if err != nil {
		return err
	}
	entries, err := files.ReadDir("files")
	if err != nil {
		return err
	}
	for _, e := range entries {
		data, err := files.ReadFile("files/" + e.Name())
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(m.Dir, e.Name()), data, 0o755); err != nil {
			return fmt.Errorf("preparing the VM: %w", err)
		}
	}
	m.cfg.Disk = filepath.Join(m.Dir, "disk")
	const disk = `cp -a "$1" "$4" && mkdir -p "$4/lib/modules" && cp -a "$2" "$4/lib/modules/" && mkfs.ext4 -q -d "$4" "$3" 3G && rm -r "$4"`
	modules := filepath.Join(m.cfg.Image.Dir, "lib/modules", m.cfg.Image.Release)
	if out, err := exec.CommandContext(ctx, "sh", "-c", disk, "sh", root, modules, m.cfg.Disk, m.Dir+"/root").CombinedOutput(); err != nil {
		return fmt.Errorf("making the VM's disk: %w\n%s", err, out)
	}
	m.cfg.Devices, m.cfg.Memory, m.cfg.Boot = cards(), 1024, 10*time.Minute
	m.cfg.Init = "/sbin/init"
	m.cfg.Argv = []string{"sh", filepath.Join(m.Dir, "world.sh")}
	say("booting Debian")
	return m.boot(ctx)
}

// packages puts the package into the folder, and the same with a higher version.
func (m *machine) packages(ctx context.Context) error {
	if m.deb == "" {
		found, err := filepath.Glob("bin/weft_*.deb")
		if err != nil || len(found) != 1 {
			return errors.Join(fmt.Errorf("looking for the package: %d in bin; make deb makes one", len(found)), err)
		}
		m.deb = found[0]
	}
	const script = `cp "$1" "$2/weft.deb" && dpkg-deb -R "$1" "$2/next" && sed -i 's/^Version: .*/&+next/' "$2/next/DEBIAN/control" &&
		dpkg-deb --root-owner-group -Zgzip -z1 -b "$2/next" "$2/next.deb"`
	if out, err := exec.CommandContext(ctx, "sh", "-c", script, "sh", m.deb, m.Dir).CombinedOutput(); err != nil {
		return fmt.Errorf("copying the package: %w\n%s", err, out)
	}
	return nil
}

// cards are the node's two, and what each is plugged into: two more of the same VM, which world.sh takes.
func cards() []string {
	var args []string
	for n, pair := range [][2]string{{"0a", "1a"}, {"0b", "1b"}} {
		for _, mac := range pair {
			args = append(args, "-netdev", fmt.Sprintf("hubport,id=n%s,hubid=%d", mac, n),
				"-device", fmt.Sprintf("virtio-net-pci,netdev=n%s,mac=02:00:00:00:00:%s,romfile=", mac, mac))
		}
	}
	return args
}

// boot boots the VM, anew where it has ended.
func (m *machine) boot(ctx context.Context) (err error) {
	m.ended, err = m.Boot(ctx, "node", m.cfg, "node: up")
	return err
}
