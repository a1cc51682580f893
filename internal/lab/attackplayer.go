// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
)

// attackPlayer plays the scapy scripts.
//
//go:embed attackplayer.py
var attackPlayer string

// player is the process that plays scapy scripts, of all modes at a time.
type player struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	ended chan struct{} // closed when it has ended
	log   bytes.Buffer  // what it said until then

	mu      sync.Mutex
	next    int
	waiting map[int]chan string
}

// playerJob is a script for it.
type playerJob struct {
	ID     int               `json:"id"`
	Name   string            `json:"name"`
	Script string            `json:"script"`
	Lab    string            `json:"lab"` // prefix of the namespaces
	At     string            `json:"at"`
	Values map[string]string `json:"values"`
}

// startPlayer starts it; that it is ready nobody waits for before the first job.
func startPlayer() (*player, error) {
	p := &player{cmd: exec.Command("/usr/bin/python3", "-c", attackPlayer), ended: make(chan struct{}), waiting: map[int]chan string{}}
	p.cmd.Stderr = &p.log
	in, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("starting scapy: %w", err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("starting scapy: %w", err)
	}
	p.in = in
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting scapy: %w", err)
	}
	go p.hear(out)
	return p, nil
}

// hear hands out the answers, until the process ends.
func (p *player) hear(out io.Reader) {
	answers := bufio.NewReader(out)
	for {
		line, err := answers.ReadBytes('\n')
		if err != nil {
			break
		}
		var a struct {
			ID    int    `json:"id"`
			Error string `json:"error"`
		}
		if json.Unmarshal(line, &a) != nil {
			continue // a script has printed something
		}
		p.mu.Lock()
		if answer := p.waiting[a.ID]; answer != nil {
			answer <- a.Error
			delete(p.waiting, a.ID)
		}
		p.mu.Unlock()
	}
	_ = p.cmd.Wait()
	close(p.ended)
}

// play plays a script and returns what Python said against it, or nothing, when it has ended. One that outlives ctx ends all.
func (p *player) play(ctx context.Context, job playerJob) (string, error) {
	answer := make(chan string, 1)
	p.mu.Lock()
	p.next++
	job.ID = p.next
	p.waiting[job.ID] = answer
	line, err := json.Marshal(job)
	if err == nil {
		_, err = p.in.Write(append(line, '\n'))
	}
	p.mu.Unlock()
	if err != nil {
		return "", fmt.Errorf("playing with scapy: %w", err)
	}
	select {
	case said := <-answer:
		return said, nil
	case <-p.ended:
		return "", fmt.Errorf("scapy has ended (Debian's package python3-scapy): %s", strings.TrimSpace(p.log.String()))
	case <-ctx.Done():
		_ = p.cmd.Process.Kill()
		return "", fmt.Errorf("playing with scapy: %w", ctx.Err())
	}
}

// stop ends it; it may have ended.
func (p *player) stop() {
	_ = p.in.Close()
	_ = p.cmd.Process.Kill()
	<-p.ended
}
