// SPDX-License-Identifier: Apache-2.0

// Package api is how programs talk to an agent: HTTP and JSON on a unix socket.
//
// It owns the paths, who may call them, the bounds of a request, the document that describes them (OpenAPI 3.1, made from the types
// here), and a client. What a request does is agent's and status's: the same functions that weft's verbs call, under the same lock.
//
// It never listens on a network, and never decides what a node should be.
package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"weft/internal/agent"
	"weft/internal/event"
	"weft/internal/trial"
)

// SocketName is the socket's file in the run folder.
const SocketName = "weft.sock"

// Server answers requests about one node.
type Server struct {
	Version string
	Socket  string                                         // the socket's file
	File    string                                         // the operator's node file, absolute
	Open    func() (*agent.Node, func(), error)            // the node as that file says
	Held    func() (*agent.Node, func(), error)            // the node as the applied file says
	Guard   func(*trial.Trial) error                       // see agent.Terms
	Follow  func(context.Context, func(event.Event)) error // see kernel.Host
	Events  *event.Desk
	Metrics http.Handler
	Log     *slog.Logger

	together agent.Together // changes of NICs

	ordinary atomic.Int32 // connections of others than root
	counted  sync.Map     // those that are in it
}

// The bounds of a request. Who reads events may take as long as he likes.
const (
	headerTime  = 5 * time.Second
	bodyTime    = 10 * time.Second
	answerTime  = 2 * time.Minute // an apply of a large node
	idleTime    = time.Minute
	headerBytes = 16 << 10
	bodyBytes   = 1 << 20
	ordinaryMax = 32 // connections of others than root at one time: root always gets in
)

// Listen makes the socket: root may do everything, the group (-1 for none) read, and nobody else connect.
func Listen(run string, group int) (net.Listener, error) {
	name := filepath.Join(run, SocketName)
	if err := os.MkdirAll(run, 0o755); err != nil {
		return nil, fmt.Errorf("listen for requests: %w", err)
	}
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("listen for requests: %w", err)
	}
	old := unix.Umask(0o177) // nobody else gets in before the mode is set
	l, err := net.Listen("unix", name)
	unix.Umask(old)
	if err != nil {
		return nil, fmt.Errorf("listen for requests: %w", err)
	}
	if group >= 0 {
		if err := errors.Join(os.Chown(name, 0, group), os.Chmod(name, 0o660)); err != nil {
			return nil, errors.Join(fmt.Errorf("listen for requests: %w", err), l.Close())
		}
	}
	return l, nil
}

type peerKey struct{}

// peer is who is at the other end of a connection (SO_PEERCRED in unix(7)): when it connected.
type peer struct {
	uid  uint32
	pid  int32
	many bool // there are too many of its kind
}

// Serve answers requests until ctx ends.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	h := &http.Server{
		Handler: s.bounded(s.Handler()), ReadHeaderTimeout: headerTime, IdleTimeout: idleTime, MaxHeaderBytes: headerBytes,
		ErrorLog:    slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug),
		BaseContext: func(net.Listener) context.Context { return ctx },
		ConnContext: s.meet, ConnState: s.part,
	}
	stop := context.AfterFunc(ctx, func() { _ = h.Close() })
	defer stop()
	if err := h.Serve(l); err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("answer requests: %w", err)
	}
	return nil
}

// meet finds out who connects.
func (s *Server) meet(ctx context.Context, c net.Conn) context.Context {
	p := peer{uid: ^uint32(0)}
	if cred, err := credentials(c); err == nil {
		p.uid, p.pid = cred.Uid, cred.Pid
	}
	if p.uid != 0 {
		p.many = s.ordinary.Add(1) > ordinaryMax
		s.counted.Store(c, true)
	}
	return context.WithValue(ctx, peerKey{}, p)
}

// part takes note of the end of a connection.
func (s *Server) part(c net.Conn, state http.ConnState) {
	if state != http.StateClosed {
		return
	}
	if _, ok := s.counted.LoadAndDelete(c); ok {
		s.ordinary.Add(-1)
	}
}

func credentials(c net.Conn) (cred *unix.Ucred, err error) {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return nil, errors.New("no unix socket")
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return nil, err
	}
	failed := raw.Control(func(fd uintptr) { cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	return cred, errors.Join(failed, err)
}

// bounded refuses who may not, and gives everybody else a time.
func (s *Server) bounded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, _ := r.Context().Value(peerKey{}).(peer)
		reads := r.Method == http.MethodGet || r.Method == http.MethodHead
		switch {
		case p.many:
			w.Header().Set("Connection", "close")
			refuse(w, http.StatusServiceUnavailable, fmt.Sprintf("more than %d connections of ordinary users", ordinaryMax))
			return
		case p.uid != 0 && !reads:
			refuse(w, http.StatusForbidden, "only root changes the node")
			return
		case p.uid != 0 && s.open():
			refuse(w, http.StatusForbidden, "the socket's mode lets everybody in: it is root's and its group's to read, as weft made it")
			return
		}
		c := http.NewResponseController(w)
		begin := time.Now()
		if r.URL.Path != eventsPath { // of a connection that is gone it does not matter
			_ = c.SetReadDeadline(begin.Add(bodyTime))
			_ = c.SetWriteDeadline(begin.Add(answerTime))
		}
		w.Header().Set("Weft-File", s.File)
		if !arrived(w, r) {
			return
		}
		if r.URL.Path != eventsPath {
			// A deadline that passes while it is worked on would cancel it, and all later ones of its connection.
			_ = c.SetReadDeadline(time.Time{})
		}
		next.ServeHTTP(w, r)
		if !reads {
			s.Log.Info("request", "method", r.Method, "path", r.URL.Path, "pid", p.pid, "took", time.Since(begin).Round(time.Millisecond))
		}
	})
}

// arrived reads a request's body, and refuses one that does not come whole: its connection ends by the deadline that stands.
func arrived(w http.ResponseWriter, r *http.Request) bool {
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, bodyBytes))
	if err == nil {
		r.Body = io.NopCloser(bytes.NewReader(data))
		return true
	}
	w.Header().Set("Connection", "close")
	if large := (*http.MaxBytesError)(nil); errors.As(err, &large) {
		refuse(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("the body has more than %d bytes", large.Limit))
	} else {
		refuse(w, http.StatusRequestTimeout, fmt.Sprintf("the body did not arrive: %v", err))
	}
	return false
}

// open reports whether somebody has opened the socket to everybody. Its mode is what says who is in the group.
func (s *Server) open() bool {
	info, err := os.Stat(s.Socket)
	return err != nil || info.Mode().Perm()&0o007 != 0
}
