// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"
	"time"
)

// agentTime is how long an agent has for its first round, or for its end.
const agentTime = time.Minute

var agentReady = regexp.MustCompile(`(?m)\bready\b`)

// agent is a running weft agent.
type agent struct {
	cmd    *exec.Cmd
	exited chan struct{}
}

// agentLog is where a node's agents write, one after the other.
func (l *Lab) agentLog(node string) string { return filepath.Join(l.dir, "agent-"+node+".log") }

// StartAgent runs weft agent on a node with its file, and returns when its first round has converged.
func (l *Lab) StartAgent(ctx context.Context, node, file string, args ...string) error {
	if l.agents[node] != nil {
		return fmt.Errorf("starting the agent of %s: one runs", node)
	}
	if !l.isNode(node) {
		return fmt.Errorf("starting an agent: %q is no node", node)
	}
	log, err := os.OpenFile(l.agentLog(node), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("starting the agent of %s: %w", node, err)
	}
	defer func() { _ = log.Close() }()
	begin, err := log.Seek(0, 2)
	if err != nil {
		return fmt.Errorf("starting the agent of %s: %w", node, err)
	}
	cmd := exec.Command(l.opt.Weft, append(append(l.NodeArgs(node, file), "agent"), args...)...) // it outlives the command that starts it
	cmd.Dir = filepath.Dir(file)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := start(l.netns(node), cmd); err != nil {
		return fmt.Errorf("starting the agent of %s: %w", node, err)
	}
	a := &agent{cmd: cmd, exited: make(chan struct{})}
	go func() {
		_ = cmd.Wait()
		close(a.exited)
	}()
	l.agents[node] = a
	l.applied[node] = file // it applies it
	return l.awaitReady(ctx, node, a, begin)
}

// awaitReady returns when an agent has said that it is ready.
func (l *Lab) awaitReady(ctx context.Context, node string, a *agent, begin int64) error {
	ctx, cancel := context.WithTimeout(ctx, agentTime)
	defer cancel()
	for {
		text, err := os.ReadFile(l.agentLog(node))
		if err != nil {
			return fmt.Errorf("reading the log of the agent of %s: %w", node, err)
		}
		if agentReady.Match(text[begin:]) {
			return nil
		}
		select {
		case <-a.exited:
			delete(l.agents, node)
			return fmt.Errorf("the agent of %s ended:\n%s", node, text[begin:])
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("waiting for the agent of %s: %w:\n%s", node, ctx.Err(), text[begin:])
		}
	}
}

// PauseAgent keeps a node's agent from doing anything, by SIGSTOP, until it is resumed or ended.
func (l *Lab) PauseAgent(node string, resume bool) error {
	a, sig := l.agents[node], syscall.SIGSTOP
	if a == nil {
		return fmt.Errorf("pausing the agent of %s: none runs", node)
	}
	if resume {
		sig = syscall.SIGCONT
	}
	if err := a.cmd.Process.Signal(sig); err != nil {
		return fmt.Errorf("pausing the agent of %s: %w", node, err)
	}
	return nil
}

// EndAgent ends a node's agent by SIGTERM or SIGKILL and returns when it is gone.
func (l *Lab) EndAgent(node string, sig syscall.Signal) error {
	a := l.agents[node]
	if a == nil {
		return fmt.Errorf("ending the agent of %s: none runs", node)
	}
	delete(l.agents, node)
	if err := a.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("ending the agent of %s: %w", node, err)
	}
	select {
	case <-a.exited:
		return nil
	case <-time.After(agentTime):
		_ = a.cmd.Process.Kill()
		return fmt.Errorf("ending the agent of %s: it did not end on %v", node, sig)
	}
}

// AgentLog is what the agents of a node have said.
func (l *Lab) AgentLog(node string) (string, error) {
	text, err := os.ReadFile(l.agentLog(node))
	if err != nil {
		return "", fmt.Errorf("reading the log of the agent of %s: %w", node, err)
	}
	return string(text), nil
}
