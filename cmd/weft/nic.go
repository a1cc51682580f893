// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"strings"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"weft/internal/agent"
	"weft/internal/spec"
	"weft/internal/status"
)

func newNICCommand(o *options) *cobra.Command {
	c := &cobra.Command{Use: "nic", Short: "Plug VMs' interfaces in and out", Args: cobra.NoArgs}
	c.AddCommand(newNICAdd(o), newNICPrepare(o), newNICClaim(o), newNICRelease(o), newNICAnnounce(o), newNICMove(o), newNICDel(o),
		newNICList(o), newNICShow(o))
	return c
}

// nicFlags are what describes a NIC on the command line.
type nicFlags struct {
	id, name, mac, network string
	ips, prefixes          []string
	macs, sources, trust   []string // port security
	tagged                 []string
	rates                  spec.Rates
	groups                 []string // of the firewall
	force                  bool
}

// addresses reads the addresses that were given with a flag.
func addresses(flag string, texts []string) ([]netip.Addr, error) {
	var addrs []netip.Addr
	for _, s := range texts {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return nil, fmt.Errorf("--%s %s: not an IP address", flag, s)
		}
		addrs = append(addrs, a)
	}
	return addrs, nil
}

// routed returns the prefixes that are routed to the guest.
func (f *nicFlags) routed() ([]netip.Prefix, error) {
	var all []netip.Prefix
	for _, s := range f.prefixes {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, fmt.Errorf("--prefix %s: not a prefix such as 198.51.100.0/24", s)
		}
		all = append(all, p)
	}
	return all, nil
}

// describe gives the NIC what the flags say of its guest.
func (f *nicFlags) describe(n *spec.NIC) (err error) {
	if n.Addresses, err = addresses("ip", f.ips); err != nil {
		return err
	}
	if n.Prefixes, err = f.routed(); err != nil {
		return err
	}
	if n.Sources, err = addresses("source", f.sources); err != nil {
		return err
	}
	n.MACs, n.Trust, n.Tagged = nil, f.trust, f.tagged
	n.Rates, n.Groups = rates(f.rates), f.groups
	for _, mac := range f.macs {
		n.MACs = append(n.MACs, strings.ToLower(mac))
	}
	return nil
}

// security adds the flags about what a guest may do on a bridge.
func (f *nicFlags) security(c *cobra.Command) {
	c.Flags().StringArrayVar(&f.macs, "extra-mac", nil, "bridged: another MAC that the guest may send from, such as VRRP's virtual one; may be repeated")
	c.Flags().StringArrayVar(&f.sources, "source", nil, "bridged: another address that the guest may use, such as a shared or a link-local one; may be repeated")
	c.Flags().StringSliceVar(&f.tagged, "tagged", nil, "bridged: further networks that the guest has by the tags of their VLANs")
	c.Flags().StringSliceVar(&f.trust, "trust", nil, "bridged: parts of port security that do not hold for the guest, of "+strings.Join(spec.Trusts, ","))
}

// limits adds the flags about what comes to a guest, and how fast it is.
func (f *nicFlags) limits(c *cobra.Command) {
	c.Flags().StringSliceVar(&f.groups, "group", nil, "what may come in: groups of the node file, or protected, limited or unprotected (default: everything)")
	c.Flags().StringVar(&f.rates.In, "rate-in", "", "what the guest receives in a second, such as 100mbit (none: no limit; default the network's)")
	c.Flags().StringVar(&f.rates.Out, "rate-out", "", "what the guest sends in a second")
	c.Flags().StringVar(&f.rates.BurstIn, "burst-in", "", "what the guest receives at once above the rate, such as 256kb (default 128kb or 20 ms of the rate)")
	c.Flags().StringVar(&f.rates.BurstOut, "burst-out", "", "what the guest sends at once above the rate")
}

// rates returns the rates that the flags ask for, nil if they leave them to the network.
func rates(r spec.Rates) *spec.Rates {
	if r == (spec.Rates{}) {
		return nil
	}
	for _, text := range []*string{&r.In, &r.Out} {
		if *text == "none" {
			*text = ""
		}
	}
	return &r
}

