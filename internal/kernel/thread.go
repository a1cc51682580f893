// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// thread is an operating system thread that lives in a network namespace: what /proc/sys/net shows and where a socket
// belongs depends on the thread that asks. The zero thread works in the process's own namespace, on any thread.
type thread struct {
	ns   *os.File
	work chan func()
}

// startThread enters the namespace at this path; "" is the caller's own, which differs from the process's where the
// calling goroutine is locked to a thread that has moved.
func startThread(netns string) (*thread, error) {
	if netns == "" {
		own, err := os.Readlink("/proc/thread-self/ns/net")
		process, err2 := os.Readlink("/proc/self/ns/net")
		if err != nil || err2 != nil || own == process {
			return &thread{}, nil // without /proc there is but one namespace that we can name
		}
		netns = "/proc/thread-self/ns/net"
	}
	ns, err := os.Open(netns)
	if err != nil {
		return nil, err
	}
	t := &thread{ns: ns, work: make(chan func())}
	entered := make(chan error)
	go func() {
		// Never unlocked: the thread ends with this goroutine and takes its namespace along.
		runtime.LockOSThread()
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			entered <- os.NewSyscallError("setns", err)
			return
		}
		entered <- nil
		for f := range t.work {
			f()
		}
	}()
	if err := <-entered; err != nil {
		_ = ns.Close()
		return nil, err
	}
	return t, nil
}

// do runs f in the namespace and waits for it.
func (t *thread) do(f func()) {
	if t.work == nil {
		f()
		return
	}
	done := make(chan struct{})
	t.work <- func() { defer close(done); f() }
	<-done
}

// fd returns the namespace's file descriptor; 0 for the process's own.
func (t *thread) fd() int {
	if t.ns == nil {
		return 0
	}
	return int(t.ns.Fd())
}

// stop ends the thread.
func (t *thread) stop() {
	if t.work != nil {
		close(t.work)
		_ = t.ns.Close()
	}
}
