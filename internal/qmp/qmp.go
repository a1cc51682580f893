// SPDX-License-Identifier: Apache-2.0

// Package qmp asks a QEMU, by its monitor's protocol, whether its guest runs: what the target of a live migration has to
// know before it answers for the guest's addresses.
//
// It owns the reading of that protocol (QEMU's docs/interop/qmp-spec: a greeting, the end of negotiation, commands, events).
// It never tells QEMU to do anything, and what it reads, it takes from a stranger: no message may be longer than 1 MiB.
//
// A monitor serves one client at a time. While this package waits on one nobody else can use it.
package qmp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

const (
	maxMessage   = 1 << 20          // bytes; QEMU's own answers to what is asked here are below 4 KiB
	greetingWait = 10 * time.Second // a QEMU that starts is silent until its network scripts are done
	askEvery     = time.Second      // an incoming migration that fails need not be an event
)

// WaitRunning waits until the guest of the QEMU whose monitor is this unix socket runs there. It returns an error when it
// will not: QEMU or the guest ended, the migration failed, the guest has moved away; or when ctx ended (its cause).
func WaitRunning(ctx context.Context, socket string) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	if err == nil {
		err = wait(ctx, conn)
	}
	if err != nil {
		return fmt.Errorf("wait for the guest at %s: %w", socket, err)
	}
	return nil
}

func wait(ctx context.Context, conn net.Conn) (err error) {
	defer func() { _ = conn.Close() }() // ends the reading, too
	defer context.AfterFunc(ctx, func() { _ = conn.SetWriteDeadline(time.Unix(1, 0)) })()
	messages, failed := make(chan message), make(chan error, 1)
	done := make(chan struct{})
	defer close(done)
	go func() {
		failed <- read(conn, func(m message) bool {
			select {
			case messages <- m:
				return true
			case <-done:
				return false
			}
		})
	}()
	s := session{w: conn, greeting: time.After(greetingWait)}
	ask := time.NewTicker(askEvery)
	defer ask.Stop()
	for !s.running {
		select {
		case <-ctx.Done():
			err = ctx.Err()
		case <-s.greeting:
			err = fmt.Errorf("no greeting in %s: it has another client, or is not a QMP monitor; give QEMU a second -qmp for weft", greetingWait)
		case err = <-failed:
			err = s.ended(err)
		case m := <-messages:
			err = s.take(m)
		case <-ask.C:
			err = s.ask()
		}
		switch {
		case err != nil && ctx.Err() != nil:
			return s.late(context.Cause(ctx))
		case err != nil:
			return err
		}
	}
	return nil
}

// message is anything that QEMU says.
type message struct {
	Greeting json.RawMessage `json:"QMP"`
	ID       string          `json:"id"`
	Return   json.RawMessage `json:"return"`
	Error    *struct {
		Desc string `json:"desc"`
	} `json:"error"`
	Event string          `json:"event"`
	Data  json.RawMessage `json:"data"`
}

// read passes on each message until one is not understood, take returns false or r ends: io.EOF.
func read(r io.Reader, take func(message) bool) error {
	limited := &io.LimitedReader{R: r}
	d := json.NewDecoder(limited)
	for {
		limited.N = maxMessage
		var m message
		err := d.Decode(&m)
		switch {
		case err != nil && limited.N <= 0:
			return fmt.Errorf("a message of more than %d bytes", maxMessage)
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return io.EOF
		case errors.As(err, new(net.Error)):
			return err
		case err != nil:
			return fmt.Errorf("not a QMP monitor: %w", err)
		}
		if !take(m) {
			return nil
		}
	}
}

// session is what is known of a QEMU.
type session struct {
	w        io.Writer
	greeting <-chan time.Time // when it should have come; nil once it has
	agreed   bool             // commands are taken
	status   string           // the last one that was heard of
	running  bool
}

// The commands, by the id that comes back with the answer.
const (
	agree   = "qmp_capabilities"
	status  = "query-status"
	migrate = "query-migrate"
)

func (s *session) send(command string) error {
	_, err := fmt.Fprintf(s.w, `{"execute":%q,"id":%[1]q}`+"\n", command)
	if errors.As(err, new(net.Error)) {
		return s.ended(io.EOF)
	}
	return err
}

func (s *session) ask() error {
	if !s.agreed {
		return nil
	}
	if err := s.send(status); err != nil {
		return err
	}
	return s.send(migrate)
}

// take learns from a message.
func (s *session) take(m message) error {
	switch {
	case m.Greeting != nil && s.greeting != nil:
		s.greeting = nil
		return s.send(agree)
	case s.greeting != nil:
		return errors.New("not a QMP monitor: it did not greet")
	case m.Error != nil && m.ID != migrate: // one that has never heard of a migration need not answer that
		return fmt.Errorf("%s: %s", m.ID, clip(m.Error.Desc))
	case m.Event != "":
		return s.event(m.Event, m.Data)
	case m.Return == nil:
		return nil
	case m.ID == agree:
		s.agreed = true
		return s.ask()
	case m.ID == status:
		return s.is(word(m.Return, "status"))
	case m.ID == migrate:
		return s.migration(word(m.Return, "status"))
	}
	return nil
}

// event learns from an event (QEMU's qapi/run-state.json and qapi/migration.json).
func (s *session) event(name string, data json.RawMessage) error {
	switch name {
	case "RESUME":
		s.running = true
	case "SHUTDOWN":
		return errors.New("the guest ended (" + word(data, "reason") + ") before it ran here")
	case "MIGRATION":
		return s.migration(word(data, "status"))
	}
	return nil
}

// is learns from QEMU's RunState.
func (s *session) is(status string) error {
	s.status = status
	switch status {
	case "running":
		s.running = true
	case "shutdown", "internal-error", "guest-panicked":
		return errors.New("the guest does not run here any more (" + status + ")")
	case "postmigrate":
		return errors.New("the guest has moved away from here (postmigrate): this is the source's monitor")
	}
	return nil
}

// migration learns from QEMU's MigrationStatus. On the source, whose guest runs, nothing of it is waited for.
func (s *session) migration(status string) error {
	if !s.running && (status == "failed" || status == "cancelled") {
		return errors.New("the migration has " + map[string]string{"failed": "failed", "cancelled": "been cancelled"}[status])
	}
	return nil
}

func (s *session) ended(err error) error {
	if errors.Is(err, io.EOF) || errors.As(err, new(net.Error)) {
		return fmt.Errorf("QEMU ended, or let go of its monitor, before the guest ran here%s", s.last())
	}
	return err
}

func (s *session) late(cause error) error {
	return fmt.Errorf("the guest does not run here%s: %w", s.last(), cause)
}

func (s *session) last() string {
	if s.status == "" {
		return ""
	}
	return " (its last status: " + s.status + ")"
}

// word returns a string of a JSON object, without what would not fit a line, or "".
func word(object json.RawMessage, key string) string {
	var fields map[string]json.RawMessage
	var w string
	if json.Unmarshal(object, &fields) != nil || json.Unmarshal(fields[key], &w) != nil {
		return ""
	}
	return clip(w)
}

// clip makes a stranger's words fit a line.
func clip(text string) string {
	line := []rune{}
	for _, r := range text {
		if r >= ' ' && r != 0x7f && len(line) < 200 {
			line = append(line, r)
		}
	}
	return string(line)
}
