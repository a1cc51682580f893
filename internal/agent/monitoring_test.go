// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"weft/internal/kernel"
)

// TestMonitoringAsksForWhatThereIs: the dashboard and the alert rules name metrics that an agent has.
func TestMonitoringAsksForWhatThereIs(t *testing.T) {
	s := NewStats()
	s.Count(context.Background(), &Node{Target: &kernel.Host{}})
	there := map[string]bool{}
	descs := make(chan *prometheus.Desc)
	go func() {
		s.registry.Describe(descs)
		s.each.Describe(descs)
		close(descs)
	}()
	for d := range descs {
		name := regexp.MustCompile(`fqName: "([^"]+)"`).FindStringSubmatch(d.String())[1]
		there[name] = true
	}
	for _, file := range []string{"alerts.yml", "dashboard.json"} {
		text, err := os.ReadFile("../../docs/monitoring/" + file)
		if err != nil {
			t.Fatal(err)
		}
		names := regexp.MustCompile(`\bweft_[a-z_]+`).FindAllString(string(text), -1)
		if len(names) < 10 {
			t.Errorf("%s names only %d metrics", file, len(names))
		}
		for _, name := range names {
			if !there[strings.TrimSuffix(name, "_bucket")] {
				t.Errorf("%s asks for %s, which there is not", file, name)
			}
		}
	}
}
