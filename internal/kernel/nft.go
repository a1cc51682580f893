// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"errors"
	"fmt"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"weft/internal/netstate"
	"weft/internal/nft"
)

// nftFamilies are the kernel's numbers of the families (NFPROTO_*).
var nftFamilies = map[nft.Family]byte{
	nft.Inet: unix.NFPROTO_INET, nft.IP: unix.NFPROTO_IPV4, nft.IP6: unix.NFPROTO_IPV6, nft.ARP: unix.NFPROTO_ARP,
	nft.BridgeFamily: unix.NFPROTO_BRIDGE, "netdev": unix.NFPROTO_NETDEV,
}

// nftHooks are the words for the hooks, by family and number (NF_INET_*, NF_ARP_*, NF_NETDEV_*).
var nftHooks = map[nft.Family]words{
	nft.Inet: nftInternetHooks, nft.IP: nftInternetHooks, nft.IP6: nftInternetHooks, nft.BridgeFamily: nftInternetHooks,
	nft.ARP: {"input", "output", "forward"}, "netdev": {"ingress", "egress"},
}

var nftInternetHooks = words{"prerouting", "input", "forward", "output", "postrouting", "ingress"}

// nftPolicies are the verdicts of a base chain's policy (NF_DROP, NF_ACCEPT).
var nftPolicies = words{"drop", "accept"}

// nftAttempts is how often an observation starts anew because somebody changed the ruleset meanwhile.
const nftAttempts = 20

// observeNft returns the tables of weft's, with their chains, rules and set declarations, and the elements of the sets
// that weft could have declared. Where the kernel has no nf_tables there are none. ns is a file descriptor of the network
// namespace, 0 for the caller's own.
func observeNft(ns int) ([]netstate.Object, error) {
	o, err := readNft(ns, true)
	if err != nil {
		return nil, err
	}
	objects := make([]netstate.Object, 0, len(o.tables)+len(o.elements))
	for _, t := range o.tables {
		objects = append(objects, *t)
	}
	for _, e := range o.elements {
		objects = append(objects, e)
	}
	return objects, nil
}

// nftObservation is what stands in the kernel at one generation of the ruleset.
type nftObservation struct {
	tables   []*nft.Table
	elements []nft.Element
}

// readNft reads the tables, and the elements if asked for.
func readNft(ns int, elements bool) (*nftObservation, error) {
	c, err := dialNft(ns)
	if errors.Is(err, unix.EPROTONOSUPPORT) {
		return &nftObservation{}, nil // the kernel has no nfnetlink
	}
	if err != nil {
		return nil, err
	}
	defer c.Close()
	before, err := c.generation()
	if errors.Is(err, unix.EINVAL) {
		return &nftObservation{}, nil // nfnetlink knows no subsystem nf_tables
	}
	for range nftAttempts {
		if err != nil {
			return nil, err
		}
		o, fail := c.read(elements)
		after, err := c.generation()
		if err != nil {
			return nil, err
		}
		if before == after {
			return o, fail
		}
		before = after
	}
	return nil, errors.New("the ruleset does not stop changing")
}

func (c *nftConn) read(elements bool) (*nftObservation, error) {
	var o nftObservation
	bodies, err := c.dump(unix.NFT_MSG_GETTABLE, nftBody(unix.NFPROTO_UNSPEC, 0))
	if err != nil {
		return nil, fmt.Errorf("list tables: %w", err)
	}
	for _, b := range bodies {
		if t, ok := decodeNftTable(b); ok && t.Owned() {
			o.tables = append(o.tables, &t)
		}
	}
	for _, t := range o.tables {
		if err := c.readTable(t); err != nil {
			return nil, fmt.Errorf("list table %s %s: %w", t.Family, t.Name, err)
		}
		for _, s := range t.Sets {
			if !elements || s.Dynamic || slices.ContainsFunc(s.Key, func(typ string) bool { return nft.Size(typ) == 0 }) {
				continue // it will be made anew
			}
			list, err := c.readElements(t, s)
			if err != nil {
				return nil, fmt.Errorf("list set %s %s %s: %w", t.Family, t.Name, s.Name, err)
			}
			o.elements = append(o.elements, list...)
		}
		*t = t.Canonical()
	}
	return &o, nil
}

