package tokenindex

import (
	"context"
	"crypto/rand"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sluiceflow/sluice/services/internal/fault"
)

func (x *Index) parking(key string) string { return x.prefix + "parked:" + key }

// Parked counts that the invocation with that key was put back without a call.
// It returns an error of kind [fault.Unavailable] when Redis does not answer.
func (x *Index) Parked(ctx context.Context, key string) error {
	ctx, cancel := context.WithTimeout(ctx, x.timeout)
	defer cancel()
	// A set of one-time names, not a counter: a call that go-redis repeats because
	// its answer got lost must not count twice.
	once := rand.Text()
	_, err := x.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.SAdd(ctx, x.parking(key), once)
		p.PExpire(ctx, x.parking(key), time.Duration(x.ttl)*time.Millisecond)
		return nil
	})
	if err != nil {
		return fault.New(fault.Unavailable, "tokenindex.Parked", err)
	}
	return nil
}

// Parkings returns how often the invocation with that key was parked, and
// whether Redis knows of it at all: one that was never parked and one whose
// count was lost look the same. It returns an error of kind [fault.Unavailable]
// when Redis does not answer.
func (x *Index) Parkings(ctx context.Context, key string) (int, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, x.timeout)
	defer cancel()
	n, err := x.rdb.SCard(ctx, x.parking(key)).Result()
	if err != nil {
		return 0, false, fault.New(fault.Unavailable, "tokenindex.Parkings", err)
	}
	return int(n), n > 0, nil
}
