package console

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/console/internal/access"
	"github.com/sluiceflow/sluice/services/internal/plan"
	"github.com/sluiceflow/sluice/services/internal/script"
)

// Config is what the console can be told.
type Config struct {
	APIKeys               string `env:"API_KEYS" secret:"true" help:"who may use the control API: name:role:key,... with role read, operate or admin"`
	PublicConsole         bool   `env:"PUBLIC_CONSOLE" envDefault:"false" help:"let a console without API keys listen on other than loopback"`
	ConsoleBaseURL        string `env:"CONSOLE_BASE_URL" help:"absolute URL of the console in the links of approvals; by default the address that the reader came by"`
	DataDir               string `env:"DATA_DIR" envDefault:"data" help:"folder of the index, which can be deleted at any time"`
	AllowPrivateEndpoints bool   `env:"ALLOW_PRIVATE_ENDPOINTS" envDefault:"false" help:"ask health checks at private and loopback addresses too"`
	// EndpointAllowHosts are the only hosts whose health checks are asked; empty
	// means any.
	EndpointAllowHosts []string `env:"ENDPOINT_ALLOW_HOSTS" help:"the only hosts whose health checks are asked, as host or *.domain, with commas between; any by default"`

	RetryMaxRetries   int32  `env:"RETRY_MAX_RETRIES" envDefault:"10" help:"retries of a step without work_config; -1 is no limit"`
	RetryBackoffMS    int64  `env:"RETRY_BACKOFF_MS" envDefault:"1000" help:"milliseconds before the first retry"`
	RetryMaxBackoffMS int64  `env:"RETRY_MAX_BACKOFF_MS" envDefault:"60000" help:"longest delay before a retry, in milliseconds"`
	RetryBackoffType  string `env:"RETRY_BACKOFF_TYPE" envDefault:"exponential" help:"how the delay grows: fixed, linear or exponential"`
	StepTimeoutMS     int64  `env:"STEP_TIMEOUT_MS" envDefault:"30000" help:"milliseconds that the HTTP call of a step may take"`
	AttemptTimeoutMS  int64  `env:"ATTEMPT_TIMEOUT_MS" envDefault:"86400000" help:"milliseconds until an attempt must have its completion; -1 is no limit"`

	WaitConcurrency int `env:"WAIT_CONCURRENCY" envDefault:"4096" help:"requests that wait for the end of a flow at once (wait_ms)"`
	Scripts         script.Config

	MaxGoals  int `env:"MAX_GOALS" envDefault:"64" help:"goals of one flow"`
	MaxInit   int `env:"MAX_INIT_VALUES" envDefault:"128" help:"init values of one flow"`
	MaxLabels int `env:"MAX_LABELS" envDefault:"32" help:"labels of one flow"`
}

// maxTimeoutMS is ten years: what is longer is a mistake, and would not fit
// into a time.
const maxTimeoutMS = int64(10*365*24) * int64(time.Hour/time.Millisecond)

// Validate reports every value that makes no sense.
func (c Config) Validate() error {
	var mistakes []error
	within := func(name string, value, least, most int64) {
		if value < least || value > most {
			mistakes = append(mistakes, fmt.Errorf("%s is %d, and must be from %d to %d", name, value, least, most))
		}
	}
	if _, err := access.Parse(c.APIKeys); err != nil {
		mistakes = append(mistakes, fmt.Errorf("API_KEYS: %w", err))
	}
	if err := checkBase(c.ConsoleBaseURL); err != nil {
		mistakes = append(mistakes, err)
	}
	if c.DataDir == "" {
		mistakes = append(mistakes, errors.New("DATA_DIR must name a folder"))
	}
	if _, err := c.defaults(); err != nil {
		mistakes = append(mistakes, err)
	}
	within("RETRY_MAX_RETRIES", int64(c.RetryMaxRetries), -1, 1_000_000)
	within("RETRY_BACKOFF_MS", c.RetryBackoffMS, 0, maxTimeoutMS)
	within("RETRY_MAX_BACKOFF_MS", c.RetryMaxBackoffMS, c.RetryBackoffMS, maxTimeoutMS)
	within("STEP_TIMEOUT_MS", c.StepTimeoutMS, 1, maxTimeoutMS)
	if c.AttemptTimeoutMS != -1 {
		within("ATTEMPT_TIMEOUT_MS", c.AttemptTimeoutMS, 1, maxTimeoutMS)
	}
	within("WAIT_CONCURRENCY", int64(c.WaitConcurrency), 1, 1_000_000)
	mistakes = append(mistakes, c.Scripts.Validate())
	within("MAX_GOALS", int64(c.MaxGoals), 1, 10_000)
	within("MAX_INIT_VALUES", int64(c.MaxInit), 1, 100_000)
	within("MAX_LABELS", int64(c.MaxLabels), 1, 1_000)
	return errors.Join(mistakes...)
}

// checkBase says why a text is no base of URLs. It may be absent.
func checkBase(text string) error {
	if text == "" {
		return nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return errors.New("CONSOLE_BASE_URL must be an absolute http or https URL")
	}
	return nil
}

// CheckListen refuses an address that others can reach when there are no API
// keys, unless that was asked for in so many words.
func (c Config) CheckListen(addr string) error {
	keys, err := access.Parse(c.APIKeys)
	if err != nil {
		return fmt.Errorf("API_KEYS: %w", err)
	}
	if keys.Any() || c.PublicConsole {
		return nil
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("LISTEN_ADDR %q: %w", addr, err)
	}
	if !access.IsLoopback(host) {
		return fmt.Errorf("without API_KEYS the console listens on loopback only, and %s is not: "+
			"set API_KEYS, or LISTEN_ADDR to 127.0.0.1:<port>, or PUBLIC_CONSOLE=true to let everybody in", addr)
	}
	return nil
}

func (c Config) defaults() (plan.Defaults, error) {
	backoff, ok := map[string]sluicev1.BackoffType{
		"fixed":       sluicev1.BackoffType_BACKOFF_TYPE_FIXED,
		"linear":      sluicev1.BackoffType_BACKOFF_TYPE_LINEAR,
		"exponential": sluicev1.BackoffType_BACKOFF_TYPE_EXPONENTIAL,
	}[c.RetryBackoffType]
	if !ok {
		return plan.Defaults{}, fmt.Errorf("RETRY_BACKOFF_TYPE is %q, and must be fixed, linear or exponential", c.RetryBackoffType)
	}
	return plan.Defaults{
		MaxRetries:       c.RetryMaxRetries,
		BackoffMS:        c.RetryBackoffMS,
		MaxBackoffMS:     c.RetryMaxBackoffMS,
		BackoffType:      backoff,
		StepTimeoutMS:    c.StepTimeoutMS,
		AttemptTimeoutMS: c.AttemptTimeoutMS,
	}, nil
}
