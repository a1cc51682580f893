// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"weft/internal/lab"
)

// labOptions are the flags of all lab verbs.
type labOptions struct {
	pcap, vm, cache string
	verbose         bool
}

func newLabCommand() *cobra.Command {
	var o labOptions
	c := &cobra.Command{
		Use:   "lab",
		Short: "A virtual datacenter: switch, router, internet, two nodes and guests",
		Long: `A datacenter in network namespaces: a switch with LACP and VLANs, a router with an internet behind
it, two nodes with two interfaces each, and guests. Where the running kernel lacks the links that this
takes, or the user is not root, all of it runs in a VM with Debian's kernel; nothing is installed.`,
		Args: cobra.NoArgs,
	}
	f := c.PersistentFlags()
	f.StringVar(&o.pcap, "pcap", "", "record every link into this folder")
	f.StringVar(&o.vm, "vm", lab.VMAuto, "run in a VM: auto (when this kernel lacks something), always or never")
	f.StringVar(&o.cache, "cache", "", "folder of the VM's kernel (default: weft in the user's cache folder)")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "print the log of every scenario")
	c.AddCommand(newLabDemoCommand(&o), newLabRunCommand(&o), newLabAttackCommand(&o), newLabUpCommand(&o), newLabDownCommand(&o), newLabShellCommand(&o))
	return c
}

func newLabDemoCommand(o *labOptions) *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "Play the demo: from two bare interfaces to a guest on the internet",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return o.hereOrInVM(c, []string{"demo"}, func(opt lab.Options, out string) error {
				opt.Prefix = lab.PrefixDemo
				return lab.Demo(c.Context(), opt, c.OutOrStdout(), out)
			})
		},
	}
}

func newLabRunCommand(o *labOptions) *cobra.Command {
	return &cobra.Command{
		Use:   "run [FILE|FOLDER]...",
		Short: "Run scenarios (txtar files), each in a fresh lab; default: the folder lab",
		Long:  "Run scenarios, each in a fresh lab. After each one every node must have nothing left to change.\n\n" + lab.ScenarioHelp,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				args = []string{"lab"}
			}
			files, err := lab.Scenarios(args)
			if err != nil {
				return err
			}
			return o.hereOrInVM(c, append([]string{"run"}, files...), func(opt lab.Options, out string) error {
				opt.Prefix = lab.PrefixRun
				ok, err := lab.RunScenarios(c.Context(), opt, c.OutOrStdout(), files, out, o.verbose)
				if err == nil && !ok {
					err = exitStatus(exitError)
				}
				return err
			})
		},
	}
}

// options are what this process builds a lab with.
func (o *labOptions) options() (lab.Options, error) {
	exe, err := os.Executable()
	if err != nil {
		return lab.Options{}, fmt.Errorf("finding this program: %w", err)
	}
	opt := lab.Options{Weft: exe, Cache: lab.CacheDir(o.cache)}
	if o.pcap != "" {
		if opt.Pcap, err = filepath.Abs(o.pcap); err != nil {
			return lab.Options{}, fmt.Errorf("finding the folder for captures: %w", err)
		}
	}
	return opt, nil
}

// outFolder is where a lab leaves files for its user: that of the captures, or one of its own.
func (o *labOptions) outFolder() (string, error) {
	out := o.pcap
	if out == "" {
		out = filepath.Join(os.TempDir(), fmt.Sprintf("weft-lab-%d", os.Getuid()))
	}
	out, err := filepath.Abs(out)
	if err == nil {
		err = os.MkdirAll(out, 0o755)
	}
	if err != nil {
		return "", fmt.Errorf("making the folder for the lab's files: %w", err)
	}
	return out, nil
}

// flags are this command's flags again, for the same command in a VM.
func (o *labOptions) flags() ([]string, error) {
	args := []string{"--vm", lab.VMNever}
	if o.verbose {
		args = append(args, "-v")
	}
	if o.pcap != "" {
		abs, err := filepath.Abs(o.pcap)
		if err != nil {
			return nil, fmt.Errorf("finding the folder for captures: %w", err)
		}
		args = append(args, "--pcap", abs)
	}
	return args, nil
}

