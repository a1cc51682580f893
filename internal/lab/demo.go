// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// demo is the talk's live demo under way.
type demo struct {
	*paper
	l    *Lab
	ctx  context.Context // of the one run
	acts int
	text string // of the node file that stands
}

// act is one part of the demo.
type act struct {
	title string
	why   string
	play  func(*demo) error
}

// Demo builds a lab and plays the demo on it: a node goes from two bare interfaces to a guest on
// the internet, first bridged, then routed. Each act shows the node file, the plan, and proofs by
// real tools; the first proof that fails ends it with an error that names it.
func Demo(ctx context.Context, opt Options, out io.Writer, dumpDir string) (err error) {
	begin := time.Now()
	d := &demo{paper: newPaper(out), ctx: ctx}
	d.printf("%s\n%s\n", d.bold("weft lab demo"), introduction)
	stop := d.progress("building the datacenter: switch, router, internet, nodes")
	defer stop()
	if d.l, err = New(ctx, opt); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.l.Close()) }()
	stop()

	list := acts()
	d.acts = len(list)
	for n, a := range list {
		d.printf("\n%s\n", d.bold(fmt.Sprintf("━━ Act %d of %d: %s ━━", n+1, d.acts, a.title)))
		d.block("   ", a.why)
		if err := a.play(d); err != nil {
			return fmt.Errorf("act %d (%s): %w%s", n+1, a.title, err, d.dump(dumpDir))
		}
	}
	text, err := d.l.Topology(ctx)
	if err != nil {
		return err
	}
	d.printf("\n%s\n", d.bold("━━ What stands now ━━"))
	d.block("   ", text)
	d.printf("\n%s\n", d.green(fmt.Sprintf("%d acts, every proof held (%d s).", d.acts, int(time.Since(begin).Seconds()))))
	return nil
}

const introduction = `   A datacenter in network namespaces:

   inet ──── rt ═══════ sw ════ eth0 ┐
   internet  router     switch       hv1   a node: two bare interfaces, nothing configured
                           ════ eth1 ┘     (hv2 is a second one)`

// dump writes the state of the lab and names the file, for the end of an error.
func (d *demo) dump(dir string) string {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(d.ctx), time.Minute)
	defer cancel()
	file := filepath.Join(dir, "demo.state.txt")
	if err := d.l.Dump(ctx, file); err != nil {
		return fmt.Sprintf(" (and %v)", err)
	}
	return "\nthe state of every machine: " + file
}

// say prints a sentence between commands.
func (d *demo) say(text string) { d.printf("\n   %s\n", text) }

// nodeFile makes one of the embedded files the node's, and shows it: lines that are new stand out.
func (d *demo) nodeFile(name string) error {
	text, err := d.l.writeNodeFile("hv1", name)
	if err != nil {
		return err
	}
	old := map[string]bool{}
	for line := range strings.SplitSeq(d.text, "\n") {
		old[line] = true
	}
	gone := strings.Split(strings.TrimRight(d.text, "\n"), "\n")
	d.printf("\n   %s\n", d.dim("hv1's node file:"))
	fresh := map[string]bool{}
	for line := range strings.SplitSeq(strings.TrimRight(text, "\n"), "\n") {
		fresh[line] = true
		if old[line] {
			d.printf("     %s\n", d.dim(line))
		} else {
			d.printf("   %s\n", d.green("+ "+line))
		}
	}
	for _, line := range gone {
		if line != "" && !fresh[line] {
			d.printf("   %s\n", d.red("- "+line))
		}
	}
	d.text = text
	return nil
}

// show prints a command as if typed on a machine, and what it printed.
func (d *demo) show(machine, command, output string) {
	d.printf("\n   %s %s\n", d.dim(machine+"#"), d.bold(command))
	d.block("     ", output)
}

// weft runs weft on hv1, shows it, and wants this exit code.
func (d *demo) weft(code int, args ...string) (Output, error) {
	stop := d.progress("weft " + args[0])
	out, err := d.l.Weft(d.ctx, "hv1", d.l.File("hv1"), args...)
	stop()
	if err != nil {
		return out, err
	}
	d.show("hv1", "weft "+strings.Join(args, " "), out.Stdout+out.Stderr)
	if out.Code != code {
		return out, fmt.Errorf("weft %s: exit code %d, want %d", strings.Join(args, " "), out.Code, code)
	}
	return out, nil
}

// planAndApply shows what would change, and changes it.
func (d *demo) planAndApply() error {
	if _, err := d.weft(2, "plan"); err != nil {
		return err
	}
	_, err := d.weft(0, "apply")
	return err
}

// in runs a command line on a machine by a shell, without showing it.
func (d *demo) in(machine, line string) (Output, error) {
	ctx, cancel := context.WithTimeout(d.ctx, time.Minute)
	defer cancel()
	return d.l.In(ctx, machine, "sh", "-c", line)
}

// proof is something that must be true, shown by a real tool.
type proof struct {
	claim   string
	machine string
	command string // of the shell
	// check reads what the command left; nil wants exit code 0.
	check func(Output) error
}

// prove repeats a proof's command until it holds, at most half a minute, and shows its last run.
func (d *demo) prove(p proof) error {
	check := p.check
	if check == nil {
		check = Output.Err
	}
	stop := d.progress("proving: " + p.claim)
	defer stop()
	begin := time.Now()
	for {
		out, err := d.in(p.machine, p.command)
		if err != nil {
			return err
		}
		err = check(out)
		if err != nil && time.Since(begin) < 30*time.Second && pause(d.ctx, retryPause) {
			continue
		}
		stop()
		d.show(p.machine, p.command, out.Stdout+out.Stderr)
		if err != nil {
			d.printf("   %s %s\n", d.red("✗"), p.claim)
			return fmt.Errorf("the proof failed: %s: %w", p.claim, err)
		}
		d.printf("   %s %s\n", d.green("✓"), p.claim)
		return nil
	}
}

// onWire captures on a machine's interface while f runs, shows the packets, and checks them.
func (d *demo) onWire(claim, machine, dev, filter string, f func() error, check func(packets string) error) error {
	file := filepath.Join(d.l.dir, "wire.txt")
	if err := d.l.Capture(d.ctx, machine, dev, file, strings.Fields(filter)...); err != nil {
		return err
	}
	ferr := f()
	if err := errors.Join(ferr, d.l.Uncapture(file)); err != nil {
		return err
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("reading what was captured: %w", err)
	}
	lines := strings.SplitAfter(string(data), "\n")
	shown := lines[:min(len(lines), 4)]
	d.show(machine, "tcpdump -eni "+dev+" "+filter, strings.Join(shown, ""))
	if err := check(string(data)); err != nil {
		d.printf("   %s %s\n", d.red("✗"), claim)
		return fmt.Errorf("the proof failed: %s: %w", claim, err)
	}
	d.printf("   %s %s\n", d.green("✓"), claim)
	return nil
}
