package bus

import (
	"github.com/sluiceflow/sluice/pkg/subject"
)

// Config says where NATS is and how the streams are laid out. What is marked
// fixed cannot be changed once the streams exist.
type Config struct {
	NATSURL        string `env:"NATS_URL" envDefault:"nats://127.0.0.1:4222" help:"NATS servers, separated by commas"`
	NATSCreds      string `env:"NATS_CREDS" help:"file with NATS credentials"`
	NATSCA         string `env:"NATS_CA" help:"file with the certificates that NATS is trusted by"`
	NATSMonitorURL string `env:"NATS_MONITOR_URL" help:"monitoring endpoint of a NATS server, from which the durability promise is read"`
	Namespace      string `env:"NAMESPACE" help:"prefix of streams, subjects and Redis keys (fixed)"`

	Partitions     int `env:"PARTITIONS" envDefault:"16" help:"parts that the flows are spread over (fixed)"`
	Shards         int `env:"SHARDS" envDefault:"1" help:"sets of streams that the partitions are spread over (fixed)"`
	StreamReplicas int `env:"STREAM_REPLICAS" envDefault:"1" help:"NATS servers that hold each stream (fixed)"`

	MaxBodyBytes int `env:"MAX_BODY_BYTES" envDefault:"1048576" help:"largest body of a webhook, of a request or of an answer, in bytes"`

	CommandsMaxBytes    int64 `env:"COMMANDS_MAX_BYTES" envDefault:"1073741824" help:"size of each COMMANDS stream (fixed)"`
	FlowsMaxBytes       int64 `env:"FLOWS_MAX_BYTES" envDefault:"8589934592" help:"size of each FLOWS stream (fixed)"`
	InvocationsMaxBytes int64 `env:"INVOCATIONS_MAX_BYTES" envDefault:"1073741824" help:"size of each INVOCATIONS stream (fixed)"`
	DeadMaxBytes        int64 `env:"DEAD_MAX_BYTES" envDefault:"268435456" help:"size of the DEAD stream (fixed)"`
}

// Check returns an error that says which setting makes no sense.
func (c Config) Check() error {
	switch {
	case c.Partitions < 1 || c.Partitions > 1024:
		return invalid("PARTITIONS is %d, it must be from 1 to 1024", c.Partitions)
	case c.Shards < 1 || c.Shards > c.Partitions:
		return invalid("SHARDS is %d, it must be from 1 to PARTITIONS (%d)", c.Shards, c.Partitions)
	case c.StreamReplicas < 1 || c.StreamReplicas > 5:
		return invalid("STREAM_REPLICAS is %d, it must be from 1 to 5", c.StreamReplicas)
	case c.MaxBodyBytes < 1024:
		return invalid("MAX_BODY_BYTES is %d, it must be at least 1024", c.MaxBodyBytes)
	case c.Namespace != "" && subject.Escape(c.Namespace) != c.Namespace:
		return invalid("NAMESPACE is %q, it may hold letters, digits, _ and -", c.Namespace)
	case c.CommandsMaxBytes < 1<<20, c.FlowsMaxBytes < 1<<20, c.InvocationsMaxBytes < 1<<20, c.DeadMaxBytes < 1<<20:
		return invalid("COMMANDS_MAX_BYTES, FLOWS_MAX_BYTES, INVOCATIONS_MAX_BYTES and DEAD_MAX_BYTES must be at least 1048576")
	}
	return nil
}
