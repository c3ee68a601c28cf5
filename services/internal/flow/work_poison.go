package flow

import (
	"slices"

	"github.com/sluiceflow/sluice/pkg/token"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
)

// stray is a completion of a work item that did not exist. It must not be
// written down twice.
type stray struct {
	step       string
	item       uint32
	generation uint32
	attempt    uint32
	digest     string
}

func strayOf(work *sluicev1.WorkRef, digest []byte) stray {
	return stray{
		step: work.GetStepId(), item: work.GetItem(), generation: work.GetGeneration(),
		attempt: max(work.GetAttempt(), 1), digest: string(digest),
	}
}

// Poison decides a command whose deciding panics: it is impossible. A completion
// is written down as ignored all the same, for its worker was told that it is
// stored. It is no part of the commit's cause: until it is a dead letter and
// acked, it is decided again each time that it comes.
func (t *Turn) Poison(cmd *sluicev1.Command, reason string) Verdict {
	verdict := Verdict{Kind: Impossible, Reason: reason}
	c := cmd.GetCompleteWork()
	if cmd.GetFlowId() != t.s.ID || !t.s.Exists() || !complete(c) || c.GetWork().GetRun() != t.s.Run {
		return verdict
	}
	t.ignoreDead(c.GetWork(), c.GetOutcome(), reason)
	return verdict
}

// complete reports whether a completion says all that it must.
func complete(c *sluicev1.CompleteWork) bool {
	return c.GetWork().GetStepId() != "" && c.GetOutcome() != nil && len(c.GetOutcome().GetDigest()) > 0
}

// ignoreDead writes down, once, that a completion cannot be decided. That does
// not keep it from being decided later, when its dead letter is redriven.
func (t *Turn) ignoreDead(work *sluicev1.WorkRef, outcome *sluicev1.Outcome, reason string) {
	ignored := &sluicev1.CompletionIgnored{
		Reason: reason, Digest: outcome.GetDigest(), Outcome: outcomeName(outcome), Dead: true,
	}
	if i, it := t.s.item(work.GetStepId(), work.GetItem()); it != nil {
		t.ignore(i, work, ignored)
		return
	}
	known := slices.Contains(t.s.strays, strayOf(work, outcome.GetDigest()))
	if known || len(t.s.strays) >= maxSeen {
		return
	}
	place := work.GetItem()
	t.emit(&sluicev1.Event{
		StepId: work.GetStepId(), Item: &place, Attempt: max(work.GetAttempt(), 1), Generation: work.GetGeneration(),
		Token: token.Prefix(t.env.Token(token.Claims{
			FlowID: t.s.ID, StepID: work.GetStepId(), Run: work.GetRun(), Item: place, Generation: work.GetGeneration(),
		})),
		Kind: &sluicev1.Event_CompletionIgnored{CompletionIgnored: ignored},
	})
}

// applyStray remembers a completion that was ignored because there is no such
// work item. Its step need not be in the plan.
func (s *State) applyStray(e *sluicev1.Event) {
	s.strays = append(s.strays, stray{
		step: e.GetStepId(), item: e.GetItem(), generation: e.GetGeneration(),
		attempt: e.GetAttempt(), digest: string(e.GetCompletionIgnored().GetDigest()),
	})
}

func snapshotStrays(list []stray) []*sluicev1.StrayCompletion {
	var out []*sluicev1.StrayCompletion
	for _, c := range list {
		out = append(out, &sluicev1.StrayCompletion{
			StepId: c.step, Item: c.item, Generation: c.generation, Attempt: c.attempt, Digest: []byte(c.digest),
		})
	}
	return out
}

func restoreStrays(list []*sluicev1.StrayCompletion) []stray {
	var out []stray
	for _, c := range list {
		out = append(out, stray{
			step: c.GetStepId(), item: c.GetItem(), generation: c.GetGeneration(), attempt: c.GetAttempt(), digest: string(c.GetDigest()),
		})
	}
	return out
}
