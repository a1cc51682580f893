// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"sync"
)

// The link between host and guest is one virtio serial port. It carries frames of several
// sessions: a session is one command with its standard streams. The same frames are spoken on the
// console socket, where a connection is one session and the session number is ignored.

// kind is the meaning of a frame.
type kind byte

const (
	kindReady    kind = iota + 1 // guest to host: the guest takes sessions
	kindOff                      // host to guest: power off
	kindOpen                     // host to guest: start a command (JSON)
	kindStdin                    // host to guest: standard input
	kindStdinEOF                 // host to guest: standard input ends
	kindResize                   // host to guest: terminal size, rows and columns
	kindClose                    // host to guest: nobody listens any more, end the command
	kindStdout                   // guest to host: standard output, or the terminal's
	kindStderr                   // guest to host: standard error
	kindAck                      // either way: so many bytes were consumed
	kindExit                     // guest to host: exit code; the last frame of a session
	kindFail                     // guest to host: the command did not start (text); the last frame
)

const (
	headerSize = 4 + 1 + 4
	// maxBody keeps a frame below the 32 KiB that virtio_console writes at once.
	maxBody = 16 << 10
	// maxOpen bounds the one frame that may be larger: a command with its environment.
	maxOpen = 4 << 20
	// windowSize is how much a sender may have under way that the receiver did not acknowledge.
	windowSize = 512 << 10
)

// frame is one message of a session.
type frame struct {
	session uint32
	kind    kind
	body    []byte
}

// command is the body of an open frame.
type command struct {
	Argv []string `json:"argv"`
	Env  []string `json:"env,omitempty"`
	Dir  string   `json:"dir,omitempty"`
	// Stdin says whether input will come; without it the command reads from /dev/null.
	Stdin bool `json:"stdin,omitempty"`
	// TTY asks for a terminal of Rows and Cols; standard error then arrives as standard output.
	TTY  bool   `json:"tty,omitempty"`
	Rows uint16 `json:"rows,omitempty"`
	Cols uint16 `json:"cols,omitempty"`
}

// frameWriter writes whole frames; it may be used by several goroutines.
type frameWriter struct {
	mu  sync.Mutex
	w   io.Writer
	buf []byte
}

// write sends one frame.
func (fw *frameWriter) write(f frame) error {
	if len(f.body) > maxOpen {
		return fmt.Errorf("writing a frame of %d bytes: more than %d", len(f.body), maxOpen)
	}
	fw.mu.Lock()
	defer fw.mu.Unlock()
	b := binary.BigEndian.AppendUint32(fw.buf[:0], f.session)
	b = append(b, byte(f.kind))
	b = binary.BigEndian.AppendUint32(b, uint32(len(f.body)))
	b = append(b, f.body...)
	fw.buf = b
	_, err := fw.w.Write(b)
	return err
}

// readFrame reads the next frame; io.EOF only between frames.
func readFrame(r io.Reader) (frame, error) {
	var h [headerSize]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return frame{}, err
	}
	f := frame{session: binary.BigEndian.Uint32(h[:4]), kind: kind(h[4])}
	n := binary.BigEndian.Uint32(h[5:])
	limit := uint32(maxBody)
	if f.kind == kindOpen {
		limit = maxOpen
	}
	if f.kind < kindReady || f.kind > kindFail || n > limit {
		return frame{}, fmt.Errorf("reading a frame: no such frame (kind %d, %d bytes)", h[4], n)
	}
	f.body = make([]byte, n)
	if _, err := io.ReadFull(r, f.body); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return frame{}, err
	}
	return f, nil
}

// number is a frame body of one 32-bit number: an exit code or an acknowledged length.
func number(n int) []byte {
	return binary.BigEndian.AppendUint32(nil, uint32(int32(n)))
}

// parseNumber is the opposite of number; 0 for a body that is none.
func parseNumber(b []byte) int {
	if len(b) != 4 {
		return 0
	}
	return int(int32(binary.BigEndian.Uint32(b)))
}

// size is the body of a resize frame.
func size(rows, cols uint16) []byte {
	b := binary.BigEndian.AppendUint16(nil, rows)
	return binary.BigEndian.AppendUint16(b, cols)
}

// parseSize is the opposite of size.
func parseSize(b []byte) (rows, cols uint16, ok bool) {
	if len(b) != 4 {
		return 0, 0, false
	}
	return binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:]), true
}

// parseCommand reads the body of an open frame.
func parseCommand(b []byte) (command, error) {
	var c command
	if err := json.Unmarshal(b, &c); err != nil {
		return c, fmt.Errorf("reading a command: %w", err)
	}
	if len(c.Argv) == 0 {
		return c, fmt.Errorf("reading a command: no program named")
	}
	return c, nil
}

// window holds back a sender until the receiver has consumed what is under way.
type window struct {
	mu     sync.Mutex
	wake   sync.Cond
	free   int
	closed bool
}

func newWindow() *window {
	w := &window{free: windowSize}
	w.wake.L = &w.mu
	return w
}

// take waits until n bytes may be sent; false when the window was closed.
func (w *window) take(n int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.free < n && !w.closed {
		w.wake.Wait()
	}
	w.free -= n
	return !w.closed
}

// give returns n consumed bytes.
func (w *window) give(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.free = min(w.free+max(n, 0), windowSize)
	w.wake.Broadcast()
}

// close lets every waiting sender go, in vain.
func (w *window) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	w.wake.Broadcast()
}

// queue hands items from one goroutine to another without ever blocking the first. What bounds it
// is the window of the sender.
type queue[T any] struct {
	mu     sync.Mutex
	wake   sync.Cond
	items  []T
	closed bool
}

func newQueue[T any]() *queue[T] {
	q := &queue[T]{}
	q.wake.L = &q.mu
	return q
}

// push appends an item; after close it is dropped.
func (q *queue[T]) push(v T) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.closed {
		q.items = append(q.items, v)
		q.wake.Signal()
	}
}

// close lets pop return false once the queue is empty.
func (q *queue[T]) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.wake.Broadcast()
}

// pop waits for the next item; false when the queue is closed and empty.
func (q *queue[T]) pop() (T, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.items) == 0 && !q.closed {
		q.wake.Wait()
	}
	var zero T
	if len(q.items) == 0 {
		return zero, false
	}
	v := q.items[0]
	q.items[0] = zero
	q.items = q.items[1:]
	return v, true
}
