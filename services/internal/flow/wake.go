package flow

import (
	"container/heap"
	"fmt"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
)

// maxDue bounds the deadlines that one command settles, so that ten thousand
// retries due together do not make one message of them; long errors bound them
// further. The rest stays due, and the timer that follows from the commit is due
// at once.
const maxDue = 500

// wake settles the deadlines that are due by the log's clock, and starts what
// waited for room.
func (t *Turn) wake(w *sluicev1.Wake) Verdict {
	t.hear(w.GetHeard())
	var held []deadline
	for settled := 0; settled < maxDue && t.fits(t.env.ArgumentBytes); {
		d, ok := t.s.earliest()
		if !ok || d.at > t.now {
			break
		}
		if t.env.Full && t.s.isRetry(d) {
			heap.Pop(&t.s.deadlines)
			held = append(held, d)
			continue
		}
		t.settleDeadline(d)
		settled++
	}
	t.s.putBack(held)
	t.startWaiting()
	return Verdict{}
}

func (t *Turn) settleDeadline(d deadline) {
	switch {
	case d.step == flowStart:
		t.advance()
	case d.step == flowDeadline:
		t.fail(fmt.Sprintf("the flow did not end within %d ms", t.s.timeout()/millisecond))
	case t.s.over():
		t.settleLate(d.step, d.item)
	case t.s.isWait(d.step):
		t.waitOver(d.step, d.item)
	case t.isOver(d.step, d.item, t.now):
		t.runOut(d.step, d.item)
	case t.s.Steps[d.step].Items[d.item].Status == sluicev1.WorkStatus_WORK_STATUS_ACTIVE:
		if deadline := t.s.Steps[d.step].Items[d.item].Deadline; deadline != 0 && deadline <= t.now {
			t.timeOut(d.step, d.item, limitTimeout)
		} else {
			t.listen(d.step, d.item)
		}
	default:
		t.startAttempt(d.step, d.item, nil)
	}
}

// expire settles the deadlines that an outcome has to be judged against: the
// flow's, the work item's, and that of the attempt that runs. It costs the same
// however many others are due. That of the heartbeat is none of them: whoever
// sends an outcome lives.
func (t *Turn) expire(i, j int, at int64) {
	if t.s.over() {
		t.expireLate(i, j, at)
		return
	}
	if t.expireFlow(at); t.s.over() {
		return
	}
	it := &t.s.Steps[i].Items[j]
	switch {
	case t.isOver(i, j, at):
		t.runOut(i, j)
	case it.Status == sluicev1.WorkStatus_WORK_STATUS_ACTIVE && it.Deadline != 0 && it.Deadline <= at:
		t.timeOut(i, j, limitTimeout)
	}
}

// expireFlow settles the flow's own deadline.
func (t *Turn) expireFlow(at int64) {
	if !t.s.over() && !t.s.unborn() && t.s.Deadline != 0 && t.s.Deadline <= at {
		t.settleDeadline(deadline{at: t.s.Deadline, step: flowDeadline})
	}
}
