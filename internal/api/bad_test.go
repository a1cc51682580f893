// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"weft/internal/agent"
	"weft/internal/event"
	"weft/internal/kernel/kerneltest"
	"weft/internal/nic"
	"weft/internal/spec"
	"weft/internal/trial"
)

const file = `
node: hv1
bonds:
  bond0: {members: [eth0, eth1], mode: 802.3ad, addresses: [10.0.0.11/24]}
networks:
  tenants: {mode: bridged, uplink: bond0, vlan: 992}
`

// serving is a server of a node on the kernel's model, to which the file was applied.
func serving(t testing.TB) (*Server, *agent.Node) {
	t.Helper()
	dir := t.TempDir()
	name := filepath.Join(dir, "node.yaml")
	parsed, err := spec.Parse(name, []byte(file))
	if err != nil {
		t.Fatal(err)
	}
	node := &agent.Node{
		Spec: parsed, Text: []byte(file), Store: nic.Store{Dir: filepath.Join(dir, "run")},
		Target: kerneltest.NewFake("eth0", "eth1", "tap0", "tap1"), Trials: &trial.Store{Dir: filepath.Join(dir, "lib"), Boot: "this"},
	}
	if err := node.Apply(t.Context()); err != nil {
		t.Fatal(err)
	}
	open := func() (*agent.Node, func(), error) {
		n := *node
		return &n, func() {}, nil
	}
	return &Server{
		Socket: filepath.Join(dir, "run", SocketName), File: name, Open: open, Held: open, Events: &event.Desk{},
		Guard: func(*trial.Trial) error { return nil }, Log: slog.New(slog.DiscardHandler),
		Follow: func(ctx context.Context, _ func(event.Event)) error { <-ctx.Done(); return nil },
	}, node
}

