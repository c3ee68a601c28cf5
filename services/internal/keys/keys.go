// Package keys holds the token signing keys of an installation: from the
// configuration, or from a bucket that the first engine fills; and those of the
// links of approvals, from a bucket of the consoles.
package keys

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluiceflow/sluice/pkg/token"
	"github.com/sluiceflow/sluice/services/internal/bus"
	"github.com/sluiceflow/sluice/services/internal/fault"
)

const keyName = "ring"

// Keys gives the ring as it is now. It is safe for concurrent use.
type Keys struct {
	ring atomic.Pointer[token.Ring]
	kv   jetstream.KeyValue // nil when the configuration gave the keys
	log  *slog.Logger
}

// Open returns the keys of text (see [token.ParseRing]), or where that is empty
// those of the bucket sluice_keys. With create it makes a key where there is
// none; without, it waits for one until ctx ends.
func Open(ctx context.Context, b *bus.Bus, text string, create bool, log *slog.Logger) (*Keys, error) {
	k := &Keys{log: log}
	if text != "" {
		ring, err := token.ParseRing(text)
		if err != nil {
			return nil, fault.New(fault.Invalid, "keys.Open", fmt.Errorf("TOKEN_KEYS: %w", err))
		}
		k.ring.Store(ring)
		return k, nil
	}
	return k, k.open(ctx, b, bus.BucketKeys, create)
}

// OpenLinks returns the keys that sign the links of approvals, which only
// consoles know: the first one makes them.
func OpenLinks(ctx context.Context, b *bus.Bus, log *slog.Logger) (*Keys, error) {
	k := &Keys{log: log}
	return k, k.open(ctx, b, bus.BucketLinks, true)
}

func (k *Keys) open(ctx context.Context, b *bus.Bus, bucket string, create bool) error {
	kv, err := b.JS.KeyValue(ctx, b.Space.Name(bucket))
	if err != nil {
		return fault.New(fault.Unavailable, "keys.Open", err)
	}
	k.kv = kv
	if create {
		if err := k.create(ctx); err != nil {
			return err
		}
	}
	return k.wait(ctx)
}

func (k *Keys) create(ctx context.Context) error {
	secret := make([]byte, token.MinSecretBytes)
	if _, err := rand.Read(secret); err != nil {
		return fault.New(fault.Internal, "keys.Open", err)
	}
	_, err := k.kv.Create(ctx, keyName, []byte("1:"+base64.StdEncoding.EncodeToString(secret)))
	if err != nil && !errors.Is(err, jetstream.ErrKeyExists) {
		return fault.New(fault.Unavailable, "keys.Open", err)
	}
	return nil
}

// wait returns once there are keys.
func (k *Keys) wait(ctx context.Context) error {
	for {
		entry, err := k.kv.Get(ctx, keyName)
		switch {
		case err == nil:
			return k.take(entry.Value())
		case !errors.Is(err, jetstream.ErrKeyNotFound):
			return fault.New(fault.Unavailable, "keys.Open", err)
		}
		select {
		case <-ctx.Done():
			return fault.New(fault.Unavailable, "keys.Open", errors.New("no token keys yet: an engine makes them when it starts"))
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (k *Keys) take(value []byte) error {
	ring, err := token.ParseRing(string(value))
	if err != nil {
		return fault.New(fault.Invalid, "keys.Open", fmt.Errorf("bucket %s: %w", k.kv.Bucket(), err))
	}
	k.ring.Store(ring)
	return nil
}

// Ring returns the keys as they are now.
func (k *Keys) Ring() *token.Ring { return k.ring.Load() }

// Run follows the bucket until ctx ends, so that keys rotate without a restart.
func (k *Keys) Run(ctx context.Context) error {
	if k.kv == nil {
		<-ctx.Done()
		return nil
	}
	for ctx.Err() == nil {
		if err := k.watch(ctx); err != nil && ctx.Err() == nil {
			k.log.DebugContext(ctx, "the watch of the token keys broke off", slog.Any("error", err))
		}
		select {
		case <-ctx.Done():
		case <-time.After(250 * time.Millisecond):
		}
	}
	return nil
}

// watch begins with the keys as they are: they may have changed since they were
// read, or while NATS was away.
func (k *Keys) watch(ctx context.Context) error {
	watcher, err := k.kv.Watch(ctx, keyName)
	if err != nil {
		return fmt.Errorf("watch the token keys: %w", err)
	}
	defer watcher.Stop() //nolint:errcheck // the connection may be gone, and so is the watcher then
	for {
		select {
		case <-ctx.Done():
			return nil
		case entry, ok := <-watcher.Updates():
			if !ok {
				return errors.New("the watch was closed")
			}
			if entry == nil || entry.Operation() != jetstream.KeyValuePut {
				continue
			}
			if err := k.take(entry.Value()); err != nil {
				k.log.ErrorContext(ctx, "new token keys are not usable, the old ones stay", slog.Any("error", err))
			}
		}
	}
}
