package tokenindex

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sluiceflow/sluice/services/internal/fault"
)

func (x *Index) parking(key string) string { return x.prefix + "parked:" + key }

// Parked counts that the invocation with that key was put back without a call.
// It returns an error of kind [fault.Unavailable] when Redis does not answer.
func (x *Index) Parked(ctx context.Context, key string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, err := x.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.Incr(ctx, x.parking(key))
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
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	n, err := x.rdb.Get(ctx, x.parking(key)).Int()
	if errors.Is(err, redis.Nil) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fault.New(fault.Unavailable, "tokenindex.Parkings", err)
	}
	return n, true, nil
}