// state is what must not change by a request that is refused.
func state(t testing.TB, n *agent.Node) string {
	t.Helper()
	s, err := snapshotOf(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(s.File, s.NICs, s.Have, s.Pending)
}

var refused = []struct {
	name, method, path, body string
	code                     int
	says                     string
}{
	{"no JSON", "POST", "/v1/apply", `{"confirm":`, 400, "unexpected"},
	{"unknown field", "POST", "/v1/apply", `{"foo": 1}`, 422, "unexpected property"},
	{"wrong type", "POST", "/v1/apply", `{"probes": "gateway"}`, 422, "expected array"},
	{"no time", "POST", "/v1/apply", `{"confirm": "soon"}`, 422, "want a time"},
	{"negative time", "POST", "/v1/apply", `{"confirm": "-5s"}`, 422, "want a time"},
	{"unknown probe", "POST", "/v1/apply", `{"confirm": "5s", "probes": ["telepathy"]}`, 422, "telepathy"},
	{"a plan of nonsense", "POST", "/v1/apply", `{"plan": {"version": 1, "fingerprint": "", "summary": "", "ops": [{"phase": "link", "changes": [{"kind": "sysctl", "new": {"path": "../../etc/passwd", "value": "x"}}]}]}}`, 422, "out of range"},
	{"a plan of another world", "POST", "/v1/apply", `{"plan": {"version": 1, "fingerprint": "x", "summary": "", "ops": []}}`, 409, "plan again"},
	{"nothing on trial", "POST", "/v1/confirm", ``, 409, "no change waits"},
	{"nothing to undo", "POST", "/v1/revert", ``, 409, "no change waits"},
	{"a NIC that is nowhere", "DELETE", "/v1/nics/x", ``, 404, "no such nic"},
	{"a NIC outside of the folder", "PUT", "/v1/nics/..%2f..%2fx", `{"name": "tap0", "mac": "aa:00:00:00:00:01", "network": "tenants"}`, 422, "id"},
	{"a NIC without a MAC", "PUT", "/v1/nics/x", `{"name": "tap0", "network": "tenants"}`, 422, "mac"},
	{"a NIC of no network", "PUT", "/v1/nics/x", `{"name": "tap0", "mac": "aa:00:00:00:00:01", "network": "nowhere"}`, 422, "nowhere"},
	{"a NIC of a bond", "PUT", "/v1/nics/x", `{"name": "bond0", "mac": "aa:00:00:00:00:01", "network": "tenants"}`, 422, "is no tap"},
	{"a NIC without a tap", "PUT", "/v1/nics/x", `{"name": "tap9", "mac": "aa:00:00:00:00:01", "network": "tenants"}`, 422, "no such device"},
	{"no such path", "GET", "/v1/everything", ``, 404, ""},
	{"no such method", "PATCH", "/v1/apply", ``, 405, ""},
	{"too large", "POST", "/v1/apply", `{"confirm": "` + strings.Repeat("1", bodyBytes) + `s"}`, 413, ""},
	{"too deep", "POST", "/v1/apply", `{"plan": ` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}`, 0, ""},
}

// TestRefused: what makes no sense is refused with a word why, and changes nothing.
func TestRefused(t *testing.T) {
	for _, c := range refused {
		t.Run(c.name, func(t *testing.T) {
			s, n := serving(t)
			before := state(t, n)
			r := httptest.NewRequest(c.method, c.path, strings.NewReader(c.body))
			r.Header.Set("Content-Type", "application/json")
			w := httptest.NewRecorder()
			s.Handler().ServeHTTP(w, r)
			if c.code != 0 && w.Code != c.code || w.Code < 400 || w.Code >= 500 || !strings.Contains(w.Body.String(), c.says) {
				t.Errorf("%d %.500s", w.Code, w.Body)
			}
			if state(t, n) != before {
				t.Error("and something has changed")
			}
		})
	}
}

// FuzzRequest: no request makes the server fail, and one that is refused changes nothing.
func FuzzRequest(f *testing.F) {
	for _, c := range refused {
		f.Add(c.method, c.path, c.body)
	}
	f.Add("PUT", "/v1/nics/x", `{"name": "tap0", "mac": "aa:00:00:00:00:01", "network": "tenants"}`)
	f.Add("POST", "/v1/apply", `{"confirm": "60s"}`)
	f.Fuzz(func(t *testing.T, method, path, body string) {
		r, err := http.NewRequest(method, "http://weft"+path, strings.NewReader(body))
		if err != nil || strings.HasPrefix(r.URL.Path, eventsPath) || strings.Contains(body, "exec:") {
			t.Skip()
		}
		s, n := serving(t)
		before := state(t, n)
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r.WithContext(t.Context()))
		if w.Code >= 500 && w.Code != http.StatusNotImplemented {
			t.Errorf("%d %.500s", w.Code, w.Body)
		}
		if w.Code >= 400 && state(t, n) != before {
			t.Errorf("refused with %d, and something has changed", w.Code)
		}
	})
}

// listening is a server on its socket, with a client of it.
func listening(t *testing.T) (*Server, *agent.Node, *http.Client) {
	t.Helper()
	s, n := serving(t)
	l, err := Listen(filepath.Dir(s.Socket), -1)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := s.Serve(ctx, l); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { stop(); serving.Wait() })
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", s.Socket)
	}
	return s, n, &http.Client{Transport: &http.Transport{DialContext: dial}}
}

// TestPeers: root changes the node, others do not, however they came in; and a socket that somebody opened to all answers root only.
func TestPeers(t *testing.T) {
	s, _, client := listening(t)
	put := func() int {
		return request(t, client, "PUT", "/v1/nics/x", `{"name": "tap0", "mac": "aa:00:00:00:00:01", "network": "tenants"}`)
	}
	if os.Geteuid() == 0 {
		if code := put(); code != 200 {
			t.Errorf("root: %d", code)
		}
		return
	}
	if code := request(t, client, "GET", "/v1/status", ""); code != 200 {
		t.Errorf("somebody who may read: %d", code)
	}
	if code := put(); code != 403 {
		t.Errorf("somebody who may read, and writes: %d", code)
	}
	if err := os.Chmod(s.Socket, 0o666); err != nil {
		t.Fatal(err)
	}
	if code := request(t, client, "GET", "/v1/status", ""); code != 403 {
		t.Errorf("by a socket that is open to all: %d", code)
	}
}

func request(t testing.TB, client *http.Client, method, path, body string) int {
	t.Helper()
	r, err := http.NewRequest(method, "http://weft"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	a, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = a.Body.Close() }()
	if _, err := io.Copy(io.Discard, a.Body); err != nil {
		t.Fatal(err)
	}
	return a.StatusCode
}

// asRoot skips a test of what only root may ask for; the kernel lane is root's.
func asRoot(t *testing.T) {
	t.Helper()
	switch {
	case os.Geteuid() == 0:
	case strings.Contains(os.Getenv("WEFT_TEST_REQUIRE"), "kernel"):
		t.Fatal("the kernel lane is not root")
	default:
		t.Skip("others are refused, see TestPeers: make kernel")
	}
}

// TestManyAtOnce: requests at the same time are done one after the other, and a hundred idle connections hold up nobody.
func TestManyAtOnce(t *testing.T) {
	asRoot(t)
	s, n, client := listening(t)
	for range 100 {
		c, err := net.Dial("unix", s.Socket)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		if _, err := io.WriteString(c, "GET /v1/status HTTP/1.1\r\nHost: "); err != nil { // and no more of it
			t.Fatal(err)
		}
	}
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			body := fmt.Sprintf(`{"name": "tap%d", "mac": "aa:00:00:00:00:0%d", "network": "tenants"}`, i%2, i%2)
			if code := request(t, client, "PUT", fmt.Sprintf("/v1/nics/n%d", i%2), body); code != 200 {
				t.Errorf("request %d: %d", i, code)
			}
		})
	}
	all.Wait()
	if nics, err := n.Store.List(); err != nil || len(nics) != 2 {
		t.Errorf("%d NICs, %v", len(nics), err)
	}
}

// TestSlow: a request that does not arrive is given up, half a head or half a body, and changes nothing.
func TestSlow(t *testing.T) {
	asRoot(t)
	s, n, _ := listening(t)
	before := state(t, n)
	var all sync.WaitGroup
	for begun, answer := range map[string]string{
		"PUT /v1/nics/x HTTP/1.1\r\nHost: ": "",
		"PUT /v1/nics/x HTTP/1.1\r\nHost: weft\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{": "HTTP/1.1 4",
	} {
		all.Go(func() {
			c, err := net.Dial("unix", s.Socket)
			if err == nil {
				_, err = io.WriteString(c, begun) // and no more of it
			}
			if err != nil {
				t.Error(err)
				return
			}
			got, err := io.ReadAll(c) // until the server ends it
			if err != nil || !strings.HasPrefix(string(got), answer) {
				t.Errorf("%q: %q, %v", begun, got, err)
			}
			_ = c.Close()
		})
	}
	all.Wait()
	if state(t, n) != before {
		t.Error("and something has changed")
	}
}

// TestEvents: what the agent logs comes to those who watch, and a watcher who does not read holds up nobody.
func TestEvents(t *testing.T) {
	s, _, _ := listening(t)
	log := slog.New(s.Events.Log(slog.DiscardHandler))
	ctx, stop := context.WithCancel(t.Context())
	got := make(chan event.Event, 1)
	var watching sync.WaitGroup
	ended := make(chan struct{})
	watching.Go(func() {
		defer close(ended)
		if err := Dial(filepath.Dir(s.Socket)).Events(ctx, func(e event.Event) {
			select {
			case got <- e:
			default:
			}
		}); err != nil {
			t.Error(err)
		}
	})
	idle, closing := s.Events.Watch()
	defer closing()
	for {
		log.Info("repair", "step", "ip link set dev eth0 up", "tap", "tap0")
		select {
		case e := <-got:
			if e.Kind != "agent" || e.Text != "repair" || e.Dev != "tap0" || e.Attrs["step"] != "ip link set dev eth0 up" {
				t.Errorf("%+v", e)
			}
			for range 5000 {
				log.Info("again")
			}
			if len(idle) == 0 {
				t.Error("the other watcher has nothing")
			}
			stop()
			watching.Wait()
			return
		case <-ended:
			t.Fatal("the watching ended")
		default:
			runtime.Gosched()
		}
	}
}

// deadlines is an answer that notes the last deadline for reading.
type deadlines struct {
	*httptest.ResponseRecorder
	read time.Time
}

func (d *deadlines) SetReadDeadline(t time.Time) error  { d.read = t; return nil }
func (d *deadlines) SetWriteDeadline(t time.Time) error { return nil }

// TestTakesLong: the time that a request has to arrive in is over when it has: one that takes longer to be worked on would be cancelled by it, and
// so would all that come later by the same connection. One that does not arrive has it until the end.
func TestTakesLong(t *testing.T) {
	s, _ := serving(t)
	nic := `{"name": "tap0", "mac": "aa:00:00:00:00:01", "network": "tenants"}`
	for _, c := range []struct {
		method, path string
		body         io.Reader
		code         int
	}{
		{"GET", "/v1/status", strings.NewReader(""), http.StatusOK}, {"POST", "/v1/apply", strings.NewReader("{}"), http.StatusOK},
		{"PUT", "/v1/nics/x", strings.NewReader(nic), http.StatusOK},
		{"PUT", "/v1/nics/x", io.MultiReader(strings.NewReader(nic[:9]), iotest.ErrReader(os.ErrDeadlineExceeded)), http.StatusRequestTimeout},
	} {
		d := &deadlines{ResponseRecorder: httptest.NewRecorder(), read: time.Now()}
		r := httptest.NewRequest(c.method, c.path, c.body)
		r.Header.Set("Content-Type", "application/json")
		s.bounded(s.Handler()).ServeHTTP(d, r)
		if d.Code != c.code || d.read.IsZero() != (c.code == http.StatusOK) {
			t.Errorf("%s: %d, read until %s; %s", c.method, d.Code, d.read, d.Body)
		}
	}
}
