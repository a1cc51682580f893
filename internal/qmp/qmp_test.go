// SPDX-License-Identifier: Apache-2.0

package qmp

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const hello = `{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": ""}, "capabilities": ["oob"]}}`

// fake serves one client: it says hello, and then what answers has for each command (in turn, the last again and again).
// An answer "end" closes the connection.
func fake(t *testing.T, hello string, answers map[string][]string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "qmp")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer func() { _ = c.Close() }()
		if _, err := io.WriteString(c, hello); err != nil {
			return
		}
		for lines := bufio.NewScanner(c); lines.Scan(); {
			var q struct{ Execute, ID string }
			if err := json.Unmarshal(lines.Bytes(), &q); err != nil {
				t.Errorf("QEMU was told %q: %v", lines.Text(), err)
			}
			all := answers[q.Execute]
			if len(all) == 0 {
				all = []string{`{"return": {}, "id": "ID"}`}
			}
			if len(all) > 1 {
				answers[q.Execute] = all[1:]
			}
			if all[0] == "end" {
				return
			}
			if _, err := io.WriteString(c, strings.ReplaceAll(all[0], "ID", q.ID)+"\r\n"); err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-served
	})
	return path
}

func TestWaitRunning(t *testing.T) {
	is := func(status string) string {
		return `{"return": {"status": "` + status + `", "running": true}, "id": "ID"}`
	}
	event := func(name, data string) string { return `{"event": "` + name + `", "data": {` + data + `}}` }
	const resume = `{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "RESUME"}`
	for name, test := range map[string]struct {
		hello           string
		status, migrate []string
		wants           string // "" for success
	}{
		"runs already":                          {hello, []string{is("running")}, nil, ""},
		"resumes":                               {hello, []string{is("inmigrate") + resume}, nil, ""},
		"resumes, events between":               {hello, []string{is("inmigrate") + event("NIC_RX_FILTER_CHANGED", `"name": "n0"`) + event("MIGRATION", `"status": "active"`) + resume}, nil, ""},
		"a resume that was missed is asked for": {hello, []string{is("inmigrate"), is("running")}, nil, ""},
		"printed prettily":                      {"{\n  \"QMP\": {\n  }\n}\n", []string{"{\n  \"return\": {\n    \"status\": \"running\"\n  },\n  \"id\": \"ID\"\n}"}, nil, ""},
		"stays paused until it goes on":         {hello, []string{is("paused") + event("STOP", "") + resume}, nil, ""},
		"the guest ends":                        {hello, []string{is("inmigrate") + event("SHUTDOWN", `"guest": false, "reason": "host-qmp-quit"`)}, nil, "the guest ended (host-qmp-quit) before it ran here"},
		"status shutdown":                       {hello, []string{is("inmigrate"), is("shutdown")}, nil, "not run here any more (shutdown)"},
		"the migration fails, by event":         {hello, []string{is("inmigrate") + event("MIGRATION", `"status": "failed"`)}, nil, "the migration has failed"},
		"the migration fails, without":          {hello, []string{is("inmigrate")}, []string{`{"return": {}, "id": "ID"}`, is("failed")}, "the migration has failed"},
		"QEMU goes":                             {hello, []string{is("inmigrate"), "end"}, nil, "QEMU ended, or let go of its monitor, before the guest ran here (its last status: inmigrate)"},
		"QEMU goes at once":                     {hello, []string{"end"}, nil, "QEMU ended"},
		"the source's, when it is over":         {hello, []string{is("postmigrate")}, nil, "this is the source's monitor"},
		"refused":                               {hello, []string{`{"error": {"class": "GenericError", "desc": "no\nnever"}, "id": "ID"}`}, nil, "query-status: nonever"},
		"a human's monitor":                     {"QEMU 7.2.22 monitor - type 'help' for more information\r\n(qemu) ", nil, nil, "not a QMP monitor"},
		"no greeting":                           {`{"event": "RESUME"}`, nil, nil, "it did not greet"},
		"a status that is no word":              {hello, []string{`{"return": {"status": 7}, "id": "ID"}` + resume}, nil, ""},
		"an id that is no word":                 {hello, []string{`{"return": {}, "id": [1]}`}, nil, "not a QMP monitor"},
		"without end":                           {`{"QMP": "` + strings.Repeat("x", 2*maxMessage), nil, nil, "a message of more than"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := WaitRunning(t.Context(), fake(t, test.hello, map[string][]string{status: test.status, migrate: test.migrate}))
			switch {
			case test.wants == "" && err != nil:
				t.Error(err)
			case test.wants != "" && (err == nil || !strings.Contains(err.Error(), test.wants) || strings.Contains(err.Error(), "\n")):
				t.Errorf("got %v, want one line that says %q", err, test.wants)
			}
		})
	}
	if err := WaitRunning(t.Context(), filepath.Join(t.TempDir(), "none")); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("no socket: %v", err)
	}
}

// TestTimeout: who waits is told what the guest was at, and why the waiting ended.
func TestTimeout(t *testing.T) {
	why := errors.New("enough of it")
	ctx, cancel := context.WithCancelCause(t.Context())
	path := fake(t, hello, map[string][]string{status: {`{"return": {"status": "inmigrate"}, "id": "ID"}`}})
	time.AfterFunc(500*time.Millisecond, func() { cancel(why) })
	err := WaitRunning(ctx, path)
	if !errors.Is(err, why) || !strings.Contains(err.Error(), "does not run here (its last status: inmigrate): enough of it") {
		t.Errorf("got %v", err)
	}
}

// FuzzRead: whatever a monitor says, it is read to its end, nothing panics, and no guest is taken to run of which nobody said so.
func FuzzRead(f *testing.F) {
	f.Add([]byte(hello + `{"return": {}, "id": "qmp_capabilities"}{"return": {"status": "inmigrate"}, "id": "query-status"}{"event": "RESUME"}`))
	f.Add([]byte(`{"QMP": 1}{"event": "SHUTDOWN", "data": {"reason": "guest-reset"}}`))
	f.Add([]byte(`{"error": {"desc": 1}}[[[[`))
	f.Fuzz(func(t *testing.T, said []byte) {
		s := session{w: io.Discard, greeting: make(chan time.Time)}
		var last error
		if err := read(bytes.NewReader(said), func(m message) bool {
			last = s.take(m)
			return last == nil && !s.running
		}); err == nil && last == nil && !s.running {
			t.Error("the reading ended without a reason")
		}
		if last != nil && strings.ContainsAny(last.Error(), "\n\r\x1b") {
			t.Errorf("%q is not a line", last)
		}
		if s.running && !bytes.Contains(said, []byte("RESUME")) && !bytes.Contains(said, []byte("running")) && !bytes.Contains(said, []byte(`\u`)) {
			t.Error("taken to run")
		}
	})
}
