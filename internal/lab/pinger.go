// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// pinger is a running ping, and the moments at which the guest that it is about went on elsewhere.
type pinger struct {
	name   string
	cmd    *exec.Cmd
	out    bytes.Buffer
	exited chan struct{}
	marks  []time.Time
}

// StartPinger runs ping on a machine until it is asked for what it saw. Each switch of a migration is noted.
func (l *Lab) StartPinger(name, machine, address string, every time.Duration) error {
	if l.pingers[name] != nil {
		return fmt.Errorf("starting pinger %s: it runs already", name)
	}
	if !l.has(machine) {
		return fmt.Errorf("starting pinger %s: the lab has no machine %q", name, machine)
	}
	p := &pinger{name: name, exited: make(chan struct{})}
	p.cmd = exec.Command("ping", "-n", "-D", "-i", strconv.FormatFloat(every.Seconds(), 'f', -1, 64), address)
	p.cmd.Env = []string{"LC_ALL=C"}
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := start(l.netns(machine), p.cmd); err != nil {
		return fmt.Errorf("starting pinger %s: %w", name, err)
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.exited)
	}()
	l.pingers[name] = p
	return nil
}

// Pinged ends a pinger and returns what it saw.
func (l *Lab) Pinged(name string, spare time.Duration) (Loss, error) {
	p := l.pingers[name]
	if p == nil {
		return Loss{}, fmt.Errorf("ending pinger %s: there is none", name)
	}
	delete(l.pingers, name)
	if err := p.cmd.Process.Signal(syscall.SIGINT); err != nil {
		return Loss{}, fmt.Errorf("ending pinger %s: it ended by itself: %s", name, p.out.String())
	}
	select {
	case <-p.exited:
	case <-time.After(10 * time.Second):
		_ = p.cmd.Process.Kill()
		return Loss{}, fmt.Errorf("ending pinger %s: it did not end on SIGINT", name)
	}
	loss, err := measure(p.out.String(), p.marks, time.Now(), spare)
	if err != nil {
		return Loss{}, fmt.Errorf("pinger %s: %w", name, err)
	}
	return loss, nil
}

// Loss is what a pinger saw.
type Loss struct {
	Sent, Answered int
	Lost           int           // those that later ones overtook; what is unanswered at the very end may be under way
	Gap            time.Duration // the longest time between the sending of two pings that were answered
	Resumes        []Resume      // one for each switch of a guest
}

// Resume is what a pinger saw after a guest went on elsewhere, until it did again or the pinger ended.
type Resume struct {
	Lost int           // pings that were sent after it and not answered
	Late int           // those of them that were sent after the time that a switch is given
	Back time.Duration // from it to the sending of the first ping that was answered
}

// String lists the losses, a switch a line.
func (r Loss) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d sent, %d answered, %d lost, longest gap %s\n", r.Sent, r.Answered, r.Lost, r.Gap.Round(time.Millisecond))
	lost, late := 0, 0
	for i, s := range r.Resumes {
		fmt.Fprintf(&b, "  switch %d: of the pings sent after it, the first that got an answer (whenever that came) was sent %s after it; %d lost, %d of them late\n",
			i+1, s.Back.Round(time.Millisecond), s.Lost, s.Late)
		lost, late = lost+s.Lost, late+s.Late
	}
	fmt.Fprintf(&b, "  %d switches, %d lost after them, %d of them late\n", len(r.Resumes), lost, late)
	return b.String()
}

// Late is how many pings were lost that were sent later after a switch than that is given.
func (r Loss) Late() int {
	n := 0
	for _, s := range r.Resumes {
		n += s.Late
	}
	return n
}

var (
	pingReply = regexp.MustCompile(`(?m)^\[(\d+\.\d+)\] \d+ bytes from .*icmp_seq=(\d+) .*time=([\d.]+) ms`)
	pingSent  = regexp.MustCompile(`(?m)^(\d+) packets transmitted`)
)

// answered is a ping that was answered: its number, and when it was sent.
type answered struct {
	seq  int
	sent time.Time
}

// measure reads what ping -D printed. When a lost ping was sent is taken from its answered neighbours. What is unanswered at
// the end counts only when the last answer is a second old: otherwise it may be under way.
func measure(text string, marks []time.Time, end time.Time, spare time.Duration) (Loss, error) {
	replies, err := readReplies(text)
	if err != nil {
		return Loss{}, err
	}
	m := pingSent.FindStringSubmatch(text)
	if m == nil || len(replies) < 2 {
		return Loss{}, fmt.Errorf("fewer than two answers: %s", text)
	}
	r := Loss{Answered: len(replies), Resumes: make([]Resume, len(marks))}
	if r.Sent, err = strconv.Atoi(m[1]); err != nil {
		return Loss{}, err
	}
	last := replies[len(replies)-1]
	if end.Sub(last.sent) > time.Second {
		replies = append(replies, answered{r.Sent + 1, end})
	}
	for i, mark := range marks {
		at := slices.IndexFunc(replies, func(a answered) bool { return a.sent.After(mark) })
		if at < 0 {
			return Loss{}, errors.New("it ended with the switch")
		}
		r.Resumes[i].Back = replies[at].sent.Sub(mark)
	}
	for i := 1; i < len(replies); i++ {
		a, b := replies[i-1], replies[i]
		r.Gap = max(r.Gap, b.sent.Sub(a.sent))
		for seq := a.seq + 1; seq < b.seq; seq++ {
			r.Lost++
			sent := a.sent.Add(b.sent.Sub(a.sent) * time.Duration(seq-a.seq) / time.Duration(b.seq-a.seq))
			after(r.Resumes, marks, sent, spare)
		}
	}
	return r, nil
}

// after counts a lost ping to the switch that it came after.
func after(resumes []Resume, marks []time.Time, sent time.Time, spare time.Duration) {
	for i := len(marks) - 1; i >= 0; i-- {
		if sent.After(marks[i]) {
			resumes[i].Lost++
			if sent.Sub(marks[i]) > spare {
				resumes[i].Late++
			}
			return
		}
	}
}

// readReplies reads the answered pings, in the order in which they were sent.
func readReplies(text string) ([]answered, error) {
	var list []answered
	for _, m := range pingReply.FindAllStringSubmatch(text, -1) {
		at, err1 := strconv.ParseFloat(m[1], 64)
		seq, err2 := strconv.Atoi(m[2])
		rtt, err3 := strconv.ParseFloat(m[3], 64)
		if err := errors.Join(err1, err2, err3); err != nil {
			return nil, fmt.Errorf("reading %q: %w", m[0], err)
		}
		list = append(list, answered{seq, time.UnixMicro(int64(at*1e6) - int64(rtt*1e3))})
	}
	slices.SortFunc(list, func(a, b answered) int { return a.seq - b.seq })
	return slices.CompactFunc(list, func(a, b answered) bool { return a.seq == b.seq }), nil
}
