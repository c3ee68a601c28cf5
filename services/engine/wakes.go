package engine

import "container/heap"

// soon is how far ahead deadlines are kept in memory, in nanoseconds; what is
// later is the durable schedule's alone.
const soon = int64(60e9)

// wake is a deadline of a flow.
type wake struct {
	at     int64
	flowID string
}

// wakes is a heap whose earliest entry is first. It is only a convenience: what
// is lost from it comes by the durable schedule.
type wakes []wake //nolint:recvcheck // as container/heap wants it

func (w wakes) Len() int           { return len(w) }
func (w wakes) Less(i, j int) bool { return w[i].at < w[j].at }
func (w wakes) Swap(i, j int)      { w[i], w[j] = w[j], w[i] }

// Push is for container/heap.
func (w *wakes) Push(x any) {
	if e, ok := x.(wake); ok {
		*w = append(*w, e)
	}
}

// Pop is for container/heap.
func (w *wakes) Pop() any {
	old := *w
	last := old[len(old)-1]
	*w = old[:len(old)-1]
	return last
}

// arm keeps a flow's deadline where it is near and not kept already.
func (w *wakes) arm(flowID string, t *timer, due, now int64) {
	if due == 0 || due == t.armed || due > now+soon {
		return
	}
	t.armed = due
	heap.Push(w, wake{at: due, flowID: flowID})
}

// due takes out the earliest entry if its time has come.
func (w *wakes) due(now int64) (wake, bool) {
	if len(*w) == 0 || (*w)[0].at > now {
		return wake{}, false
	}
	first, ok := heap.Pop(w).(wake)
	return first, ok
}
