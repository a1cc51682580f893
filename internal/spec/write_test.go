// SPDX-License-Identifier: Apache-2.0

package spec

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"pgregory.net/rapid"
)

func TestComments(t *testing.T) {
	n, err := Parse("f", []byte("bonds: {bond0: {members: [eth0], mtu: 9000, addresses: [10.0.0.2/24]}}\nroutes: [{to: default, via: 10.0.0.1}, {to: 10.8.0.0/16, dev: bond0}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := Write(n, Comments{"": "From /etc/network/interfaces.\nTwo lines.", "bonds": "what it is made of", "bonds.bond0": "line 3", "bonds.bond0.mtu": "line 5", "routes[0]": "line 7", "routes[1].dev": "line 8\n\nand 9"})
	if err != nil {
		t.Fatal(err)
	}
	want := `# From /etc/network/interfaces.
# Two lines.

# what it is made of
bonds:
  # line 3
  bond0:
    members: [eth0]
    # line 5
    mtu: 9000
    addresses: [10.0.0.2/24]

routes:
  # line 7
  - to: default
    via: 10.0.0.1
  - to: 10.8.0.0/16
    # line 8
    #
    # and 9
    dev: bond0
`
	if string(got) != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	if again, err := Parse("f", got); err != nil || !again.Equal(n) {
		t.Errorf("read back: %+v, %v", again, err)
	}
}

// drawNode makes up a Node that is right: every name is its own.
func drawNode(t *rapid.T) *Node {
	n := &Node{Node: rapid.StringMatching(`([a-z0-9~. "'#:-]{0,8})`).Draw(t, "node"), Bonds: map[string]*Bond{}, VLANs: map[string]*VLAN{}, Networks: map[string]*Network{}, Links: map[string]*Link{}}
	for i := range rapid.IntRange(0, 3).Draw(t, "bonds") {
		name := rapid.SampledFrom([]string{"b%d", "%d", "0%d", "1e%d", "0x%d", "bond%d", "n-%d"}).Draw(t, "name")
		name = fmt.Sprintf(name, i) + "_"
		b := &Bond{Members: []string{fmt.Sprintf("e%d", i)}, Mode: rapid.SampledFrom([]string{"", "802.3ad", "active-backup"}).Draw(t, "mode")}
		b.MTU = rapid.SampledFrom([]int{0, 1500, 9000}).Draw(t, "mtu")
		b.MIIMon = rapid.Ptr(rapid.Uint32Range(0, 1<<31-1), true).Draw(t, "miimon")
		b.Up = rapid.Ptr(rapid.Bool(), true).Draw(t, "up")
		if rapid.Bool().Draw(t, "address") {
			b.Addresses = []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i), 0, 1}), rapid.IntRange(8, 24).Draw(t, "bits"))}
		}
		n.Bonds[name] = b
		if rapid.Bool().Draw(t, "vlan") {
			n.VLANs[name+".7"] = &VLAN{Protocol: rapid.SampledFrom([]string{"", "802.1ad"}).Draw(t, "protocol")}
		}
		if vid := rapid.IntRange(8, 4094).Draw(t, "vid"); vid < 253 || vid > 255 {
			six := netip.AddrFrom16(rapid.Custom(func(t *rapid.T) [16]byte {
				a := [16]byte{0x20, 0x01, 0x0d, 0xb8}
				copy(a[4:8], rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "net"))
				return a
			}).Draw(t, "six"))
			n.Networks[name+"x"] = &Network{Mode: Routed, Uplink: name, VLAN: vid, Table: uint32(1000 + i), IPv6: &Prefix{Subnet: netip.PrefixFrom(six, 64), Gateway: six.Next()}}
		}
	}
	for i := range rapid.IntRange(0, 4).Draw(t, "links") {
		n.Links[fmt.Sprintf("eth%d", i)] = &Link{IPv6: rapid.Ptr(rapid.Bool(), true).Draw(t, "ipv6")}
		n.Routes = append(n.Routes, Route{To: fmt.Sprintf("10.9.%d.0/24", i), Dev: fmt.Sprintf("eth%d", i), Metric: rapid.Uint32().Draw(t, "metric")})
		n.Rules = append(n.Rules, Rule{Priority: uint32(10 + i), Table: rapid.Uint32Range(1, 252).Draw(t, "table"), FwMark: rapid.Uint32().Draw(t, "mark"), IIF: "lo"})
		value := rapid.StringMatching(`[a-z0-9 ~#:'"{\[&*!|>%@-]{0,6}x|[0-9]{1,5}`).Draw(t, "value")
		if n.Sysctls == nil {
			n.Sysctls = map[string]string{}
		}
		n.Sysctls[fmt.Sprintf("net.core.x%d", i)] = value
	}
	return n
}

// TestWriteParse checks that reading what Write made gives the Node back.
func TestWriteParse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := drawNode(t)
		text, err := Write(n, nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Parse("f", text)
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		again, err := Write(got, nil)
		if err != nil || string(again) != string(text) {
			t.Fatalf("%v; written again:\n%s\nfirst:\n%s", err, again, text)
		}
		if want := clean(n); !got.Equal(want) {
			t.Fatalf("got %+v\nwant %+v\n%s", got, want, text)
		}
	})
}

// clean makes empty sections absent, as Parse has them.
func clean(n *Node) *Node {
	c := *n
	if len(c.Bonds) == 0 {
		c.Bonds = nil
	}
	if len(c.VLANs) == 0 {
		c.VLANs = nil
	}
	if len(c.Networks) == 0 {
		c.Networks = nil
	}
	if len(c.Links) == 0 {
		c.Links = nil
	}
	return &c
}

// FuzzParse checks that no file brings Parse down, that mistakes have their place, and that a file that is right is
// still the same after Write.
func FuzzParse(f *testing.F) {
	archives, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(archives) == 0 {
		f.Fatal(archives, err)
	}
	for _, file := range archives {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for _, one := range txtar.Parse(data).Files {
			if strings.HasSuffix(one.Name, ".yaml") {
				f.Add(one.Data)
			}
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		n, err := Parse("f", data)
		if err != nil {
			var errs Errors
			if !errors.As(err, &errs) || n != nil {
				t.Fatalf("Parse = %v, %T %v", n, err, err)
			}
			for i, e := range errs {
				if e.Line < 1 && len(data) <= maxFile || e.Msg == "" || i > 0 && e.Line < errs[i-1].Line {
					t.Errorf("mistake %d: %+v", i, e)
				}
			}
			return
		}
		text, err := Write(n, nil)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse("f", text)
		if err != nil || !again.Equal(n) {
			t.Fatalf("Write changes it: %v\n%s", err, text)
		}
		if _, err := CheckAgainst(n, func(string) bool { return true }); err != nil {
			t.Error(err)
		}
	})
}
