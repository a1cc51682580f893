// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// dumped are the commands whose output must be the same before and after.
var dumped = []string{
	"ip -o -d link show", "ip -o address show", "ip -4 rule show", "ip -6 rule show", "ip -4 route show table all", "ip -6 route show table all",
	"ip -4 neighbour show nud permanent", "ip -6 neighbour show nud permanent", "ip -4 neighbour show proxy", "ip -6 neighbour show proxy",
	"bridge fdb show", "bridge vlan show", "bridge mdb show", "tc qdisc show", "nft -j list ruleset", "ls /proc/sys/net/ipv4/conf", "ls /proc/sys/net/ipv6/neigh",
}

// dump lists what is in the kernel, a line an object, and the intents.
func (c *churn) dump() ([]string, error) {
	var all []string
	for _, command := range dumped {
		words := strings.Fields(command)
		var out bytes.Buffer
		cmd := exec.Command(words[0], words[1:]...)
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := inside(nodeNS, cmd.Start); err != nil {
			return nil, fmt.Errorf("%s: %w", command, err)
		}
		if err := cmd.Wait(); err != nil {
			return nil, fmt.Errorf("%s: %w: %s", command, err, &out)
		}
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		if words[0] == "nft" {
			var err error
			if lines, err = rules(out.Bytes()); err != nil {
				return nil, err
			}
		}
		for _, l := range lines {
			if l = steady(words[0], l); l != "" {
				all = append(all, command+": "+l)
			}
		}
	}
	intents, err := os.ReadDir(c.dir + "/run/nics")
	for _, f := range intents {
		all = append(all, "intent: "+f.Name())
	}
	return all, err
}

// steady takes out of a line what changes by itself; "" where all of it does: what a bridge learned.
func steady(program, line string) string {
	if program == "bridge" && strings.Contains(line, "lladdr") || program == "bridge" && !strings.Contains(line, "permanent") && !strings.Contains(line, "static") && strings.Count(line, ":") >= 5 {
		return ""
	}
	var kept []string
	words := strings.Fields(line)
	for i := 0; i < len(words); i++ {
		switch words[i] {
		case "expires", "hello_timer", "tcn_timer", "topology_change_timer", "gc_timer", "fdb_n_learned":
			i++
		default:
			kept = append(kept, words[i])
		}
	}
	return strings.Join(kept, " ")
}

// rules lists a ruleset a line an object: without handles and counts, and without the elements that packets bring.
func rules(text []byte) ([]string, error) {
	var listed struct{ Nftables []map[string]map[string]any }
	if err := json.Unmarshal(text, &listed); err != nil {
		return nil, fmt.Errorf("nft -j list ruleset: %w", err)
	}
	var lines []string
	for _, object := range listed.Nftables {
		for kind, o := range object {
			if kind == "metainfo" {
				continue
			}
			elements, _ := o["elem"].([]any)
			delete(o, "elem")
			line, err := json.Marshal(unnumbered(o))
			if err != nil {
				return nil, err
			}
			lines = append(lines, kind+" "+string(line))
			for _, e := range elements {
				text, err := json.Marshal(e)
				if err != nil {
					return nil, err
				}
				if !bytes.Contains(text, []byte(`"expires"`)) { // else a packet brought it
					lines = append(lines, fmt.Sprintf("element %v %v %v %s", o["family"], o["table"], o["name"], text))
				}
			}
		}
	}
	slices.Sort(lines)
	return lines, nil
}

// unnumbered returns a value without the handles and counts in it.
func unnumbered(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			if k == "handle" || k == "counter" {
				delete(v, k)
			} else {
				v[k] = unnumbered(v[k])
			}
		}
	case []any:
		for i := range v {
			v[i] = unnumbered(v[i])
		}
	}
	return v
}

// settleTime is how long the node has until nothing of the churned NICs is left.
const settleTime = time.Minute

// settled returns when weft says that nothing is left to do.
func (c *churn) settled(ctx context.Context) error {
	for began := time.Now(); ; pause(ctx, 100*time.Millisecond) {
		if _, err := c.run(ctx, "plan"); err == nil || time.Since(began) > settleTime || ctx.Err() != nil {
			return err
		}
	}
}

// clean fails if something of the churned NICs is left.
func (c *churn) clean(ctx context.Context, before []string) error {
	if err := c.settled(ctx); err != nil {
		return err
	}
	var differ error
	for began := time.Now(); ; pause(ctx, 500*time.Millisecond) {
		after, err := c.dump()
		if err != nil {
			return err
		}
		if differ = difference(before, after); differ == nil {
			c.say("nothing is left: plan is empty, and %d lines of ip, bridge, tc, nft and the intents are what they were before", len(after))
			break
		}
		if time.Since(began) > settleTime || ctx.Err() != nil {
			return differ
		}
	}
	code, text, err := c.agent.ask(ctx, http.MethodGet, "/v1/snapshot", nil)
	if err != nil || code != http.StatusOK {
		return errors.Join(err, fmt.Errorf("the snapshot: %d %.500s", code, text))
	}
	own, wanted, err := compare(text)
	if err == nil {
		c.say("snapshot: the %d objects of weft's that are there are the %d that a fresh compile wants", own, wanted)
	}
	return err
}

// difference is an error that names what is in one list only.
func difference(before, after []string) error {
	var lines []string
	for _, l := range after {
		if !slices.Contains(before, l) {
			lines = append(lines, "left: "+l)
		}
	}
	for _, l := range before {
		if !slices.Contains(after, l) {
			lines = append(lines, "gone: "+l)
		}
	}
	if len(lines) == 0 {
		return nil
	}
	return fmt.Errorf("the node is not what it was before:\n%s", strings.Join(lines, "\n"))
}
