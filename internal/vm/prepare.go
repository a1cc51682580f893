// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Image is a Debian kernel unpacked in the cache folder. Prepare makes one.
type Image struct {
	// Dir holds the file vmlinuz, perhaps vmlinux, and the folder lib/modules/RELEASE.
	Dir string
	// Release is the kernel's, as uname -r prints it: 6.1.0-56-amd64.
	Release string
}

// Kernel is the path of the kernel file for QEMU's -kernel: decompressed, which saves an emulated CPU
// seconds, where that boots.
func (img Image) Kernel() string {
	if file := filepath.Join(img.Dir, "vmlinux"); isFile(file) {
		return file
	}
	return filepath.Join(img.Dir, "vmlinuz")
}

// isFile reports whether there is a plain file of that name.
func isFile(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.Mode().IsRegular()
}

// String names the kernel as people do: Debian 6.1.0-56-amd64.
func (img Image) String() string { return "Debian " + img.Release }

// modules is the folder with modules.dep and the module files.
func (img Image) modules() string { return filepath.Join(img.Dir, "lib/modules", img.Release) }

// ModuleFiles returns the files, relative to the folder lib/modules/RELEASE of Dir, that must be
// loaded in this order for the wanted modules to work. Modules that are built in need no file.
func (img Image) ModuleFiles(want ...string) ([]string, error) {
	dep, err := os.ReadFile(filepath.Join(img.modules(), "modules.dep"))
	if err != nil {
		return nil, fmt.Errorf("reading the kernel's module list: %w", err)
	}
	builtin, err := os.ReadFile(filepath.Join(img.modules(), "modules.builtin"))
	if err != nil {
		return nil, fmt.Errorf("reading the kernel's module list: %w", err)
	}
	return moduleOrder(bytes.NewReader(dep), bytes.NewReader(builtin), want)
}

// CacheDir is where Prepare keeps kernels unless told otherwise: weft below the user's cache folder.
func CacheDir() string {
	if dir, err := os.UserCacheDir(); err == nil && filepath.IsAbs(dir) {
		return filepath.Join(dir, "weft")
	}
	return "/var/cache/weft"
}

// Prepare returns this Debian release's stock kernel, and fetches it into cacheDir ("" means
// CacheDir) when it is not there. Nothing is installed. A kernel once fetched is kept; removing the
// cache folder makes the next call fetch the newest. It may run in several processes at once and be
// killed at any time: the cache holds whole kernels only. progress gets lines for people; it may be nil.
func Prepare(ctx context.Context, cacheDir string, progress func(string)) (Image, error) {
	if cacheDir == "" {
		cacheDir = CacheDir()
	}
	if progress == nil {
		progress = func(string) {}
	}
	cacheDir, err := filepath.Abs(cacheDir)
	if err != nil {
		return Image{}, fmt.Errorf("finding the cache folder: %w", err)
	}
	m, err := thisMachine()
	if err != nil {
		return Image{}, err
	}
	release, err := debianRelease("/etc/os-release")
	if err != nil {
		return Image{}, err
	}
	dir := filepath.Join(cacheDir, "kernel", release+"-"+m.debian)
	if img, ok := newestImage(dir); ok {
		return img, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return Image{}, fmt.Errorf("making the cache folder: %w", err)
	}
	unlock, err := lock(ctx, filepath.Join(dir, ".lock"), progress)
	if err != nil {
		return Image{}, err
	}
	defer unlock()
	if img, ok := newestImage(dir); ok { // another process fetched it meanwhile
		return img, nil
	}
	return fetch(ctx, dir, "linux-image-"+m.debian, progress)
}

// debianRelease reads the distribution's name and version: debian-12.
func debianRelease(osRelease string) (string, error) {
	data, err := os.ReadFile(osRelease)
	if err != nil {
		return "", fmt.Errorf("finding out the Debian release: %w", err)
	}
	vars := map[string]string{}
	for line := range strings.Lines(string(data)) {
		k, v, _ := strings.Cut(strings.TrimSpace(line), "=")
		vars[k] = strings.Trim(v, `"'`)
	}
	if vars["ID"] != "debian" {
		return "", fmt.Errorf("fetching a kernel for the VM: this system is %q, and only Debian's packages are known", vars["ID"])
	}
	version := vars["VERSION_ID"]
	if version == "" {
		version = vars["VERSION_CODENAME"] // testing and unstable have no number
	}
	return "debian-" + version, nil
}

// newestImage finds the kernel that was fetched last.
func newestImage(dir string) (Image, bool) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return Image{}, false
	}
	var newest Image
	var at time.Time
	for _, e := range entries {
		info, err := os.Stat(filepath.Join(dir, e.Name(), "vmlinuz"))
		if err != nil || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		if newest.Dir == "" || info.ModTime().After(at) {
			newest, at = Image{Dir: filepath.Join(dir, e.Name()), Release: e.Name()}, info.ModTime()
		}
	}
	return newest, newest.Dir != ""
}

