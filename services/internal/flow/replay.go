package flow

import (
	"errors"
	"fmt"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
)

// Errors of a history that does not hang together.
var (
	// ErrGap means that a commit does not follow the one before it.
	ErrGap = errors.New("commit does not follow the flow's last one")
	// ErrForeign means that a commit belongs to another flow.
	ErrForeign = errors.New("commit belongs to another flow")
	// ErrMalformed means that a commit or snapshot makes no sense.
	ErrMalformed = errors.New("malformed history")
)

// Replay applies a stored commit. It returns [ErrGap], [ErrForeign] or
// [ErrMalformed], after which the state must not be used.
func (s *State) Replay(c *sluicev1.Commit) error {
	if c.GetFlowId() != s.ID {
		return fmt.Errorf("%w: %q in the history of %q", ErrForeign, c.GetFlowId(), s.ID)
	}
	if c.GetRevision() != s.Revision+1 {
		return fmt.Errorf("%w: revision %d after %d", ErrGap, c.GetRevision(), s.Revision)
	}
	if c.GetTimeNs() <= 0 {
		return fmt.Errorf("%w: revision %d has no time", ErrMalformed, c.GetRevision())
	}
	for i, e := range c.GetEvents() {
		if err := s.apply(e, c.GetValues(), c.GetTimeNs()); err != nil {
			return fmt.Errorf("revision %d, event %d: %w", c.GetRevision(), i, err)
		}
	}
	s.close(c)
	return nil
}

// close does the bookkeeping that ends a commit.
func (s *State) close(c *sluicev1.Commit) {
	s.Revision = c.GetRevision()
	s.Updated = c.GetTimeNs()
	for _, cause := range c.GetCause() {
		s.folded.add(foldedCommand{
			Position: Position{Sequence: cause.GetSequence(), Time: cause.GetTimeNs()},
			revision: c.GetRevision(),
			kind:     cause.GetKind(),
		})
	}
	s.folded.prune(c.GetFloor(), c.GetTimeNs())
	if c.GetSnapshot() != nil {
		s.commitsSinceSnapshot, s.eventsSinceSnapshot = 0, 0
	}
	s.commitsSinceSnapshot++
	s.eventsSinceSnapshot += len(c.GetEvents())
}
