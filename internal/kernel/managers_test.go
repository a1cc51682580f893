// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"weft/internal/foreign"
)

// put writes files, each whole or not there, as the programs do.
func put(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name+"~", []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(name+"~", name); err != nil {
			t.Fatal(err)
		}
	}
}

// TestManagers reads files as systemd-networkd 252 and NetworkManager 1.42 have written them. The program is another one that runs here.
func TestManagers(t *testing.T) {
	program := exec.CommandContext(t.Context(), "sleep", "infinity")
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = program.Wait() }) // its context has ended
	run := t.TempDir()
	all := newManagers(run)
	look := func(i int) (says []string) {
		all[i].comm = "sleep"
		for _, m := range all[i].look() {
			if m.Process == 0 || m.Program != all[i].program {
				t.Errorf("%+v", m)
			}
			says = append(says, fmt.Sprintf("%d: %s", m.Index, strings.TrimPrefix(m.Says, run)))
		}
		return says
	}
	for i := range all {
		if got := look(i); got != nil {
			t.Errorf("nothing there: %q", got)
		}
	}
	put(t, run, map[string]string{
		"systemd/netif/links/1": "# This is private data. Do not parse.\nADMIN_STATE=unmanaged\nOPER_STATE=carrier\nCARRIER_STATE=carrier\n",
		"systemd/netif/links/3": "# This is private data. Do not parse.\nADMIN_STATE=configured\nOPER_STATE=no-carrier\nREQUIRED_FOR_ONLINE=yes\nNETWORK_FILE=/run/systemd/network/10-a.network\nDNS=\n",
		// Unmanaged=yes in the file that matches, as later versions say it
		"systemd/netif/links/4":    "ADMIN_STATE=unmanaged\nNETWORK_FILE=/run/systemd/network/20-b.network\n",
		"systemd/netif/links/5":    "ADMIN_STATE=pending\nOPER_STATE=off\n",
		"NetworkManager/devices/2": "[device]\nmanaged=true\nperm-hw-addr-fake=CA:86:80:0F:C2:6F\nnm-owned=false\n",
		"NetworkManager/devices/5": "[device]\nmanaged=true\nconnection-uuid=866a23dc-5cca-4fe6-9271-2542656e071b\nnm-owned=false\nroute-metric-default-effective=100\n",
		"NetworkManager/devices/6": "[device]\nperm-hw-addr-fake=02:B1:37:40:F4:C2\nnm-owned=false\n",
		"NetworkManager/devices/7": "[device]\nmanaged=false\n",
	})
	for i, want := range [][]string{
		{"3: /systemd/netif/links/3: ADMIN_STATE=configured NETWORK_FILE=/run/systemd/network/10-a.network"},
		{"2: /NetworkManager/devices/2: managed=true", "5: /NetworkManager/devices/5: managed=true connection-uuid=866a23dc-5cca-4fe6-9271-2542656e071b"},
	} {
		if got := look(i); !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}

	// One that is let go of is known at once, and so is one that is taken.
	put(t, run, map[string]string{"systemd/netif/links/3": "ADMIN_STATE=unmanaged\n", "systemd/netif/links/4": "ADMIN_STATE=configuring\nNETWORK_FILE=/etc/b.network\n"})
	if got, want := look(0), []string{"4: /systemd/netif/links/4: ADMIN_STATE=configuring NETWORK_FILE=/etc/b.network"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	// The files stay when NetworkManager ends.
	all[1].comm, all[1].process = "no such program", 0
	if got := all[1].look(); got != nil {
		t.Errorf("of a program that does not run: %+v", got)
	}
}

// TestBridgeCalls reads the settings of br_netfilter, which a machine has once it is loaded.
func TestBridgeCalls(t *testing.T) {
	root := t.TempDir() + "/"
	if got := bridgeCalls(root); got != nil {
		t.Errorf("not loaded: %q", got)
	}
	put(t, root, map[string]string{"net/bridge/bridge-nf-call-iptables": "1\n", "net/bridge/bridge-nf-call-ip6tables": "0\n", "net/bridge/bridge-nf-call-arptables": "1\n"})
	if got, want := bridgeCalls(root), []string{"net.bridge.bridge-nf-call-iptables", "net.bridge.bridge-nf-call-arptables"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestNetworkd runs the real systemd-networkd in a namespace, with a /run of its own: the links that it takes are known, those that it
// leaves alone are not, nor those of a program in another namespace.
func TestNetworkd(t *testing.T) {
	if !strings.Contains(os.Getenv("WEFT_TEST_REQUIRE"), "kernel") {
		t.Skip("makes network namespaces: the kernel lane runs it")
	}
	ns, own := fmt.Sprintf("networkd-%d", os.Getpid()), t.TempDir()
	ip := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	ip("netns", "add", ns)
	t.Cleanup(func() { ip("netns", "del", ns) })
	ip("-n", ns, "link", "add", "eth0", "index", "40", "type", "veth", "peer", "name", "eth1", "index", "41")
	h, err := Open("/run/netns/" + ns)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	put(t, own, map[string]string{
		"systemd/network/10-a.network": "[Match]\nName=eth0\n[Network]\nAddress=192.0.2.1/24\nConfigureWithoutCarrier=yes\n",
		"systemd/network/20-b.network": "[Match]\nName=eth1\n[Link]\nUnmanaged=yes\n",
	})
	// Where /sys is not to be written it takes links without udev.
	const script = `set -e
mkdir -p "$1/systemd/netif/links"
chmod 755 "$1" && chown -R systemd-network "$1/systemd/netif"
mount -o remount,ro,bind /sys
mount --bind "$1" /run
exec /lib/systemd/systemd-networkd`
	ctx, stop := context.WithCancel(t.Context())
	cmd := exec.CommandContext(ctx, "ip", "netns", "exec", ns, "sh", "-c", script, "sh", own)
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	t.Cleanup(func() { stop(); <-ended })
	look := func() (got []foreign.Manager) {
		h.thread.do(func() { got = newManagers(own)[0].look() })
		return got
	}
	want := foreign.Manager{Program: "systemd-networkd", Process: cmd.Process.Pid, Index: 40, Says: own + "/systemd/netif/links/40: ADMIN_STATE=configured NETWORK_FILE=/run/systemd/network/10-a.network"}
	for deadline := time.Now().Add(2 * time.Minute); !slices.Equal(look(), []foreign.Manager{want}); {
		select {
		case <-ended:
			t.Fatalf("systemd-networkd ended:\n%s", said.String())
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("%+v, want %+v", look(), want)
		}
	}
	if got := newManagers(own)[0].look(); len(got) > 0 {
		t.Errorf("in another namespace: %+v", got)
	}
	stop()
	<-ended
	if got := look(); len(got) > 0 {
		t.Errorf("it has ended: %+v", got)
	}
}
