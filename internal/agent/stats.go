// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"weft/internal/plan"
	"weft/internal/spec"
)

// Stats counts what a loop does, and says what it saw last.
type Stats struct {
	registry *prometheus.Registry // small, also as a file
	each     *prometheus.Registry // of each NIC, and of the process

	rounds, failures, departures, claimed, released, conflicts, announced, lost, fought prometheus.Counter

	repairs     *prometheus.CounterVec
	hurt        *prometheus.CounterVec
	took, plans prometheus.Histogram

	mu     sync.Mutex // of what the last round saw:
	gauges []prometheus.Metric
	nics   []spec.NIC     // whose taps are there
	hurts  map[string]int // by name; nil for never looked
}

// NewStats returns counters that stand at zero.
func NewStats() *Stats {
	s := &Stats{registry: prometheus.NewRegistry(), each: prometheus.NewRegistry()}
	for _, c := range []struct {
		to         *prometheus.Counter
		name, help string
	}{
		{&s.rounds, "rounds_total", "Rounds that ended with nothing left to do."},
		{&s.failures, "failures_total", "Rounds that failed."},
		{&s.departures, "departures_total", "NICs forgotten because their tap is gone."},
		{&s.claimed, "claims_total", "NICs claimed because their guest showed that it runs here."},
		{&s.released, "releases_total", "NICs released because another node announced their address and their guest is silent."},
		{&s.conflicts, "address_conflicts_total", "Times that somebody else claimed the address of a guest that lives here."},
		{&s.announced, "announcements_total", "Addresses announced."},
		{&s.fought, "fights_total", "Objects whose repair somebody began to undo again and again."},
		{&s.lost, "frames_unheard_total", "Times that frames came faster than they were read."},
	} {
		*c.to = prometheus.NewCounter(prometheus.CounterOpts{Namespace: "weft", Subsystem: "agent", Name: c.name, Help: c.help})
		s.registry.MustRegister(*c.to)
	}
	s.repairs = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "weft", Subsystem: "agent", Name: "repairs_total", Help: "Operations applied to make the node what its file and its NICs say, by kind of object.",
	}, []string{"kind"})
	s.hurt = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "weft", Subsystem: "agent", Name: "hurts_total", Help: "Times that something of others began to hurt the node's networks, by name, also where it was mended at once.",
	}, []string{"name"})
	for _, name := range hurtNames {
		s.hurt.WithLabelValues(name)
	}
	s.took = prometheus.NewHistogram(prometheus.HistogramOpts{
		Namespace: "weft", Subsystem: "agent", Name: "round_seconds", Help: "How long a round takes: look, plan, and apply what is left to do.",
		Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
	})
	s.plans = prometheus.NewHistogram(prometheus.HistogramOpts{
		Namespace: "weft", Subsystem: "agent", Name: "plan_operations", Help: "Operations of the plans that were not empty.",
		Buckets: []float64{1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000},
	})
	s.registry.MustRegister(s.repairs, s.hurt, s.took, s.plans, (*viewCollector)(s))
	s.each.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})) // node_exporter has its own
	return s
}

// repaired counts an operation.
func (s *Stats) repaired(op plan.Op) {
	s.repairs.WithLabelValues(op.Changes[0].Key().Kind.String()).Inc()
}

// round counts a round that took so long and applied so many operations; v is the node after it, nil where nothing was seen.
func (s *Stats) round(took time.Duration, ops int, v *View) {
	s.took.Observe(took.Seconds())
	if ops > 0 {
		s.plans.Observe(float64(ops))
	}
	if v != nil {
		gauges, nics := gaugesOf(v), slices.DeleteFunc(slices.Clone(v.NICs), func(c spec.NIC) bool { return v.Absent[c.ID] })
		s.mu.Lock()
		s.gauges, s.nics = gauges, nics
		s.mu.Unlock()
	}
}

// hurting takes note of what hurts at the moment.
func (s *Stats) hurting(all []Hurt) {
	count := map[string]int{}
	for _, h := range all {
		count[h.Name]++
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hurts = count
}

// sore returns how many hurts there were of each name, nil where nobody has looked.
func (s *Stats) sore() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hurts
}

// last returns what the last round saw.
func (s *Stats) last() ([]prometheus.Metric, []spec.NIC) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gauges, s.nics
}

var dropped = prometheus.NewDesc("weft_dropped_packets_total", "Packets that the guards have dropped, by reason.", []string{"reason"}, nil)

// dropCollector reads the guards' counters whenever the metrics are written.
type dropCollector func() ([]Drop, error)

func (dropCollector) Describe(ch chan<- *prometheus.Desc) { ch <- dropped }

func (read dropCollector) Collect(ch chan<- prometheus.Metric) {
	drops, err := read()
	if err != nil {
		ch <- prometheus.NewInvalidMetric(dropped, err)
	}
	for _, d := range drops {
		ch <- prometheus.MustNewConstMetric(dropped, prometheus.CounterValue, float64(d.Packets), d.Reason)
	}
}

// Count adds to the metrics what is counted outside of the loop: what the guards of a node drop, and what its NICs carry.
func (s *Stats) Count(ctx context.Context, n *Node) {
	s.registry.MustRegister(dropCollector(func() ([]Drop, error) { return n.Drops(ctx) }))
	if t, ok := n.Target.(carrying); ok {
		s.each.MustRegister(&trafficCollector{s, func() (traffic, error) { return t.Traffic(ctx) }})
	}
}

// Handler answers with all metrics in Prometheus' text format.
func (s *Stats) Handler() http.Handler {
	return promhttp.HandlerFor(prometheus.Gatherers{s.registry, s.each}, promhttp.HandlerOpts{})
}

// Write writes the metrics, but for those of each NIC, as a text file for Prometheus' node_exporter (its textfile collector).
func (s *Stats) Write(file string) error {
	if err := prometheus.WriteToTextfile(file, s.registry); err != nil {
		return fmt.Errorf("write the metrics: %w", err)
	}
	return nil
}
