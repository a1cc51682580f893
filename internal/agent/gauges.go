// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"weft/internal/netstate"
)

var (
	linkUp      = prometheus.NewDesc("weft_link_up", "1 where a link of weft's, but for taps, is up and has carrier.", []string{"dev", "kind"}, nil)
	bondMembers = prometheus.NewDesc("weft_bond_members", "Members of a bond: all, and those that carry traffic (MII up; of 802.3ad in the active aggregator).", []string{"bond", "state"}, nil)
	bondPartner = prometheus.NewDesc("weft_bond_lacp_partner", "1 where an 802.3ad bond has a partner that speaks LACP.", []string{"bond"}, nil)
	nicsBy      = prometheus.NewDesc("weft_nics", "NICs that are plugged in, by network.", []string{"network", "state"}, nil)
	hurtsNow    = prometheus.NewDesc("weft_hurts", "Things of others that hurt the node's networks at the moment, by name.", []string{"name"}, nil)
	converged   = prometheus.NewDesc("weft_converged", "1 where nothing was left to do after the last round.", nil, nil)
)

// viewCollector says how the node was when the last round looked.
type viewCollector Stats

// Describe names the gauges.
func (*viewCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{linkUp, bondMembers, bondPartner, nicsBy, hurtsNow, converged} {
		ch <- d
	}
}

// Collect tells them.
func (c *viewCollector) Collect(ch chan<- prometheus.Metric) {
	gauges, _ := (*Stats)(c).last()
	for _, m := range gauges {
		ch <- m
	}
	if sore := (*Stats)(c).sore(); sore != nil {
		for _, name := range hurtNames {
			ch <- prometheus.MustNewConstMetric(hurtsNow, prometheus.GaugeValue, float64(sore[name]), name)
		}
	}
}

// gaugesOf reads from a view what is told of it. The view itself is not kept: with a thousand NICs it takes some 50 MiB.
func gaugesOf(v *View) (all []prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		all = append(all, prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...))
	}
	gauge(converged, one(v.Plan.Empty() && v.Conflict == nil && v.Missing == nil))
	for l := range netstate.Of[netstate.Link](v.Have) {
		if !l.Owned() || l.IsTap() {
			continue
		}
		gauge(linkUp, one(l.IsUp() && l.Status != nil && l.Status.Carrier), l.Name, l.Kind)
		if l.Kind == netstate.Bond {
			all, carry := members(v.Have, l)
			gauge(bondMembers, all, l.Name, "all")
			gauge(bondMembers, carry, l.Name, "carrying")
			if b := l.Status; b != nil && b.Bond != nil && b.Bond.AggregatorID != 0 {
				gauge(bondPartner, one(b.Bond.PartnerMAC != "" && b.Bond.PartnerMAC != "00:00:00:00:00:00"), l.Name)
			}
		}
	}
	type key struct{ network, state string }
	count := map[key]float64{}
	for _, n := range v.NICs {
		k := key{n.Network, "up"}
		switch l := v.Have.Link(n.Name); {
		case v.Absent[n.ID]:
			k.state = "absent"
		case n.Prepared:
			k.state = "prepared"
		case l == nil || !l.IsUp():
			k.state = "down"
		}
		count[k]++
	}
	for k, n := range count {
		gauge(nicsBy, n, k.network, k.state)
	}
	return all
}

func one(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// members counts the members of a bond, and those that carry its traffic.
func members(have *netstate.State, bond netstate.Link) (all, carry float64) {
	aggregator := uint16(0)
	if s := bond.Status; s != nil && s.Bond != nil {
		aggregator = s.Bond.AggregatorID
	}
	for _, l := range have.Above(bond.Name) {
		if l.MasterName() != bond.Name || l.Status == nil || l.Status.Member == nil {
			continue
		}
		all++
		if m := l.Status.Member; m.MII == "up" && (aggregator == 0 || m.AggregatorID == aggregator) {
			carry++
		}
	}
	return all, carry
}

type traffic = map[string]netstate.Traffic

// carrying is a Target whose links count.
type carrying interface {
	Traffic(ctx context.Context) (map[string]netstate.Traffic, error)
}

var nicLabels = []string{"tap", "network", "instance", "nic"}

var (
	nicBytes   = prometheus.NewDesc("weft_nic_bytes_total", "Bytes that a guest has received (in) and sent (out).", append(nicLabels, "direction"), nil)
	nicPackets = prometheus.NewDesc("weft_nic_packets_total", "Packets that a guest has received (in) and sent (out).", append(nicLabels, "direction"), nil)
	nicDropped = prometheus.NewDesc("weft_nic_tap_dropped_total", "Packets for (in) and of (out) a guest that its tap has dropped: the guest does not read, or its rate is used up.", append(nicLabels, "direction"), nil)
)

// trafficCollector reads the taps' counters whenever somebody asks.
type trafficCollector struct {
	stats *Stats
	read  func() (traffic, error)
}

// Describe names the counters.
func (*trafficCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{nicBytes, nicPackets, nicDropped} {
		ch <- d
	}
}

// Collect reads them. What a tap receives its guest has sent.
func (c *trafficCollector) Collect(ch chan<- prometheus.Metric) {
	_, nics := c.stats.last()
	all, err := c.read()
	if err != nil {
		ch <- prometheus.NewInvalidMetric(nicBytes, err)
		return
	}
	for _, n := range nics {
		t, there := all[n.Name]
		if !there {
			continue
		}
		for _, m := range []struct {
			desc    *prometheus.Desc
			in, out uint64
		}{{nicBytes, t.TxBytes, t.RxBytes}, {nicPackets, t.TxPackets, t.RxPackets}, {nicDropped, t.TxDropped, t.RxDropped}} {
			ch <- prometheus.MustNewConstMetric(m.desc, prometheus.CounterValue, float64(m.in), n.Name, n.Network, n.Instance, n.ID, "in")
			ch <- prometheus.MustNewConstMetric(m.desc, prometheus.CounterValue, float64(m.out), n.Name, n.Network, n.Instance, n.ID, "out")
		}
	}
}
