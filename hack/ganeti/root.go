// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"weft/internal/vm"
)

// The release that the nodes are of, and what is installed on them beside Debian's minimal system.
const (
	suite  = "bookworm"
	mirror = "http://deb.debian.org/debian"
)

// packages are those of a Ganeti node, and the tools of the test. Not ca-certificates: libcurl reads all of
// them for each connection, for which an emulated CPU takes longer than Ganeti waits.
func packages() []string {
	return strings.Fields(`ganeti ganeti-os-noop qemu-system-x86 socat openssh-server openssh-client iproute2 nftables
		iputils-ping iputils-arping tcpdump ifupdown bridge-utils vlan ifenslave arptables iptables busybox-static kmod procps psmisc
		python3 less`)
}

// finishRoot is run with the new root as $1. The nodes share ssh's host keys, because Ganeti knows
// all of them by the cluster's name, and root's key, by which gnt-cluster verify logs in.
const finishRoot = `set -eu
ssh-keygen -q -t rsa -N '' -C root@example.org -f "$1/root/.ssh/id_rsa"
cp "$1/root/.ssh/id_rsa.pub" "$1/root/.ssh/authorized_keys"
printf 'UseDNS no\nPermitRootLogin yes\n' >"$1/etc/ssh/sshd_config.d/lab.conf"
mkdir -p "$1/etc/weft"
`

// mmdebstrapArgs is the command that makes the root in a folder.
func mmdebstrapArgs(dir string) []string {
	return []string{
		"--mode=root", "--variant=minbase", "--format=directory",
		`--aptopt=APT::Install-Recommends "false"`, `--aptopt=Acquire::Languages "none"`,
		"--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/doc/*",
		"--dpkgopt=path-exclude=/usr/share/locale/*",
		"--include=" + strings.Join(packages(), ","),
		`--customize-hook=mkdir -p -m 0700 "$1/root/.ssh"`,
		"--customize-hook=" + finishRoot,
		suite, dir, mirror,
	}
}

// nodeRoot returns the folder with the nodes' root file system, which is made once and kept in the
// cache folder: another list of packages makes another one. It is never written to afterwards.
func nodeRoot(ctx context.Context, say func(string)) (string, error) {
	sum := sha256.Sum256([]byte(strings.Join(mmdebstrapArgs(""), "\x00")))
	parent := filepath.Join(vm.CacheDir(), "ganeti")
	dir := filepath.Join(parent, suite+"-"+hex.EncodeToString(sum[:6]))
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("looking for the nodes' root: %w", err)
	}
	if os.Geteuid() != 0 {
		return "", errors.New("making the nodes' root file system takes root: run make test-ganeti as root")
	}
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return "", fmt.Errorf("making the nodes' root: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(parent, ".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return "", fmt.Errorf("locking the nodes' root: %w", err)
	}
	defer func() { _ = lock.Close() }()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", fmt.Errorf("locking the nodes' root: %w", err)
	}
	if _, err := os.Stat(dir); err == nil { // another process made it meanwhile
		return dir, nil
	}
	tmp := dir + ".new"
	if err := os.RemoveAll(tmp); err != nil {
		return "", fmt.Errorf("removing a half made root: %w", err)
	}
	say("installing Debian and Ganeti for the nodes into " + dir + " (a few minutes, once)")
	cmd := exec.CommandContext(ctx, "mmdebstrap", mmdebstrapArgs(tmp)...)
	// Asked to end, it unmounts what it has mounted in the folder; killed, it would not.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("mmdebstrap: %w\n%s", err, lastLines(string(out), 20))
	}
	if err := os.Rename(tmp, dir); err != nil {
		return "", fmt.Errorf("keeping the nodes' root: %w", err)
	}
	return dir, nil
}

// lastLines is the end of a text.
func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