// readTable fills in the chains, rules and sets of a table.
func (c *nftConn) readTable(t *nft.Table) error {
	family := nftFamilies[t.Family]
	bodies, err := c.dump(unix.NFT_MSG_GETCHAIN, nftBody(family, 0))
	if err != nil {
		return err
	}
	chains := make(map[string]int)
	for _, b := range bodies {
		if table, chain := decodeNftChain(t.Family, b[nfgenmsgSize:]); table == t.Name {
			chains[chain.Name] = len(t.Chains)
			t.Chains = append(t.Chains, chain)
		}
	}
	body := nftBody(family, 0)
	body.string(unix.NFTA_RULE_TABLE, t.Name)
	if bodies, err = c.dump(unix.NFT_MSG_GETRULE, body); err != nil {
		return err
	}
	for _, b := range bodies {
		table, chain, exprs := nftRuleAttrs(b[nfgenmsgSize:])
		if i, ok := chains[chain]; ok && table == t.Name {
			t.Chains[i].Rules = append(t.Chains[i].Rules, nftRules.decode(t.Family, exprs))
		}
	}
	body = nftBody(family, 0)
	body.string(unix.NFTA_SET_TABLE, t.Name)
	if bodies, err = c.dump(unix.NFT_MSG_GETSET, body); err != nil {
		return err
	}
	for _, b := range bodies {
		if table, set, anonymous := decodeNftSet(b[nfgenmsgSize:]); table == t.Name && !anonymous {
			t.Sets = append(t.Sets, set)
		}
	}
	return nil
}

func (c *nftConn) readElements(t *nft.Table, s nft.Set) ([]nft.Element, error) {
	body := nftBody(nftFamilies[t.Family], 0)
	body.string(unix.NFTA_SET_ELEM_LIST_TABLE, t.Name)
	body.string(unix.NFTA_SET_ELEM_LIST_SET, s.Name)
	bodies, err := c.dump(unix.NFT_MSG_GETSETELEM, body)
	if err != nil {
		return nil, err
	}
	var elements []nft.Element
	for _, b := range bodies {
		list, err := decodeNftElements(b[nfgenmsgSize:], nft.Element{Family: t.Family, Table: t.Name, Set: s.Name}, s)
		if err != nil {
			return nil, err
		}
		elements = append(elements, list...)
	}
	return elements, nil
}

// decodeNftTable reads a table's message, its family header included. A family that weft has no word for is not ok.
func decodeNftTable(b []byte) (t nft.Table, ok bool) {
	for family, number := range nftFamilies {
		if number == b[0] {
			t.Family, ok = family, true
		}
	}
	for typ, v := range attrs(b[nfgenmsgSize:]) {
		switch typ {
		case unix.NFTA_TABLE_NAME:
			t.Name = getString(v)
		case unix.NFTA_TABLE_FLAGS:
			t.Dormant = getU32BE(v)&unix.NFT_TABLE_F_DORMANT != 0
		}
	}
	return t, ok
}

func decodeNftChain(family nft.Family, b []byte) (table string, c nft.Chain) {
	for typ, v := range attrs(b) {
		switch typ {
		case unix.NFTA_CHAIN_TABLE:
			table = getString(v)
		case unix.NFTA_CHAIN_NAME:
			c.Name = getString(v)
		case unix.NFTA_CHAIN_TYPE:
			c.Type = getString(v)
		case unix.NFTA_CHAIN_POLICY:
			if p := nftPolicies.pointer(int(getU32BE(v))); p != nil {
				c.Policy = *p
			}
		case unix.NFTA_CHAIN_HOOK:
			decodeNftHook(family, v, &c)
		}
	}
	return table, c
}

