package dispatcher

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/sluiceflow/sluice/services/dispatcher/internal/answer"
)

type metrics struct {
	calls        map[answer.Class]prometheus.Counter
	duration     prometheus.Histogram
	latency      prometheus.Histogram
	held         prometheus.Gauge
	parked       prometheus.Counter
	redeliveries prometheus.Counter
	expired      prometheus.Counter
	callbacks    *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	factory := promauto.With(reg)
	calls := factory.NewCounterVec(prometheus.CounterOpts{
		Name: "sluice_calls_total", Help: "Calls to endpoints, by what the answer came to.",
	}, []string{"class"})
	m := &metrics{
		calls: map[answer.Class]prometheus.Counter{},
		duration: factory.NewHistogram(prometheus.HistogramOpts{
			Name: "sluice_call_duration_seconds", Help: "How long calls to endpoints took.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300},
		}),
		latency: factory.NewHistogram(prometheus.HistogramOpts{
			Name: "sluice_invocation_delivery_seconds", Help: "From when an invocation was stored until its call began.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 3600},
		}),
		held: factory.NewGauge(prometheus.GaugeOpts{
			Name: "sluice_calls_held", Help: "Invocations held: running, waiting for a slot, or being reported.",
		}),
		parked: factory.NewCounter(prometheus.CounterOpts{
			Name: "sluice_calls_parked_total", Help: "Invocations put back into their stream because their endpoint had no slot.",
		}),
		redeliveries: factory.NewCounter(prometheus.CounterOpts{
			Name: "sluice_invocation_redeliveries_total", Help: "Invocations that had been delivered before, parked ones included.",
		}),
		expired: factory.NewCounter(prometheus.CounterOpts{
			Name: "sluice_invocations_expired_total", Help: "Invocations dropped because their attempt had timed out.",
		}),
		callbacks: factory.NewCounterVec(prometheus.CounterOpts{
			Name: "sluice_callbacks_total", Help: "Callbacks by what became of them: taken, again (to be tried again) or dead.",
		}, []string{"result"}),
	}
	for _, class := range []answer.Class{answer.Accepted, answer.Succeeded, answer.Failed, answer.NotCompleted} {
		m.calls[class] = calls.WithLabelValues(string(class))
	}
	return m
}

// began notes how long an invocation took to come here.
func (m *metrics) began(c *call, now time.Time) {
	m.latency.Observe(max(0, now.Sub(time.Unix(0, c.place.storedNS)).Seconds()))
}
