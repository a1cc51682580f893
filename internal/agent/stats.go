// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"fmt"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Stats counts what a loop does.
type Stats struct {
	registry *prometheus.Registry

	rounds, failures, repairs, departures, claimed, released, conflicts, announced, lost prometheus.Counter
}

// NewStats returns counters that stand at zero.
func NewStats() *Stats {
	s := &Stats{registry: prometheus.NewRegistry()}
	for _, c := range []struct {
		to         *prometheus.Counter
		name, help string
	}{
		{&s.rounds, "rounds_total", "Rounds that ended with nothing left to do."},
		{&s.failures, "failures_total", "Rounds that failed."},
		{&s.repairs, "repairs_total", "Operations applied to make the node what its file and its NICs say."},
		{&s.departures, "departures_total", "NICs forgotten because their tap is gone."},
		{&s.claimed, "claims_total", "NICs claimed because their guest showed that it runs here."},
		{&s.released, "releases_total", "NICs released because another node announced their address and their guest is silent."},
		{&s.conflicts, "address_conflicts_total", "Times that somebody else claimed the address of a guest that lives here."},
		{&s.announced, "announcements_total", "Addresses announced."},
		{&s.lost, "frames_unheard_total", "Times that frames came faster than they were read."},
	} {
		*c.to = prometheus.NewCounter(prometheus.CounterOpts{Namespace: "weft", Subsystem: "agent", Name: c.name, Help: c.help})
		s.registry.MustRegister(*c.to)
	}
	return s
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

// CountDrops adds what the guards of a node drop to the metrics.
func (s *Stats) CountDrops(ctx context.Context, n *Node) {
	s.registry.MustRegister(dropCollector(func() ([]Drop, error) { return n.Drops(ctx) }))
}

// Handler answers with the counters in Prometheus' text format.
func (s *Stats) Handler() http.Handler {
	return promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{})
}

// Write writes the counters as a text file for Prometheus' node_exporter (its textfile collector).
func (s *Stats) Write(file string) error {
	if err := prometheus.WriteToTextfile(file, s.registry); err != nil {
		return fmt.Errorf("write the metrics: %w", err)
	}
	return nil
}
