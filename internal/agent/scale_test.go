// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
)

// TestRulesDoNotGrow attaches 1,000 NICs and takes them away: there are as many rules and chains as for one, and at the end
// nothing of them is left.
func TestRulesDoNotGrow(t *testing.T) {
	needKernel(t)
	t.Run("routed", func(t *testing.T) { rulesDoNotGrow(t, bigFile(0), "public") })
	t.Run("bridged", func(t *testing.T) { rulesDoNotGrow(t, bigFile(1), "t0") })
}

func rulesDoNotGrow(t *testing.T, file, network string) {
	const count = 1000
	n, _ := open(t, namespace(t, "weft-scale", count), t.TempDir())
	n.Spec = parse(t, file)
	must(t, n.Apply(t.Context()))
	none := shape(t, "weft-scale")
	nics := bigNICs(count)
	for i := range nics {
		nics[i].Network = network
	}
	must(t, n.Plug(t.Context(), nics[0]))
	one := shape(t, "weft-scale")
	if one.elements == none.elements {
		t.Errorf("a NIC brought no element")
	}
	for _, c := range nics[1:] {
		must(t, n.Store.Put(c))
	}
	must(t, n.Apply(t.Context()))
	all := shape(t, "weft-scale")
	if all.fixed != one.fixed || all.fixed != none.fixed {
		t.Errorf("rules and chains: %+v without a NIC, %+v with one, %+v with %d", none.fixed, one.fixed, all.fixed, count)
	}
	if got, want := all.elements-none.elements, count*(one.elements-none.elements); got != want {
		t.Errorf("%d NICs brought %d elements, want %d", count, got, want)
	}
	t.Logf("with 1 and with %d NICs: %+v; %d and %d elements", count, one.fixed, one.elements, all.elements)
	for _, c := range nics {
		must(t, n.Store.Delete(c.ID))
	}
	must(t, n.Apply(t.Context()))
	if left := shape(t, "weft-scale"); left != none {
		t.Errorf("after the last NIC went: %+v, want %+v", left, none)
	}
}

// fixed is what must not grow with the NICs.
type fixed struct{ ipRules, nftRules, chains int }

// ruleset is the shape of a node's rules: what is fixed, and how many elements there are.
type ruleset struct {
	fixed
	elements int
}

// shape counts what the real tools list in a namespace.
func shape(t *testing.T, ns string) (r ruleset) {
	t.Helper()
	list := func(args ...string) string {
		out, err := exec.Command("ip", args...).Output()
		if err != nil {
			t.Fatalf("ip %s: %v", strings.Join(args, " "), err)
		}
		return string(out)
	}
	for _, family := range []string{"-4", "-6"} {
		r.ipRules += strings.Count(list("-n", ns, family, "rule", "show"), "\n")
	}
	var listed struct {
		Objects []struct {
			Rule, Chain *struct{}
			Set, Map    *struct{ Elem []json.RawMessage }
		} `json:"nftables"`
	}
	text := list("netns", "exec", ns, "nft", "-j", "list", "ruleset")
	if err := json.Unmarshal([]byte(text), &listed); err != nil {
		t.Fatalf("nft -j list ruleset: %v\n%s", err, text)
	}
	for _, o := range listed.Objects {
		switch {
		case o.Rule != nil:
			r.nftRules++
		case o.Chain != nil:
			r.chains++
		case o.Set != nil:
			r.elements += len(o.Set.Elem)
		case o.Map != nil:
			r.elements += len(o.Map.Elem)
		}
	}
	if r.ipRules == 0 || r.nftRules == 0 || r.chains == 0 {
		t.Fatalf("nothing is listed: %+v\n%s", r, text)
	}
	return r
}
