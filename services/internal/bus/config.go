package bus

import (
	"errors"
	"fmt"

	"github.com/sluiceflow/sluice/pkg/subject"
	"github.com/sluiceflow/sluice/services/internal/durability"
)

// Config says where NATS is and how the streams are laid out. What is marked
// fixed cannot be changed once the streams exist; sizes and replicas are changed
// by [Bus.Apply].
type Config struct {
	NATSURL        string `env:"NATS_URL" envDefault:"nats://127.0.0.1:4222" help:"NATS servers, separated by commas"`
	NATSUser       string `env:"NATS_USER" help:"user on NATS; its inboxes are below _INBOX.<user>"`
	NATSPassword   string `env:"NATS_PASSWORD" secret:"true" help:"password of the user"`
	NATSCreds      string `env:"NATS_CREDS" help:"file with NATS credentials"`
	NATSCA         string `env:"NATS_CA" help:"file with the certificates that NATS is trusted by"`
	NATSMonitorURL string `env:"NATS_MONITOR_URL" help:"monitoring endpoints of all NATS servers, separated by commas, from which the promise of durability is read"`
	Namespace      string `env:"NAMESPACE" help:"prefix of streams, subjects and Redis keys (fixed)"`

	Partitions     int `env:"PARTITIONS" envDefault:"16" help:"parts that the flows are spread over (fixed)"`
	Shards         int `env:"SHARDS" envDefault:"1" help:"sets of streams that the partitions are spread over (fixed)"`
	StreamReplicas int `env:"STREAM_REPLICAS" envDefault:"1" help:"NATS servers that hold each stream (see sluice streams apply)"`

	MaxBodyBytes int `env:"MAX_BODY_BYTES" envDefault:"1048576" help:"largest body of a webhook, of a request or of an answer, in bytes"`

	CommandsMaxBytes    int64 `env:"COMMANDS_MAX_BYTES" envDefault:"1073741824" help:"size of each COMMANDS stream (see sluice streams apply)"`
	FlowsMaxBytes       int64 `env:"FLOWS_MAX_BYTES" envDefault:"8589934592" help:"size of each FLOWS stream (see sluice streams apply)"`
	InvocationsMaxBytes int64 `env:"INVOCATIONS_MAX_BYTES" envDefault:"1073741824" help:"size of each INVOCATIONS stream (see sluice streams apply)"`
	DeadMaxBytes        int64 `env:"DEAD_MAX_BYTES" envDefault:"268435456" help:"size of the DEAD stream (see sluice streams apply)"`
}

// Validate reports every setting that makes no sense.
func (c Config) Validate() error {
	var mistakes []error
	within := func(name string, value, least, most int64) {
		if value < least || value > most {
			mistakes = append(mistakes, fmt.Errorf("%s is %d, it must be from %d to %d", name, value, least, most))
		}
	}
	within("PARTITIONS", int64(c.Partitions), 1, 1024)
	within("SHARDS", int64(c.Shards), 1, int64(max(c.Partitions, 1)))
	within("STREAM_REPLICAS", int64(c.StreamReplicas), 1, 5)
	within("MAX_BODY_BYTES", int64(c.MaxBodyBytes), 1024, 8<<20)
	within("COMMANDS_MAX_BYTES", c.CommandsMaxBytes, 1<<20, 1<<50)
	within("FLOWS_MAX_BYTES", c.FlowsMaxBytes, 1<<20, 1<<50)
	within("INVOCATIONS_MAX_BYTES", c.InvocationsMaxBytes, 1<<20, 1<<50)
	within("DEAD_MAX_BYTES", c.DeadMaxBytes, 1<<20, 1<<50)
	if _, err := durability.ParseMonitors(c.NATSMonitorURL); err != nil {
		mistakes = append(mistakes, err)
	}
	if c.Namespace != "" && subject.Escape(c.Namespace) != c.Namespace {
		mistakes = append(mistakes, fmt.Errorf("NAMESPACE is %q, it may hold letters, digits, _ and -", c.Namespace))
	}
	if c.NATSUser != "" && subject.Escape(c.NATSUser) != c.NATSUser {
		mistakes = append(mistakes, fmt.Errorf("NATS_USER is %q, it may hold letters, digits, _ and -", c.NATSUser))
	}
	if (c.NATSUser == "") != (c.NATSPassword == "") {
		mistakes = append(mistakes, errors.New("NATS_USER and NATS_PASSWORD go together"))
	}
	return errors.Join(mistakes...)
}
