// SPDX-License-Identifier: Apache-2.0

package ganeti

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Adopt returns the NICs of all instances that run on this node, from Ganeti's runtime folder (RuntimeDir), as their scripts'
// environment said them, but for the instances' own tags, which Ganeti does not keep there. The error joins what could not be
// read or told; the NICs that could are returned with it.
func Adopt(dir string) ([]Environment, error) {
	return Runtime{Dir: dir, Proc: "/proc"}.Adopt()
}

// Adopt is the function of that name for this folder and these processes.
func (r Runtime) Adopt() ([]Environment, error) {
	names, err := r.instances("conf", ".runtime")
	if err != nil {
		return nil, err
	}
	var all []Environment
	var errs []error
	for _, instance := range names {
		pid, alive := r.pid(instance)
		if !alive {
			continue
		}
		found, err := r.adopt(instance, pid)
		all = append(all, found...)
		if err != nil {
			errs = append(errs, fmt.Errorf("instance %s: %w", instance, err))
		}
	}
	return all, errors.Join(errs...)
}

// runtimeNIC is a NIC in an instance's runtime file (lib/hypervisor/hv_kvm, _SaveKVMRuntime; lib/objects.py).
type runtimeNIC struct {
	UUID      string `json:"uuid"`
	MAC       string `json:"mac"`
	IP        string `json:"ip"`
	Name      string `json:"name"`
	NICParams struct {
		Mode string `json:"mode"`
		Link string `json:"link"`
		VLAN string `json:"vlan"`
	} `json:"nicparams"`
	NetInfo *struct {
		Name     string   `json:"name"`
		UUID     string   `json:"uuid"`
		Network  string   `json:"network"`
		Gateway  string   `json:"gateway"`
		Network6 string   `json:"network6"`
		Gateway6 string   `json:"gateway6"`
		Tags     []string `json:"tags"`
	} `json:"netinfo"`
	HVInfo struct {
		ID string `json:"id"` // of QEMU's device, and of its netdev
	} `json:"hvinfo"`
}

func (r Runtime) adopt(instance string, pid int) ([]Environment, error) {
	data, err := os.ReadFile(r.file("conf", instance+".runtime"))
	if err != nil {
		return nil, fmt.Errorf("read its runtime file: %w", err)
	}
	nics, err := parseRuntime(data)
	if err != nil {
		return nil, err
	}
	taps, err := r.taps(instance, pid, nics)
	if err != nil {
		return nil, err
	}
	var all []Environment
	var errs []error
	for i, n := range nics {
		if IsCommunication(taps[i]) {
			continue
		}
		if taps[i] == "" {
			errs = append(errs, fmt.Errorf("nic %d (%s): nothing tells which tap is its", i, quoted(n.MAC)))
			continue
		}
		e, err := Parse(n.values(instance, i, taps[i]))
		if err != nil {
			errs = append(errs, fmt.Errorf("nic %d: %w", i, err))
			continue
		}
		all = append(all, e)
	}
	return all, errors.Join(errs...)
}

// parseRuntime reads a runtime file: a list of QEMU's command line, the NICs, the hypervisor's parameters and the disks.
func parseRuntime(data []byte) ([]runtimeNIC, error) {
	var parts []json.RawMessage
	if err := json.Unmarshal(data, &parts); err != nil {
		return nil, fmt.Errorf("read its runtime file: %w", err)
	}
	if len(parts) < 2 {
		return nil, fmt.Errorf("read its runtime file: it has %d parts, and the NICs are the second", len(parts))
	}
	var nics []runtimeNIC
	if err := json.Unmarshal(parts[1], &nics); err != nil {
		return nil, fmt.Errorf("read its runtime file: %w", err)
	}
	return nics, nil
}

