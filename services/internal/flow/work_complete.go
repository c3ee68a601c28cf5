package flow

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
)

// completeWork decides a completion. It is judged at the time it was stored, so
// that an engine that was away does not time out what came in time.
func (t *Turn) completeWork(c *sluicev1.CompleteWork, at Position) Verdict {
	work, outcome := c.GetWork(), c.GetOutcome()
	if !complete(c) {
		return Verdict{Kind: Impossible, Reason: "completion without work item, outcome or digest"}
	}
	if work.GetRun() != t.s.Run {
		return Verdict{Kind: Absent} // of an earlier flow with this id
	}
	i, it := t.s.item(work.GetStepId(), work.GetItem())
	if it == nil {
		reason := fmt.Sprintf("step %q has no work item %d", work.GetStepId(), work.GetItem())
		t.ignoreDead(work, outcome, reason)
		return Verdict{Kind: Impossible, Reason: reason}
	}
	if it.knows(outcome.GetDigest(), max(work.GetAttempt(), 1), work.GetGeneration()) {
		return Verdict{}
	}
	t.expire(i, int(work.GetItem()), at.Time)
	if reason := t.refusal(i, work, outcome); reason != "" {
		t.ignore(i, work, &sluicev1.CompletionIgnored{
			Reason: reason, Digest: outcome.GetDigest(), Outcome: outcomeName(outcome),
		})
		return Verdict{}
	}
	t.applyOutcome(i, int(work.GetItem()), outcome, outcome.GetDigest(), c.GetContested())
	return Verdict{}
}

// reportCall decides what the dispatcher says about a call. What comes too late
// is dropped: nobody was told that it counts. It is no payload of the token, so
// its digest is not kept.
func (t *Turn) reportCall(c *sluicev1.ReportCall, at Position) Verdict {
	work, outcome := c.GetWork(), c.GetOutcome()
	if work == nil || outcome == nil {
		return Verdict{Kind: Impossible, Reason: "report without work item or outcome"}
	}
	if work.GetRun() != t.s.Run {
		return Verdict{Kind: Absent}
	}
	i, it := t.s.item(work.GetStepId(), work.GetItem())
	if it == nil {
		return Verdict{Kind: Impossible, Reason: fmt.Sprintf("step %q has no work item %d", work.GetStepId(), work.GetItem())}
	}
	if c.GetCompensate() {
		t.reportCompensation(i, work, outcome, at)
		return Verdict{}
	}
	t.expire(i, int(work.GetItem()), at.Time)
	if t.refusal(i, work, outcome) == "" {
		t.applyOutcome(i, int(work.GetItem()), outcome, nil, false)
	}
	return Verdict{}
}

// refusal says why an outcome does not count, or nothing when it does. A success
// counts from whichever attempt; a failure only from the one that runs.
func (t *Turn) refusal(i int, work *sluicev1.WorkRef, outcome *sluicev1.Outcome) string {
	it, attempt := &t.s.Steps[i].Items[work.GetItem()], max(work.GetAttempt(), 1)
	switch {
	case t.s.isWait(i):
		return "a step that waits takes no completion"
	case work.GetGeneration() != it.Generation:
		return "the work item was retried by hand since"
	case it.succeeded():
		return "the work item succeeded already"
	case it.final():
		return "the work item failed already"
	case t.s.over() && !t.s.accepts(i):
		return "the flow is " + t.s.lot()
	case it.Started == 0: // in this generation
		return "the work item has not started"
	case outcome.GetSuccess():
		return ""
	case attempt < it.Attempt, it.Status == sluicev1.WorkStatus_WORK_STATUS_NOT_COMPLETED,
		it.Status == sluicev1.WorkStatus_WORK_STATUS_PENDING: // given up by hand
		return fmt.Sprintf("attempt %d is superseded", attempt)
	case attempt > it.Attempt:
		return fmt.Sprintf("attempt %d has not started", attempt)
	default:
		return ""
	}
}

