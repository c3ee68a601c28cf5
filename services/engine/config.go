package engine

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluiceflow/sluice/services/internal/bus"
	"github.com/sluiceflow/sluice/services/internal/keys"
	"github.com/sluiceflow/sluice/services/internal/plan"
	"github.com/sluiceflow/sluice/services/internal/registry"
	"github.com/sluiceflow/sluice/services/internal/script"
	"github.com/sluiceflow/sluice/services/internal/tokenindex"
)

// maxWorkItems is the most that MAX_WORK_ITEMS may be: a state with more of them
// has no place in memory.
const maxWorkItems = 1_000_000

// Config is what an engine can be told.
type Config struct {
	WebhookBaseURL   string        `env:"WEBHOOK_BASE_URL" envDefault:"http://127.0.0.1:8080" help:"where workers reach the gateway; the beginning of every webhook URL"`
	HistoryRetention time.Duration `env:"HISTORY_RETENTION" envDefault:"168h" help:"how long the history of an ended flow is kept"`
	FlowCacheSize    int           `env:"FLOW_CACHE_SIZE" envDefault:"10000" help:"flows that an engine keeps in memory"`
	FlowCacheBytes   int           `env:"FLOW_CACHE_BYTES" envDefault:"134217728" help:"what they may take together, by an estimate"`
	MemoCacheSize    int           `env:"MEMO_CACHE_SIZE" envDefault:"65536" help:"work items of memoizable steps whose success an engine keeps in memory"`
	MaxWorkItems     int           `env:"MAX_WORK_ITEMS" envDefault:"100000" help:"work items of one step; a step with more fails"`
	SweepInterval    time.Duration `env:"SWEEP_INTERVAL" envDefault:"10m" help:"pause between two looks for running flows whose timer was lost, and for children and parents that lost each other"`
	Scripts          script.Config
	Planning         plan.Settings
	DrainTimeout     time.Duration `env:"DRAIN_TIMEOUT" envDefault:"8s" help:"how long what has begun may go on after a shutdown was asked for"`
}

// Deps is what an engine works with.
type Deps struct {
	Bus *bus.Bus
	// Index is told what becomes of tokens where the gateway's own record would
	// answer wrongly. It is never waited for.
	Index *tokenindex.Index
	Keys  *keys.Keys
	// Registry has the steps that the flows of schedules are planned with.
	Registry *registry.Registry
	Log      *slog.Logger
	Metrics  prometheus.Registerer
	// Version is told to the other engines.
	Version string
}

// Validate reports every value that makes no sense.
func (c Config) Validate() error {
	var mistakes []error
	base, err := url.Parse(c.WebhookBaseURL)
	if err != nil || (base.Scheme != "http" && base.Scheme != "https") || base.Host == "" || base.RawQuery != "" || base.Fragment != "" {
		mistakes = append(mistakes, fmt.Errorf("WEBHOOK_BASE_URL is %q, it must be an absolute http or https URL without a query", c.WebhookBaseURL))
	}
	if c.HistoryRetention < time.Second {
		mistakes = append(mistakes, fmt.Errorf("HISTORY_RETENTION is %s, it must be at least 1s", c.HistoryRetention))
	}
	if c.FlowCacheSize < 1 {
		mistakes = append(mistakes, fmt.Errorf("FLOW_CACHE_SIZE is %d, it must be at least 1", c.FlowCacheSize))
	}
	if c.FlowCacheBytes < 1 {
		mistakes = append(mistakes, fmt.Errorf("FLOW_CACHE_BYTES is %d, it must be at least 1", c.FlowCacheBytes))
	}
	if c.MemoCacheSize < 1 {
		mistakes = append(mistakes, fmt.Errorf("MEMO_CACHE_SIZE is %d, it must be at least 1", c.MemoCacheSize))
	}
	if c.MaxWorkItems < 1 || c.MaxWorkItems > maxWorkItems {
		mistakes = append(mistakes, fmt.Errorf("MAX_WORK_ITEMS is %d, it must be 1 to %d", c.MaxWorkItems, maxWorkItems))
	}
	if c.SweepInterval < time.Second {
		mistakes = append(mistakes, fmt.Errorf("SWEEP_INTERVAL is %s, it must be at least 1s", c.SweepInterval))
	}
	mistakes = append(mistakes, c.Scripts.Validate(), c.Planning.Validate())
	return errors.Join(mistakes...)
}