// decodeNftHook reads where a base chain hangs. One that hangs on devices has a hook that weft asks for nowhere.
func decodeNftHook(family nft.Family, b []byte, c *nft.Chain) {
	device := ""
	for typ, v := range attrs(b) {
		switch typ {
		case unix.NFTA_HOOK_HOOKNUM:
			if c.Hook = fmt.Sprintf("unknown(%d)", getU32BE(v)); int(getU32BE(v)) < len(nftHooks[family]) {
				c.Hook = nftHooks[family][getU32BE(v)]
			}
		case unix.NFTA_HOOK_PRIORITY:
			c.Priority = int(int32(getU32BE(v)))
		case unix.NFTA_HOOK_DEV, nftaHookDevs:
			device = " device"
		}
	}
	c.Hook += device
}

// nftRuleAttrs takes a rule's message apart: where it stands, and its expressions.
func nftRuleAttrs(b []byte) (table, chain string, exprs []byte) {
	for typ, v := range attrs(b) {
		switch typ {
		case unix.NFTA_RULE_TABLE:
			table = getString(v)
		case unix.NFTA_RULE_CHAIN:
			chain = getString(v)
		case unix.NFTA_RULE_EXPRESSIONS:
			exprs = v
		}
	}
	return table, chain, exprs
}

// nftExprAttrs takes one expression of a rule apart: what it is, and its own attributes.
func nftExprAttrs(b []byte) (name string, data []byte) {
	for typ, v := range attrs(b) {
		switch typ {
		case unix.NFTA_EXPR_NAME:
			name = getString(v)
		case unix.NFTA_EXPR_DATA:
			data = v
		}
	}
	return name, data
}

// applyNft makes all the changes in one transaction: if it fails, nothing has changed. What stands already, or is gone
// already, is left out. ns is as for observeNft.
func applyNft(ns int, changes []nft.Change) error {
	changes, err := presentNft(ns, changes, false)
	if err != nil {
		return fmt.Errorf("observe nftables: %w", err)
	}
	err = commitNft(ns, changes)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EEXIST) {
		// An element is not as the plan saw it: see how they are, and try once more.
		if changes, again := presentNft(ns, changes, true); again == nil {
			err = commitNft(ns, changes)
		}
	}
	return err
}

// presentNft returns the changes with what stands in the kernel as their Old, and without those that have nothing to do.
// The tables are read if one of them changes, the elements if asked for.
func presentNft(ns int, changes []nft.Change, elements bool) ([]nft.Change, error) {
	tables := slices.ContainsFunc(changes, func(c nft.Change) bool {
		_, old := c.Old.(nft.Table)
		_, next := c.New.(nft.Table)
		return old || next
	})
	if !tables && !elements {
		return changes, nil
	}
	o, err := readNft(ns, elements)
	if err != nil {
		return nil, err
	}
	var have netstate.State
	for _, t := range o.tables {
		have.Put(*t)
	}
	for _, e := range o.elements {
		have.Put(e)
	}
	var out []nft.Change
	for _, c := range changes {
		key := nftKey(c)
		if key.Kind == netstate.KindTable || elements {
			if c.Old = have.Get(key); c.Old == nil && c.New == nil || c.Old != nil && c.New != nil && c.Old.Meets(c.New) {
				continue
			}
		}
		out = append(out, c)
	}
	return out, nil
}

func nftKey(c nft.Change) netstate.Key {
	if c.New != nil {
		return c.New.Key()
	}
	return c.Old.Key()
}

func commitNft(ns int, changes []nft.Change) error {
	commands, err := nft.Transaction(changes)
	if err != nil || len(commands) == 0 {
		return err
	}
	requests := make([]nftRequest, len(commands))
	for i, c := range commands {
		if requests[i], err = encodeNftCommand(c, uint32(i+1)); err != nil {
			return fmt.Errorf("nft %s: %w", c, err)
		}
	}
	c, err := dialNft(ns)
	if err != nil {
		return err
	}
	defer c.Close()
	return c.transact(requests)
}

