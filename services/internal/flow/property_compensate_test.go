package flow_test

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/flow"
)

// compensating names the call that undoes a success and has no answer yet, or is
// nil where there is none.
func compensating(l *life) *sluicev1.WorkRef {
	for i := range l.state.Steps {
		for j, it := range l.state.Steps[i].Items {
			if it.Status == sluicev1.WorkStatus_WORK_STATUS_COMPENSATING && it.Compensation.NextRetry == 0 {
				w := ref(l.state.Plan.Steps[i].ID, it.Compensation.Attempt)
				w.Item, w.Generation = uint32(j), it.Generation
				return w
			}
		}
	}
	return nil
}

// drawAnswer draws what a call to undo a success comes to.
func drawAnswer(t *rapid.T, good bool) *sluicev1.Outcome {
	if good {
		return succeeded()
	}
	return rapid.SampledFrom([]*sluicev1.Outcome{
		succeeded(), succeeded(), notCompleted("503", 0), notCompleted("429", 1500), failed("404"),
	}).Draw(t, "answer")
}

// drawUndone is a report of a call to undo a success: of the one under way, of an
// attempt that is over, or of a work item of which none was asked for.
func drawUndone(t *rapid.T, l *life, w *sluicev1.WorkRef) *sluicev1.Command {
	if now := compensating(l); now != nil && rapid.IntRange(0, 3).Draw(t, "of now") > 0 {
		w = now
		w.Attempt -= rapid.Uint32Range(0, w.GetAttempt()-1).Draw(t, "late")
	}
	return undone(w, drawAnswer(t, false))
}

// undoing is what checkCompensations has read so far.
type undoing struct {
	stack   []string // successes that can be undone and are not, the last one at the end
	open    map[string]bool
	now     string // what is being undone
	attempt uint32
	done    map[string]bool
	decided *sluicev1.WorkCompensating
	ending  *sluicev1.Event
	gone    bool // deactivated
}

// checkCompensations looks at the log alone: once a flow fails or is canceled,
// each success that can be undone is, in reverse order of success, one at a time,
// once, and nothing else is; nothing else begins meanwhile; and the flow is given
// up only when no success can come any more.
func checkCompensations(t *rapid.T, l *life) {
	u := undoing{open: map[string]bool{}, done: map[string]bool{}}
	for _, c := range l.log {
		for _, e := range c.GetEvents() {
			if wrong := u.see(l, e); wrong != "" {
				t.Fatalf("revision %d, %s of %s: %s\n%s", c.GetRevision(), word(e), key(e), wrong, l.trace())
			}
		}
	}
}

func key(e *sluicev1.Event) string {
	return fmt.Sprintf("%s/%d/%d", e.GetStepId(), e.GetItem(), e.GetGeneration())
}

func (u *undoing) see(l *life, e *sluicev1.Event) string {
	can := false
	if i, ok := l.state.Plan.Index[e.GetStepId()]; ok {
		can = l.state.Plan.Steps[i].Proto.GetCompensate() != ""
	}
	if e.GetFlowResumed() != nil && u.over() { // it had failed, and nothing of it was undone
		if u.decided != nil || len(u.stack) > 0 {
			return "after something was undone"
		}
		*u = undoing{open: map[string]bool{}, done: u.done}
		return ""
	}
	if u.gone && e.GetCompletionIgnored() == nil && e.GetFlowRetired() == nil {
		return "after the deactivation"
	}
	switch k := e.GetKind().(type) {
	case *sluicev1.Event_StepStarted, *sluicev1.Event_StepCompleted, *sluicev1.Event_StepFailed, *sluicev1.Event_StepSkipped,
		*sluicev1.Event_PredicateAsked, *sluicev1.Event_PredicateHeld, *sluicev1.Event_AttributeSet, *sluicev1.Event_FlowCompleted:
		if u.over() {
			return "after the ending was decided"
		}
		if e.GetFlowCompleted() != nil {
			u.ending = e
		}
	case *sluicev1.Event_WorkStarted:
		if u.over() {
			return "after the ending was decided"
		}
		u.open[key(e)] = can
	case *sluicev1.Event_WorkSucceeded:
		delete(u.open, key(e))
		if can {
			u.stack = append(u.stack, key(e))
		}
		if u.over() && !can {
			return "nobody can undo it"
		}
	case *sluicev1.Event_WorkFailed:
		delete(u.open, key(e))
	case *sluicev1.Event_WorkCompensating:
		return u.begins(e, k.WorkCompensating, can)
	case *sluicev1.Event_WorkCompensated, *sluicev1.Event_CompensationFailed:
		if key(e) != u.now || u.done[u.now] || e.GetAttempt() != u.attempt {
			return "it is not being undone"
		}
		u.done[u.now], u.now = true, ""
	case *sluicev1.Event_FlowFailed, *sluicev1.Event_FlowCanceled:
		return u.ends(e)
	case *sluicev1.Event_FlowDeactivated:
		return u.goes()
	}
	return ""
}

