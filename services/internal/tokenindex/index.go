package tokenindex

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/sluiceflow/sluice/services/internal/fault"
)

const (
	callTimeout = time.Second // what a caller waits for Redis at most
	poolSize    = 64
	retries     = 1 // a pooled connection may have died with the last server
)

// Config says where Redis is and how long it remembers a token.
type Config struct {
	URL       string        `env:"REDIS_URL" envDefault:"redis://127.0.0.1:6379/0" secret:"true" help:"Redis that holds the token index; rediss:// for TLS"`
	CA        string        `env:"REDIS_CA" help:"file with the certificates that Redis's own is checked against; empty means the system's"`
	RecordTTL time.Duration `env:"TOKEN_RECORD_TTL" envDefault:"24h" help:"how long Redis remembers what became of a token"`
	// CallTimeout is what a caller waits for Redis at most; 0 means a second.
	CallTimeout time.Duration
}

// Index is the index. It is safe for concurrent use.
type Index struct {
	rdb    *redis.Client
	batch  *redis.AutoPipeliner // of rdb
	prefix string
	ttl    int64 // milliseconds
	// timeout is what a caller waits for Redis at most.
	timeout time.Duration
}

// Open makes an index on the Redis that cfg names, under the namespace's keys.
// It does not connect: that is tried, each time with a short timeout, when Redis
// is needed. A setting that cannot work is an error of kind [fault.Invalid].
func Open(cfg Config, namespace string) (*Index, error) {
	const op = "tokenindex.Open"
	opts, err := redis.ParseURL(cfg.URL)
	if err != nil {
		return nil, fault.New(fault.Invalid, op, errors.New("REDIS_URL is no Redis URL")) // the cause may show a password
	}
	if cfg.RecordTTL < time.Minute {
		return nil, fault.Newf(fault.Invalid, op, "TOKEN_RECORD_TTL is %s; it must be a minute at least", cfg.RecordTTL)
	}
	if cfg.CA != "" {
		if opts.TLSConfig, err = trust(opts.TLSConfig, cfg.CA); err != nil {
			return nil, fault.New(fault.Invalid, op, err)
		}
	}
	timeout := cmp.Or(cfg.CallTimeout, callTimeout)
	opts.DialTimeout, opts.ReadTimeout, opts.WriteTimeout = timeout, timeout, timeout
	opts.PoolSize, opts.PoolTimeout, opts.ContextTimeoutEnabled = poolSize, timeout, true
	// RESP2: the third version makes the client look for push messages before each
	// answer, and nothing here is pushed.
	opts.Protocol = 2
	opts.MaxRetries, opts.DialerRetries, opts.DisableIdentity = retries, 1, true
	opts.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	prefix := "sluice:"
	if namespace != "" {
		prefix = namespace + ":" + prefix
	}
	rdb := redis.NewClient(opts)
	batch, err := batches(rdb)
	if err != nil {
		return nil, fault.New(fault.Internal, op, err)
	}
	return &Index{rdb: rdb, batch: batch, prefix: prefix, ttl: cfg.RecordTTL.Milliseconds(), timeout: timeout}, nil
}

func trust(cfg *tls.Config, file string) (*tls.Config, error) {
	if cfg == nil {
		return nil, errors.New("REDIS_CA is set, but REDIS_URL does not begin with rediss://")
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read REDIS_CA: %w", err)
	}
	cfg.RootCAs = x509.NewCertPool()
	if !cfg.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("REDIS_CA: %s holds no certificate", file)
	}
	return cfg, nil
}

// Close waits for the calls that are at work and closes the connections.
func (x *Index) Close() error { return errors.Join(x.batch.Close(), x.rdb.Close()) }

// Ping reports whether Redis answers.
func (x *Index) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, x.timeout)
	defer cancel()
	if err := x.rdb.Ping(ctx).Err(); err != nil {
		return fault.New(fault.Unavailable, "tokenindex.Ping", err)
	}
	return nil
}

func (x *Index) record(tokenHash string) string { return x.prefix + "token:" + tokenHash }
