package plan

import (
	"errors"
	"fmt"
	"time"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
)

// Settings are what installations say for what definitions leave out. Whoever
// plans flows has them: consoles, and engines for the flows of schedules.
type Settings struct {
	RetryMaxRetries   int32  `env:"RETRY_MAX_RETRIES" envDefault:"10" help:"retries of a step without work_config; -1 is no limit"`
	RetryBackoffMS    int64  `env:"RETRY_BACKOFF_MS" envDefault:"1000" help:"milliseconds before the first retry"`
	RetryMaxBackoffMS int64  `env:"RETRY_MAX_BACKOFF_MS" envDefault:"60000" help:"longest delay before a retry, in milliseconds"`
	RetryBackoffType  string `env:"RETRY_BACKOFF_TYPE" envDefault:"exponential" help:"how the delay grows: fixed, linear or exponential"`
	StepTimeoutMS     int64  `env:"STEP_TIMEOUT_MS" envDefault:"30000" help:"milliseconds that the HTTP call of a step may take"`
	AttemptTimeoutMS  int64  `env:"ATTEMPT_TIMEOUT_MS" envDefault:"86400000" help:"milliseconds until an attempt must have its completion; -1 is no limit"`
}

// MaxTimeoutMS is ten years: what is longer is a mistake, and would not fit into a
// time.
const MaxTimeoutMS = int64(10*365*24) * int64(time.Hour/time.Millisecond)

// Validate reports every value that makes no sense.
func (s Settings) Validate() error {
	var mistakes []error
	within := func(name string, value, least, most int64) {
		if value < least || value > most {
			mistakes = append(mistakes, fmt.Errorf("%s is %d, and must be from %d to %d", name, value, least, most))
		}
	}
	if _, err := s.Defaults(); err != nil {
		mistakes = append(mistakes, err)
	}
	within("RETRY_MAX_RETRIES", int64(s.RetryMaxRetries), -1, 1_000_000)
	within("RETRY_BACKOFF_MS", s.RetryBackoffMS, 0, MaxTimeoutMS)
	within("RETRY_MAX_BACKOFF_MS", s.RetryMaxBackoffMS, s.RetryBackoffMS, MaxTimeoutMS)
	within("STEP_TIMEOUT_MS", s.StepTimeoutMS, 1, MaxTimeoutMS)
	if s.AttemptTimeoutMS != -1 {
		within("ATTEMPT_TIMEOUT_MS", s.AttemptTimeoutMS, 1, MaxTimeoutMS)
	}
	return errors.Join(mistakes...)
}

// Defaults are the settings as planning takes them.
func (s Settings) Defaults() (Defaults, error) {
	backoff, ok := map[string]sluicev1.BackoffType{
		"fixed":       sluicev1.BackoffType_BACKOFF_TYPE_FIXED,
		"linear":      sluicev1.BackoffType_BACKOFF_TYPE_LINEAR,
		"exponential": sluicev1.BackoffType_BACKOFF_TYPE_EXPONENTIAL,
	}[s.RetryBackoffType]
	if !ok {
		return Defaults{}, fmt.Errorf("RETRY_BACKOFF_TYPE is %q, and must be fixed, linear or exponential", s.RetryBackoffType)
	}
	return Defaults{
		MaxRetries:       s.RetryMaxRetries,
		BackoffMS:        s.RetryBackoffMS,
		MaxBackoffMS:     s.RetryMaxBackoffMS,
		BackoffType:      backoff,
		StepTimeoutMS:    s.StepTimeoutMS,
		AttemptTimeoutMS: s.AttemptTimeoutMS,
	}, nil
}
