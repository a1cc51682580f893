// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
)

// machine is what differs between the architectures.
type machine struct {
	debian  string // Debian's name, of packages and kernels
	qemu    string // the emulator's program
	board   string // -M
	console string // the kernel's name of the first serial port
	cpu     string // -cpu of an emulated one
}

// machines by GOARCH.
func machines() map[string]machine {
	return map[string]machine{
		// Five-level page tables only make an emulated CPU walk further.
		"amd64": {debian: "amd64", qemu: "qemu-system-x86_64", board: "pc", console: "ttyS0", cpu: "max,la57=off"},
		"arm64": {debian: "arm64", qemu: "qemu-system-aarch64", board: "virt", console: "ttyAMA0", cpu: "max"},
	}
}

// thisMachine is the entry of the running architecture.
func thisMachine() (machine, error) {
	m, ok := machines()[runtime.GOARCH]
	if !ok {
		return machine{}, fmt.Errorf("running a VM: no kernel and emulator are known for %s", runtime.GOARCH)
	}
	return m, nil
}

// The names that host and guest know the link and the folders by.
const (
	linkPort = "weft.link"
	rootTag  = "weft-root"
	workTag  = "weft-work"
	modsTag  = "weft-modules" // only where the root is another than the host's
)

// accelerator is the -accel and -cpu arguments. KVM is never tried unasked: where it is offered
// but broken (nested virtualisation), it hangs instead of failing.
func accelerator(m machine, instructions bool) []string {
	if instructions { // with sleep=off it skips the time in which nothing is to be done
		return []string{"-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off", "-cpu", m.cpu}
	}
	if os.Getenv("WEFT_ACCEL") == "kvm" {
		return []string{"-accel", "kvm", "-cpu", "host"}
	}
	return []string{"-accel", "tcg,thread=multi", "-cpu", m.cpu}
}

// defaultCPUs is two; but one on a machine that is busy already: emulated CPUs wait for each other,
// and when the host does not run both at once they burn twice the time to do the same.
// loadavg is the content of /proc/loadavg.
func defaultCPUs(loadavg string, hostCPUs int) int {
	var load float64
	if _, err := fmt.Sscanf(loadavg, "%f", &load); err != nil {
		load = 0
	}
	if hostCPUs < 2 || load > 1.5*float64(hostCPUs) {
		return 1
	}
	return 2
}

// kernelArgs is the kernel's command line. init gets the variable that IsInit looks for. Expedited
// RCU makes removing links and namespaces quick; the watchdogs would only report a busy host.
func kernelArgs(m machine) string {
	return strings.Join([]string{
		"console=" + m.console, "loglevel=4", "panic=-1", "mitigations=off", "no_timer_check",
		"nowatchdog", "nosoftlockup", "rcupdate.rcu_expedited=1", "audit=0", "bonding.max_bonds=0",
		initEnv + "=1",
	}, " ")
}

// qemuArgs is QEMU's command line; the link to the guest is its file descriptor 3.
func qemuArgs(m machine, cfg Config, initramfs, console string) []string {
	root := "/"
	if cfg.Root != "" {
		root = cfg.Root
	}
	args := []string{"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-nic", "none",
		"-M", m.board, "-smp", strconv.Itoa(cfg.CPUs), "-m", strconv.Itoa(cfg.Memory)}
	args = append(args, accelerator(m, cfg.Instructions)...)
	args = append(args, "-kernel", cfg.Image.Kernel(), "-initrd", initramfs, "-append", kernelArgs(m),
		"-serial", "file:"+quote(console),
		"-device", "virtio-rng-pci", "-device", "virtio-serial-pci",
		"-chardev", "socket,id=link,fd=3", "-device", "virtserialport,chardev=link,name="+linkPort)
	if cfg.Disk != "" {
		args = append(args, "-drive", "if=none,id=disk,format=raw,file="+quote(cfg.Disk), "-device", "virtio-blk-pci,drive=disk")
	} else {
		args = append(args,
			"-fsdev", "local,id=root,path="+quote(root)+",security_model=none,readonly=on,multidevs=remap",
			"-device", "virtio-9p-pci,fsdev=root,mount_tag="+rootTag)
	}
	if cfg.WorkDir != "" {
		args = append(args,
			"-fsdev", "local,id=work,path="+quote(cfg.WorkDir)+",security_model=none,multidevs=remap",
			"-device", "virtio-9p-pci,fsdev=work,mount_tag="+workTag)
	}
	if cfg.Root != "" {
		args = append(args,
			"-fsdev", "local,id=mods,path="+quote(cfg.Image.modules())+",security_model=none,readonly=on,multidevs=remap",
			"-device", "virtio-9p-pci,fsdev=mods,mount_tag="+modsTag)
	}
	return append(args, cfg.Devices...)
}

// quote protects the commas of a value in QEMU's option syntax.
func quote(s string) string { return strings.ReplaceAll(s, ",", ",,") }
