package flow

import (
	"container/heap"
	"hash/fnv"

	"github.com/sluiceflow/sluice/pkg/subject"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
)

// roomPause is how long what waits for room in the log waits before it looks
// again, in nanoseconds; up to half of it is added, so that flows that came to
// wait together do not come back together.
const roomPause = 10_000 * millisecond

// startWaiting starts what an earlier turn had no room for. No event says that
// something waits: it is what could start and has not, so replay knows it too.
func (t *Turn) startWaiting() {
	if !t.env.Full && !t.s.over() {
		t.goOn()
	}
}

// Due returns when the flow must be woken, in Unix nanoseconds; 0 means never.
// Beside its deadlines that is a moment from now where something waits for room
// in the log or in a commit, for nobody's message would start it. What waits is
// looked for only where some may: in a full log, where something was left, and
// after a command whose first engine may have died before it stored when to look
// again.
func (t *Turn) Due() int64 {
	at, _ := t.s.NextDeadline()
	if subject.IsMailbox(t.s.ID) {
		return at
	}
	t.s.left = t.s.left || t.left
	suspect := t.env.Full || t.repeated || t.s.left
	if !t.s.Exists() || !suspect {
		return at
	}
	overdue := t.env.Full && at != 0 && at <= t.now
	if waits := t.waits(); !overdue && !waits {
		t.s.left = false
		return at
	}
	look := t.now
	if t.env.Full {
		look += roomPause + t.s.spread(roomPause/2)
	}
	if overdue || at == 0 || at > look {
		return look
	}
	return at
}

// waits reports whether something could start that has not.
func (t *Turn) waits() bool {
	if t.s.over() || t.s.paused() || t.s.unborn() {
		return false
	}
	needed, idle := t.needed(), !t.running()
	for i := range t.s.Steps {
		st := &t.s.Steps[i]
		switch st.Status {
		case sluicev1.StepStatus_STEP_STATUS_ACTIVE:
			if _, ok := st.pending(); ok && st.active < t.slots(i) {
				return true
			}
		case sluicev1.StepStatus_STEP_STATUS_PENDING:
			if !needed[i] || st.asked {
				continue
			}
			ready, _ := t.readiness(i)
			if ready == waiting && idle {
				ready, _ = t.withoutOptional(i)
			}
			if ready == startable || st.held {
				return true
			}
		case sluicev1.StepStatus_STEP_STATUS_UNSPECIFIED, sluicev1.StepStatus_STEP_STATUS_COMPLETED,
			sluicev1.StepStatus_STEP_STATUS_SKIPPED, sluicev1.StepStatus_STEP_STATUS_FAILED:
		}
	}
	return false
}

// spread is up to limit, a function of the flow's id.
func (s *State) spread(limit int64) int64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(s.ID)) // never fails
	return int64(mix(h.Sum64())>>1) % limit
}

// isRetry reports whether a deadline that stands is the start of an attempt.
func (s *State) isRetry(d deadline) bool {
	if d.step < 0 || d.whole {
		return false
	}
	it := &s.Steps[d.step].Items[d.item]
	if s.over() {
		return it.Status == sluicev1.WorkStatus_WORK_STATUS_COMPENSATING && it.Compensation.NextRetry != 0
	}
	return it.Status == sluicev1.WorkStatus_WORK_STATUS_NOT_COMPLETED
}

// putBack adds deadlines that were taken out.
func (s *State) putBack(held []deadline) {
	for _, d := range held {
		heap.Push(&s.deadlines, d)
	}
}