// ignore writes down that an outcome with a valid token was not applied, once
// for each payload and attempt, and not without limit.
func (t *Turn) ignore(i int, work *sluicev1.WorkRef, ignored *sluicev1.CompletionIgnored) {
	it, attempt := &t.s.Steps[i].Items[work.GetItem()], max(work.GetAttempt(), 1)
	if len(it.ignored) >= maxSeen || it.wroteDown(ignored.GetDigest(), attempt, work.GetGeneration()) {
		return
	}
	e := t.workEvent(i, int(work.GetItem()), &sluicev1.Event{
		Kind: &sluicev1.Event_CompletionIgnored{CompletionIgnored: ignored},
	})
	e.Attempt, e.Generation = attempt, work.GetGeneration()
	t.emit(e)
}

func outcomeName(o *sluicev1.Outcome) string {
	switch {
	case o.GetSuccess():
		return "succeeded"
	case o.GetNotCompleted():
		return "not_completed"
	default:
		return "failed"
	}
}

// wroteDown reports whether an equal payload was ignored before.
func (it *Item) wroteDown(digest []byte, attempt, generation uint32) bool {
	return slices.ContainsFunc(it.ignored, func(s seen) bool { return s.is(digest, attempt, generation) })
}

func (s *seen) is(digest []byte, attempt, generation uint32) bool {
	return s.attempt == attempt && s.generation == generation && s.digest == string(digest)
}

// knows reports whether an equal payload was decided before: one that is a dead
// letter was not.
func (it *Item) knows(digest []byte, attempt, generation uint32) bool {
	if len(it.digest) > 0 && generation == it.Generation && bytes.Equal(it.digest, digest) {
		return true
	}
	same := func(s seen) bool { return !s.dead && s.is(digest, attempt, generation) }
	return slices.ContainsFunc(it.ignored, same) || slices.ContainsFunc(it.notCompleted, same)
}

// applyOutcome gives a work item what its attempt came to.
func (t *Turn) applyOutcome(i, j int, outcome *sluicev1.Outcome, digest []byte, contested bool) {
	switch {
	case outcome.GetSuccess():
		t.succeed(i, j, outcome, digest, contested)
	case outcome.GetNotCompleted():
		t.notCompleted(i, j, outcome, digest)
	default:
		t.failWork(i, j, outcome.GetError(), digest)
	}
}

func (t *Turn) succeed(i, j int, outcome *sluicev1.Outcome, digest []byte, contested bool) {
	outputs := make(map[string]json.RawMessage, len(outcome.GetOutputs()))
	for name, value := range outcome.GetOutputs() {
		outputs[name] = value
	}
	if size := sizeOf(outputs); size > t.env.ArgumentBytes {
		t.failWork(i, j, fmt.Sprintf("outputs of %d bytes are more than can be kept (%d)", size, t.env.ArgumentBytes), digest)
		return
	}
	for _, output := range t.s.Plan.Steps[i].Outputs {
		if value, ok := outputs[output.Name]; ok && !output.Type.Accepts(value) {
			t.failWork(i, j, fmt.Sprintf("output %q is not of type %s", output.Name, output.Type), digest)
			return
		}
	}
	t.emit(t.workEvent(i, j, &sluicev1.Event{Kind: &sluicev1.Event_WorkSucceeded{WorkSucceeded: &sluicev1.WorkSucceeded{
		Outputs:    t.values.refs(outputs),
		Digest:     digest,
		DurationMs: t.took(i, j),
		Contested:  contested,
		Memoized:   t.memoized,
	}}}))
	t.workEnded(i)
}

// Knows reports whether an outcome with that digest was applied to a work item
// or ignored, of whichever attempt; also where so many were ignored that it may
// be one of those that are only counted.
func (s *State) Knows(step string, place uint32, digest []byte) bool {
	if len(s.strays) >= maxSeen || slices.ContainsFunc(s.strays, func(c stray) bool {
		return c.step == step && c.item == place && c.digest == string(digest)
	}) {
		return true
	}
	_, it := s.item(step, place)
	if it == nil {
		return false
	}
	same := func(c seen) bool { return c.digest == string(digest) }
	return bytes.Equal(it.digest, digest) || len(it.ignored) >= maxSeen || len(it.notCompleted) >= maxSeen ||
		slices.ContainsFunc(it.ignored, same) || slices.ContainsFunc(it.notCompleted, same)
}
