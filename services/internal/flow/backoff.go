package flow

import (
	"encoding/binary"
	"hash/fnv"
	"math"

	"github.com/sluiceflow/sluice/pkg/token"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
)

// retryDelay is the pause before a retry, counted from 1, in nanoseconds.
func retryDelay(work *sluicev1.WorkConfig, retry uint32) int64 {
	delay := work.GetBackoffMs()
	switch work.GetBackoffType() {
	case sluicev1.BackoffType_BACKOFF_TYPE_LINEAR:
		delay = saturating(delay, int64(retry))
	case sluicev1.BackoffType_BACKOFF_TYPE_EXPONENTIAL, sluicev1.BackoffType_BACKOFF_TYPE_UNSPECIFIED:
		delay = saturating(delay, int64(1)<<min(retry-1, 40))
	case sluicev1.BackoffType_BACKOFF_TYPE_FIXED:
	}
	if limit := work.GetMaxBackoffMs(); limit > 0 {
		delay = min(delay, limit)
	}
	return saturating(delay, millisecond)
}

// jitter is up to a tenth of the delay, so that thousands of work items that
// came to nothing together do not come back together. It is a function of the
// work item and its attempt: replay and redelivery draw the same.
func jitter(c token.Claims, attempt uint32, delay int64) int64 {
	h := fnv.New64a()
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], c.Run)
	binary.BigEndian.PutUint32(b[8:], c.Item)
	binary.BigEndian.PutUint32(b[12:], attempt)
	for _, part := range [][]byte{b[:], []byte(c.FlowID), {0}, []byte(c.StepID)} {
		_, _ = h.Write(part) // never fails
	}
	fraction := float64(mix(h.Sum64())>>11) / (1 << 53)
	return int64(fraction * float64(delay) / 10)
}

// mix spreads FNV's weak high bits (the finalizer of MurmurHash3).
func mix(x uint64) uint64 {
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}

// saturating multiplies two numbers, up to some seventy years of nanoseconds:
// sums of such times do not overflow. What is negative counts as 0.
func saturating(a, b int64) int64 {
	const limit = math.MaxInt64 / 4
	if a <= 0 || b <= 0 {
		return 0
	}
	if b > limit/a {
		return limit
	}
	return a * b
}
