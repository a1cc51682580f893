// SPDX-License-Identifier: Apache-2.0

package libvirt

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"weft/internal/spec"
)

// guestUUID is that of the domain that live prints.
const guestUUID = "c7a5fdbd-cdaf-9455-926a-d65c16db1809"

// live is a running domain as libvirt 9.0 gives it to the hook, shortened, with these interfaces and this metadata.
func live(metadata, interfaces string) string {
	return `<domain type='qemu' id='1'>
  <name>g1</name>
  <uuid>` + guestUUID + `</uuid>
  <metadata>
    <libosinfo:libosinfo xmlns:libosinfo="http://libosinfo.org/xmlns/libvirt/domain/1.0"><nics/></libosinfo:libosinfo>
    ` + metadata + `
  </metadata>
  <memory unit='KiB'>65536</memory>
  <devices>
    <disk type='file' device='disk'><source file='/x'/><target dev='vda' bus='virtio'/></disk>
    ` + interfaces + `
    <input type='mouse' bus='ps2'/>
  </devices>
</domain>
`
}

func nics(s string) string { return `<weft:nics xmlns:weft="urn:weft:1">` + s + `</weft:nics>` }

const (
	ethernet = `<interface type='ethernet'><mac address='52:54:00:00:00:01'/><target dev='vnet0'/><model type='virtio'/></interface>`
	onBridge = `<interface type='bridge'><mac address='52:54:00:00:00:02'/><source bridge='vlan992'/><target dev='vnet1'/></interface>`
	onVirbr  = `<interface type='network'><mac address='52:54:00:00:00:03'/><source network='default' portid='x' bridge='virbr0'/><target dev='vnet2'/></interface>`
	onAware  = `<interface type='bridge'><mac address='52:54:00:00:00:04'/><source bridge='br0'/>%s<target dev='vnet3'/></interface>`
	user     = `<interface type='user'><mac address='52:54:00:00:00:05'/></interface>`
	public   = `<weft:nic mac="52:54:00:00:00:01" network="public"><weft:ip>192.0.2.5</weft:ip><weft:ip> 2001:db8::5
</weft:ip><weft:prefix>2001:db8:5::/64</weft:prefix></weft:nic>`
)

// networks are the node's in these tests.
var networks = map[string]*spec.Network{
	"public": {Mode: spec.Routed, Uplink: "bond0", VLAN: 993},
	"lan":    {Mode: spec.Bridged, Uplink: "bond0", VLAN: 992},
	"red":    {Mode: spec.Bridged, Bridge: "br0", VLAN: 10},
	"blue":   {Mode: spec.Bridged, Bridge: "br0", VLAN: 20},
}

