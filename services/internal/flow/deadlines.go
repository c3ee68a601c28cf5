package flow

import (
	"container/heap"
	"slices"
)

// flowDeadline stands for the flow itself where a deadline names a step.
const flowDeadline = -1

// A deadline is a moment at which a work item, or the flow, needs attention.
type deadline struct {
	at   int64
	step int
	item int
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
	if at := s.Steps[step].Items[item].due(); at != 0 {
		s.push(deadline{at: at, step: step, item: item})
	}
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
		n += s.Steps[i].active
	}
	return n
}

// rebuildDeadlines makes the heap of a state that was restored.
func (s *State) rebuildDeadlines() {
	s.deadlines = s.deadlines[:0]
	if s.Final() {
		return
	}
	if s.Deadline != 0 {
		s.deadlines = append(s.deadlines, deadline{at: s.Deadline, step: flowDeadline})
	}
	for i := range s.Steps {
		if s.Steps[i].final() {
			continue
		}
		for j := range s.Steps[i].Items {
			if at := s.Steps[i].Items[j].due(); at != 0 {
				s.deadlines = append(s.deadlines, deadline{at: at, step: i, item: j})
			}
		}
	}
	heap.Init(&s.deadlines)
}

// earliest drops stale entries and returns the earliest deadline that stands.
func (s *State) earliest() (deadline, bool) {
	for len(s.deadlines) > 0 {
		d := s.deadlines[0]
		if !s.Final() && s.stands(d) {
			return d, true
		}
		heap.Pop(&s.deadlines)
	}
	return deadline{}, false
}

func (s *State) stands(d deadline) bool {
	if d.step == flowDeadline {
		return d.at == s.Deadline
	}
	return s.Steps[d.step].Items[d.item].due() == d.at
}

// NextDeadline returns the earliest moment, in Unix nanoseconds, at which the
// flow needs attention without anybody's message. It reports false when there
// is none.
func (s *State) NextDeadline() (int64, bool) {
	d, ok := s.earliest()
	return d.at, ok
}
