// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"io"
	"sync"
)

// mux joins the clients of one VM (its main command and those of the console socket) onto the
// link to the guest. It relays frames and renumbers sessions; flow control is end to end, between
// the client and the guest, so that a client that does not read holds up nobody else.
type mux struct {
	link  *frameWriter
	ready chan struct{} // closed when the guest takes sessions

	mu      sync.Mutex
	next    uint32
	clients map[uint32]*queue[frame]
	closed  bool
}

func newMux(w io.Writer) *mux {
	return &mux{
		link:    &frameWriter{w: w},
		ready:   make(chan struct{}),
		next:    1,
		clients: map[uint32]*queue[frame]{},
	}
}

// run distributes what the guest sends until the link ends, then ends all clients.
func (m *mux) run(r io.Reader) error {
	defer m.close()
	isReady := false
	for {
		f, err := readFrame(r)
		if err != nil {
			return err
		}
		if f.kind == kindReady && !isReady {
			isReady = true
			close(m.ready)
			continue
		}
		m.mu.Lock()
		q := m.clients[f.session]
		m.mu.Unlock()
		if q == nil {
			continue // the client is gone, the guest was told
		}
		q.push(f)
		if f.kind == kindExit || f.kind == kindFail {
			m.drop(f.session)
			q.close()
		}
	}
}

// serve relays one client until its session or its connection ends, and closes the connection.
func (m *mux) serve(conn io.ReadWriteCloser) {
	q := newQueue[frame]()
	m.mu.Lock()
	id := m.next
	m.next++
	if m.closed {
		q.close()
	} else {
		m.clients[id] = q
	}
	m.mu.Unlock()

	go func() {
		defer q.close()
		for {
			f, err := readFrame(conn)
			if err != nil {
				break
			}
			f.session = id
			if m.link.write(f) != nil {
				return
			}
		}
		if m.drop(id) { // still running: the guest must end it
			_ = m.link.write(frame{session: id, kind: kindClose})
		}
	}()

	out := &frameWriter{w: conn}
	for {
		f, ok := q.pop()
		if !ok || out.write(f) != nil {
			break
		}
	}
	_ = conn.Close() // ends the reader above, too
}

// drop forgets a session and reports whether it was known.
func (m *mux) drop(id uint32) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, ok := m.clients[id]
	delete(m.clients, id)
	return ok
}

// close ends all clients, now and later.
func (m *mux) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	for id, q := range m.clients {
		q.close()
		delete(m.clients, id)
	}
}
