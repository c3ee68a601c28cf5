package tokenindex

import (
	"context"
	"encoding/hex"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/sluiceflow/sluice/services/internal/fault"
)

// Accepted returns, for each token hash, the digests of the outcomes that were
// answered with a 2xx and not decided otherwise since; none where the token has
// no record. It returns an error of kind [fault.Unavailable] when Redis does not
// answer.
func (x *Index) Accepted(ctx context.Context, tokenHashes []string) ([][][]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, marksWait)
	defer cancel()
	answers := make([]*redis.SliceCmd, len(tokenHashes))
	_, err := x.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, hash := range tokenHashes {
			answers[i] = p.HMGet(ctx, x.record(hash), "s", "f", "n")
		}
		return nil
	})
	if err != nil {
		return nil, fault.New(fault.Unavailable, "tokenindex.Accepted", err)
	}
	out := make([][][]byte, len(answers))
	for i, answer := range answers {
		for _, value := range answer.Val() {
			text, _ := value.(string) // nil where there is none
			digest, _, _ := strings.Cut(text, " ")
			if decoded, err := hex.DecodeString(digest); err == nil && len(decoded) > 0 {
				out[i] = append(out[i], decoded)
			}
		}
	}
	return out, nil
}