// encodeNftCommand returns the message that does what the command does. The id differs among those of a transaction.
func encodeNftCommand(c nft.Command, id uint32) (nftRequest, error) {
	family, ok := nftFamilies[c.Family]
	if !ok {
		return nftRequest{}, fmt.Errorf("unknown family %q", c.Family)
	}
	body := nftBody(family, 0)
	body.string(unix.NFTA_TABLE_NAME, c.Table) // also NFTA_CHAIN_TABLE, NFTA_RULE_TABLE, NFTA_SET_TABLE, NFTA_SET_ELEM_LIST_TABLE
	var typ uint16
	var flags netlink.HeaderFlags
	add := c.Verb == "add"
	if add {
		flags = netlink.Create
	}
	switch c.Object {
	case "table":
		if add {
			body.u32BE(unix.NFTA_TABLE_FLAGS, 0) // wakes a dormant one
		}
		typ = nftVerb(add, unix.NFT_MSG_NEWTABLE, unix.NFT_MSG_DELTABLE)
	case "chain":
		typ = nftVerb(add, unix.NFT_MSG_NEWCHAIN, unix.NFT_MSG_DELCHAIN)
		if c.Verb == "flush" {
			typ = unix.NFT_MSG_DELRULE
			body.string(unix.NFTA_RULE_CHAIN, c.Chain.Name)
			break
		}
		if err := encodeNftChain(body, c.Family, c.Chain, add); err != nil {
			return nftRequest{}, err
		}
	case "rule":
		typ, flags = unix.NFT_MSG_NEWRULE, flags|netlink.Append
		exprs, err := encodeNftRule(c.Family, c.Rule)
		if err != nil {
			return nftRequest{}, err
		}
		data, err := encodeNftExprs(c.Family, exprs)
		if err != nil {
			return nftRequest{}, err
		}
		body.string(unix.NFTA_RULE_CHAIN, c.Chain.Name)
		body.bytes(unix.NFTA_RULE_EXPRESSIONS|unix.NLA_F_NESTED, data)
	case "set":
		if typ = nftVerb(add, unix.NFT_MSG_NEWSET, unix.NFT_MSG_DELSET); add {
			encodeNftSet(body, c.Set, id)
		} else {
			body.string(unix.NFTA_SET_NAME, c.Set.Name)
		}
	case "element":
		typ = nftVerb(add, unix.NFT_MSG_NEWSETELEM, unix.NFT_MSG_DELSETELEM)
		if err := encodeNftElements(body, c.Elements, add); err != nil {
			return nftRequest{}, err
		}
	}
	return nftRequest{"nft " + c.String(), netlink.Message{Header: nftHeader(typ, flags), Data: *body}}, nil
}

func nftVerb(add bool, adds, deletes uint16) uint16 {
	if add {
		return adds
	}
	return deletes
}

func encodeNftChain(m *message, family nft.Family, c nft.Chain, add bool) error {
	m.string(unix.NFTA_CHAIN_NAME, c.Name)
	if !add || c.Hook == "" {
		return nil
	}
	hook, ok := nftHooks[family].number(c.Hook)
	if !ok {
		return fmt.Errorf("unknown hook %q", c.Hook)
	}
	policy, ok := nftPolicies.number(c.Policy)
	if !ok {
		return fmt.Errorf("unknown policy %q", c.Policy)
	}
	m.nested(unix.NFTA_CHAIN_HOOK, func() {
		m.u32BE(unix.NFTA_HOOK_HOOKNUM, uint32(hook))
		m.u32BE(unix.NFTA_HOOK_PRIORITY, uint32(int32(c.Priority)))
	})
	m.u32BE(unix.NFTA_CHAIN_POLICY, uint32(policy))
	m.string(unix.NFTA_CHAIN_TYPE, c.Type)
	return nil
}
