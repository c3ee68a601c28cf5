package verify

import (
	"context"
	"fmt"

	"github.com/sluiceflow/sluice/pkg/subject"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/flow"
	"github.com/sluiceflow/sluice/services/internal/verify/check"
)

// relation is what a flow has with another one.
type relation struct {
	of check.Finding // that says where it is
	// asked are the flows that a command would be on its way to, in the order in
	// which one follows from the other.
	asked [2]string
	// look returns what is wrong where no command is on its way, or nothing.
	look func(ctx context.Context, s *flow.State) (detail string, err error)
}

// lookAtFamilies compares the flows of this pass with their parents and children,
// which may be anywhere. last is where the stream ends.
func (s *shard) lookAtFamilies(ctx context.Context, last uint64) error {
	for flowID, h := range s.histories {
		if h == nil || h.State() == nil || !h.State().HasOpen() {
			continue
		}
		for _, r := range s.relations(h.State()) {
			r.of.Kind, r.of.Stream, r.of.Sequence, r.of.FlowID = check.Family, s.stream, h.Sequence(), flowID
			if err := s.lookAtRelation(ctx, h.State(), r, last); err != nil {
				return fmt.Errorf("compare flow %s with its family: %w", flowID, err)
			}
		}
	}
	return nil
}

// relations are those of a flow to its parent and to the children that it waits for.
func (w *walk) relations(s *flow.State) []relation {
	var out []relation
	if s.Parent != nil {
		out = append(out, relation{asked: [2]string{s.ParentFlow, s.ID}, look: w.toParent})
	}
	for _, cmd := range s.Open() {
		start := cmd.GetStartFlow()
		if start == nil {
			continue
		}
		work := start.GetParent().GetWork()
		out = append(out, relation{
			of:    check.Finding{StepID: work.GetStepId(), Item: work.GetItem()},
			asked: [2]string{cmd.GetFlowId(), s.ID},
			look: func(ctx context.Context, s *flow.State) (string, error) {
				return w.toChild(ctx, s, cmd.GetFlowId(), work)
			},
		})
	}
	return out
}

// lookAtRelation looks at a relation, and where something seems wrong once more
// later: the last commit is a message that stays.
func (w *walk) lookAtRelation(ctx context.Context, s *flow.State, r relation, last uint64) error {
	if detail, err := r.look(ctx, s); err != nil || detail == "" {
		return err
	}
	return w.lookAt(ctx, suspect{r.of.Stream, r.of.Sequence, func(ctx context.Context) (*check.Finding, error) {
		// Before the states: what was carried out meanwhile shows in them.
		if asked, err := w.asked(ctx, r.asked); err != nil || asked {
			return nil, err
		}
		now, err := w.flow(ctx, r.of.FlowID)
		if err != nil || now == nil || !now.HasOpen() {
			return nil, err
		}
		found := r.of
		found.Revision = now.Revision
		if found.Detail, err = r.look(ctx, now); err != nil || found.Detail == "" {
			return nil, err
		}
		return &found, nil
	}}, last)
}

// asked reports whether a command from engine to engine waits for one of the flows.
func (w *walk) asked(ctx context.Context, flowIDs [2]string) (bool, error) {
	for _, id := range flowIDs {
		partition := w.Bus.Partition(id)
		m, err := w.Bus.Last(ctx, w.Bus.Commands(w.Bus.Shard(partition)), w.Bus.Space.Command(subject.SourceEngine, partition, id))
		if err != nil || m != nil {
			return m != nil, err //nolint:wrapcheck // it says all
		}
	}
	return false, nil
}

// toChild looks at the child that an attempt waits for. What may be wrong with one
// that is there is looked at from its side.
func (w *walk) toChild(ctx context.Context, s *flow.State, childID string, work *sluicev1.WorkRef) (string, error) {
	if !s.Wants(work) {
		return "", nil
	}
	child, err := w.flow(ctx, childID)
	if err != nil || child == nil || child.Exists() {
		return "", err
	}
	return fmt.Sprintf("attempt %d waits for the child flow %q, which does not exist", work.GetAttempt(), childID), nil
}

// toParent looks at the parent of a child flow.
func (w *walk) toParent(ctx context.Context, s *flow.State) (string, error) {
	parent, err := w.flow(ctx, s.ParentFlow)
	if err != nil || parent == nil {
		return "", err
	}
	wanted := parent.Exists() && parent.Wants(s.Parent.GetWork())
	switch {
	case s.Final() && s.Told, !s.Final() && wanted:
		return "", nil
	case s.Final() && wanted:
		return fmt.Sprintf("it ended, and the parent flow %q waits for it", s.ParentFlow), nil
	case s.Final():
		return fmt.Sprintf("it ended, and the parent flow %q has not answered that", s.ParentFlow), nil
	case parent.Exists():
		return fmt.Sprintf("it goes on, and the parent flow %q does not wait for it", s.ParentFlow), nil
	default:
		return fmt.Sprintf("it goes on, and there is no parent flow %q", s.ParentFlow), nil
	}
}
