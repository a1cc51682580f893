// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"weft/internal/foreign"
	"weft/internal/nft"
)

// surroundings is what is remembered of others, so that a look costs little where nothing changed.
type surroundings struct {
	mu         sync.Mutex
	read       bool   // chains were read, at this generation of the ruleset
	generation uint32 // see nftConn.generation
	chains     []foreign.Chain
	managers   []managers
}

// Foreign looks for what others have set up in the namespace that may hurt its networks. Of rulesets it reads the chains and no rules.
func (h *Host) Foreign(ctx context.Context) (foreign.Facts, error) {
	var f foreign.Facts
	if err := ctx.Err(); err != nil {
		return f, err
	}
	s := &h.surroundings
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.readChains(h.thread.fd()); err != nil {
		return f, fmt.Errorf("look for chains that drop: %w", err)
	}
	f.Chains = slices.Clone(s.chains)
	h.thread.do(func() {
		f.Calls = bridgeCalls(procSys)
		legacyChains(&f)
		if s.managers == nil {
			s.managers = newManagers("/run")
		}
		for i := range s.managers {
			f.Managers = append(f.Managers, s.managers[i].look()...)
		}
	})
	return f, nil
}

// readChains reads the chains of others, unless the ruleset is the same as when they were read last.
func (s *surroundings) readChains(ns int) error {
	c, err := dialNft(ns)
	if errors.Is(err, unix.EPROTONOSUPPORT) {
		return nil // the kernel has no nfnetlink
	}
	if err != nil {
		return err
	}
	defer c.Close()
	before, err := c.generation()
	if errors.Is(err, unix.EINVAL) {
		return nil // nfnetlink knows no subsystem nf_tables
	}
	for range nftAttempts {
		if err != nil || s.read && s.generation == before {
			return err
		}
		chains, fail := c.dropChains()
		after, err := c.generation()
		if err != nil {
			return err
		}
		if before == after {
			s.chains, s.generation, s.read = chains, before, fail == nil
			return fail
		}
		before = after
	}
	return nil // it does not stop changing: the next look tells
}

// dropChains returns the base chains of others whose policy is drop, but for those of tables that sleep.
func (c *nftConn) dropChains() ([]foreign.Chain, error) {
	bodies, err := c.dump(unix.NFT_MSG_GETCHAIN, nftBody(unix.NFPROTO_UNSPEC, 0))
	if err != nil {
		return nil, err
	}
	type table struct{ family, name string }
	beside := map[table][]string{} // the names of the chains of each table
	var drop []foreign.Chain
	for _, b := range bodies {
		family := familyOf(b[0])
		name, chain := decodeNftChain(family, b[nfgenmsgSize:])
		if family == "" || name == nft.TableName || name == ClosedTable {
			continue
		}
		at := table{string(family), name}
		beside[at] = append(beside[at], chain.Name)
		if chain.Hook != "" && chain.Policy == "drop" {
			hook, _, _ := strings.Cut(chain.Hook, " ") // without " device"
			drop = append(drop, foreign.Chain{Family: at.family, Table: name, Name: chain.Name, Hook: hook, Devices: hookDevices(b[nfgenmsgSize:])})
		}
	}
	if len(drop) == 0 {
		return nil, nil
	}
	if bodies, err = c.dump(unix.NFT_MSG_GETTABLE, nftBody(unix.NFPROTO_UNSPEC, 0)); err != nil {
		return nil, err
	}
	asleep := map[table]bool{}
	for _, b := range bodies {
		if t, ok := decodeNftTable(b); ok && t.Dormant {
			asleep[table{string(t.Family), t.Name}] = true
		}
	}
	drop = slices.DeleteFunc(drop, func(c foreign.Chain) bool { return asleep[table{c.Family, c.Table}] })
	for i, c := range drop {
		drop[i].By = chainMaker(c, beside[table{c.Family, c.Table}])
	}
	return drop, nil
}

// familyOf returns the family of this number, "" for one that there is no word for.
func familyOf(number byte) nft.Family {
	for family, n := range nftFamilies {
		if n == number {
			return family
		}
	}
	return ""
}

// hookDevices returns the devices that a base chain hangs on, none where its hook is not one of devices.
func hookDevices(b []byte) (devices []string) {
	const nftaDeviceName = 1 // NFTA_DEVICE_NAME (nf_tables.h)
	add := func(v []byte) {  // of one device the kernel says it twice
		if name := getString(v); !slices.Contains(devices, name) {
			devices = append(devices, name)
		}
	}
	for typ, v := range attrs(b) {
		if typ != unix.NFTA_CHAIN_HOOK {
			continue
		}
		for typ, v := range attrs(v) {
			switch typ {
			case unix.NFTA_HOOK_DEV:
				add(v)
			case nftaHookDevs:
				for typ, v := range attrs(v) {
					if typ == nftaDeviceName {
						add(v)
					}
				}
			}
		}
	}
	return devices
}

// chainMaker says who makes a chain like this, by the names of the table and of the chains beside it. Several may share iptables' tables.
func chainMaker(c foreign.Chain, beside []string) string {
	if c.Table == "firewalld" {
		return "firewalld"
	}
	var who []string
	for _, maker := range []struct{ prefix, name string }{
		{"DOCKER", "Docker"}, {"KUBE-", "Kubernetes"}, {"LIBVIRT_", "libvirt"}, {"ufw", "ufw"}, {"FWDI_", "firewalld"}, {"cali-", "Calico"},
	} {
		if slices.ContainsFunc(beside, func(chain string) bool { return strings.HasPrefix(chain, maker.prefix) }) {
			who = append(who, maker.name)
		}
	}
	if len(who) == 0 && (c.Family == "ip" || c.Family == "ip6") && c.Table == "filter" && c.Name == strings.ToUpper(c.Hook) {
		return "iptables -P"
	}
	return strings.Join(who, ", ")
}

// bridgeCalls returns the settings by which br_netfilter hands what crosses a bridge to the host's own filters, as far as they are on.
// There are none where it is not loaded. root is where settings are files.
func bridgeCalls(root string) (on []string) {
	for _, filter := range []string{"iptables", "ip6tables", "arptables"} {
		name := "bridge-nf-call-" + filter
		if b, err := os.ReadFile(root + "net/bridge/" + name); err == nil && strings.TrimSpace(string(b)) != "0" {
			on = append(on, "net.bridge."+name)
		}
	}
	return on
}
