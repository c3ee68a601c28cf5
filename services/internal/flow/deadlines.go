package flow

import (
	"container/heap"
	"slices"

	"github.com/sluiceflow/sluice/pkg/subject"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
)

// flowDeadline stands for the flow itself where a deadline names a step.
const flowDeadline = -1

// A deadline is a moment at which a work item, or the flow, needs attention.
type deadline struct {
	at    int64
	step  int
	item  int
	whole bool // of the work item over all its attempts, not of what it is at now
}

// deadlines is a heap whose earliest entry is first. Entries are never moved: an
// entry whose work item has another deadline by now is stale and is dropped when
// it comes up.
type deadlines []deadline //nolint:recvcheck // as container/heap wants it

func (d deadlines) Len() int           { return len(d) }
func (d deadlines) Less(i, j int) bool { return d[i].at < d[j].at }
func (d deadlines) Swap(i, j int)      { d[i], d[j] = d[j], d[i] }

// Push is for container/heap.
func (d *deadlines) Push(x any) {
	if e, ok := x.(deadline); ok {
		*d = append(*d, e)
	}
}

// Pop is for container/heap.
func (d *deadlines) Pop() any {
	old := *d
	last := old[len(old)-1]
	*d = old[:len(old)-1]
	return last
}

// arm remembers the deadline that the work item has now.
func (s *State) arm(step, item int) {
	if at := s.due(step, item); at != 0 {
		s.push(deadline{at: at, step: step, item: item})
	}
}

// armWhole remembers the deadline over all attempts of a work item that started.
func (s *State) armWhole(step, item int) {
	if at := s.until(step, s.Steps[step].Items[item].Started); at != 0 {
		s.push(deadline{at: at, step: step, item: item, whole: true})
	}
}

// until returns when a work item of the step fails whose first attempt started
// at that time and which has no outcome by then; 0 means never.
func (s *State) until(step int, started int64) int64 {
	limit := s.Plan.Steps[step].Proto.GetWork().GetDeadlineMs()
	if limit <= 0 || started == 0 || s.isWait(step) {
		return 0
	}
	return started + saturating(limit, millisecond)
}

// due returns when the work item needs attention without anybody's message, or
// 0 for never.
func (s *State) due(step, item int) int64 {
	if s.over() {
		return s.lateDue(step, item)
	}
	it := &s.Steps[step].Items[item]
	if s.paused() && it.Status == sluicev1.WorkStatus_WORK_STATUS_NOT_COMPLETED {
		return 0 // no attempt begins
	}
	return it.due()
}

// push adds d and, once stale entries outnumber what can be live, starts over,
// so that a work item that is retried for ever does not grow the heap.
func (s *State) push(d deadline) {
	heap.Push(&s.deadlines, d)
	if live := s.liveDeadlines(); len(s.deadlines) > 64+2*live {
		s.deadlines = slices.DeleteFunc(s.deadlines, func(d deadline) bool { return !s.stands(d) })
		heap.Init(&s.deadlines)
	}
}

// liveDeadlines is an upper bound of the entries that are not stale.
func (s *State) liveDeadlines() int {
	n := 1
	for i := range s.Steps {
		n += 2 * s.Steps[i].active
	}
	return n
}

// rebuildDeadlines makes the heap of a state that was restored, or whose ending
// is decided.
func (s *State) rebuildDeadlines() {
	s.deadlines = s.deadlines[:0]
	s.armFlow()
	for i := range s.Steps {
		if s.Steps[i].final() && !s.over() {
			continue
		}
		for j := range s.Steps[i].Items {
			it := &s.Steps[i].Items[j]
			if at := s.due(i, j); at != 0 {
				s.deadlines = append(s.deadlines, deadline{at: at, step: i, item: j})
			}
			if at := s.until(i, it.Started); at != 0 && it.underway() && !s.over() {
				s.deadlines = append(s.deadlines, deadline{at: at, step: i, item: j, whole: true})
			}
		}
	}
	heap.Init(&s.deadlines)
}

// earliest drops stale entries and returns the earliest deadline that stands.
func (s *State) earliest() (deadline, bool) {
	for len(s.deadlines) > 0 {
		d := s.deadlines[0]
		if s.stands(d) {
			return d, true
		}
		heap.Pop(&s.deadlines)
	}
	return deadline{}, false
}

func (s *State) stands(d deadline) bool {
	if d.step < 0 {
		at, own := s.flowDue()
		return own == d.step && at == d.at
	}
	it := &s.Steps[d.step].Items[d.item]
	if d.whole {
		return !s.over() && it.underway() && s.until(d.step, it.Started) == d.at
	}
	return s.due(d.step, d.item) == d.at
}

// NextDeadline returns the earliest moment, in Unix nanoseconds, at which the
// flow needs attention without anybody's message. It reports false when there
// is none.
func (s *State) NextDeadline() (int64, bool) {
	if subject.IsMailbox(s.ID) {
		at := s.mailboxDue()
		return at, at != 0
	}
	d, ok := s.earliest()
	return d.at, ok
}
