package flow

import (
	"fmt"

	"github.com/sluiceflow/sluice/pkg/token"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
)

// startAttempt begins the next attempt of a work item: its invocation follows
// from the event.
func (t *Turn) startAttempt(i, j int) {
	it := &t.s.Steps[i].Items[j]
	var due int64
	if timeout := t.s.Plan.Steps[i].Proto.GetWork().GetTimeoutMs(); timeout > 0 {
		due = t.now + saturating(timeout, millisecond)
	}
	e := t.workEvent(i, j, &sluicev1.Event{Kind: &sluicev1.Event_WorkStarted{WorkStarted: &sluicev1.WorkStarted{
		DeadlineNs: due,
	}}})
	e.Attempt = it.Attempt + 1
	if e.Token == "" {
		e.Token = token.Prefix(t.env.Token(t.s.claims(i, e.GetItem(), it.Generation)))
	}
	t.emit(e)
}

// timeOut ends an attempt that had no outcome in time.
func (t *Turn) timeOut(i, j int) {
	t.emit(t.workEvent(i, j, &sluicev1.Event{Kind: &sluicev1.Event_WorkTimedOut{WorkTimedOut: &sluicev1.WorkTimedOut{
		Limit: "timeout",
	}}}))
	t.retryOrFail(i, j, 0)
}

// notCompleted ends an attempt that came to nothing.
func (t *Turn) notCompleted(i, j int, o *sluicev1.Outcome, digest []byte) {
	t.emit(t.workEvent(i, j, &sluicev1.Event{Kind: &sluicev1.Event_WorkNotCompleted{WorkNotCompleted: &sluicev1.WorkNotCompleted{
		Error: o.GetError(), Digest: digest,
	}}}))
	t.retryOrFail(i, j, o.GetRetryAfterMs())
}

// retryOrFail schedules the next attempt, not before atLeastMS milliseconds have
// passed, or fails the work item when it has had all its attempts.
func (t *Turn) retryOrFail(i, j int, atLeastMS int64) {
	it := &t.s.Steps[i].Items[j]
	work := t.s.Plan.Steps[i].Proto.GetWork()
	if limit := work.GetMaxRetries(); limit >= 0 && int64(it.RetryCount) >= int64(limit) {
		t.failWork(i, j, fmt.Sprintf("not completed after %d attempts: %s", it.Attempt, it.Error), nil)
		return
	}
	delay := max(retryDelay(work, it.RetryCount+1), saturating(atLeastMS, millisecond))
	delay += jitter(t.s.claims(i, uint32(j), it.Generation), it.Attempt, delay) //nolint:gosec // far fewer than 2^32 work items
	t.emit(t.workEvent(i, j, &sluicev1.Event{Kind: &sluicev1.Event_RetryScheduled{RetryScheduled: &sluicev1.RetryScheduled{
		NextRetryAtNs: t.now + delay, RetryCount: it.RetryCount + 1,
	}}}))
}

func (t *Turn) failWork(i, j int, reason string, digest []byte) {
	t.emit(t.workEvent(i, j, &sluicev1.Event{Kind: &sluicev1.Event_WorkFailed{WorkFailed: &sluicev1.WorkFailed{
		Error: reason, Digest: digest, DurationMs: (t.now - t.s.Steps[i].Items[j].Started) / millisecond,
	}}}))
	t.workEnded(i)
}

// claims are what the token of a work item stands for.
func (s *State) claims(step int, item, generation uint32) token.Claims {
	return token.Claims{FlowID: s.ID, StepID: s.Plan.Steps[step].ID, Run: s.Run, Item: item, Generation: generation}
}