func newNICAdd(o *options) *cobra.Command {
	var f nicFlags
	c := &cobra.Command{
		Use:   "add --name TAP --mac MAC --network NETWORK [--ip ADDRESS]... [--prefix PREFIX]... [--trust PART]...",
		Short: "Plug a VM's interface into a network",
		Long: `Plug a VM's interface into a network. Its tap must exist. If anything fails, nothing is plugged in and the exit status is 1.

In a routed network the node asks first whether somebody else has one of the addresses, which is refused unless forced, and
announces them when it answers for them.

On a bridged network the guest may send from its MAC and its addresses alone (of a family of which none is given: from whatever is not
another's here), speaks as no router and no DHCP server, and in no VLAN but those of --tagged. --extra-mac and --source add to what is its own, and --trust
turns parts of that off.`,
		Example: "  weft nic add --name tap0 --mac aa:00:00:94:ed:40 --network public --ip 62.217.124.53 --ip 2001:db8:993::53",
		Args:    cobra.NoArgs,
		RunE:    with(o.openForNew, func(c *cobra.Command, node *agent.Node, _ []string) error { return o.add(c, node, f, false) }),
	}
	f.define(c)
	c.Flags().BoolVar(&f.force, "force", false, "claim addresses also where somebody else seems to have them")
	return c
}

func newNICPrepare(o *options) *cobra.Command {
	var f nicFlags
	c := &cobra.Command{
		Use:   "prepare --name TAP --mac MAC --network NETWORK [--ip ADDRESS]... [--prefix PREFIX]...",
		Short: "Plug in the interface of a VM that is about to arrive",
		Long: `Plug in the interface of a VM that does not run here yet: the target of a live migration. Its tap is plugged in and guarded,
and the node answers for none of its addresses until weft nic claim says so, or until an agent hears the guest on the tap.`,
		Args: cobra.NoArgs,
		RunE: with(o.openForNew, func(c *cobra.Command, node *agent.Node, _ []string) error { return o.add(c, node, f, true) }),
	}
	f.define(c)
	return c
}

// define adds the flags that describe a NIC.
func (f *nicFlags) define(c *cobra.Command) {
	c.Flags().StringVar(&f.name, "name", "", "the tap's name")
	c.Flags().StringVar(&f.mac, "mac", "", "the guest's MAC address")
	c.Flags().StringVar(&f.network, "network", "", "the network, a key of networks in the node file")
	c.Flags().StringArrayVar(&f.ips, "ip", nil, "an address of the guest's (routed networks need it); may be repeated")
	c.Flags().StringArrayVar(&f.prefixes, "prefix", nil, "a prefix that is routed to the guest by its address; may be repeated")
	f.security(c)
	f.limits(c)
	c.Flags().StringVar(&f.id, "id", "", "the NIC's UUID at the hypervisor (default: a new one)")
	for _, name := range []string{"name", "mac", "network"} {
		if err := c.MarkFlagRequired(name); err != nil {
			panic(err) // only if the flag above is misspelled
		}
	}
}

// add plugs in, or prepares, what the flags say.
func (o *options) add(c *cobra.Command, node *agent.Node, f nicFlags, prepared bool) (err error) {
	n := spec.NIC{ID: f.id, Name: f.name, MAC: strings.ToLower(f.mac), Network: f.network, Prepared: prepared}
	if err := f.describe(&n); err != nil {
		return err
	}
	if n.ID == "" {
		if n.ID, err = idFor(node, n); err != nil {
			return err
		}
	}
	node.Force = f.force
	return o.plug(c, node, n)
}

// idFor returns the ID of the NIC that this very tap and MAC are plugged in as, or a new one.
func idFor(node *agent.Node, n spec.NIC) (string, error) {
	nics, err := node.Store.List()
	if err != nil {
		return "", err
	}
	for _, o := range nics {
		if o.Name == n.Name && o.MAC == n.MAC {
			return o.ID, nil
		}
	}
	return uuid.NewString(), nil
}

