// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// capture is a running tcpdump.
type capture struct {
	cmd  *exec.Cmd
	file *os.File // its text; nil when it writes a pcap itself
	done chan error
}

// record starts recording a link, if the lab was asked to, at its second end.
func (l *Lab) record(ctx context.Context, w wire) error {
	if l.opt.Pcap == "" {
		return nil
	}
	name := l.pcapFile(w)
	c, err := l.startCapture(ctx, w.b, w.bDev, nil, "-U", "-w", name)
	if err != nil {
		return err
	}
	l.captures[name] = c
	return nil
}

// pcapFile is where a link is recorded: hv1-eth0--sw-h1e0.pcap. A guest of the same name that comes
// back is recorded into a file of its own.
func (l *Lab) pcapFile(w wire) string {
	name := fmt.Sprintf("%s-%s--%s-%s", w.a, w.aDev, w.b, w.bDev)
	file := filepath.Join(l.opt.Pcap, name+".pcap")
	for n := 2; l.recorded[file]; n++ {
		file = filepath.Join(l.opt.Pcap, fmt.Sprintf("%s.%d.pcap", name, n))
	}
	l.recorded[file] = true
	return file
}

// Capture starts writing what passes a machine's interface, one line per packet with its Ethernet
// header, to a file. filter is tcpdump's. It returns when packets are seen.
func (l *Lab) Capture(ctx context.Context, machine, dev, file string, filter ...string) error {
	if l.captures[file] != nil {
		return fmt.Errorf("capturing into %s: a capture writes to it already", file)
	}
	f, err := os.Create(file)
	if err != nil {
		return fmt.Errorf("capturing into a file: %w", err)
	}
	c, err := l.startCapture(ctx, machine, dev, f, append([]string{"-n", "-e", "-t", "-l"}, filter...)...)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	l.captures[file] = c
	return nil
}

// Uncapture ends the capture into a file; every packet seen until now is in it.
func (l *Lab) Uncapture(file string) error {
	c := l.captures[file]
	if c == nil {
		return fmt.Errorf("no capture writes to %s", file)
	}
	delete(l.captures, file)
	return c.stop()
}

// startCapture starts tcpdump in a machine and waits until it listens.
func (l *Lab) startCapture(ctx context.Context, machine, dev string, text *os.File, args ...string) (*capture, error) {
	// The own user: the folder it writes to need not be open to others.
	args = append([]string{"-i", dev, "--immediate-mode", "-Z", "root"}, args...)
	cmd := exec.Command("tcpdump", args...) // not bound to ctx: it must be stopped gently
	// A Ctrl-C on the terminal is not for it, but for who stops it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if text != nil {
		cmd.Stdout = text
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("starting tcpdump: %w", err)
	}
	cmd.Stderr = w
	err = start(l.netns(machine), cmd)
	_ = w.Close()
	if err != nil {
		_ = r.Close()
		return nil, fmt.Errorf("starting tcpdump: %w", err)
	}
	c := &capture{cmd: cmd, file: text, done: make(chan error, 1)}
	listening := make(chan string, 1)
	go func() {
		listening <- awaitListening(r)
		_, _ = io.Copy(io.Discard, r)
		_ = r.Close()
		c.done <- cmd.Wait()
	}()
	var said string
	select {
	case said = <-listening:
	case <-ctx.Done():
		said = ctx.Err().Error()
	}
	if said != "" {
		_ = cmd.Process.Kill()
		return nil, fmt.Errorf("capturing %s on %s: tcpdump: %s", dev, machine, said)
	}
	return c, nil
}

// awaitListening reads tcpdump's messages until it listens, or returns what it said instead.
func awaitListening(r io.Reader) string {
	var said bytes.Buffer
	sc := bufio.NewScanner(r)
	for sc.Scan() {
		line := sc.Text()
		if strings.Contains(line, "listening on") {
			return ""
		}
		said.WriteString(line + "\n")
	}
	if said.Len() == 0 {
		return "ended before it listened"
	}
	return strings.TrimSpace(said.String())
}

// stop ends a capture and waits until all of it is written.
func (c *capture) stop() error {
	_ = c.cmd.Process.Signal(syscall.SIGINT)
	var err error
	select {
	case werr := <-c.done:
		var exit *exec.ExitError
		if werr != nil && !errors.As(werr, &exit) { // its interface may have gone: what it has is written
			err = fmt.Errorf("ending tcpdump: %w", werr)
		}
	case <-time.After(10 * time.Second):
		_ = c.cmd.Process.Kill()
		err = errors.New("ending tcpdump: it did not end on SIGINT")
	}
	if c.file != nil {
		err = errors.Join(err, c.file.Close())
	}
	return err
}

// stopCaptures ends all captures.
func (l *Lab) stopCaptures() error {
	var errs []error
	for name, c := range l.captures {
		delete(l.captures, name)
		errs = append(errs, c.stop())
	}
	return errors.Join(errs...)
}
