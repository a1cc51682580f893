// SPDX-License-Identifier: Apache-2.0

package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"weft/internal/event"
)

// Client talks to the agent of a run folder.
type Client struct {
	http *http.Client
	File string // the agent's node file, after the first answer
}

// ErrNoAgent says that no agent answers.
var ErrNoAgent = errors.New("no agent answers")

// Dial returns a client. Nothing is connected yet.
func Dial(run string) *Client {
	name := filepath.Join(run, SocketName)
	return &Client{http: &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", name)
	}}}}
}

// Get reads what is at a path into v.
func (c *Client) Get(ctx context.Context, path string, v any) error {
	r, err := c.ask(ctx, path)
	if err != nil {
		return err
	}
	defer func() { _ = r.Body.Close() }()
	if err := json.NewDecoder(r.Body).Decode(v); err != nil {
		return fmt.Errorf("the agent's answer about %s: %w", path, err)
	}
	return nil
}

func (c *Client) ask(ctx context.Context, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://weft"+path, nil)
	if err != nil {
		return nil, err
	}
	r, err := c.http.Do(req)
	switch {
	case errors.Is(err, unix.ECONNREFUSED), errors.Is(err, fs.ErrNotExist):
		return nil, ErrNoAgent
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("ask the agent: only root and the members of the socket's group may: %w", err)
	case err != nil:
		return nil, fmt.Errorf("ask the agent: %w", err)
	}
	c.File = r.Header.Get("Weft-File")
	if r.StatusCode == http.StatusOK {
		return r, nil
	}
	defer func() { _ = r.Body.Close() }()
	return nil, problem(r)
}

// problem is the error that an answer tells of (RFC 9457).
func problem(r *http.Response) error {
	text, err := io.ReadAll(io.LimitReader(r.Body, bodyBytes))
	if err != nil {
		return fmt.Errorf("the agent's answer: %w", err)
	}
	var p struct {
		Detail string
		Errors []struct{ Message string }
	}
	if err := json.Unmarshal(text, &p); err != nil || p.Detail == "" {
		return fmt.Errorf("the agent answers %s: %s", r.Status, bytes.TrimSpace(text))
	}
	lines := []string{p.Detail}
	for _, e := range p.Errors {
		lines = append(lines, e.Message)
	}
	return errors.New(strings.Join(lines, "\n"))
}

// Events calls tell with what happens, until ctx ends or the agent does.
func (c *Client) Events(ctx context.Context, tell func(event.Event)) error {
	r, err := c.ask(ctx, eventsPath)
	if err != nil {
		return err
	}
	defer func() { _ = r.Body.Close() }()
	lines := bufio.NewScanner(r.Body)
	lines.Buffer(nil, bodyBytes)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		var e event.Event
		if err := json.Unmarshal([]byte(data), &e); err != nil {
			if ctx.Err() != nil || lines.Err() != nil { // cut off in the middle
				break
			}
			return fmt.Errorf("an event of the agent's: %w", err)
		}
		tell(e)
	}
	if ctx.Err() != nil {
		return nil
	}
	return errors.Join(errors.New("the agent has ended"), lines.Err())
}