func (u *undoing) over() bool { return u.decided != nil || u.ending != nil }

func (u *undoing) begins(e *sluicev1.Event, k *sluicev1.WorkCompensating, can bool) string {
	decides := k.GetEnding() != sluicev1.FlowStatus_FLOW_STATUS_UNSPECIFIED
	switch {
	case !can:
		return "nobody can undo it"
	case u.ending.GetFlowCompleted() != nil:
		return "the flow completed"
	case decides == u.over():
		return "the ending is decided never or twice"
	case k.GetDeadlineNs() <= start:
		return "without a deadline"
	}
	if decides {
		u.decided = k
	}
	if u.now != "" {
		if u.attempt++; u.now != key(e) || e.GetAttempt() != u.attempt {
			return "while " + u.now + " is being undone"
		}
		return ""
	}
	if len(u.stack) == 0 || u.stack[len(u.stack)-1] != key(e) || e.GetAttempt() != 1 {
		return "it is not the last success"
	}
	u.stack, u.now, u.attempt = u.stack[:len(u.stack)-1], key(e), 1
	return ""
}

func (u *undoing) ends(e *sluicev1.Event) string {
	u.ending = e
	switch {
	case len(u.stack) > 0 || u.now != "":
		return "before all was undone"
	case u.decided == nil:
		return ""
	case u.decided.GetEnding() == sluicev1.FlowStatus_FLOW_STATUS_FAILED && e.GetFlowFailed().GetError() == u.decided.GetReason() && e.GetFlowFailed() != nil:
		return ""
	case u.decided.GetEnding() == sluicev1.FlowStatus_FLOW_STATUS_CANCELED && e.GetFlowCanceled().GetReason() == u.decided.GetReason() && e.GetFlowCanceled() != nil:
		return ""
	}
	return "another ending was decided"
}

func (u *undoing) goes() string {
	u.gone = true
	if u.ending.GetFlowCompleted() != nil {
		return ""
	}
	if len(u.stack) > 0 || u.now != "" {
		return "before all was undone"
	}
	for item, can := range u.open {
		if can {
			return "before " + item + " has its outcome"
		}
	}
	return ""
}

// Workers whose flow failed or was canceled answer late, calls that undo come to
// nothing, are lost, are reported twice and out of order: everything is undone
// all the same, and then the flow is done with.
func TestEverySuccessIsUndoneOnce(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		planBytes, steps := drawPlan(t)
		l := newLife(t)
		l.do(startFlow(planBytes, map[string]string{"x": "1"}))
		byID := map[string]*sluicev1.PlannedStep{}
		for _, s := range steps {
			byID[s.GetId()] = s
		}
		var sent []delivery
		tell := func(cmd *sluicev1.Command) {
			d := delivery{cmd, l.position()}
			sent = append(sent, d)
			batch := []delivery{d}
			for rapid.IntRange(0, 2).Draw(t, "repeat") == 0 {
				again := rapid.SampledFrom(sent).Draw(t, "repeated")
				if rapid.Bool().Draw(t, "as new") { // what a dispatcher or gateway sends again
					again.at = l.position()
				}
				batch = append(batch, again)
			}
			l.deliver(rapid.Permutation(batch).Draw(t, "order")...)
		}
		ending := rapid.IntRange(0, 12).Draw(t, "when it is canceled")
		for round := 0; !l.state.Deactivated; round++ {
			if round > 2500+20*items(l.state) {
				t.Fatalf("still %s after %d rounds:\n%s", flow.StatusName(l.state.Status), round, l.trace())
			}
			if round == ending {
				tell(cancel())
				continue
			}
			if asked := questions(l); len(asked) > 0 {
				tell(answered(rapid.SampledFrom(asked).Draw(t, "asked").GetStepId(), 1, rapid.IntRange(0, 4).Draw(t, "holds") > 0))
				continue
			}
			if people := asked(l); len(people) > 0 {
				tell(drawDecision(t, rapid.SampledFrom(people).Draw(t, "decided")))
				continue
			}
			if come := answers(l); len(come) > 0 {
				tell(rapid.SampledFrom(come).Draw(t, "came"))
				continue
			}
			open, undo := openItems(l), compensating(l)
			what := rapid.IntRange(0, 3).Draw(t, "what")
			switch {
			case l.wakeAt != 0 && (what == 0 && round < 1000 || len(open) == 0 && undo == nil):
				l.now, l.wakeAt = max(l.now, l.wakeAt), 0
				tell(wake())
			case undo != nil && (what < 3 || len(open) == 0):
				tell(undone(undo, drawAnswer(t, round > 100)))
			case len(open) > 0:
				w := rapid.SampledFrom(open).Draw(t, "answered")
				tell(answer(l, w, drawOutcome(t, byID[w.GetStepId()])))
			default:
				t.Fatalf("nothing runs and nothing is due:\n%s", l.trace())
			}
		}
		checkHistory(t, l)
	})
}
