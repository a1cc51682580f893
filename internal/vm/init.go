// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// The environment by which the init program and its only child know what they are.
const (
	initEnv  = "WEFT_VM_INIT"
	agentEnv = "WEFT_VM_AGENT"
	// endsVM is agentEnv's value where the init program is another, which does not end with the agent.
	endsVM = "ends"
)

// IsInit reports whether this process is the init program of a VM that Run booted, or the part of
// it that runs commands. main must then call Init and do nothing else.
func IsInit() bool {
	return os.Getpid() == 1 && os.Getenv(initEnv) != "" || os.Getppid() == 1 && os.Getenv(agentEnv) != ""
}

// Init is the init program: it makes the guest look like the host, runs commands, and powers off.
// It never returns. Outside a VM (see IsInit) it must not be called.
func Init() {
	if os.Getpid() != 1 {
		if err := runAgent(); err != nil {
			fmt.Fprintln(os.Stderr, "weft agent:", err)
			os.Exit(1)
		}
		if os.Getenv(agentEnv) == endsVM {
			powerOff()
		}
		os.Exit(0)
	}
	if err := runInit(); err != nil {
		fmt.Fprintln(os.Stderr, "weft init:", err)
	}
	powerOff()
}

// powerOff ends the VM.
func powerOff() {
	unix.Sync()
	err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	fmt.Fprintln(os.Stderr, "weft init: powering off:", err)
	os.Exit(1) // the kernel panics, and QEMU ends
}

// runInit sets the guest up, starts the agent and reaps orphans until the agent ends.
func runInit() error {
	data, err := os.ReadFile("/" + configPath)
	if err != nil {
		return fmt.Errorf("reading the configuration: %w", err)
	}
	var cfg initConfig
	if err := json.Unmarshal(data, &cfg); err != nil {
		return fmt.Errorf("reading the configuration: %w", err)
	}
	if err := setUp(cfg); err != nil {
		return err
	}
	alone := "1"
	if cfg.Init != "" {
		alone = endsVM
	}
	agent, err := os.StartProcess("/proc/self/exe", []string{"weft-agent"}, &os.ProcAttr{
		Dir: "/", Env: []string{agentEnv + "=" + alone}, Files: []*os.File{nil, os.Stdout, os.Stderr},
	})
	if err != nil {
		return fmt.Errorf("starting the agent: %w", err)
	}
	if cfg.Init != "" {
		err := unix.Exec(cfg.Init, []string{cfg.Init}, []string{"PATH=" + guestPath, "TERM=dumb"})
		return fmt.Errorf("starting %s: %w", cfg.Init, err)
	}
	for {
		var st unix.WaitStatus
		pid, err := unix.Wait4(-1, &st, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return fmt.Errorf("waiting for processes: %w", err)
		case pid == agent.Pid && st != 0:
			return fmt.Errorf("the agent ended: wait status %#x", int(st))
		case pid == agent.Pid:
			return nil
		}
	}
}

// mount is one mount of the guest.
type mount struct {
	what, where, fs string
	flags           uintptr
	data            string
}

// Mount options of the 9p exports. The host's files are taken as unchanging; the work folder is
// seen as it is by both sides.
const (
	rootOptions = "trans=virtio,version=9p2000.L,msize=512000,cache=loose"
	workOptions = "trans=virtio,version=9p2000.L,msize=512000,cache=mmap"
)

// setUp makes the root of the guest: the host's, below a RAM overlay, or its disk, with the guest's own kernel
// file systems and modules.
func setUp(cfg initConfig) error {
	early := []mount{
		{"proc", "/proc", "proc", 0, ""},
		{"sysfs", "/sys", "sysfs", 0, ""},
		{"devtmpfs", "/dev", "devtmpfs", 0, ""},
	}
	if err := mountAll("", early); err != nil {
		return err
	}
	for _, name := range cfg.Modules {
		if err := loadModule(filepath.Join("/", modulesDir, name)); err != nil {
			return err
		}
	}
	if cfg.Disk {
		if err := mountAll("", []mount{{"/dev/vda", "/new", "ext4", 0, ""}}); err != nil {
			return err
		}
	} else if err := mountOverlay(); err != nil {
		return err
	}
	if err := mountAll("/new", guestMounts(cfg)); err != nil {
		return err
	}
	if err := bindInit("/new" + cfg.Exe); err != nil {
		return err
	}
	if err := switchRoot("/new"); err != nil {
		return err
	}
	return finish()
}

// mountOverlay makes the root of the host's files below the guest's memory.
func mountOverlay() error {
	root := []mount{
		{rootTag, "/host", "9p", unix.MS_RDONLY, rootOptions},
		{"tmpfs", "/ram", "tmpfs", 0, "mode=0755,size=75%"},
	}
	if err := mountAll("", root); err != nil {
		return err
	}
	if err := errors.Join(os.Mkdir("/ram/upper", 0o755), os.Mkdir("/ram/work", 0o755)); err != nil {
		return err
	}
	return mountAll("", []mount{{"overlay", "/new", "overlay", 0, "lowerdir=/host,upperdir=/ram/upper,workdir=/ram/work"}})
}

