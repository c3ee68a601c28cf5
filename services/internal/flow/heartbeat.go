package flow

import (
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
)

// listenAgain is the shortest pause between two questions about one attempt that
// nobody answered.
const listenAgain = 1000 * millisecond

// Silent returns the attempts whose heartbeat was due in this turn: whether
// their workers were heard is for the shell to find out, and to say in a wake. A
// question that gets no answer is asked again a period later.
func (t *Turn) Silent() []*sluicev1.WorkRef { return t.silent }

// listen asks whether the worker of an attempt was heard. Heartbeats are not in
// the log, so nothing is decided before there is an answer.
func (t *Turn) listen(i, j int) {
	e := t.workEvent(i, j, &sluicev1.Event{})
	t.silent = append(t.silent, &sluicev1.WorkRef{
		Run: t.s.Run, StepId: e.GetStepId(), Item: e.GetItem(), Generation: e.GetGeneration(), Attempt: e.GetAttempt(),
	})
	t.s.listenAt(i, j, t.now+max(t.s.heartbeatPeriod(i), listenAgain))
}

// hear judges the attempts that Redis was asked about. What it said holds for
// the moment at which it was asked, so a late or repeated answer decides the
// same; one about an attempt that is over decides nothing.
func (t *Turn) hear(heard *sluicev1.Heard) {
	asked := min(heard.GetAskedNs(), t.now)
	for _, last := range heard.GetHeartbeats() {
		work := last.GetWork()
		i, it := t.s.item(work.GetStepId(), work.GetItem())
		if it == nil || t.s.over() || it.Heartbeat == 0 || it.Status != sluicev1.WorkStatus_WORK_STATUS_ACTIVE ||
			work.GetRun() != t.s.Run || work.GetGeneration() != it.Generation || work.GetAttempt() != it.Attempt {
			continue
		}
		period := t.s.heartbeatPeriod(i)
		// Silence counts from the attempt's start, and only where a heartbeat
		// would have been kept.
		quiet := max(it.Heartbeat-period, min(heard.GetSinceNs(), asked))
		if last.GetAttempt() == 0 || last.GetAttempt() == it.Attempt {
			quiet = max(quiet, min(last.GetHeardNs(), asked))
		}
		if quiet+period <= asked {
			t.timeOut(i, int(work.GetItem()), limitHeartbeat)
			continue
		}
		t.s.listenAt(i, int(work.GetItem()), quiet+period)
	}
}

// heartbeatPeriod is how long a worker of the step may be silent, in
// nanoseconds.
func (s *State) heartbeatPeriod(step int) int64 {
	return saturating(s.Plan.Steps[step].Proto.GetWork().GetHeartbeatTimeoutMs(), millisecond)
}

// listenAt says when to ask about a work item's worker next.
func (s *State) listenAt(step, item int, at int64) {
	s.Steps[step].Items[item].listen = at
	s.arm(step, item)
}
