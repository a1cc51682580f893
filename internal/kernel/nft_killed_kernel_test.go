// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weft/internal/netstate"
	"weft/internal/nft"
)

// twoRulesets are two large rulesets that differ in chains, rules and every element.
func twoRulesets() (one, other []netstate.Object) {
	one, other = []netstate.Object{guardTable()}, []netstate.Object{}
	changed := guardTable()
	changed.Chains = append(changed.Chains, nft.Chain{Name: "more", Rules: []nft.Rule{{Exprs: []nft.Expr{"counter", "drop"}}}})
	changed.Chains[0].Rules = append(changed.Chains[0].Rules, nft.Rule{Exprs: []nft.Expr{"jump more"}})
	other = append(other, changed.Canonical())
	guest := func(i, mac int) nft.Element {
		return nft.Element{Family: nft.BridgeFamily, Table: nft.TableName, Set: "guests", Parts: []string{nft.IfName(fmt.Sprintf("tap%d", i)), fmt.Sprintf("aa:00:10:00:%02x:%02x", mac, i%256)}}
	}
	for i := range 600 {
		one, other = append(one, guest(i, 1)), append(other, guest(i, 2))
	}
	return one, other
}

// victim changes from the one ruleset to the other and back until it is killed. The namespace is its file descriptor 3, and 4 is
// closed when the first change was made.
func victim(t *testing.T) {
	one, other := twoRulesets()
	var change, back []nft.Change
	for i := range one {
		switch {
		case one[i].Key().Kind == netstate.KindTable:
			change, back = append(change, nft.Change{Old: one[i], New: other[i]}), append(back, nft.Change{Old: other[i], New: one[i]})
		default:
			change = append(change, nft.Change{Old: one[i]}, nft.Change{New: other[i]})
			back = append(back, nft.Change{Old: other[i]}, nft.Change{New: one[i]})
		}
	}
	at := one[1].Key()
	for {
		o, err := readNft(3, true)
		if err != nil {
			t.Fatal(err)
		}
		next := back
		if slices.ContainsFunc(o.elements, func(e nft.Element) bool { return e.Key() == at }) {
			next = change
		}
		if err := applyNft(3, next); err != nil {
			t.Fatal(err)
		}
		_ = unix.Close(4)
	}
}

// TestNftKilled ends processes with SIGKILL while they change a large ruleset: what nft lists is the old one or the new one, at
// any moment.
func TestNftKilled(t *testing.T) {
	if os.Getenv("WEFT_VICTIM") != "" {
		victim(t)
	}
	s := newNftSpace(t)
	one, other := twoRulesets()
	listing := func() string { // nft lists the elements of a set in no order
		words := strings.Fields(strings.ReplaceAll(s.list(guardTable()), ",", " "))
		slices.Sort(words)
		return strings.Join(words, " ")
	}
	s.apply(comes(other...)...)
	was := map[string]int{listing(): 0}
	var gone []nft.Change
	for _, o := range other {
		gone = append(gone, nft.Change{Old: o})
	}
	s.apply(gone...)
	s.apply(comes(one...)...)
	was[listing()] = 0
	look := func() {
		seen := listing()
		if _, ok := was[seen]; !ok {
			t.Fatalf("neither the old nor the new ruleset is there: %.3000s", seen)
		}
		was[seen]++
	}
	const victims = 20
	for i := range victims {
		begun, begins, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		fd, err := unix.Dup(s.fd)
		if err != nil {
			t.Fatal(err)
		}
		ns := os.NewFile(uintptr(fd), "namespace")
		p := exec.Command(os.Args[0], "-test.run=^TestNftKilled$")
		p.Env, p.ExtraFiles = append(os.Environ(), "WEFT_VICTIM=1"), []*os.File{ns, begins}
		var out strings.Builder
		p.Stdout = &out
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		_ = begins.Close()
		_, _ = begun.Read(make([]byte, 1)) // until it is closed
		kill := time.AfterFunc(time.Duration(11*i)*time.Millisecond, func() { _ = p.Process.Kill() })
		look() // while it goes on
		err = p.Wait()
		kill.Stop()
		_, _ = ns.Close(), begun.Close()
		if err == nil || err.Error() != "signal: killed" {
			t.Fatalf("the victim ended by itself: %v\n%s", err, out.String())
		}
		look()
	}
	for ruleset, times := range was {
		if times == 0 {
			t.Errorf("in %d processes this was never seen: %.300s", victims, ruleset)
		}
	}
	t.Logf("%d processes killed", victims)
}
