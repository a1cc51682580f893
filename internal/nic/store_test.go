// SPDX-License-Identifier: Apache-2.0

package nic

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"weft/internal/spec"
)

func TestStore(t *testing.T) {
	s := Store{Dir: filepath.Join(t.TempDir(), "run")}
	if got, err := s.List(); err != nil || len(got) != 0 {
		t.Fatalf("list of nothing: %v, %v", got, err)
	}
	b := spec.NIC{ID: "b", Name: "tap1", MAC: "aa:00:00:00:00:01", Network: "public", Addresses: []netip.Addr{netip.MustParseAddr("2001:db8::1")}}
	a := spec.NIC{ID: "a", Name: "tap0", IfIndex: 7, MAC: "aa:00:00:00:00:00", Network: "public"}
	for _, n := range []spec.NIC{b, a} {
		if err := s.Put(n); err != nil {
			t.Fatal(err)
		}
	}
	a.Network = "tenants"
	if err := s.Put(a); err != nil {
		t.Fatal(err)
	}
	got, err := s.List()
	if err != nil {
		t.Fatal(err)
	}
	cmpAddr := cmp.Comparer(func(x, y netip.Addr) bool { return x == y })
	if diff := cmp.Diff([]spec.NIC{a, b}, got, cmpAddr); diff != "" {
		t.Error(diff)
	}
	for range 2 { // the second finds nothing, and that is fine
		if err := s.Delete("a"); err != nil {
			t.Fatal(err)
		}
	}
	if got, _ := s.List(); len(got) != 1 || got[0].ID != "b" {
		t.Errorf("after delete: %v", got)
	}
}

// TestListWhileOthersGo: those who only look have no lock. A NIC that goes meanwhile must not fail them: a VM would not start
// because another stopped.
func TestListWhileOthersGo(t *testing.T) {
	s := Store{Dir: t.TempDir()}
	stays := spec.NIC{ID: "stays", Name: "tap0"}
	if err := s.Put(stays); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("gone", s.file("goes")); err != nil { // in the folder, and not there when it is read
		t.Fatal(err)
	}
	if got, err := s.List(); err != nil || len(got) != 1 || got[0].ID != "stays" {
		t.Errorf("%v, %v", got, err)
	}
}

func TestStoreRefuses(t *testing.T) {
	s := Store{Dir: t.TempDir()}
	for _, id := range []string{"", "../x", ".hidden", "a/b"} {
		if err := s.Put(spec.NIC{ID: id, Name: "tap0"}); err == nil {
			t.Errorf("put with id %q: no error", id)
		}
	}
	if err := s.Put(spec.NIC{ID: "a", Name: "tap0"}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.file("broken"), []byte(`{"id":"bro`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.List(); err == nil || !strings.Contains(err.Error(), "broken.json") {
		t.Errorf("list with a broken file: %v", err)
	}
}

func TestLockIsExclusive(t *testing.T) {
	s := Store{Dir: t.TempDir()}
	unlock, err := s.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Lock(ctx); err == nil {
		t.Fatal("a second lock was given while the first was held")
	}
	unlock()
	unlock, err = s.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	unlock()
}
