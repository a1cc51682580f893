// SPDX-License-Identifier: Apache-2.0

package qemu

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMAC(t *testing.T) {
	t.Parallel()
	const (
		disk  = " -drive file=a,,b.img,if=virtio -device virtio-blk-pci,drive=x "
		plain = "-name g1 -uuid 11111111-1111-4111-8111-111111111111 -nodefaults" + disk + "-netdev tap,id=n0,ifname=tap0,script=/etc/up,downscript=no -device virtio-net-pci,netdev=n0,mac=52:54:00:AA:00:01"
	)
	for name, test := range map[string]struct {
		args, tap, mac, err string
	}{
		"plain":               {plain, "tap0", "52:54:00:aa:00:01", ""},
		"device first":        {"-device e1000,mac=52:54:00:aa:00:01,netdev=n0 --netdev type=tap,ifname=tap0,id=n0", "tap0", "52:54:00:aa:00:01", ""},
		"-nic":                {"-nic tap,ifname=tap0,mac=52:54:00:aa:00:01,model=virtio -nic user", "tap0", "52:54:00:aa:00:01", ""},
		"JSON":                {`-netdev {"type":"tap","id":"n0","ifname":"tap0","vhost":true} -device {"driver":"virtio-net-pci","netdev":"n0","mac":"52:54:00:aa:00:01","bus":"x"}`, "tap0", "52:54:00:aa:00:01", ""},
		"the second of two":   {plain + " -netdev tap,id=n1,ifname=tap1 -device e1000,netdev=n1,mac=52:54:00:aa:00:02", "tap1", "52:54:00:aa:00:02", ""},
		"a name by the tap":   {"-netdev tap,id=n0 -device e1000,netdev=n0,mac=52:54:00:aa:00:01", "tap7", "52:54:00:aa:00:01", ""},
		"one of two has none": {plain + " -nic tap,mac=52:54:00:aa:00:02", "tap7", "52:54:00:aa:00:02", ""},
		"two without names":   {"-nic tap,mac=52:54:00:aa:00:01 -nic tap,mac=52:54:00:aa:00:02", "tap0", "", "several taps"},
		"no mac":              {"-nic tap,ifname=tap0", "tap0", "", "no mac="},
		"another tap":         {plain, "tap1", "", ErrNoTap.Error()},
		"no tap":              {"-nic user,mac=52:54:00:aa:00:01", "tap0", "", ErrNoTap.Error()},
		"broken JSON":         {`-netdev {"type":"tap", -device {`, "tap0", "", ErrNoTap.Error()},
		"nothing":             {"", "tap0", "", ErrNoTap.Error()},
	} {
		g, err := Parse(strings.Fields(test.args))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		mac, err := g.MAC(test.tap)
		if mac != test.mac || (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
			t.Errorf("%s: %q, error %v", name, mac, err)
		}
	}
}

func TestGuest(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]Guest{
		"-name g1":                             {Name: "g1"},
		"-name guest=a,,b,debug-threads=on":    {Name: "a,b"},
		"-name debug-threads=on,process=x -S":  {},
		"-incoming tcp:0:4444 -name -incoming": {Name: "-incoming", Incoming: true},
		"-name":                                {},
	} {
		g, err := Parse(strings.Fields(args))
		if err != nil || g.Name != want.Name || g.Incoming != want.Incoming {
			t.Errorf("%s: %+v, error %v", args, g, err)
		}
	}
	if _, err := Parse([]string{"-uuid", "x"}); err == nil {
		t.Error("no UUID is taken for one")
	}
}

// TestAncestor: QEMU runs a script, that runs a shell, that runs weft.
func TestAncestor(t *testing.T) {
	t.Parallel()
	proc := t.TempDir()
	for pid, p := range map[string][2]string{
		"40": {"40 (weft) S 30 40", "weft\x00qemu\x00up\x00tap0\x00"},
		"30": {"30 (sh) S 20 40", "sh\x00/etc/up\x00tap0\x00"},
		"20": {"20 (a) b) S 3 (x) S 10 20", "sh\x00-c\x00x\x00"},
		"10": {"10 (qemu-system-x86) S 1 10", "qemu-system-x86_64\x00-name\x00g1\x00-nic\x00tap,ifname=tap0,mac=52:54:00:aa:00:01\x00"},
		"1":  {"1 (init) S 0 1", "init\x00"},
		"50": {"50 (x) S 1 50", ""},
		"60": {"60 (x", ""},
		"70": {"70 (x) S 71 1", ""},
		"80": {"80 (x) S y 1", ""},
		"90": {"90 (x) S 91 1", ""},
		"91": {"91 (k) S 2 1", ""},
		"2":  {"2 (kthreadd) S 0 1", ""},
	} {
		if err := os.MkdirAll(filepath.Join(proc, pid), 0o755); err != nil {
			t.Fatal(err)
		}
		for i, name := range []string{"stat", "cmdline"} {
			if err := os.WriteFile(filepath.Join(proc, pid, name), []byte(p[i]), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	if g, err := Ancestor(proc, 30); err != nil || g.Name != "g1" {
		t.Errorf("%+v, error %v", g, err)
	}
	for _, pid := range []int{1, 50, 90} {
		if _, err := Ancestor(proc, pid); !errors.Is(err, ErrNoTap) {
			t.Errorf("process %d: error %v", pid, err)
		}
	}
	for _, pid := range []int{60, 70, 80, 1000} {
		if _, err := Ancestor(proc, pid); err == nil || errors.Is(err, ErrNoTap) {
			t.Errorf("process %d: error %v", pid, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("-netdev\ntap,id=n0,,x,ifname=tap0\n-device\ne1000,netdev=n0,x,mac=52:54:00:aa:00:01\n-name\nguest=x", "tap0")
	f.Add("-netdev\n{\"type\":\"tap\",\"id\":\"n0\",\"ifname\":\"tap0\"}\n-uuid\n1\n-nic\ntap", "tap0")
	f.Fuzz(func(t *testing.T, args, tap string) {
		g, err := Parse(strings.Split(args, "\n"))
		if err != nil {
			return
		}
		if mac, err := g.MAC(tap); (mac == "") != (err != nil) {
			t.Errorf("%q, error %v", mac, err)
		}
	})
}
