package engine

import (
	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	commands     *prometheus.CounterVec
	commits      prometheus.Counter
	conflicts    prometheus.Counter
	redeliveries prometheus.Counter
	broken       prometheus.Counter
	putBack      *prometheus.CounterVec
	latency      prometheus.Histogram
	folded       prometheus.Histogram
	backlog      *prometheus.GaugeVec
	partitions   prometheus.Gauge
	marksDropped prometheus.Counter
	unheard      prometheus.Counter
	timers       *prometheus.CounterVec
	scripts      *prometheus.HistogramVec
	planned      *prometheus.CounterVec
	memos        *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "sluice", Subsystem: "engine", Name: name, Help: help})
	}
	vector := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "sluice", Subsystem: "engine", Name: name, Help: help}, []string{label})
	}
	m := &metrics{
		commands:     vector("commands_total", "Commands by what became of them.", "verdict"),
		commits:      counter("commits_total", "Commits stored."),
		conflicts:    counter("conflicts_total", "Commits that somebody else was before."),
		redeliveries: counter("redeliveries_total", "Commands delivered more than once."),
		broken:       counter("broken_histories_total", "Histories that do not hang together."),
		putBack:      vector("put_back_total", "Commands put back for a moment, by reason.", "reason"),
		latency: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "sluice", Subsystem: "engine", Name: "commit_latency_seconds",
			Help:    "Time from a command's storing until its commit and effects are stored.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 16),
		}),
		folded: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "sluice", Subsystem: "engine", Name: "commands_per_batch",
			Help: "Commands handled together.", Buckets: prometheus.ExponentialBuckets(1, 2, 10),
		}),
		backlog: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: "sluice", Subsystem: "engine", Name: "backlog",
			Help: "Commands that wait, by partition.",
		}, []string{"partition"}),
		partitions: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: "sluice", Subsystem: "engine", Name: "partitions",
			Help: "Partitions that this engine works on.",
		}),
		marksDropped: counter("token_marks_dropped_total", "Writes to Redis dropped because it is slow or away."),
		unheard:      counter("heartbeats_unanswered_total", "Questions about silent workers that Redis did not answer; each is asked again."),
		timers:       vector("timers_total", "Durable timers by what was done.", "action"),
		planned:      vector("schedule_times_total", "Times of schedules by what became of them: started, failed, missed, skipped.", "outcome"),
		memos:        vector("memo_total", "Invocations of memoizable steps: recalled, or missed and made.", "result"),
		scripts: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "sluice", Subsystem: "engine", Name: "script_seconds",
			Help:    "Time that scripts and predicates took, the wait for their turn included, by language and whether they failed.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 4, 9),
		}, []string{"language", "failed"}),
	}
	for _, c := range []prometheus.Collector{
		m.commands, m.commits, m.conflicts, m.redeliveries, m.broken, m.putBack, m.latency, m.folded, m.backlog, m.partitions, m.marksDropped, m.unheard, m.timers, m.scripts, m.planned, m.memos,
	} {
		if err := reg.Register(c); err != nil {
			return nil, err //nolint:wrapcheck // it names the metric
		}
	}
	return m, nil
}
