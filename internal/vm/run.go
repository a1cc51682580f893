// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Config is one VM and the command to run in it.
type Config struct {
	// Image is the kernel, from Prepare.
	Image Image
	// Argv is the program, found in the guest's PATH unless it has a slash, and its arguments.
	Argv []string
	// Env is added to a minimal environment (PATH with the sbin folders, HOME, TERM).
	Env []string
	// Dir is the command's working folder, the same path as on the host; "" is /.
	Dir string
	// Root is the host's folder that the guest has as its root, with a file system of its own in it;
	// "" is /. The kernel's modules are added to it.
	Root string
	// WorkDir is a folder that the guest shares for writing, at the same path; "" is none.
	// Everything else that the guest writes is lost with it, unless it has a Disk.
	WorkDir string
	// Disk is a file with an ext4 file system that the guest has as its root instead, the kernel's modules included: a later
	// VM finds what this one wrote. "" is none.
	Disk string
	// Init is the guest's own init program, such as systemd, which takes over once the root is there; "" is none. The VM
	// ends when that powers it off or reboots it, too.
	Init string
	// Memory in MiB (0: 3072) and CPUs (0: 2, or 1 where this machine is busy) of the guest.
	Memory, CPUs int
	// Instructions has the guest's clock count its CPU's instructions, one a nanosecond, and nothing else: what it measures of
	// its own work is the same on a busy machine. It has one CPU then, and no hardware can help.
	Instructions bool
	// Devices are further arguments of QEMU's, for the VM's network cards. Without any it has none.
	Devices []string
	// Stdin, Stdout and Stderr are the command's; nil is /dev/null.
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Console is the path of a unix socket to make, where Attach starts further commands in the
	// running VM; "" is none. It is readable by its owner only.
	Console string
	// KernelLog is a file for the kernel's console; "" keeps it only until the VM ends.
	KernelLog string
	// Boot bounds the time until the guest takes commands (0: 3 minutes), Timeout the whole run (0: none).
	Boot, Timeout time.Duration
	// Booted, unless nil, is called once when the guest takes commands.
	Booted func()
}

// Errors that Run returns wrapped, with the end of the kernel's console.
var (
	// ErrBoot says that the guest never got as far as running commands.
	ErrBoot = errors.New("the VM did not start")
	// ErrDied says that QEMU or the guest's kernel ended before the command did.
	ErrDied = errors.New("the VM died")
	// ErrTimeout says that Config.Timeout was over.
	ErrTimeout = errors.New("the VM took too long and was ended")
)

// Run boots a VM, runs one command in it and returns the command's exit code (128+N when signal N
// ended it) once the VM is off. The error is about the VM or about starting the command, never
// about its exit code. When ctx ends, so does the VM, at once. The calling executable is the VM's
// init program: it must be static and call Init when IsInit says so, before anything else.
func Run(ctx context.Context, cfg Config) (int, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return 0, err
	}
	if cfg.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, cfg.Timeout, fmt.Errorf("%w (after %s)", ErrTimeout, cfg.Timeout))
		defer cancel()
	}
	tmp, err := os.MkdirTemp("", "weft-vm-")
	if err != nil {
		return 0, fmt.Errorf("preparing the VM: %w", err)
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	if cfg.KernelLog == "" {
		cfg.KernelLog = filepath.Join(tmp, "console")
	}
	initramfs := filepath.Join(tmp, "initramfs")
	if err := makeInitramfs(ctx, initramfs, cfg); err != nil {
		return 0, err
	}
	g, err := startGuest(ctx, cfg, initramfs)
	if err != nil {
		return 0, err
	}
	code, err := g.command(ctx, cfg)
	g.end(err == nil)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return code, g.explain(err, cfg.KernelLog)
}

// complete checks a configuration and fills in what is left out.
func (cfg Config) complete() (Config, error) {
	if len(cfg.Argv) == 0 {
		return cfg, errors.New("running a VM: no command given")
	}
	if cfg.Memory == 0 {
		cfg.Memory = 3072
	}
	if cfg.Instructions {
		cfg.CPUs = 1
	}
	if cfg.CPUs == 0 {
		load, err := os.ReadFile("/proc/loadavg")
		if err != nil {
			return cfg, fmt.Errorf("running a VM: %w", err)
		}
		cfg.CPUs = defaultCPUs(string(load), runtime.NumCPU())
	}
	if cfg.Boot == 0 {
		cfg.Boot = 3 * time.Minute
	}
	for _, p := range []*string{&cfg.Root, &cfg.WorkDir, &cfg.Dir, &cfg.Console, &cfg.KernelLog, &cfg.Disk} {
		if *p == "" {
			continue
		}
		abs, err := filepath.Abs(*p)
		if err != nil {
			return cfg, fmt.Errorf("running a VM: %w", err)
		}
		*p = abs
	}
	for what, dir := range map[string]string{"root": cfg.Root, "work": cfg.WorkDir} {
		if dir == "" {
			continue
		}
		if info, err := os.Stat(dir); err != nil {
			return cfg, fmt.Errorf("running a VM: the %s folder: %w", what, err)
		} else if !info.IsDir() {
			return cfg, fmt.Errorf("running a VM: the %s folder %s is not a folder", what, dir)
		}
	}
	return cfg, nil
}

// modulesDir is the folder of the kernel's modules among the host's files that the guest sees; ""
// where it sees another root and gets the modules apart.
func (cfg Config) modulesDir() string {
	if cfg.Root != "" {
		return ""
	}
	return cfg.Image.modules()
}

