// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// weftBinary is the weft program that nodes run: the one that the test runner built, or one built here.
func weftBinary(t *testing.T) string {
	t.Helper()
	if bin := os.Getenv("WEFT_TEST_BINARY"); bin != "" {
		return bin
	}
	bin := filepath.Join(t.TempDir(), "weft")
	cmd := exec.Command("go", "build", "-o", bin, "weft/cmd/weft")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building weft: %v\n%s", err, out)
	}
	return bin
}

// needKernel skips a test where nobody asked for a real kernel. The kernel lane asks, and there nothing is skipped.
func needKernel(t *testing.T) {
	t.Helper()
	if !strings.Contains(os.Getenv("WEFT_TEST_REQUIRE"), "kernel") {
		t.Skip("needs root and a kernel with bonding, 8021q and VRF: make kernel")
	}
}

// shard reads which shard (from 0 on) of how many this process is: the test runner has the scenarios played in several VMs at once.
func shard() (k, n int) {
	if _, err := fmt.Sscanf(os.Getenv("WEFT_TEST_SHARD"), "%d/%d", &k, &n); err != nil {
		return 0, 1
	}
	return k - 1, n
}

// TestMain leaves the tests that are not scenarios to the first shard.
func TestMain(m *testing.M) {
	flag.Parse()
	if k, _ := shard(); k > 0 && flag.Lookup("test.run").Value.String() == "" {
		if err := flag.Set("test.run", "^TestScenarios$"); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

func TestScenarios(t *testing.T) {
	needKernel(t)
	files, err := Scenarios([]string{"../../lab"})
	if err != nil {
		t.Fatal(err)
	}
	opt := Options{Prefix: PrefixTest, Weft: weftBinary(t), Cache: CacheDir("")}
	k, n := shard()
	for i, file := range files {
		if i%n != k {
			continue
		}
		t.Run(scenarioName(file), func(t *testing.T) {
			res, err := RunScenario(t.Context(), opt, file, t.TempDir(), false)
			if err != nil {
				t.Fatal(err)
			}
			if res.Err == nil {
				return
			}
			t.Errorf("%v\n%s", res.Err, res.Log)
			if state, err := os.ReadFile(res.Dump); err == nil {
				t.Logf("%s", state)
			}
		})
	}
}

func TestScenarioVerdicts(t *testing.T) {
	needKernel(t)
	// A weft whose second plan is never empty, and one whose plan always is.
	dir := t.TempDir()
	program := func(name, planExit string) string {
		path := filepath.Join(dir, name)
		text := "#!/bin/sh\ncase \"$*\" in *plan*) exit " + planExit + ";; esac\n"
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	tests := []struct {
		name, weft, script, wantErr string
	}{
		{"passes", program("converged", "0"), "weft hv1 apply\nin rt ping -c 1 -W 5 203.0.113.80\n", ""},
		{"command-fails", program("converged", "0"), "in rt false\n", "exit code 1"},
		{"not-failing", program("converged", "0"), "! in rt true\n", "should fail"},
		{"wrong-code", program("converged", "0"), "exits 2 weft hv1 plan\n", "exit code 0, want 2"},
		{"no-machine", program("converged", "0"), "in nowhere true\n", `no machine "nowhere"`},
		{"too-late", program("converged", "0"), "within 1s in rt false\n", "still exit code 1"},
		{"skips", program("converged", "0"), "skip 'not today'\n", "must not skip"},
		{"not-converged", program("restless", "2"), "weft hv1 apply\n", "a second weft plan on hv1 is not empty"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), test.name+".txtar")
			if err := os.WriteFile(file, []byte(test.script), 0o644); err != nil {
				t.Fatal(err)
			}
			res, err := RunScenario(t.Context(), Options{Prefix: PrefixTest, Weft: test.weft}, file, t.TempDir(), false)
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case test.wantErr == "" && res.Err != nil:
				t.Errorf("%v\n%s", res.Err, res.Log)
			case test.wantErr != "" && (res.Err == nil || !strings.Contains(res.Err.Error(), test.wantErr)):
				t.Errorf("error %v, want one with %q\n%s", res.Err, test.wantErr, res.Log)
			}
			if left, err := namespaces(PrefixTest); err != nil || len(left) > 0 {
				t.Errorf("namespaces %v left (%v)", left, err)
			}
			if (res.Err != nil) != (res.Dump != "") {
				t.Errorf("error %v, but the state is in %q", res.Err, res.Dump)
			}
		})
	}
}

// A lab that was killed leaves its namespaces; the next one removes them, and keeps off a running one's.
func TestLeftoverAndLock(t *testing.T) {
	needKernel(t)
	opt := Options{Prefix: PrefixTest, Weft: "/bin/true"}
	first, err := New(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(t.Context(), opt); err == nil || !strings.Contains(err.Error(), "is running") {
		t.Errorf("a second lab beside a running one: %v", err)
	}
	if err := first.AddGuest(t.Context(), "g9", "hv1", "tap9", "aa:00:00:00:00:09"); err != nil {
		t.Fatal(err)
	}
	if err := first.Leave(); err != nil { // as a kill does: the lock goes, the rest stays
		t.Fatal(err)
	}
	second, err := New(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	if second.has("g9") {
		t.Error("the guest of the killed lab is still there")
	}
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	if left, err := namespaces(PrefixTest); err != nil || len(left) > 0 {
		t.Errorf("namespaces %v left (%v)", left, err)
	}
}