// values returns the NIC as its script's environment.
func (n *runtimeNIC) values(instance string, index int, tap string) map[string]string {
	v := map[string]string{
		"INSTANCE": instance, "INTERFACE": tap, "INTERFACE_INDEX": strconv.Itoa(index), "INTERFACE_UUID": n.UUID, "INTERFACE_NAME": n.Name,
		"MAC": n.MAC, "IP": n.IP, "MODE": n.NICParams.Mode, "LINK": n.NICParams.Link, "VLAN": n.NICParams.VLAN,
	}
	if i := n.NetInfo; i != nil {
		v["NETWORK_NAME"], v["NETWORK_UUID"], v["NETWORK_TAGS"] = i.Name, i.UUID, strings.Join(i.Tags, " ")
		v["NETWORK_SUBNET"], v["NETWORK_GATEWAY"] = i.Network, i.Gateway
		v["NETWORK_SUBNET6"], v["NETWORK_GATEWAY6"] = i.Network6, i.Gateway6
	}
	return v
}

// taps returns the tap of each NIC, "" where nothing tells. Ganeti's own notes go by the NIC's place in the list, which is
// wrong once a NIC in the middle was taken out. QEMU knows: its command line says which descriptor a netdev has, and the
// kernel whose tap that is. For NICs that came later there is no command line; of these the notes count, if they can
// be right, or what is left over.
func (r Runtime) taps(instance string, pid int, nics []runtimeNIC) ([]string, error) {
	held, err := r.held(pid)
	if err != nil {
		return nil, err
	}
	args, err := r.args(pid)
	if err != nil {
		return nil, err
	}
	free := map[string]bool{}
	for _, tap := range held {
		free[tap] = true
	}
	taps := make([]string, len(nics))
	byID := netdevs(args)
	for i, n := range nics {
		if fd, ok := byID[n.HVInfo.ID]; ok && n.HVInfo.ID != "" {
			taps[i] = held[fd]
			delete(free, taps[i])
		}
	}
	noted := r.noted(instance)
	sound := len(noted) == len(nics)
	for i := range nics {
		sound = sound && (taps[i] == "" && free[noted[i]] || taps[i] != "" && taps[i] == noted[i])
	}
	unknown := -1
	for i := range nics {
		if taps[i] != "" {
			continue
		}
		if sound {
			taps[i] = noted[i]
			continue
		}
		if unknown >= 0 {
			return taps, nil // two or more, and no way to tell them apart
		}
		unknown = i
	}
	if unknown >= 0 && len(free) == 1 {
		for tap := range free {
			taps[unknown] = tap
		}
	}
	return taps, nil
}

// held returns the taps that a process has open, by descriptor: tun's fdinfo has a line "iff:" with the interface.
func (r Runtime) held(pid int) (map[int]string, error) {
	dir := filepath.Join(r.Proc, strconv.Itoa(pid), "fdinfo")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("see which taps it has: %w", err)
	}
	held := map[int]string{}
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			continue // closed since
		}
		for line := range strings.Lines(string(text)) {
			if tap, ok := strings.CutPrefix(line, "iff:"); ok && ifName(strings.TrimSpace(tap)) {
				held[fd] = strings.TrimSpace(tap)
			}
		}
	}
	return held, nil
}

// netdevs returns the descriptor of each tap netdev of a command line, by its ID; of one with several queues the first.
func netdevs(args []string) map[string]int {
	all := map[string]int{}
	for i := 1; i < len(args); i++ {
		if args[i-1] != "-netdev" {
			continue
		}
		id, fd := "", -1
		for _, option := range strings.Split(args[i], ",") {
			name, value, _ := strings.Cut(option, "=")
			switch name {
			case "id":
				id = value
			case "fd", "fds":
				first, _, _ := strings.Cut(value, ":")
				if n, err := strconv.Atoi(first); err == nil {
					fd = n
				}
			}
		}
		if id != "" && fd >= 0 {
			all[id] = fd
		}
	}
	return all
}

// noted returns the taps in Ganeti's notes, by the index of the NIC.
func (r Runtime) noted(instance string) map[int]string {
	noted := map[int]string{}
	entries, err := os.ReadDir(r.file("nic", instance))
	if err != nil {
		return nil // no notes
	}
	for _, e := range entries {
		index, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		text, err := os.ReadFile(r.file("nic", instance, e.Name()))
		if tap := strings.TrimSpace(string(text)); err == nil && ifName(tap) {
			noted[index] = tap
		}
	}
	return noted
}
