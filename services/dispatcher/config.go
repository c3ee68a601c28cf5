package dispatcher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluiceflow/sluice/pkg/step"
	"github.com/sluiceflow/sluice/services/internal/bus"
)

// Config is what can be set about calls.
type Config struct {
	// EndpointConcurrency is how many calls to one host and port run at once.
	EndpointConcurrency int `env:"ENDPOINT_CONCURRENCY" envDefault:"64" help:"calls at once to one host and port"`
	// CallConcurrency is how many invocations one dispatcher holds at once:
	// running, waiting for a slot, or being reported.
	CallConcurrency int `env:"CALL_CONCURRENCY" envDefault:"1024" help:"invocations that one dispatcher holds at once"`
	// AllowPrivateEndpoints permits calls to loopback and private addresses.
	AllowPrivateEndpoints bool `env:"ALLOW_PRIVATE_ENDPOINTS" envDefault:"false" help:"whether endpoints on loopback and private addresses may be called"`
	// EndpointAllowHosts, where not empty, lists the only hosts that may be
	// called, as "host" or "*.domain".
	EndpointAllowHosts []string `env:"ENDPOINT_ALLOW_HOSTS" help:"the only hosts that may be called, as host or *.domain, with commas between; any by default"`
	// CallbackRetryFor is how old a callback may become that nobody takes.
	CallbackRetryFor time.Duration `env:"CALLBACK_RETRY_FOR" envDefault:"24h" help:"how long a callback is tried that nobody takes; then it is a dead letter"`
	// Delays between the tries of a callback; those of steps are the console's.
	RetryBackoffMS    int64  `env:"RETRY_BACKOFF_MS" envDefault:"1000" help:"milliseconds before the first retry"`
	RetryMaxBackoffMS int64  `env:"RETRY_MAX_BACKOFF_MS" envDefault:"60000" help:"longest delay before a retry, in milliseconds"`
	RetryBackoffType  string `env:"RETRY_BACKOFF_TYPE" envDefault:"exponential" help:"how the delay grows: fixed, linear or exponential"`
	// DrainTimeout is how long calls may go on once the dispatcher stops.
	DrainTimeout time.Duration `env:"DRAIN_TIMEOUT" envDefault:"8s" help:"how long what runs may go on once the process is told to stop"`
}

// Validate reports every value that cannot work.
func (c Config) Validate() error {
	var mistakes []error
	if c.EndpointConcurrency < 1 {
		mistakes = append(mistakes, fmt.Errorf("ENDPOINT_CONCURRENCY: %d is less than 1", c.EndpointConcurrency))
	}
	if c.CallConcurrency < 1 {
		mistakes = append(mistakes, fmt.Errorf("CALL_CONCURRENCY: %d is less than 1", c.CallConcurrency))
	}
	if c.CallbackRetryFor <= 0 {
		mistakes = append(mistakes, fmt.Errorf("CALLBACK_RETRY_FOR: %s is not more than 0", c.CallbackRetryFor))
	}
	mistakes = append(mistakes, c.validateBackoff())
	if c.DrainTimeout < 0 {
		mistakes = append(mistakes, fmt.Errorf("DRAIN_TIMEOUT: %s is negative", c.DrainTimeout))
	}
	return errors.Join(mistakes...)
}

// Credentials reads what a step's calls are signed and sent with; the step
// registry does.
type Credentials interface {
	// Credentials returns the signing secret, which may be empty, and the
	// headers of a step as it was at a revision. An error of kind
	// fault.NotFound means that they are gone.
	Credentials(ctx context.Context, stepID string, revision uint64) (secret string, headers map[string]string, err error)
}

// Parkings counts how often an invocation went back to its stream without a
// call; the token index does.
type Parkings interface {
	// Parked counts one more.
	Parked(ctx context.Context, key string) error
	// Parkings returns the count, and false where it is not known.
	Parkings(ctx context.Context, key string) (int, bool, error)
	// Ping reports whether it answers.
	Ping(ctx context.Context) error
}

// Progress knows what workers said of their progress; the token index does.
type Progress interface {
	// LastProgress returns what the last heartbeat of a token said, or nil where
	// there was none, or where a later attempt than the given one said it.
	LastProgress(ctx context.Context, tokenHash string, attempt uint32) (*step.Progress, error)
}

// Index is what the token index is to a dispatcher.
type Index interface {
	Parkings
	Progress
}

// Deps are what a dispatcher works with.
type Deps struct {
	// Bus is connected, and its streams and consumers exist.
	Bus      *bus.Bus
	Registry Credentials
	Index    Index
	Log      *slog.Logger
	// Metrics is where its figures are registered.
	Metrics prometheus.Registerer
	// Version is what User-Agent says; "dev" where it is empty.
	Version string
}
