package tokenindex

import (
	"context"
	"encoding/hex"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sluiceflow/sluice/services/internal/fault"
)

const (
	marksAtOnce = 500
	marksWait   = 2 * time.Second
)

// A Kind says what has become of a token.
type Kind int

// The kinds of marks.
const (
	// Closed means that no outcome of the token counts any more.
	Closed Kind = iota + 1
	// Decided means that the outcome with the mark's digest stands.
	Decided
	// Superseded means that failures of the mark's attempt and of those before
	// it come too late.
	Superseded
)

// A Mark is what the engine tells about one token, after the commit that made
// it so.
type Mark struct {
	TokenHash string
	Kind      Kind
	Digest    []byte // of a Decided outcome
	Success   bool   // of a Decided outcome
	Attempt   uint32 // that is Superseded
	// Revision grows from commit to commit of a flow, such as the commit's
	// sequence in its stream: a mark never replaces one of a higher revision.
	Revision uint64
}

// Mark records what the engine committed. It is safe to repeat, in any order.
// It returns an error of kind [fault.Unavailable] when Redis does not answer;
// some of the marks may be recorded then.
func (x *Index) Mark(ctx context.Context, marks []Mark) error {
	for chunk := range slices.Chunk(marks, marksAtOnce) {
		err := x.mark(ctx, chunk)
		if redis.HasErrorPrefix(err, "NOSCRIPT") { // a new server, or one whose scripts were flushed
			if err = x.load(ctx); err == nil {
				err = x.mark(ctx, chunk)
			}
		}
		if err != nil {
			return fault.New(fault.Unavailable, "tokenindex.Mark", err)
		}
	}
	return nil
}

func (x *Index) mark(ctx context.Context, marks []Mark) error {
	ctx, cancel := context.WithTimeout(ctx, marksWait)
	defer cancel()
	_, err := x.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i := range marks {
			m := &marks[i]
			kind, digest := m.letter()
			markScript.EvalSha(ctx, p, []string{x.record(m.TokenHash)},
				kind, strconv.FormatUint(m.Revision, 10), digest, strconv.FormatUint(uint64(m.Attempt), 10), x.ttl)
		}
		return nil
	})
	return err
}

func (x *Index) load(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, x.timeout)
	defer cancel()
	return markScript.Load(ctx, x.rdb).Err()
}

func (m *Mark) letter() (kind, digest string) {
	switch m.Kind {
	case Decided:
		digest = hex.EncodeToString(m.Digest)
		if m.Success {
			return "s", digest
		}
		return "f", digest
	case Superseded:
		return "u", "-"
	case Closed:
	}
	return "c", "-"
}