// lock takes the lock file, waiting for another process that has it.
func lock(ctx context.Context, file string, progress func(string)) (unlock func(), err error) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return nil, fmt.Errorf("locking the kernel cache: %w", err)
	}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for told := false; ; {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			_ = f.Close()
			return nil, fmt.Errorf("locking the kernel cache %s: %w", file, err)
		}
		if !told {
			progress("waiting for another process that fetches the kernel")
			told = true
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			_ = f.Close()
			return nil, fmt.Errorf("locking the kernel cache %s: %w", file, context.Cause(ctx))
		}
	}
}

// fetch downloads and unpacks what the meta package depends on, into a folder below dir that gets
// its name when it is complete. The caller has the lock.
func fetch(ctx context.Context, dir, meta string, progress func(string)) (Image, error) {
	old, err := filepath.Glob(filepath.Join(dir, ".new-*"))
	if err != nil {
		return Image{}, fmt.Errorf("looking into the kernel cache: %w", err)
	}
	for _, d := range old { // of a process that was killed: the lock is ours
		if err := os.RemoveAll(d); err != nil {
			return Image{}, fmt.Errorf("removing a half fetched kernel: %w", err)
		}
	}
	tmp, err := os.MkdirTemp(dir, ".new-")
	if err != nil {
		return Image{}, fmt.Errorf("fetching %s: %w", meta, err)
	}
	defer func() { _ = os.RemoveAll(tmp) }()

	deb, err := downloadKernel(ctx, tmp, meta, progress)
	if err != nil {
		return Image{}, fmt.Errorf("fetching %s from Debian: %w", meta, err)
	}
	progress("unpacking it into " + dir)
	img, err := unpack(ctx, deb, tmp)
	if err != nil {
		return Image{}, fmt.Errorf("unpacking %s: %w", filepath.Base(deb), err)
	}
	final := filepath.Join(dir, img.Release)
	if err := os.RemoveAll(final); err != nil {
		return Image{}, fmt.Errorf("replacing the kernel %s: %w", img.Release, err)
	}
	if err := os.Rename(img.Dir, final); err != nil {
		return Image{}, fmt.Errorf("storing the kernel %s: %w", img.Release, err)
	}
	img.Dir = final
	return img, nil
}

// downloadKernel gets the package that meta depends on, and fetches package lists of its own (which
// takes no root) where the system's are missing or too old.
func downloadKernel(ctx context.Context, tmp, meta string, progress func(string)) (string, error) {
	a := apt{dir: tmp}
	deb, first := a.download(ctx, meta, progress)
	if first == nil {
		return deb, nil
	}
	progress("the system's package lists do not lead to the kernel; fetching Debian's current lists")
	a.private = true
	if _, err := a.run(ctx, "apt-get", "update"); err != nil {
		return "", errors.Join(first, err)
	}
	return a.download(ctx, meta, progress)
}

// apt runs apt's tools in a folder.
type apt struct {
	dir     string
	private bool // with package lists of its own below dir
}

// run runs one apt tool and returns its standard output.
func (a apt) run(ctx context.Context, tool string, args ...string) (string, error) {
	opts := []string{"-q", "-o", "APT::Sandbox::User=", "-o", "Dpkg::Use-Pty=0"}
	if a.private {
		state, cache := filepath.Join(a.dir, "apt/state"), filepath.Join(a.dir, "apt/cache")
		for _, d := range []string{filepath.Join(state, "lists/partial"), filepath.Join(cache, "archives/partial")} {
			if err := os.MkdirAll(d, 0o755); err != nil {
				return "", fmt.Errorf("making a folder for apt: %w", err)
			}
		}
		opts = append(opts, "-o", "Dir::State="+state, "-o", "Dir::Cache="+cache,
			"-o", "Dir::State::status=/var/lib/dpkg/status", "-o", "Debug::NoLocking=1")
	}
	cmd := exec.CommandContext(ctx, findTool(tool), append(opts, args...)...)
	cmd.Dir, cmd.Env = a.dir, append(os.Environ(), "LC_ALL=C")
	return output(cmd)
}

