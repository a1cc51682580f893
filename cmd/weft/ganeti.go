// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"log/syslog"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"weft/internal/agent"
	"weft/internal/ganeti"
)

// ganetiTime is how long a hook may take. Ganeti itself waits for 15 minutes, which is too long for a VM to be in the dark.
const ganetiTime = time.Minute

func newGanetiCommand(o *options) *cobra.Command {
	c := &cobra.Command{Use: "ganeti", Short: "Plug in the instances of Ganeti", Args: cobra.NoArgs}
	c.AddCommand(newGanetiInstall(), newGanetiUninstall(), newGanetiHook(o))
	return c
}

func newGanetiInstall() *cobra.Command {
	var root string
	var check bool
	c := &cobra.Command{
		Use:   "install",
		Short: "Make Ganeti's nodes plug their instances in by weft",
		Long: `Make this node's Ganeti plug its instances in by weft: a few lines of shell, the same on every node and in every
version, in all the places where Ganeti 3.0 to 3.2 and GRNET's fork look for a script. What is there already, such as
gnt-networking's, is kept below /var/lib/weft/ganeti, and weft ganeti uninstall puts it back. Run it on every node:
gnt-cluster verify compares them.

Exit status: 0 all in place, 1 error, or with --check something is not weft's.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			i := ganeti.Install{Root: root, Say: func(line string) { fmt.Fprintln(c.OutOrStdout(), line) }}
			if !check {
				return i.Put()
			}
			n, err := i.Check()
			if err == nil && n > 0 {
				err = exitStatus(exitError)
			}
			return err
		},
	}
	c.Flags().StringVar(&root, "root", "/", "the folder that stands for /")
	c.Flags().BoolVar(&check, "check", false, "change nothing, only say what is not in place")
	return c
}

func newGanetiUninstall() *cobra.Command {
	var root string
	c := &cobra.Command{
		Use:   "uninstall",
		Short: "Put back what was there before weft ganeti install",
		Long: `Put back what was there before weft ganeti install. Instances that run stay plugged in; those that start from now
on are plugged in by whatever stands there then. What somebody else put in place of weft's scripts is left as it is.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			i := ganeti.Install{Root: root, Say: func(line string) { fmt.Fprintln(c.OutOrStdout(), line) }}
			return i.Remove()
		},
	}
	c.Flags().StringVar(&root, "root", "/", "the folder that stands for /")
	return c
}

func newGanetiHook(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "hook SCRIPT",
		Short: "What Ganeti runs for each NIC of an instance",
		Long: `What Ganeti runs for each NIC of an instance, through the scripts that weft ganeti install installs. SCRIPT is the
one that was run; all else comes from the environment. It prints nothing. If it fails it prints one line, which Ganeti
puts into the job's error, and the instance does not start. What is worth knowing and no error is in the system log.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			ctx, cancel := context.WithTimeoutCause(c.Context(), ganetiTime, fmt.Errorf("not done after %v", ganetiTime))
			defer cancel()
			if err := runGaneti(ctx, o, args[0], os.Environ()); err != nil {
				line := oneLine("weft: " + err.Error())
				fmt.Fprintln(c.ErrOrStderr(), line)
				logGaneti(syslog.LOG_ERR, line)
				return exitStatus(exitError)
			}
			return nil
		},
	}
}

// oneLine makes a message one line of UTF-8 that a job's error can hold.
func oneLine(text string) string {
	const most = 1000
	text = strings.Join(strings.FieldsFunc(strings.ToValidUTF8(text, "?"), func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}

// logGaneti writes a line to the system log: of a script that succeeds, Ganeti throws away what it says.
func logGaneti(level syslog.Priority, line string) {
	w, err := syslog.New(level|syslog.LOG_DAEMON, "weft")
	if err != nil {
		return // no system log here
	}
	_, _ = w.Write([]byte(line))
	_ = w.Close()
}

// ganetiSite is the node, with what Ganeti's words are compared with.
type ganetiSite struct {
	*agent.Node
	runtime  ganeti.Runtime
	settings ganeti.Settings
	tables   map[string]uint32
}

// openGaneti opens the node. One without a node file has no networks of its own, and Ganeti's words alone count.
func (o *options) openGaneti() (*ganetiSite, func(), error) {
	s := &ganetiSite{runtime: ganeti.Runtime{Dir: ganeti.RuntimeDir, Proc: "/proc"}}
	var err error
	if s.settings, err = ganeti.ReadSettings(ganeti.SettingsFile); err != nil {
		return nil, nil, err
	}
	if s.tables, err = readTables(""); err != nil {
		return nil, nil, err
	}
	node, closing, err := o.openForNICs()
	if err != nil {
		return nil, nil, err
	}
	s.Node = node
	return s, closing, nil
}

func (s *ganetiSite) plan(ctx context.Context, e ganeti.Environment) (ganeti.Plan, error) {
	have, err := s.Target.Observe(ctx, nil)
	if err != nil {
		return ganeti.Plan{}, fmt.Errorf("observe: %w", err)
	}
	nics, err := s.Store.List()
	if err != nil {
		return ganeti.Plan{}, err
	}
	site := ganeti.Site{Node: s.Spec, Have: have, NICs: nics, Tables: s.tables, Settings: s.settings}
	return site.Plan(e, s.runtime.Context(e))
}

// runGaneti does what one of Ganeti's scripts is run for.
func runGaneti(ctx context.Context, o *options, script string, environ []string) error {
	values := ganeti.Values(environ)
	if ganeti.IsCommunication(values["INTERFACE"]) {
		return nil
	}
	e, err := ganeti.Parse(values)
	if err != nil {
		return err
	}
	s, closing, err := o.openGaneti()
	if err != nil {
		return err
	}
	defer closing()
	if name := filepath.Base(script); name == "down" || name == "kvm-ifdown-custom" {
		return s.down(ctx, e)
	}
	p, err := s.plan(ctx, e)
	if err != nil {
		return fmt.Errorf("%s of %s: %w", e.Interface, e.Instance, err)
	}
	s.Force = !p.Probe
	if err := s.Plug(ctx, p.NIC); err != nil {
		return fmt.Errorf("%s of %s: %w", e.Interface, e.Instance, err)
	}
	for _, n := range p.Notes {
		logGaneti(syslog.LOG_WARNING, oneLine(fmt.Sprintf("%s of %s: %s", e.Interface, e.Instance, n)))
	}
	return nil
}

// down takes the word that a NIC goes for a hint: Ganeti gives it while a guest still shuts down, and again and again. What
// counts is whether the tap and QEMU are gone.
func (s *ganetiSite) down(ctx context.Context, e ganeti.Environment) error {
	c, known, err := s.Store.Get(e.ID)
	if err != nil || !known {
		return err
	}
	have, err := s.Target.Observe(ctx, nil)
	if err != nil {
		return fmt.Errorf("observe: %w", err)
	}
	l := have.Link(c.Name)
	gone := l == nil || l.Status != nil && c.IfIndex != 0 && l.Status.Index != c.IfIndex
	if !gone && s.runtime.Alive(e.Instance) {
		return nil
	}
	return s.Unplug(ctx, c.ID)
}