// makeInitramfs writes the initramfs of this run.
func makeInitramfs(ctx context.Context, file string, cfg Config) error {
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding the VM's init program: %w", err)
	}
	f, err := os.Create(file)
	if err != nil {
		return fmt.Errorf("writing the initramfs: %w", err)
	}
	err = writeInitramfs(ctx, f, cfg.Image, initConfig{
		Release: cfg.Image.Release, ModulesDir: cfg.modulesDir(), Exe: exe, WorkDir: cfg.WorkDir, Disk: cfg.Disk != "", Init: cfg.Init,
	})
	return errors.Join(err, f.Close())
}

// guest is a running QEMU.
type guest struct {
	mux    *mux
	link   *os.File
	kill   context.CancelFunc
	exited chan struct{} // closed when QEMU has ended
	state  error         // how it ended; read after exited
	stderr bytes.Buffer  // what QEMU said; read after exited
	ready  bool
}

// startGuest starts QEMU and the distribution of what comes over the link.
func startGuest(ctx context.Context, cfg Config, initramfs string) (*guest, error) {
	m, err := thisMachine()
	if err != nil {
		return nil, err
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("making the link to the VM: %w", err)
	}
	if err := unix.SetNonblock(fds[0], true); err != nil {
		return nil, fmt.Errorf("making the link to the VM: %w", err)
	}
	theirs := os.NewFile(uintptr(fds[1]), "link")
	defer func() { _ = theirs.Close() }()
	ctx, kill := context.WithCancel(ctx)
	g := &guest{link: os.NewFile(uintptr(fds[0]), "link"), kill: kill, exited: make(chan struct{})}
	g.mux = newMux(g.link)

	cmd := exec.CommandContext(ctx, findTool(m.qemu), qemuArgs(m, cfg, initramfs, cfg.KernelLog)...)
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.Stdout, cmd.Stderr = &g.stderr, &g.stderr
	// A group of its own: a terminal's Ctrl-C is the caller's to handle. And no QEMU outlives us.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // Pdeathsig is about the thread that started the process
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			g.state = cmd.Wait()
		}
		close(g.exited)
	}()
	if err := <-started; err != nil {
		kill()
		_ = g.link.Close()
		return nil, fmt.Errorf("starting QEMU: %w", err)
	}
	go func() { _ = g.mux.run(g.link) }()
	return g, nil
}

// command waits for the guest, opens the console and runs the main command.
func (g *guest) command(ctx context.Context, cfg Config) (int, error) {
	boot := time.NewTimer(cfg.Boot)
	defer boot.Stop()
	select {
	case <-g.mux.ready:
		g.ready = true
	case <-g.exited:
		return 0, fmt.Errorf("%w: QEMU ended first", ErrBoot)
	case <-boot.C:
		return 0, fmt.Errorf("%w within %s", ErrBoot, cfg.Boot)
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
	if cfg.Console != "" {
		l, err := listen(cfg.Console)
		if err != nil {
			return 0, err
		}
		defer func() { _ = l.Close() }()
		go g.accept(l)
	}
	if cfg.Booted != nil {
		cfg.Booted()
	}
	ours, theirs := net.Pipe()
	go g.mux.serve(theirs)
	return runCommand(ctx, ours, command{Argv: cfg.Argv, Env: cfg.Env, Dir: cfg.Dir},
		streams{stdin: cfg.Stdin, stdout: cfg.Stdout, stderr: cfg.Stderr})
}

// accept serves the clients of the console socket until it is closed.
func (g *guest) accept(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go g.mux.serve(conn)
	}
}

// listen makes the console socket, in place of one that a dead VM left behind.
func listen(path string) (net.Listener, error) {
	if conn, err := net.Dial("unix", path); err == nil {
		_ = conn.Close()
		return nil, fmt.Errorf("making the console %s: a VM that runs already has it", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("making the console: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("making the console: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("making the console: %w", err), l.Close())
	}
	return l, nil
}

// end powers the guest off (or just ends QEMU, when it is not worth asking) and waits.
func (g *guest) end(orderly bool) {
	if orderly && g.mux.link.write(frame{kind: kindOff}) == nil {
		patience := time.NewTimer(20 * time.Second)
		select {
		case <-g.exited:
		case <-patience.C:
		}
		patience.Stop()
	}
	g.kill()
	<-g.exited
	_ = g.link.Close()
}

// explain adds to an error about the VM what QEMU and the guest's kernel said last.
func (g *guest) explain(err error, kernelLog string) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrEnded):
		err = fmt.Errorf("%w while the command was running (QEMU: %s)", ErrDied, exitText(g.state))
	case errors.Is(err, ErrBoot), errors.Is(err, ErrTimeout):
	default:
		return err
	}
	var b strings.Builder
	if s := strings.TrimSpace(g.stderr.String()); s != "" {
		b.WriteString("\nQEMU said: " + s)
	}
	if s := tail(kernelLog, 4096); s != "" {
		b.WriteString("\nthe guest kernel's console ended with:\n" + s)
	}
	return fmt.Errorf("%w%s", err, b.String())
}

// exitText says how a process ended.
func exitText(err error) string {
	if err == nil {
		return "exit status 0"
	}
	return err.Error()
}

// tail is the last whole lines of a file, at most n bytes; "" when there are none.
func tail(file string, n int) string {
	data, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	if len(data) > n {
		data = data[len(data)-n:]
		if i := bytes.IndexByte(data, '\n'); i >= 0 {
			data = data[i+1:]
		}
	}
	return strings.TrimSpace(strings.ReplaceAll(string(data), "\r", ""))
}
