// SPDX-License-Identifier: Apache-2.0

package ifupdown

import (
	"bytes"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/rogpeppe/go-internal/txtar"

	"weft/internal/spec"
)

// inputs returns the inputs of all cases that ifupdown takes, by name.
func inputs(t *testing.T) map[string]fstest.MapFS {
	t.Helper()
	names, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]fstest.MapFS)
	for _, name := range names {
		archive, err := txtar.ParseFile(name)
		if err != nil {
			t.Fatal(err)
		}
		fsys, _ := split2(archive)
		if _, err := Read(fsys, "/etc/network/interfaces"); err == nil {
			all[strings.TrimSuffix(filepath.Base(name), ".txtar")] = fsys
		}
	}
	if len(all) < 25 {
		t.Fatalf("only %d cases", len(all))
	}
	return all
}

// with returns the files with one line of one of them replaced.
func with(fsys fstest.MapFS, file string, line int, text string) fstest.MapFS {
	changed := maps.Clone(fsys)
	lines := strings.Split(string(fsys[file].Data), "\n")
	lines[line] = text
	changed[file] = &fstest.MapFile{Data: []byte(strings.Join(lines, "\n")), Mode: 0o644}
	return changed
}

// optionLines yields every line of an iface stanza: its file, its number from 0, and its text.
func optionLines(t *testing.T, fsys fstest.MapFS, yield func(file string, line int, o Option)) {
	t.Helper()
	config, err := Read(fsys, "/etc/network/interfaces")
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[Pos]bool)
	for _, s := range config.Ifaces {
		for _, o := range s.Options {
			if !seen[o.Pos] {
				seen[o.Pos] = true
				yield(strings.TrimPrefix(o.File, "/"), o.Line-1, o)
			}
		}
	}
}

// TestUnknownIsNamed puts a line that nothing knows in the place of every option of every case, and wants it named.
func TestUnknownIsNamed(t *testing.T) {
	lines := 0
	for name, fsys := range inputs(t) {
		optionLines(t, fsys, func(file string, line int, o Option) {
			if strings.HasSuffix(o.Text, `\`) || strings.Contains(strings.Split(string(fsys[file].Data), "\n")[line], `\`) {
				return // the rest of it would be a line of its own
			}
			for _, text := range []string{"frobnicate 7", "up frobnicate $IFACE", "pre-down ip frob add dev eth0"} {
				lines++
				config, err := Read(with(fsys, file, line, "  "+text), "/etc/network/interfaces")
				if err != nil {
					t.Fatalf("%s: %s: %v", name, text, err)
				}
				_, notes := Import(config, nil)
				named := func(n Note) bool { return n.Pos == o.Pos && n.Text == text && !n.Remark && n.Reason != "" }
				if !slices.ContainsFunc(notes, named) {
					t.Errorf("%s: %q in the place of %s: %q is not named", name, text, o.Pos, o.Text)
				}
			}
		})
	}
	if lines < 1000 {
		t.Errorf("only %d lines tried", lines)
	}
}

// saysNothing are the lines of the cases that may be taken away without a trace in the node file or the notes: what weft
// does anyway, what another line says too, what has its default, and what undoes. Everything else has to leave one.
var saysNothing = regexp.MustCompile(`^(` + strings.Join([]string{
	// how ifup works, not what the network is
	`network .*`, `dad-attempts [1-9]`, `bridge_maxwait .*`, `bridge_waitport .*`, `up true`, `up ifup .*`, `pre-up modprobe .*`,
	`(up|pre-up) ip link set \S+ up`,
	// what follows from the rest anyway
	`broadcast .*`, `scope global`, `bond-use-carrier (1|yes)`, `bond_lacp_rate slow`, `vrf-default-route yes`,
	`bridge[_-]stp off`, `up echo 0 > \S+/multicast_snooping`,
	`bridge[_-]fd [02]`,                     // 0 is weft's; on the bridge of a network it is
	`bridge_bridgeprio 4096`,                // without spanning tree
	`bond-slaves none`,                      // the members name the bond
	`vlan[-_]raw[-_]device (br0|eth0)`,      // the name says it
	`ip-(forwarding|proxy-arp|proxy-ndp) 1`, // a routed network brings them along
	`up echo 1 > /proc/sys/net/ipv[46]/conf/eth0.500/(proxy_arp|forwarding|proxy_ndp)`,
	// what another line of the case says too
	`bond-mode active-backup`, `bond-miimon 100`, `bond-primary eth0 eth1`, `mtu 9000`, `bridge_ports none`,
	// what undoes
	`(down|pre-down|post-down) .*`,
}, `|`) + `)$`)

// TestNothingIsDropped takes every option line of every case away, one at a time, and wants that to make a difference:
// a line that makes none was dropped, unless it is known to say nothing.
func TestNothingIsDropped(t *testing.T) {
	traced, untraced := 0, 0
	for name, fsys := range inputs(t) {
		before := imported(t, fsys)
		optionLines(t, fsys, func(file string, line int, o Option) {
			if strings.Contains(strings.Split(string(fsys[file].Data), "\n")[line], `\`) {
				return
			}
			after := imported(t, with(fsys, file, line, "#"))
			if !maps.Equal(before, after) {
				traced++
				return
			}
			untraced++
			if !saysNothing.MatchString(o.Text) {
				t.Errorf("%s: %s: %q left no trace", name, o.Pos, o.Text)
			}
		})
	}
	if traced < 3*untraced {
		t.Errorf("%d lines left a trace and %d none", traced, untraced)
	}
	t.Logf("%d lines left a trace, %d say nothing", traced, untraced)
}

// FuzzImport reads and translates anything: no panic, nothing unnamed, and twice the same. Every option of the input is
// in the node file's text or in a note, or known to need no word, by construction; here the accounting itself is
// checked: an unknown option that follows any input that ifupdown takes is named.
func FuzzImport(f *testing.F) {
	names, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range names {
		archive, err := txtar.ParseFile(name)
		if err != nil {
			f.Fatal(err)
		}
		fsys, _ := split2(archive)
		var sub []byte
		for file, data := range fsys {
			if strings.Contains(file, "interfaces.d/") {
				sub = data.Data
			}
		}
		f.Add(fsys["etc/network/interfaces"].Data, sub)
	}
	f.Fuzz(func(t *testing.T, data, sub []byte) {
		fsys := fstest.MapFS{
			"etc/network/interfaces":       {Data: data},
			"etc/network/interfaces.d/sub": {Data: sub},
			"etc/network/interfaces.d/z":   {Data: []byte("iface z9 inet manual\n  frobnicate 7\n")},
		}
		fsys["etc/network/main"] = &fstest.MapFile{Data: []byte("source interfaces\nsource interfaces.d/z\n")}
		config, err := Read(fsys, "/etc/network/main")
		if err != nil {
			return
		}
		node, notes := Import(config, map[string]uint32{"public": 993})
		text, err := spec.Write(node, nil)
		if err != nil {
			t.Fatal(err)
		}
		z9 := func(n Note) bool { return n.Text == "frobnicate 7" && !n.Remark }
		if !slices.ContainsFunc(notes, z9) {
			t.Errorf("the unknown option of z9 is not named: %v", notes)
		}
		again, more := Import(config, map[string]uint32{"public": 993})
		text2, err := spec.Write(again, nil)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(text, text2) || !slices.Equal(notes, more) {
			t.Errorf("a second time it is\n%s%v\nnot\n%s%v", text2, more, text, notes)
		}
	})
}
