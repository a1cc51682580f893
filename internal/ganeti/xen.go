// SPDX-License-Identifier: Apache-2.0

package ganeti

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// XenDir is where Ganeti's Xen hypervisors write what their network script needs: a file per NIC, in a folder per domain.
const XenDir = "/var/run/ganeti/xen-hypervisor/nic"

// XenDevice takes the path of a vif's backend in xenstore apart: [/local/domain/N/]backend/vif/DOMAIN/DEVICE.
func XenDevice(path string) (domain, device int, err error) {
	parts := strings.Split(path, "/")
	if n := len(parts); n >= 4 && parts[n-4] == "backend" && parts[n-3] == "vif" {
		d, err1 := strconv.ParseUint(parts[n-2], 10, 16)
		i, err2 := strconv.ParseUint(parts[n-1], 10, 16)
		if err1 == nil && err2 == nil && i <= maxIndex {
			return int(d), int(i), nil
		}
	}
	return 0, 0, fmt.Errorf("XENBUS_PATH: %s is no vif's backend", quoted(path))
}

// XenValues returns the variables of a vif as the other hypervisors' scripts have them in their environment. The file has shell
// assignments, which are read and not executed; the blanks between tags have a backslash before them, in quotes or not.
func XenValues(dir, instance string, index int, vif string) (map[string]string, error) {
	if !hostName(instance) {
		return nil, fmt.Errorf("the domain's name %s is no instance's", quoted(instance))
	}
	text, err := os.ReadFile(filepath.Join(dir, instance, strconv.Itoa(index)))
	if err != nil {
		return nil, fmt.Errorf("read what Ganeti says of NIC %d of %s: %w", index, instance, err)
	}
	values := map[string]string{}
	for line := range strings.Lines(string(text)) {
		name, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		if !ok || !slices.Contains(variables, name) {
			continue
		}
		value = strings.TrimSpace(value)
		if n := len(value); n >= 2 && value[0] == value[n-1] && (value[0] == '"' || value[0] == '\'') {
			value = value[1 : n-1]
		}
		values[name] = strings.ReplaceAll(value, `\`, "")
	}
	values["INSTANCE"], values["INTERFACE"] = instance, vif
	return values, nil
}