func newNICMove(o *options) *cobra.Command {
	var f nicFlags
	c := &cobra.Command{
		Use:   "move NIC --network NETWORK [--ip ADDRESS]... [--prefix PREFIX]...",
		Short: "Move a NIC to another network, or give it other addresses",
		Long:  "Move a NIC, named by its tap or its ID, to another network, or give it other addresses. The VM runs on and sees\nnothing of it: its tap is down for a moment, which QEMU does not tell the guest.",
		Args:  cobra.ExactArgs(1),
		RunE: o.withNICs(func(c *cobra.Command, node *agent.Node, args []string) error {
			n, err := find(node, args[0])
			if err != nil {
				return err
			}
			if f.network != "" {
				n.Network = f.network
			}
			if err := f.describe(&n); err != nil {
				return err
			}
			return o.plug(c, node, n)
		}),
	}
	c.Flags().StringVar(&f.network, "network", "", "the network to move to (default: the one that it is in)")
	c.Flags().StringArrayVar(&f.ips, "ip", nil, "an address of the guest's there; may be repeated")
	c.Flags().StringArrayVar(&f.prefixes, "prefix", nil, "a prefix that is routed to the guest there; may be repeated")
	f.security(c)
	f.limits(c)
	return c
}

func (o *options) plug(c *cobra.Command, node *agent.Node, n spec.NIC) error {
	if node.Spec.Networks[n.Network] == nil {
		if s, _, err := o.spec(); err == nil && s.Networks[n.Network] != nil {
			return fmt.Errorf("network %q is in %s, which is not applied yet: weft apply comes first", n.Network, o.file)
		}
	}
	_, end := printSteps(node, c.OutOrStdout(), false)
	defer end()
	return node.Plug(c.Context(), n)
}

func newNICDel(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "del NIC",
		Short: "Unplug a NIC, named by its tap or its ID",
		Args:  cobra.ExactArgs(1),
		RunE: o.withNICs(func(c *cobra.Command, node *agent.Node, args []string) error {
			n, err := find(node, args[0])
			if err != nil {
				return err
			}
			_, end := printSteps(node, c.OutOrStdout(), false)
			defer end()
			return node.Unplug(c.Context(), n.ID)
		}),
	}
}

// find returns the NIC with this ID or tap.
func find(node *agent.Node, name string) (spec.NIC, error) {
	nics, err := node.Store.List()
	if err != nil {
		return spec.NIC{}, err
	}
	for _, n := range nics {
		if n.ID == name || n.Name == name {
			return n, nil
		}
	}
	return spec.NIC{}, fmt.Errorf("%s: no such nic; weft nic list shows them all", name)
}

func newNICList(o *options) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "list", Short: "List the NICs that are plugged in", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			nics, err := o.nics(c)
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(c.OutOrStdout(), nics)
			}
			return status.WriteNICs(c.OutOrStdout(), nics)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print as JSON")
	return c
}

func newNICShow(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "show NIC", Short: "Show one NIC, named by its tap or its ID, as JSON", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			nics, err := o.nics(c)
			if err != nil {
				return err
			}
			for _, s := range nics {
				if s.ID == args[0] || s.Name == args[0] {
					return writeJSON(c.OutOrStdout(), s)
				}
			}
			return fmt.Errorf("%s: no such nic; weft nic list shows them all", args[0])
		},
	}
}

// nics asks the agent which NICs there are, or looks itself.
func (o *options) nics(c *cobra.Command) (nics []status.NIC, err error) {
	if asked, err := o.ask(c.Context(), "/v1/nics", &nics); asked || err != nil {
		return nics, err
	}
	err = o.withNICs(viewed(func(_ *cobra.Command, _ *agent.Node, v *agent.View, _ []string) error {
		nics = status.NICs(v)
		return nil
	}))(c, nil)
	return nics, err
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "\t")
	return e.Encode(v)
}
