package serve

import (
	"errors"
	"fmt"
	"time"

	"github.com/sluiceflow/sluice/pkg/token"
	"github.com/sluiceflow/sluice/services/internal/bus"
	"github.com/sluiceflow/sluice/services/internal/telemetry"
	"github.com/sluiceflow/sluice/services/internal/tokenindex"
)

// Config is what every role is told.
type Config struct {
	Listen       string        `env:"LISTEN_ADDR" help:"address to listen on"`
	DrainTimeout time.Duration `env:"DRAIN_TIMEOUT" envDefault:"8s" help:"how long what runs may go on once the process is told to stop"`
	Telemetry    telemetry.Config
	Bus          bus.Config
}

// Validate reports every value that cannot work.
func (c Config) Validate() error {
	if c.DrainTimeout <= 0 {
		return fmt.Errorf("DRAIN_TIMEOUT: %s is not more than 0", c.DrainTimeout)
	}
	return nil // the parts are asked for themselves
}

// Keys are the keys that sign tokens, where they are configured.
type Keys struct {
	Text string `env:"TOKEN_KEYS" secret:"true" help:"keys that sign and check tokens, as id:base64,...; the first signs; by default the engines share keys of their own"`
}

// Validate refuses keys that cannot be read.
func (k Keys) Validate() error {
	if k.Text == "" {
		return nil
	}
	if _, err := token.ParseRing(k.Text); err != nil {
		return fmt.Errorf("TOKEN_KEYS: %w", err)
	}
	return nil
}

// Redis is where the token index is.
type Redis struct {
	tokenindex.Config
}

// Validate refuses what the index would refuse.
func (r Redis) Validate() error {
	index, err := tokenindex.Open(r.Config, "")
	if err != nil {
		return errors.Unwrap(err)
	}
	return index.Close()
}
