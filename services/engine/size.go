package engine

import (
	"context"

	"google.golang.org/protobuf/proto"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/dead"
	"github.com/sluiceflow/sluice/services/internal/flow"
)

// headerBytes is more than the headers of a commit take.
const headerBytes = 8 << 10

// commitBytes is what one commit should not grow past: the rest of the server's
// largest message is for one command that goes past it, and for headers.
func (e *Engine) commitBytes() int { return int(e.bus.NC.MaxPayload() / 8 * 7) }

// argumentBytes bounds what one invocation may carry.
func (e *Engine) argumentBytes() int { return int(e.bus.NC.MaxPayload() / 2) }

// oversized reports whether the turn's commit fits into no message, and then
// drops what was decided. The commands are decided again one by one, and the one
// that is too much by itself is a dead letter: nothing that comes by HTTP is.
func (p *partition) oversized(ctx context.Context, j *job, turn *flow.Turn, commit *sluicev1.Commit) bool {
	if turn.Size() <= p.e.commitBytes() {
		return false
	}
	size, limit := proto.Size(commit)+headerBytes, int(p.e.bus.NC.MaxPayload())
	if size <= limit {
		return false
	}
	if len(j.folding) == 1 {
		j.pending, j.folding = append(j.folding, j.pending...), nil
	}
	p.poisoned(ctx, j, dead.Poisoned(dead.Impossible, "what follows from it takes %d bytes, and NATS takes messages of %d", size, limit))
	return true
}
