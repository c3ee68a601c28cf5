package webhook

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	answers     *prometheus.CounterVec
	duration    prometheus.Histogram
	redisErrors prometheus.Counter
	heartbeats  *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		answers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sluice_webhooks_total", Help: "Webhooks by what was answered.",
		}, []string{"answer"}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "sluice_webhook_duration_seconds", Help: "Time from a webhook's headers to its answer.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14),
		}),
		redisErrors: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sluice_webhook_redis_errors_total", Help: "Webhooks that the token index did not answer.",
		}),
		heartbeats: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sluice_heartbeats_total", Help: "Heartbeats of workers by what was answered.",
		}, []string{"answer"}),
	}
	for _, c := range []prometheus.Collector{m.answers, m.duration, m.redisErrors, m.heartbeats} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) answered(code string, since time.Time) {
	m.answers.WithLabelValues(code).Inc()
	m.duration.Observe(time.Since(since).Seconds())
}
