package invariant

import (
	"github.com/sluiceflow/sluice/pkg/event"
	"github.com/sluiceflow/sluice/services/faults/internal/ledger"
)

// toldOf is invariant 9: the end of a flow is told at least once to who asked for
// that, as it was and not before it was.
func (c *check) toldOf(id string, h History) {
	asked := false
	for _, s := range c.starts[id] {
		asked = asked || s.Told
	}
	taken := 0
	for _, told := range c.callbacks[id] {
		if !asked {
			c.broken(Told, id, "its end is told, and nobody asked for that")
		}
		c.telling(id, h, told)
		if told.Taken() && told.CompletedAt.Equal(h.State.CompletedAt) {
			taken++
		}
	}
	switch {
	case asked && h.State.Status.Ended() && taken == 0:
		c.broken(Told, id, "it is %s, and that was not told", h.State.Status)
	case taken > 1 && c.Quiet:
		c.broken(Told, id, "its end was told %d times, and nothing was broken", taken)
	}
}

// telling checks one callback against the end that it is about.
func (c *check) telling(id string, h History, told ledger.Callback) {
	if told.Unsigned != "" {
		c.broken(Told, id, "what is told is not signed: %s", told.Unsigned)
	}
	for _, e := range h.Events {
		if !e.Type.Ends() || !e.Time.Equal(told.CompletedAt) {
			continue
		}
		status := map[event.Type]string{
			event.FlowCompleted: "completed", event.FlowFailed: "failed", event.FlowCanceled: "canceled",
		}[e.Type]
		switch {
		case told.Type != string(e.Type) || told.Status != status || told.Error != e.Error+e.Reason:
			c.broken(Told, id, "it is told to be %s (%s, %s), and is %s (%s)", told.Status, told.Type, told.Error, status, e.Error+e.Reason)
		case e.Type == event.FlowCompleted && told.Outputs != canonicalOf(e.Result):
			c.broken(Told, id, "other outputs are told than its goals gave: %.200s", told.Outputs)
		case told.At.Before(e.Time.Add(-clockSlack)):
			c.broken(Told, id, "its end is told %s before it", e.Time.Sub(told.At))
		}
		return
	}
	if !c.Lossy {
		c.broken(Told, id, "an end is told (%s) that it did not have", told.Type)
	}
}
