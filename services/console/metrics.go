package console

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	requests *prometheus.CounterVec
	latency  *prometheus.HistogramVec
	lag      *prometheus.GaugeVec
	dead     prometheus.Gauge
	waiting  prometheus.Gauge
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sluice_console_requests_total", Help: "Requests to the control API by route and answer.",
		}, []string{"method", "route", "status"}),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "sluice_console_request_seconds", Help: "How long requests to the control API took.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"method", "route"}),
		lag: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "sluice_console_index_lag_commits", Help: "Commits that the index of flows has yet to take in.",
		}, []string{"stream"}),
		dead: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "sluice_console_dead_letters", Help: "Dead letters that DEAD holds.",
		}),
		waiting: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "sluice_console_waiting_requests", Help: "Requests that wait for the end of a flow (wait_ms).",
		}),
	}
	for _, c := range []prometheus.Collector{m.requests, m.latency, m.lag, m.dead, m.waiting} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return m, nil
}
