// SPDX-License-Identifier: Apache-2.0

package libvirt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"weft/internal/spec"
)

// fakeNode keeps NICs in memory.
type fakeNode struct {
	nics []spec.NIC
	log  []string
	fail string // the tap that cannot be plugged in
	anew string // the tap that was made anew
}

func (f *fakeNode) Renewed(n spec.NIC) bool { return n.Name == f.anew }

func (f *fakeNode) Networks() map[string]*spec.Network { return networks }
func (f *fakeNode) NICs() ([]spec.NIC, error)          { return slices.Clone(f.nics), nil }

func (f *fakeNode) Plug(_ context.Context, n spec.NIC) error {
	if n.Name == f.fail {
		return fmt.Errorf("%s: no", n.Name)
	}
	f.log = append(f.log, fmt.Sprintf("plug %s %s prepared=%v", n.Name, n.Network, n.Prepared))
	f.nics = append(slices.DeleteFunc(f.nics, func(o spec.NIC) bool { return o.ID == n.ID }), n)
	return nil
}

func (f *fakeNode) Unplug(_ context.Context, id string) error {
	for _, n := range f.nics {
		if n.ID == id {
			f.log = append(f.log, "unplug "+n.Name)
		}
	}
	f.nics = slices.DeleteFunc(f.nics, func(o spec.NIC) bool { return o.ID == id })
	return nil
}