// guestMounts is what is mounted in the new root.
func guestMounts(cfg initConfig) []mount {
	list := []mount{
		{"/proc", "/proc", "", unix.MS_MOVE, ""},
		{"/sys", "/sys", "", unix.MS_MOVE, ""},
		{"/dev", "/dev", "", unix.MS_MOVE, ""},
		{"devpts", "/dev/pts", "devpts", 0, "mode=0620,gid=5,ptmxmode=0666"},
		{"tmpfs", "/dev/shm", "tmpfs", 0, "mode=1777"},
		{"tmpfs", "/run", "tmpfs", 0, "mode=0755"},
	}
	modules := mount{"/host" + cfg.ModulesDir, "/lib/modules/" + cfg.Release, "", unix.MS_BIND, ""}
	if cfg.ModulesDir == "" {
		modules.what, modules.fs, modules.flags, modules.data = modsTag, "9p", unix.MS_RDONLY, rootOptions
	}
	if !cfg.Disk {
		list = append(list, modules)
	}
	if cfg.WorkDir != "" {
		list = append(list, mount{workTag, cfg.WorkDir, "9p", 0, workOptions})
	}
	return list
}

// mountAll makes the mounts in order, and their folders where they are missing.
func mountAll(root string, list []mount) error {
	for _, m := range list {
		where := root + m.where
		if err := os.MkdirAll(where, 0o755); err != nil {
			return fmt.Errorf("mounting %s: %w", m.where, err)
		}
		if err := unix.Mount(m.what, where, m.fs, m.flags, m.data); err != nil {
			return fmt.Errorf("mounting %s on %s: %w", m.what, m.where, err)
		}
	}
	return nil
}

// loadModule loads one module file of the initramfs.
func loadModule(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("loading a module: %w", err)
	}
	defer func() { _ = f.Close() }()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("loading the module %s: %w", filepath.Base(file), err)
	}
	return nil
}

// bindInit puts the init program at the path that it has on the host, where a program that starts
// itself again looks for it, even when that path lies in a folder that the guest has its own of.
func bindInit(where string) error {
	if err := os.MkdirAll(filepath.Dir(where), 0o755); err != nil {
		return fmt.Errorf("mounting the init program: %w", err)
	}
	f, err := os.OpenFile(where, os.O_RDONLY|os.O_CREATE, 0o755)
	if err != nil {
		return fmt.Errorf("mounting the init program: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("mounting the init program: %w", err)
	}
	if err := unix.Mount("/"+initPath, where, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mounting the init program on %s: %w", where, err)
	}
	return nil
}

// switchRoot makes dir the root. The kernel's own helpers (modprobe) follow: init shares its root
// with the threads that start them.
func switchRoot(dir string) error {
	if err := unix.Chdir(dir); err != nil {
		return fmt.Errorf("changing the root: %w", err)
	}
	if err := unix.Mount(dir, "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("changing the root: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("changing the root: %w", err)
	}
	return unix.Chdir("/")
}

// modprobeConf keeps bonding from making a bond of its own accord and br_netfilter, which changes
// how bridges forward, out of the kernel.
const modprobeConf = "options bonding max_bonds=0\ninstall br_netfilter /bin/false\n"

// finish sets up what is left to do in the new root.
func finish() error {
	for _, d := range []string{"/run/netns", "/run/lock", "/dev/net", "/etc/modprobe.d"} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return fmt.Errorf("setting up the guest: %w", err)
		}
	}
	if err := os.WriteFile("/etc/modprobe.d/weft-vm.conf", []byte(modprobeConf), 0o644); err != nil {
		return fmt.Errorf("setting up modprobe: %w", err)
	}
	err := unix.Mknod("/dev/net/tun", unix.S_IFCHR|0o666, int(unix.Mkdev(10, 200)))
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("making /dev/net/tun: %w", err)
	}
	if err := os.Symlink("/proc/self/fd", "/dev/fd"); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("making /dev/fd: %w", err)
	}
	if err := unix.Sethostname([]byte("weft-vm")); err != nil {
		return fmt.Errorf("setting the host name: %w", err)
	}
	return loopbackUp()
}

// loopbackUp sets lo up, as every system does before anything else.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("setting lo up: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return fmt.Errorf("setting lo up: %w", err)
	}
	req.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req); err != nil {
		return fmt.Errorf("setting lo up: %w", err)
	}
	return nil
}

// openLink opens the guest's end of the link, the virtio port of that name.
func openLink() (*os.File, error) {
	names, err := filepath.Glob("/sys/class/virtio-ports/*/name")
	if err != nil {
		return nil, fmt.Errorf("looking for the link: %w", err)
	}
	for _, n := range names {
		data, err := os.ReadFile(n)
		if err != nil || strings.TrimSpace(string(data)) != linkPort {
			continue
		}
		dev := filepath.Join("/dev", filepath.Base(filepath.Dir(n)))
		// Blocking, outside the runtime's poller: a write returns when the host has taken it.
		fd, err := unix.Open(dev, unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, fmt.Errorf("opening the link %s: %w", dev, err)
		}
		return os.NewFile(uintptr(fd), dev), nil
	}
	return nil, fmt.Errorf("looking for the link: no virtio port %s among %d", linkPort, len(names))
}