// download gets the package that meta depends on into the folder.
func (a apt) download(ctx context.Context, meta string, progress func(string)) (string, error) {
	deps, err := a.run(ctx, "apt-cache", "depends", meta)
	if err != nil {
		return "", err
	}
	name, err := kernelPackage(deps)
	if err != nil {
		return "", err
	}
	uris, err := a.run(ctx, "apt-get", "download", "--print-uris", name)
	if err != nil {
		return "", err
	}
	file, bytes, err := printedURI(uris)
	if err != nil {
		return "", err
	}
	progress(fmt.Sprintf("fetching the Debian package %s (%.1f MB)", strings.TrimSuffix(file, ".deb"), float64(bytes)/1e6))
	done := make(chan struct{})
	defer close(done)
	go watchSize(filepath.Join(a.dir, file), bytes, progress, done)
	if _, err := a.run(ctx, "apt-get", "download", name); err != nil {
		return "", err
	}
	file = filepath.Join(a.dir, file)
	if _, err := os.Stat(file); err != nil {
		return "", fmt.Errorf("apt-get download left no file: %w", err)
	}
	return file, nil
}

// watchSize reports every few seconds how much of a file is there.
func watchSize(file string, total int64, progress func(string), done <-chan struct{}) {
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
			if info, err := os.Stat(file); err == nil {
				progress(fmt.Sprintf("fetched %.1f of %.1f MB", float64(info.Size())/1e6, float64(total)/1e6))
			}
		}
	}
}

// kernelPackage finds the kernel's package in what apt-cache depends prints about the meta package.
func kernelPackage(deps string) (string, error) {
	for line := range strings.Lines(deps) {
		k, v, ok := strings.Cut(strings.TrimSpace(line), ": ")
		if ok && strings.TrimPrefix(k, "|") == "Depends" && strings.HasPrefix(v, "linux-image-") {
			return v, nil
		}
	}
	return "", fmt.Errorf("apt-cache names no kernel package in %q", strings.TrimSpace(deps))
}

// printedURI reads apt-get's --print-uris line: 'URI' FILE BYTES HASH. The file is named without
// its folder, the colon of an epoch written %3a as apt writes it.
func printedURI(out string) (file string, size int64, err error) {
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) < 3 || !strings.HasPrefix(f[0], "'") || f[1] != filepath.Base(f[1]) {
			continue
		}
		if size, err = strconv.ParseInt(f[2], 10, 64); err == nil && strings.HasSuffix(f[1], ".deb") {
			return f[1], size, nil
		}
	}
	return "", 0, fmt.Errorf("apt-get names no file in %q", strings.TrimSpace(out))
}

// unpack extracts a kernel package below tmp and arranges it as an Image.
func unpack(ctx context.Context, deb, tmp string) (Image, error) {
	root, dir := filepath.Join(tmp, "root"), filepath.Join(tmp, "image")
	if _, err := output(exec.CommandContext(ctx, findTool("dpkg-deb"), "-x", deb, root)); err != nil {
		return Image{}, err
	}
	var kernels []string
	for _, pattern := range []string{"boot/vmlinu[xz]-*", "usr/lib/modules/*/vmlinu[xz]"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			return Image{}, fmt.Errorf("looking for the kernel: %w", err)
		}
		kernels = append(kernels, found...)
	}
	var mods []string
	for _, pattern := range []string{"lib/modules/*", "usr/lib/modules/*"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			return Image{}, fmt.Errorf("looking for the modules: %w", err)
		}
		mods = append(mods, found...)
	}
	if len(kernels) != 1 || len(mods) != 1 {
		return Image{}, fmt.Errorf("expected one kernel and one folder of modules, found %q and %q", kernels, mods)
	}
	img := Image{Dir: dir, Release: filepath.Base(mods[0])}
	if err := os.MkdirAll(filepath.Join(dir, "lib/modules"), 0o755); err != nil {
		return Image{}, err
	}
	now := time.Now()
	vmlinuz := filepath.Join(dir, "vmlinuz")
	if err := errors.Join(os.Rename(kernels[0], vmlinuz), os.Rename(mods[0], img.modules()),
		os.Chtimes(vmlinuz, now, now), writeVMLinux(ctx, vmlinuz, filepath.Join(dir, "vmlinux"))); err != nil {
		return Image{}, err
	}
	_, err := output(exec.CommandContext(ctx, findTool("depmod"), "-b", dir, img.Release))
	return img, err
}

// output runs a command and returns its standard output; an error carries what it said.
func output(cmd *exec.Cmd) (string, error) {
	var out, msg bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &msg
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, strings.TrimSpace(msg.String()+"\n"+out.String()))
	}
	return out.String(), nil
}

// findTool finds a program also where a plain user's PATH does not lead on Debian.
func findTool(name string) string {
	if p, err := exec.LookPath(name); err == nil {
		return p
	}
	dirs := []string{"/usr/local/sbin", "/usr/sbin", "/sbin"}
	i := slices.IndexFunc(dirs, func(d string) bool {
		info, err := os.Stat(filepath.Join(d, name))
		return err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0
	})
	if i < 0 {
		return name // running it tells that it is missing
	}
	return filepath.Join(dirs[i], name)
}
