// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// point is an interface that is captured while attacks go on.
type point struct {
	name, machine, dev string
	file               string // a pcap file that grows
	from               int64  // where in it the attack under way begins
}

// readPoints reads lines NAME MACHINE DEV.
func readPoints(text string) ([]point, error) {
	var list []point
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		if len(words) != 3 {
			return nil, fmt.Errorf("points: %q is not NAME MACHINE DEV", strings.TrimSpace(line))
		}
		list = append(list, point{name: words[0], machine: words[1], dev: words[2]})
	}
	return list, nil
}

// Sizes in a pcap file: of its header, and of that of a packet, whose third word is the length of what follows.
const (
	pcapHeader   = 24
	packetHeader = 16
	snapLen      = 512 // bytes of a packet that are kept
)

// watch starts the capture.
func (p *point) watch(ctx context.Context, l *Lab) error {
	p.file = filepath.Join(l.dir, "attack-"+p.name+".pcap")
	c, err := l.startCapture(ctx, p.machine, p.dev, nil, "-s", strconv.Itoa(snapLen), "-B", "8192", "-U", "-w", p.file)
	if err != nil {
		return err
	}
	l.captures[p.file] = c
	p.from = pcapHeader
	return nil
}

// packets are those captured since forget, whole ones only, and where they end in the file.
func (p *point) packets() (data []byte, end int64, err error) {
	f, err := os.Open(p.file)
	if err != nil {
		return nil, 0, fmt.Errorf("reading a capture: %w", err)
	}
	defer func() { _ = f.Close() }()
	if _, err := f.Seek(p.from, io.SeekStart); err != nil {
		return nil, 0, fmt.Errorf("reading a capture: %w", err)
	}
	if data, err = io.ReadAll(f); err != nil {
		return nil, 0, fmt.Errorf("reading a capture: %w", err)
	}
	data = data[:wholePackets(data)]
	return data, p.from + int64(len(data)), nil
}

// wholePackets is the length of the packets that are there in whole.
func wholePackets(data []byte) int {
	n := 0
	for len(data)-n >= packetHeader {
		size := packetHeader + int(binary.NativeEndian.Uint32(data[n+8:]))
		if size > len(data)-n {
			break
		}
		n += size
	}
	return n
}

// duration is the time from the first of these packets to the last.
func duration(packets []byte) time.Duration {
	at := func(header []byte) time.Duration {
		return time.Duration(binary.NativeEndian.Uint32(header))*time.Second + time.Duration(binary.NativeEndian.Uint32(header[4:]))*time.Microsecond
	}
	var first, last time.Duration
	for n := 0; len(packets)-n >= packetHeader; n += packetHeader + int(binary.NativeEndian.Uint32(packets[n+8:])) {
		if last = at(packets[n:]); n == 0 {
			first = last
		}
	}
	return max(0, last-first)
}

// forget has the next attack begin.
func (p *point) forget() error {
	_, end, err := p.packets()
	p.from = end
	return err
}

// pcapOf is a capture of its own with these packets.
func pcapOf(packets []byte) []byte {
	header := binary.NativeEndian.AppendUint32(nil, 0xa1b2c3d4)
	header = binary.NativeEndian.AppendUint16(header, 2)
	header = binary.NativeEndian.AppendUint16(header, 4)
	for _, v := range []uint32{0, 0, snapLen, 1 /* Ethernet */} {
		header = binary.NativeEndian.AppendUint32(header, v)
	}
	return append(header, packets...)
}

// countPackets counts the packets that match a filter of tcpdump's, which is looked at also when there are none.
func countPackets(ctx context.Context, packets []byte, filter string) (int, error) {
	cmd := exec.CommandContext(ctx, "tcpdump", "-n", "-r", "-", "--count", filter)
	cmd.Stdin = bytes.NewReader(pcapOf(packets))
	out, err := output("", cmd)
	if err == nil {
		err = out.Err()
	}
	if err != nil {
		return 0, fmt.Errorf("counting what matches %q: %w", filter, err)
	}
	word, _, _ := strings.Cut(strings.TrimSpace(out.Stdout), " ")
	n, err := strconv.Atoi(word)
	if err != nil {
		return 0, fmt.Errorf("counting packets: tcpdump printed no number: %q", out.Stdout)
	}
	return n, nil
}

// keep writes what was captured during the attack to a file.
func (p *point) keep(file string) error {
	data, _, err := p.packets()
	if err != nil {
		return err
	}
	if err := os.WriteFile(file, pcapOf(data), 0o644); err != nil {
		return fmt.Errorf("keeping a capture: %w", err)
	}
	return nil
}

// attackPlayer plays the scapy scripts.
//
//go:embed attackplayer.py
var attackPlayer string

// player is the process that plays scapy scripts.
type player struct {
	cmd     *exec.Cmd
	in      io.WriteCloser
	answers *bufio.Reader
	log     bytes.Buffer
	ready   bool
}

// playerJob is a script for it.
type playerJob struct {
	Name   string            `json:"name"`
	Script string            `json:"script"`
	Lab    string            `json:"lab"` // prefix of the namespaces
	At     string            `json:"at"`
	Values map[string]string `json:"values"`
}

// startPlayer starts it; that it is ready nobody waits for before the first job.
func startPlayer() (*player, error) {
	p := &player{cmd: exec.Command("/usr/bin/python3", "-c", attackPlayer)}
	p.cmd.Stderr = &p.log
	in, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("starting scapy: %w", err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("starting scapy: %w", err)
	}
	p.in, p.answers = in, bufio.NewReader(out)
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting scapy: %w", err)
	}
	return p, nil
}

// play plays a script and returns what Python said against it, or nothing, when it has ended. After an error it can play no more.
func (p *player) play(ctx context.Context, job playerJob) (string, error) {
	line, err := json.Marshal(job)
	if err != nil {
		return "", fmt.Errorf("playing with scapy: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = p.cmd.Process.Kill() })
	defer stop()
	if !p.ready {
		if _, err := p.answer(); err != nil {
			return "", err
		}
		p.ready = true
	}
	if _, err := p.in.Write(append(line, '\n')); err != nil {
		return "", fmt.Errorf("playing with scapy: %w", err)
	}
	said, err := p.answer()
	return said, errors.Join(err, ctx.Err())
}

func (p *player) answer() (string, error) {
	line, err := p.answers.ReadBytes('\n')
	if err != nil {
		p.stop()
		return "", fmt.Errorf("scapy has ended (Debian's package python3-scapy): %s", strings.TrimSpace(p.log.String()))
	}
	var a struct {
		Error string `json:"error"`
	}
	if err := json.Unmarshal(line, &a); err != nil {
		return "", fmt.Errorf("scapy answered %q: %w", line, err)
	}
	return a.Error, nil
}

// stop ends it; it may have ended.
func (p *player) stop() {
	_ = p.in.Close()
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}
