// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// agent is the node's agent: one process after another.
type agent struct {
	world *world

	mu     sync.Mutex
	cmd    *exec.Cmd // nil where none runs
	exited chan struct{}
	begin  int64 // where in the log it began
	client *http.Client
}

func (a *agent) log() string { return a.world.dir + "/agent.log" }

// start starts an agent.
func (a *agent) start() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	log, err := os.OpenFile(a.log(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	if a.begin, err = log.Seek(0, io.SeekEnd); err != nil {
		return err
	}
	cmd := a.world.command("agent")
	cmd.Stdout, cmd.Stderr = log, log
	if err := inside(nodeNS, cmd.Start); err != nil {
		return fmt.Errorf("start the agent: %w", err)
	}
	exited := make(chan struct{})
	go func() { _ = cmd.Wait(); close(exited) }()
	a.cmd, a.exited = cmd, exited
	if a.client == nil {
		a.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1000, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", a.world.dir+"/run/weft.sock")
		}}}
	}
	return nil
}

// kill ends the agent as nothing can be prepared for.
func (a *agent) kill() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.cmd == nil {
		return nil
	}
	err := a.cmd.Process.Kill()
	<-a.exited
	a.cmd = nil
	if errors.Is(err, os.ErrProcessDone) {
		return errors.New("the agent had ended by itself")
	}
	return err
}

var ready = regexp.MustCompile(`(?m)\bmsg=ready\b`)

// readyTime is how long an agent has for its first round that leaves nothing to do.
const readyTime = 2 * time.Minute

// ready returns when the agent has had such a round, and how long that took.
func (a *agent) ready(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	for {
		text, err := os.ReadFile(a.log())
		if err != nil {
			return 0, err
		}
		if ready.Match(text[a.begin:]) {
			return time.Since(began), nil
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-a.exited:
			return 0, fmt.Errorf("the agent ended:\n%s", a.tail())
		case <-time.After(10 * time.Millisecond):
		}
		if time.Since(began) > readyTime {
			return 0, fmt.Errorf("the agent has not converged for %s", readyTime)
		}
	}
}

// tail is the end of the agents' log.
func (a *agent) tail() string {
	text, err := os.ReadFile(a.log())
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-4000):])
}

// errGone says that no agent answered.
var errGone = errors.New("no agent answers")

// ask makes one request. The status is that of the answer; an agent that is gone, before or meanwhile, is errGone.
func (a *agent) ask(ctx context.Context, method, path string, body any) (int, []byte, error) {
	data, err := json.Marshal(body)
	if err != nil {
		return 0, nil, err
	}
	if body == nil {
		data = nil
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://weft"+path, bytes.NewReader(data))
	if err != nil {
		return 0, nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	answer, err := a.client.Do(r)
	if err != nil {
		return 0, nil, errors.Join(errGone, err)
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0, nil, errors.Join(errGone, err)
	}
	return answer.StatusCode, text, nil
}

// figures are what the agent's process takes.
type figures struct {
	rss, peak  int // KiB
	ticks      int // of processor time, 10 ms each
	files      int
	threads    int
	heap       int // KiB
	goroutines int
}

func (f figures) String() string {
	return fmt.Sprintf("RSS %.1f MiB (peak %.1f), heap %.1f MiB, %d threads, %d goroutines, %d files open",
		float64(f.rss)/1024, float64(f.peak)/1024, float64(f.heap)/1024, f.threads, f.goroutines, f.files)
}

// figures reads them, from /proc and from the agent's metrics.
func (a *agent) figures(ctx context.Context) (f figures, err error) {
	proc := fmt.Sprintf("/proc/%d/", a.cmd.Process.Pid)
	status, err := os.ReadFile(proc + "status")
	if err != nil {
		return f, err
	}
	for line := range strings.Lines(string(status)) {
		key, value, _ := strings.Cut(strings.TrimSuffix(strings.TrimSpace(line), " kB"), ":")
		if to := map[string]*int{"VmRSS": &f.rss, "VmHWM": &f.peak, "Threads": &f.threads}[key]; to != nil {
			if *to, err = strconv.Atoi(strings.TrimSpace(value)); err != nil {
				return f, err
			}
		}
	}
	files, err := os.ReadDir(proc + "fd")
	if err != nil {
		return f, err
	}
	f.files = len(files)
	if f.ticks, err = ticks(proc); err != nil {
		return f, err
	}
	_, text, err := a.ask(ctx, "GET", "/metrics", nil)
	if err != nil {
		return f, err
	}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		number, _ := strconv.ParseFloat(value, 64)
		switch name {
		case "go_memstats_heap_alloc_bytes":
			f.heap = int(number / 1024)
		case "go_goroutines":
			f.goroutines = int(number)
		}
	}
	return f, nil
}

// ticks reads the processor time of a process: utime and stime in proc_pid_stat(5).
func ticks(proc string) (int, error) {
	stat, err := os.ReadFile(proc + "stat")
	if err != nil {
		return 0, err
	}
	words := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	user, err1 := strconv.Atoi(words[11])
	system, err2 := strconv.Atoi(words[12])
	return user + system, errors.Join(err1, err2)
}

// closeTap takes a tap away, as the end of its VM does.
func closeTap(fd int) error { return unix.Close(fd) }