// hereOrInVM runs f, or where a VM is needed "weft lab ARGS" in a VM.
func (o *labOptions) hereOrInVM(c *cobra.Command, args []string, f func(opt lab.Options, out string) error) error {
	out, err := o.outFolder()
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(out) }() // when nothing was left in it
	needed, why, err := lab.NeedsVM(o.vm)
	if err != nil {
		return err
	}
	if !needed {
		opt, err := o.options()
		if err != nil {
			return err
		}
		return f(opt, out)
	}
	v, err := o.inVM(c, args, why)
	if err != nil {
		return err
	}
	v.WorkDir = out
	code, err := v.Run(c.Context())
	if err == nil && code != 0 {
		err = exitStatus(code)
	}
	return err
}

func (o *labOptions) inVM(c *cobra.Command, args, why []string) (lab.InVM, error) {
	flags, err := o.flags()
	if err != nil {
		return lab.InVM{}, err
	}
	args = append(append([]string{"lab"}, flags...), args...)
	return lab.InVM{Args: args, Why: why, Cache: o.cache, Out: c.OutOrStdout(), Err: c.ErrOrStderr()}, nil
}

func newLabUpCommand(o *labOptions) *cobra.Command {
	var stay, keepVM bool
	c := &cobra.Command{
		Use:   "up",
		Short: "Build a lab with guests in it and leave it running",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if keepVM {
				return o.keepVM(c)
			}
			needed, _, err := lab.NeedsVM(o.vm)
			if err != nil {
				return err
			}
			if needed {
				flags := []string{"lab", "up", "--keep-vm", "--vm", o.vm}
				if o.pcap != "" {
					flags = append(flags, "--pcap", o.pcap)
				}
				if o.cache != "" {
					flags = append(flags, "--cache", o.cache)
				}
				return lab.StartUp(c.Context(), flags, c.OutOrStdout(), c.ErrOrStderr())
			}
			opt, err := o.options()
			if err != nil {
				return err
			}
			opt.Prefix = lab.PrefixUp
			if err := lab.Up(c.Context(), opt, c.OutOrStdout()); err != nil || !stay {
				return err
			}
			return lab.Stay(c.Context(), opt, c.OutOrStdout())
		},
	}
	c.Flags().BoolVar(&stay, "stay", false, "end when the lab is ended")
	c.Flags().BoolVar(&keepVM, "keep-vm", false, "be the process that keeps the lab's VM")
	for _, name := range []string{"stay", "keep-vm"} {
		c.Flag(name).Hidden = true // for weft's own use
	}
	return c
}

// keepVM runs the VM of a lab that stays.
func (o *labOptions) keepVM(c *cobra.Command) error {
	out, err := o.outFolder()
	if err != nil {
		return err
	}
	_, why, err := lab.NeedsVM(o.vm)
	if err != nil {
		return err
	}
	v, err := o.inVM(c, []string{"up", "--stay"}, why)
	if err != nil {
		return err
	}
	v.WorkDir = out
	return lab.KeepUp(c.Context(), v)
}

func newLabDownCommand(o *labOptions) *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "End the lab that was left running",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if code, found, err := lab.DownInVM(c.Context()); found || err != nil {
				return labStatus(code, err)
			}
			opt, err := o.options()
			if err != nil {
				return err
			}
			opt.Prefix = lab.PrefixUp
			return lab.Down(opt)
		},
	}
}

func labStatus(code int, err error) error {
	if err == nil && code != 0 {
		return exitStatus(code)
	}
	return err
}

func newLabShellCommand(o *labOptions) *cobra.Command {
	return &cobra.Command{
		Use:   "shell [MACHINE] [-- COMMAND...]",
		Short: "A shell, or one command, on a machine of the running lab (default hv1)",
		RunE: func(c *cobra.Command, args []string) error {
			machine, argv := "hv1", args
			switch dash := c.ArgsLenAtDash(); {
			case dash < 0 && len(args) > 1 || dash > 1:
				return errors.New("weft lab shell: one machine; a command comes after --")
			case dash < 0 && len(args) == 1 || dash == 1:
				machine, argv = args[0], args[1:]
			}
			again := append([]string{"lab", "shell", machine, "--"}, argv...)
			if code, found, err := lab.InStandingVM(c.Context(), again); found || err != nil {
				return labStatus(code, err)
			}
			opt, err := o.options()
			if err != nil {
				return err
			}
			opt.Prefix = lab.PrefixUp
			return lab.Shell(opt, machine, argv)
		},
	}
}
