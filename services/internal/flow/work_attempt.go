package flow

import (
	"cmp"
	"encoding/json"
	"fmt"

	"github.com/sluiceflow/sluice/pkg/token"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
)

// startAttempt begins the next attempt of a work item: its invocation follows
// from the event. The first one says which inputs the work item has of its own.
func (t *Turn) startAttempt(i, j int, inputs map[string]json.RawMessage) {
	if t.s.isWait(i) {
		t.startWait(i, j, inputs)
		return
	}
	it := &t.s.Steps[i].Items[j]
	work := t.s.Plan.Steps[i].Proto.GetWork()
	t.attempts++
	e := t.workEvent(i, j, &sluicev1.Event{Kind: &sluicev1.Event_WorkStarted{WorkStarted: &sluicev1.WorkStarted{
		DeadlineNs: t.attemptDeadline(i, it), HeartbeatDeadlineNs: t.after(work.GetHeartbeatTimeoutMs()),
		Inputs: t.values.refs(inputs),
	}}})
	e.Attempt = it.Attempt + 1
	if t.s.startsFlow(i) {
		e.GetWorkStarted().ChildFlowId, _ = t.s.childOf(i, j, e.GetAttempt())
	}
	if e.Token == "" {
		e.Token = token.Prefix(t.env.Token(t.s.claims(i, e.GetItem(), it.Generation)))
	}
	t.emit(e)
}

// after is the moment some milliseconds from now; 0 means never.
func (t *Turn) after(ms int64) int64 {
	if ms <= 0 {
		return 0
	}
	return t.now + saturating(ms, millisecond)
}

// attemptDeadline is when an attempt that begins now times out: at the latest
// with its work item. 0 means never.
func (t *Turn) attemptDeadline(i int, it *Item) int64 {
	until := t.s.until(i, cmp.Or(it.Started, t.now))
	due := t.after(t.s.Plan.Steps[i].Proto.GetWork().GetTimeoutMs())
	if due == 0 || until != 0 && until < due {
		return until
	}
	return due
}

// Limits that an attempt runs into.
const (
	limitTimeout   = "timeout"
	limitHeartbeat = "heartbeat"
	limitDeadline  = "deadline" // of the work item, over all its attempts
)

// timedOut is the error of a work item that ran into a limit.
func timedOut(limit string) string {
	if limit == limitHeartbeat {
		return "no heartbeat in time"
	}
	return "no outcome in time"
}

// timeOut ends an attempt that had no outcome, or no heartbeat, in time.
func (t *Turn) timeOut(i, j int, limit string) {
	if t.s.isWait(i) {
		t.waitOver(i, j)
		return
	}
	t.emit(t.workEvent(i, j, &sluicev1.Event{Kind: &sluicev1.Event_WorkTimedOut{WorkTimedOut: &sluicev1.WorkTimedOut{
		Limit: limit,
	}}}))
	t.retryOrFail(i, j, 0)
}

// isOver reports whether a work item has no outcome and its time for all attempts
// is over.
func (t *Turn) isOver(i, j int, at int64) bool {
	it := &t.s.Steps[i].Items[j]
	until := t.s.until(i, it.Started)
	return it.underway() && until != 0 && until <= at
}

// runOut fails a work item whose time for all attempts is over.
func (t *Turn) runOut(i, j int) {
	it := &t.s.Steps[i].Items[j]
	last := timedOut(limitDeadline)
	if it.Status == sluicev1.WorkStatus_WORK_STATUS_NOT_COMPLETED {
		last = it.Error
	}
	if it.open() {
		t.emit(t.workEvent(i, j, &sluicev1.Event{Kind: &sluicev1.Event_WorkTimedOut{WorkTimedOut: &sluicev1.WorkTimedOut{
			Limit: limitDeadline,
		}}}))
	}
	t.failWork(i, j, fmt.Sprintf("not completed within %d ms, after %d attempts: %s",
		t.s.Plan.Steps[i].Proto.GetWork().GetDeadlineMs(), it.Attempt, last), nil)
}

// notCompleted ends an attempt that came to nothing.
func (t *Turn) notCompleted(i, j int, o *sluicev1.Outcome, digest []byte) {
	t.emit(t.workEvent(i, j, &sluicev1.Event{Kind: &sluicev1.Event_WorkNotCompleted{WorkNotCompleted: &sluicev1.WorkNotCompleted{
		Error: o.GetError(), Digest: digest,
	}}}))
	t.retryOrFail(i, j, o.GetRetryAfterMs())
}

// retryOrFail schedules the next attempt, not before atLeastMS milliseconds have
// passed, or fails the work item when it has had all its attempts. One that would
// begin after the work item's deadline is not scheduled: until then an earlier
// attempt may still succeed.
func (t *Turn) retryOrFail(i, j int, atLeastMS int64) {
	it := &t.s.Steps[i].Items[j]
	work := t.s.Plan.Steps[i].Proto.GetWork()
	if t.s.over() {
		t.failWork(i, j, fmt.Sprintf("not completed after %d attempts, and the flow is %s: %s", it.Attempt, t.s.lot(), it.Error), nil)
		return
	}
	if limit := work.GetMaxRetries(); limit >= 0 && int64(it.RetryCount) >= int64(limit) {
		t.failWork(i, j, fmt.Sprintf("not completed after %d attempts: %s", it.Attempt, it.Error), nil)
		return
	}
	delay := max(retryDelay(work, it.RetryCount+1), saturating(atLeastMS, millisecond))
	delay += jitter(t.s.claims(i, uint32(j), it.Generation), it.Attempt, delay) //nolint:gosec // far fewer than 2^32 work items
	if until := t.s.until(i, it.Started); until != 0 && t.now+delay >= until {
		return
	}
	t.emit(t.workEvent(i, j, &sluicev1.Event{Kind: &sluicev1.Event_RetryScheduled{RetryScheduled: &sluicev1.RetryScheduled{
		NextRetryAtNs: t.now + delay, RetryCount: it.RetryCount + 1,
	}}}))
}

func (t *Turn) failWork(i, j int, reason string, digest []byte) {
	t.emit(t.workEvent(i, j, &sluicev1.Event{Kind: &sluicev1.Event_WorkFailed{WorkFailed: &sluicev1.WorkFailed{
		Error: reason, Digest: digest, DurationMs: t.took(i, j),
	}}}))
	t.workEnded(i)
}

// claims are what the token of a work item stands for.
func (s *State) claims(step int, item, generation uint32) token.Claims {
	return token.Claims{FlowID: s.ID, StepID: s.Plan.Steps[step].ID, Run: s.Run, Item: item, Generation: generation}
}