func TestNICs(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		xml  string
		want []string // NAME MAC NETWORK ADDRESSES PREFIXES
		err  string
	}{
		"ethernet with metadata":   {xml: live(nics(public), ethernet), want: []string{"vnet0 52:54:00:00:00:01 public [192.0.2.5 2001:db8::5] [2001:db8:5::/64]"}},
		"upper case":               {xml: live(nics(`<weft:nic mac="52:54:00:00:00:AA" network="lan"/>`), strings.ReplaceAll(ethernet, "00:01", "00:Aa")), want: []string{"vnet0 52:54:00:00:00:aa lan [] []"}},
		"ethernet without":         {xml: live("", ethernet)},
		"default namespace":        {xml: live(`<nics xmlns="urn:weft:1"><nic mac="52:54:00:00:00:01" network="lan"/></nics>`, ethernet), want: []string{"vnet0 52:54:00:00:00:01 lan [] []"}},
		"another namespace":        {xml: live(`<w:nics xmlns:w="urn:weft:2"><w:nic/></w:nics>`, ethernet)},
		"bridge without metadata":  {xml: live("", onBridge+onVirbr+user), want: []string{"vnet1 52:54:00:00:00:02 lan [] []"}},
		"libvirt's bridge network": {xml: live("", strings.ReplaceAll(onVirbr, "virbr0", "vlan992")), want: []string{"vnet2 52:54:00:00:00:03 lan [] []"}},
		"one of a shared bridge":   {xml: live(nics(`<weft:nic mac="52:54:00:00:00:04" network="blue"/>`), fmt.Sprintf(onAware, "")), want: []string{"vnet3 52:54:00:00:00:04 blue [] []"}},
		"shared bridge by VLAN":    {xml: live("", fmt.Sprintf(onAware, "<vlan><tag id='20'/></vlan>")), want: []string{"vnet3 52:54:00:00:00:04 blue [] []"}},
		"other VLAN":               {xml: live("", fmt.Sprintf(onAware, "<vlan><tag id='30'/></vlan>"))},
		"shared bridge":            {xml: live("", fmt.Sprintf(onAware, "")), err: "bridge br0 has the networks blue, red: name one in the domain's metadata"},
		"unknown network":          {xml: live(nics(`<weft:nic mac="52:54:00:00:00:01" network="pubilc"/>`), ethernet), err: `interface 52:54:00:00:00:01: network "pubilc" is not in the node file`},
		"unknown mac":              {xml: live(nics(public+`<weft:nic mac="52:54:00:00:00:0a" network="lan"/>`), ethernet), err: "mac 52:54:00:00:00:0a: no interface has it"},
		"mac twice in metadata":    {xml: live(nics(public+public), ethernet), err: "is there twice"},
		"mac of two interfaces":    {xml: live(nics(public), ethernet+ethernet), err: "two interfaces of g1 have it"},
		"routed on a bridge":       {xml: live(nics(`<weft:nic mac="52:54:00:00:00:02" network="public"/>`), onBridge), err: "is on bridge vlan992, and network public is not"},
		"a user's interface":       {xml: live(nics(`<weft:nic mac="52:54:00:00:00:05" network="lan"/>`), user), err: `is of type "user"`},
		"no tap":                   {xml: live(nics(public), strings.ReplaceAll(ethernet, "<target dev='vnet0'/>", "")), err: "has no tap"},
		"hostile tap name":         {xml: live(nics(public), strings.ReplaceAll(ethernet, "vnet0", "../x")), err: "../x"},
		"no address":               {xml: live(nics(`<weft:nic mac="52:54:00:00:00:01" network="lan"><weft:ip>1.2.3</weft:ip></weft:nic>`), ethernet), err: "1.2.3"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, err := ParseDomain(strings.NewReader(test.xml))
			if err != nil {
				t.Fatal(err)
			}
			nics, err := d.NICs(networks)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Fatalf("error %v, want one with %q", err, test.err)
				}
				return
			}
			var got []string
			for _, n := range nics {
				got = append(got, fmt.Sprint(n.Name, " ", n.MAC, " ", n.Network, " ", n.Addresses, " ", n.Prefixes))
				if want := uuid.NewSHA1(uuid.MustParse(guestUUID), []byte(n.MAC)).String(); n.ID != want || n.Instance != "g1" || n.Prepared {
					t.Errorf("nic %+v, want the ID %s", n, want)
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" || err != nil {
				t.Errorf("error %v (-want +got):\n%s", err, diff)
			}
		})
	}
}

func TestParseDomainRefuses(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ xml, err string }{
		"nothing":           {"", "none on standard input"},
		"no XML":            {"domain", "none on standard input"},
		"cut off":           {live("", ethernet)[:400], "unexpected EOF"},
		"a network":         {"<network><name>x</name></network>", "expected element type <domain>"},
		"no uuid":           {"<domain><name>x</name></domain>", `uuid ""`},
		"an entity":         {`<!DOCTYPE d [<!ENTITY a "b">]><domain><name>&a;</name></domain>`, "invalid character entity"},
		"too long":          {"<domain><name>" + strings.Repeat("x", maxXML) + "</name></domain>", "more than 8388608 bytes"},
		"too deep":          {strings.Repeat("<domain>", 20_000), "unexpected EOF"},
		"a word of ours":    {live(nics("<weft:nick/>"), ""), "<nics> has <nick>"},
		"no mac":            {live(nics(`<weft:nic network="lan"/>`), ""), "a <nic> has no mac"},
		"no network":        {live(nics(`<weft:nic mac="1"/>`), ""), `<nic mac="1"> has no network`},
		"unknown element":   {live(nics(`<weft:nic mac="1" network="x"><weft:addr/></weft:nic>`), ""), "<addr>: only <ip> and <prefix>"},
		"unknown attribute": {live(nics(`<weft:nic mac="1" network="x" vlan="3"/>`), ""), "vlan=: only mac and network"},
	} {
		if _, err := ParseDomain(strings.NewReader(test.xml)); err == nil || !strings.Contains(err.Error(), test.err) {
			t.Errorf("%s: error %v, want one with %q", name, err, test.err)
		}
	}
}

func FuzzDomain(f *testing.F) {
	f.Add(live(nics(public), ethernet+onBridge+onVirbr+user))
	f.Add(live("", fmt.Sprintf(onAware, "<vlan><tag id='20'/></vlan>")))
	f.Add(`<domain><uuid>` + guestUUID + `</uuid><metadata><nics xmlns="urn:weft:1"><nic mac="" network=""/></nics></metadata></domain>`)
	f.Fuzz(func(t *testing.T, text string) {
		d, err := ParseDomain(strings.NewReader(text))
		if err != nil {
			return
		}
		nics, err := d.NICs(networks)
		if err != nil {
			return
		}
		for _, n := range nics {
			if _, err := spec.ParseNIC(n.ID, n.Name, n.MAC, n.Network, nil, nil); err != nil || networks[n.Network] == nil {
				t.Errorf("%+v from\n%s\n%v", n, text, err)
			}
		}
	})
}
