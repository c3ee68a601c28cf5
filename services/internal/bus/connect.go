package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluiceflow/sluice/pkg/subject"
	"github.com/sluiceflow/sluice/services/internal/fault"
)

const (
	// publishTimeout is how long a publish may go without the stream's ack. It
	// is shorter than the gateway's claim on a token.
	publishTimeout = 3 * time.Second
	// maxPending bounds the publishes in flight of one connection.
	maxPending = 8192
	// payloadFactor times MAX_BODY_BYTES must fit into one NATS message.
	payloadFactor = 8
)

// Bus is a connection to NATS with the layout of one installation. It is safe
// for concurrent use.
type Bus struct {
	NC     *nats.Conn
	JS     jetstream.JetStream
	Space  subject.Space
	Config Config

	log     *slog.Logger
	inbox   string
	asked   atomic.Uint64
	waiting sync.Map // reply subject -> chan *sluicev1.Reply
	full    atomic.Pointer[string]
	reserve atomic.Pointer[[]bool] // of each shard

	groups   map[string]*group // by stream: those that take atomic batches
	group    atomic.Bool       // the server syncs every write
	busy     sync.WaitGroup    // of the groups
	replicas atomic.Int64      // that hold the streams; 0 before that was seen
}

func invalid(format string, args ...any) error {
	return fault.Newf(fault.Invalid, "bus", format, args...)
}

// Connect waits until NATS is there, with backoff and a log line a failure, and
// returns when ctx ends otherwise. It refuses a server whose messages are too
// small for the bodies that are allowed (kind [fault.Invalid]). Name is shown in
// the server's list of connections.
func Connect(ctx context.Context, cfg Config, name string, log *slog.Logger, opts ...nats.Option) (*Bus, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fault.New(fault.Invalid, "bus.Connect", err)
	}
	b := &Bus{Space: subject.NewSpace(cfg.Namespace), Config: cfg, log: log}
	options := append(b.options(name), opts...)
	policy := backoff.NewExponentialBackOff(backoff.WithInitialInterval(200*time.Millisecond),
		backoff.WithMaxInterval(5*time.Second), backoff.WithMaxElapsedTime(0))
	connect := func() error {
		nc, err := nats.Connect(cfg.NATSURL, options...)
		if err != nil {
			return fmt.Errorf("connect to NATS: %w", err)
		}
		b.NC = nc
		return nil
	}
	err := backoff.RetryNotify(connect, backoff.WithContext(policy, ctx), func(err error, next time.Duration) {
		log.WarnContext(ctx, "NATS is not there yet", slog.Any("error", err), slog.Duration("next_try", next))
	})
	if err != nil {
		return nil, fault.New(fault.Unavailable, "bus.Connect", err)
	}
	if err := b.prepare(); err != nil {
		b.NC.Close()
		return nil, err
	}
	return b, nil
}

func (b *Bus) options(name string) []nats.Option {
	options := []nats.Option{
		nats.Name("sluice " + name),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(250 * time.Millisecond),
		nats.ReconnectJitter(250*time.Millisecond, time.Second),
		nats.Timeout(3 * time.Second),
		nats.PingInterval(5 * time.Second),
		nats.MaxPingsOutstanding(2),
		// What cannot be sent now must fail now: a buffered publish would be
		// stored after its sender was told that it was not.
		nats.ReconnectBufSize(-1),
		nats.DrainTimeout(5 * time.Second),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				b.log.Warn("NATS is gone", slog.Any("error", err))
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			b.log.Info("NATS is back", slog.String("server", nc.ConnectedServerName()))
		}),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			subj := ""
			if sub != nil {
				subj = sub.Subject
			}
			b.log.Warn("NATS reports an error", slog.Any("error", err), slog.String("subject", subj))
		}),
	}
	if b.Config.NATSUser != "" {
		// Inboxes of its own: a user who could read all would read what others are
		// answered.
		options = append(options, nats.UserInfo(b.Config.NATSUser, b.Config.NATSPassword), nats.CustomInboxPrefix("_INBOX."+b.Config.NATSUser))
	}
	if b.Config.NATSCreds != "" {
		options = append(options, nats.UserCredentials(b.Config.NATSCreds))
	}
	if b.Config.NATSCA != "" {
		options = append(options, nats.RootCAs(b.Config.NATSCA))
	}
	return options
}

func (b *Bus) prepare() error {
	if limit := b.NC.MaxPayload(); limit < payloadFactor*int64(b.Config.MaxBodyBytes) {
		return invalid("NATS takes messages of %d bytes, but MAX_BODY_BYTES=%d needs at least %d: raise max_payload in its configuration",
			limit, b.Config.MaxBodyBytes, payloadFactor*b.Config.MaxBodyBytes)
	}
	js, err := jetstream.New(b.NC, jetstream.WithPublishAsyncMaxPending(maxPending),
		jetstream.WithPublishAsyncTimeout(publishTimeout), jetstream.WithDefaultTimeout(5*time.Second))
	if err != nil {
		return fault.New(fault.Internal, "bus.Connect", err)
	}
	b.JS = js
	b.makeGroups()
	b.inbox = b.NC.NewInbox()
	if _, err := b.NC.Subscribe(b.inbox+".*", b.reply); err != nil {
		return fault.New(fault.Unavailable, "bus.Connect", err)
	}
	return nil
}

func (b *Bus) makeGroups() {
	b.groups = make(map[string]*group, 2*b.Config.Shards)
	for k := range b.Config.Shards {
		for _, stream := range []string{b.Commands(k), b.Flows(k)} {
			b.groups[stream] = &group{js: b.JS, synced: b.group.Load, busy: &b.busy}
		}
	}
}

// Connected returns nil while NATS can be reached, else an error of kind
// [fault.Unavailable].
func (b *Bus) Connected() error {
	if b.NC.IsConnected() {
		return nil
	}
	return fault.New(fault.Unavailable, "bus.Connected", errors.New("NATS is not connected"))
}

// Close ends the connection after what was published is on its way.
func (b *Bus) Close() {
	if b.NC.IsClosed() {
		return
	}
	if err := b.NC.FlushTimeout(time.Second); err != nil && b.NC.IsConnected() {
		b.log.Warn("flush before closing NATS", slog.Any("error", err))
	}
	b.NC.Close()
	b.busy.Wait()
}
