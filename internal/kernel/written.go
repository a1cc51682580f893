// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"
	"os"
	"path"
	"sync"

	"golang.org/x/sys/unix"

	"weft/internal/netstate"
)

// written tells of settings that somebody writes. Netlink has no word for most of them; but they are files, and who writes one is seen by
// inotify: by this mount of /proc, which is that of all but containers.
type written struct {
	mu      sync.Mutex
	file    *os.File          // nil as long as nobody watches
	folders map[string]folder // below /proc/sys
}

// folder is one that is watched. The next link of that name has another.
type folder struct {
	dev  string // "" for settings of no link
	link int    // its index
	wd   int    // the watch
}

// begin opens what is needed. Where the machine has no inotify to spare, nothing is told.
func (s *written) begin() *os.File {
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.file, s.folders = os.NewFile(uintptr(fd), "inotify"), map[string]folder{}
	return s.file
}

// listen turns what is told into values of changed until ctx ends.
func (s *written) listen(ctx context.Context, f *os.File, changed chan<- struct{}) {
	stop := context.AfterFunc(ctx, func() { _ = f.Close() }) // wakes the reader
	defer stop()
	for buf := make([]byte, 1<<14); ; {
		n, err := f.Read(buf)
		if err != nil {
			break
		}
		if tellsOfWriting(buf[:n]) {
			signal(changed)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == f {
		s.file = nil
	}
	_ = f.Close() // again where ctx ended, which is fine
}

// tellsOfWriting reports whether one of these struct inotify_event is more than the end of a watch.
func tellsOfWriting(events []byte) bool {
	for len(events) >= unix.SizeofInotifyEvent {
		mask, name := native.Uint32(events[4:]), int(native.Uint32(events[12:]))
		if mask&unix.IN_IGNORED == 0 {
			return true
		}
		events = events[min(unix.SizeofInotifyEvent+name, len(events)):]
	}
	return false
}

// follow watches the folders of these settings, too. It runs in the namespace. What cannot be watched, because the machine allows no
// more, is left to the next full look.
func (s *written) follow(settings []netstate.Sysctl, link func(dev string) int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == nil {
		return
	}
	conn, err := s.file.SyscallConn()
	if err != nil {
		return
	}
	_ = conn.Control(func(fd uintptr) { s.add(int(fd), settings, link) }) // closed: nobody watches any more
}

func (s *written) add(fd int, settings []netstate.Sysctl, link func(dev string) int) {
	for dir, f := range s.folders {
		if link(f.dev) != f.link {
			_, _ = unix.InotifyRmWatch(fd, uint32(f.wd)) // it has an end of its own when the folder is gone altogether
			delete(s.folders, dir)
		}
	}
	for _, w := range settings {
		dir := path.Dir(w.Path)
		if _, ok := s.folders[dir]; ok {
			continue
		}
		if wd, err := unix.InotifyAddWatch(fd, procSys+dir, unix.IN_MODIFY|unix.IN_ONLYDIR); err == nil {
			s.folders[dir] = folder{w.Dev(), link(w.Dev()), wd}
		}
	}
}
