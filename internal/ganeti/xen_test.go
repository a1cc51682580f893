// SPDX-License-Identifier: Apache-2.0

package ganeti

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestXenValues(t *testing.T) {
	dir := t.TempDir()
	files(t, dir, map[string]string{"web1.example.org/0": `TAGS="custom:foo\ disable_ipv6"
NETWORK_NAME="pub4"
NETWORK_UUID="0b1c2d3e-ec64-4a7b-865d-c2967eafb045"
NETWORK_TAGS="nfdhcpd ip-less-routed"
NETWORK_SUBNET='198.51.100.0/24'
MAC=aa:00:00:cc:89:76
IP=198.51.100.2
INTERFACE_INDEX=0
INTERFACE_UUID=4459df43-ec64-4a7b-865d-c2967eafb045
MODE=routed
LINK=100
VLAN=
PATH=/evil
INSTANCE=other
`, "web1.example.org/1": "MODE=bridged\nLINK=$(reboot)\nMAC=aa:00:00:cc:89:77\nINTERFACE_INDEX=1\n"})
	values, err := XenValues(dir, "web1.example.org", 0, "vif3.0")
	if err != nil {
		t.Fatal(err)
	}
	e, err := Parse(values)
	if err != nil || e.Interface != "vif3.0" || e.Instance != "web1.example.org" || e.Network.Name != "pub4" || values["PATH"] != "" {
		t.Fatalf("%+v, %v", e, err)
	}
	if diff := cmp.Diff([]string{"custom:foo", "disable_ipv6"}, e.Tags); diff != "" {
		t.Error(diff)
	}
	values, err = XenValues(dir, "web1.example.org", 1, "vif3.1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Parse(values); err == nil || !strings.HasPrefix(err.Error(), "LINK: ") {
		t.Errorf("a hostile link: %v", err)
	}
	for _, name := range []string{"web1.example.org--incoming", "../web1.example.org", ""} {
		if _, err := XenValues(dir, name, 0, "vif3.0"); err == nil {
			t.Errorf("domain %q was found", name)
		}
	}
}

func TestXenDevice(t *testing.T) {
	for _, path := range []string{"backend/vif/3/1", "/local/domain/0/backend/vif/3/1"} {
		if d, i, err := XenDevice(path); d != 3 || i != 1 || err != nil {
			t.Errorf("%s: %d, %d, %v", path, d, i, err)
		}
	}
	for _, path := range []string{"", "backend/vif/3", "backend/vbd/3/1", "backend/vif/3/x", "backend/vif/../1", "backend/vif/-3/1", "backend/vif/3/99999"} {
		if _, _, err := XenDevice(path); err == nil {
			t.Errorf("%q was taken", path)
		}
	}
}