func TestHooks(t *testing.T) {
	t.Parallel()
	running := live(nics(public), ethernet+onBridge)
	// After the guest ended libvirt has taken the names that it chose out, and what was detached.
	ended := strings.ReplaceAll(live(nics(public), ethernet), "<target dev='vnet0'/>", "")
	foreign := live("", ethernet+onVirbr+user)
	type hook struct {
		op, xml string
		after   time.Duration // since the hook before
		err     string
	}
	for name, test := range map[string]struct {
		hooks []hook
		fail  string
		want  []string
	}{
		"a guest's life": {
			hooks: []hook{{op: "prepare", xml: "not read"}, {op: "start", xml: running}, {op: "started", xml: "not read"}, {op: "stopped", xml: ended}, {op: "release", xml: ended}},
			want:  []string{"plug vnet0 public prepared=false", "plug vnet1 lan prepared=false", "unplug vnet0", "unplug vnet1"},
		},
		"an arrival": {
			hooks: []hook{{op: "migrate", xml: ended}, {op: "prepare"}, {op: "start", xml: running, after: time.Minute}, {op: "stopped", xml: ended}, {op: "start", xml: running}},
			want:  []string{"plug vnet0 public prepared=true", "plug vnet1 lan prepared=true", "unplug vnet0", "unplug vnet1", "plug vnet0 public prepared=false", "plug vnet1 lan prepared=false"},
		},
		"an arrival that broke off": {
			hooks: []hook{{op: "migrate", xml: ended}, {op: "release", xml: ended}, {op: "start", xml: running}},
			want:  []string{"plug vnet0 public prepared=false", "plug vnet1 lan prepared=false"},
		},
		"an arrival that nothing came of": {
			hooks: []hook{{op: "migrate", xml: ended}, {op: "start", xml: running, after: arrival}},
			want:  []string{"plug vnet0 public prepared=false", "plug vnet1 lan prepared=false"},
		},
		"restored": {
			hooks: []hook{{op: "restore", xml: ended}, {op: "start", xml: running}},
			want:  []string{"plug vnet0 public prepared=false", "plug vnet1 lan prepared=false"},
		},
		"reconnect": {
			hooks: []hook{{op: "reconnect", xml: running}, {op: "reconnect", xml: running}},
			want:  []string{"plug vnet0 public prepared=false", "plug vnet1 lan prepared=false"},
		},
		"an interface is detached, another attached": {
			hooks: []hook{{op: "start", xml: live(nics(public), ethernet)}, {op: "update", xml: live("", onBridge)}, {op: "update", xml: live("", "")}},
			want:  []string{"plug vnet0 public prepared=false", "plug vnet1 lan prepared=false", "unplug vnet0", "unplug vnet1"},
		},
		"the metadata changes": {
			hooks: []hook{{op: "migrate", xml: ended}, {op: "start", xml: live(nics(public), ethernet)}, {op: "update", xml: strings.ReplaceAll(live(nics(public), ethernet), "192.0.2.5", "192.0.2.6")}, {op: "update", xml: "<domain/>", err: "uuid"}},
			want:  []string{"plug vnet0 public prepared=true", "plug vnet0 public prepared=true"},
		},
		"the second of two fails": {
			hooks: []hook{{op: "start", xml: running, err: "vnet1: no"}}, fail: "vnet1",
			want: []string{"plug vnet0 public prepared=false", "unplug vnet0"},
		},
		"not weft's":    {hooks: []hook{{op: "start", xml: foreign}, {op: "reconnect", xml: foreign}, {op: "stopped", xml: foreign}}},
		"unknown to it": {hooks: []hook{{op: "start", xml: live(nics(`<weft:nic mac="52:54:00:00:00:01" network="x"/>`), ethernet), err: `network "x"`}}},
		"no XML":        {hooks: []hook{{op: "start", err: "none on standard input"}, {op: "attach"}, {op: "later-versions"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			node := &fakeNode{fail: test.fail}
			now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
			h := Hook{Dir: t.TempDir() + "/libvirt", Open: func() (Node, error) { return node, nil }, Now: func() time.Time { return now }}
			for _, hook := range test.hooks {
				now = now.Add(hook.after)
				var err error
				if xml := strings.NewReader(hook.xml); hook.op == "update" {
					err = h.Update(t.Context(), xml)
				} else {
					err = h.Run(t.Context(), hook.op, xml)
				}
				if (err == nil) != (hook.err == "") || err != nil && !strings.Contains(err.Error(), hook.err) {
					t.Errorf("%s: error %v, want %q", hook.op, err, hook.err)
				}
			}
			if diff := cmp.Diff(test.want, node.log); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestBrokenNode: a node whose file has mistakes starts no guest that could be on its networks, and every other.
func TestBrokenNode(t *testing.T) {
	t.Parallel()
	mistake := errors.New("node.yaml:1:1: what?")
	for name, test := range map[string]struct {
		op, xml string
		refused bool
	}{
		"on a bridge":     {"start", live("", onBridge), true},
		"with metadata":   {"start", live(nics(public), ethernet), true},
		"without network": {"start", live("", ethernet+user), false},
		"an arrival":      {"migrate", live(nics(public), ethernet), false},
		"ends":            {"stopped", live(nics(public), ethernet), true},
	} {
		h := Hook{Dir: t.TempDir(), Open: func() (Node, error) { return nil, mistake }, Now: time.Now}
		if err := h.Run(t.Context(), test.op, strings.NewReader(test.xml)); (err != nil) != test.refused {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestMarksThatCannotBeKept(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := Hook{Dir: dir + "/file/x", Now: time.Now, Open: func() (Node, error) { return &fakeNode{}, nil }}
	if err := os.WriteFile(dir+"/file", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := h.Run(t.Context(), "migrate", strings.NewReader(live(nics(public), ethernet))); err == nil {
		t.Error("an arrival that nobody remembers is let in: its addresses would be claimed before it runs here")
	}
	h.Dir = dir
	if err := os.WriteFile(dir+"/"+guestUUID, []byte("soon"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := h.Run(t.Context(), "start", strings.NewReader(live(nics(public), ethernet))); err == nil {
		t.Error("a mark that says nothing is taken for one")
	}
}

// TestUpdateOfTapMadeAnew detaches and attaches an interface, which has the same name and addresses after that.
func TestUpdateOfTapMadeAnew(t *testing.T) {
	t.Parallel()
	node := &fakeNode{}
	h := &Hook{Dir: t.TempDir(), Now: time.Now, Open: func() (Node, error) { return node, nil }}
	for _, anew := range []string{"", "", "vnet0"} {
		node.anew = anew
		if err := h.Update(t.Context(), strings.NewReader(live(nics(public), ethernet))); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"plug vnet0 public prepared=false", "plug vnet0 public prepared=false"}
	if diff := cmp.Diff(want, node.log); diff != "" {
		t.Errorf("(-want +have):\n%s", diff)
	}
}
