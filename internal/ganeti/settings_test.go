// SPDX-License-Identifier: Apache-2.0

package ganeti

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseSettings(t *testing.T) {
	s := ParseSettings(`# settings
MAC_MASK=ff:ff:ff:00:00:00
  export IP_LESS_ROUTED_TAG="routed" # a comment
DNS_TAG='na'me
IFUP_EXTRA_SCRIPT=$DIR/extra
NFDHCPD_TAG="$(id)"
BRIDGED_TAG=` + "`id`" + `
MASQ_TAG=a; reboot
MAC_FILTERED_TAG="open
. /etc/default/other
TTL=
`)
	if s.MACMask != "ff:ff:ff:00:00:00" || s.IPLessRoutedTag != "routed" || s.DNSTag != "name" || !s.Present {
		t.Errorf("%+v", s)
	}
	d := defaults()
	if s.IfupExtra != d.IfupExtra || s.NFDHCPDTag != d.NFDHCPDTag || s.BridgedTag != d.BridgedTag || s.MasqTag != d.MasqTag || s.MACFilteredTag != d.MACFilteredTag {
		t.Errorf("something was executed or guessed: %+v", s)
	}
	var lines []int
	for _, a := range s.ignore {
		lines = append(lines, a.Line)
	}
	if diff := cmp.Diff([]int{5, 6, 7, 8, 9, 10}, lines); diff != "" {
		t.Errorf("lines that are not understood: %s", diff)
	}
}

func TestReadSettings(t *testing.T) {
	file := filepath.Join(t.TempDir(), "gnt-networking")
	if s, err := ReadSettings(file); err != nil || s.Present || s.TapMAC != "cc:47:52:4e:45:54" {
		t.Errorf("no file: %+v, %v", s, err)
	}
	if err := os.WriteFile(file, []byte("TAP_CONSTANT_MAC=CC:47:52:4E:45:54\nSERVICENAME=ganetimgr\nWHAT=1\nLOGFILE=/var/log/x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := ReadSettings(file)
	if err != nil || s.TapMAC != defaults().TapMAC {
		t.Fatalf("%+v, %v", s, err)
	}
	want := []Remark{
		{1, `TAP_CONSTANT_MAC="CC:47:52:4E:45:54": the same on weft's nodes`, false},
		{2, `SERVICENAME="ganetimgr": not supported: the functions of /etc/ganeti/gnt-networking/ganetimgr are not called`, true},
		{3, `WHAT="1": not known`, true},
		{4, `LOGFILE="/var/log/x": not needed: the system log has it, under weft`, false},
	}
	if diff := cmp.Diff(want, s.Remarks()); diff != "" {
		t.Error(diff)
	}
}

// FuzzSettings: a settings file never makes more than it says.
func FuzzSettings(f *testing.F) {
	f.Add("MAC_MASK=ff:ff:f0:00:00:00\nDNS_TAG=\"a b\" # x\n")
	f.Add("A='\nB=\"$x\"\nexport C=d\n=\n")
	f.Fuzz(func(t *testing.T, text string) {
		s := ParseSettings(text)
		for _, r := range s.Remarks() {
			if r.Line < 1 || len(r.Text) > 600 {
				t.Fatalf("%+v", r)
			}
		}
	})
}
