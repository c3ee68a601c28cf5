package view

import (
	"time"

	"github.com/sluiceflow/sluice/services/internal/schedule"
)

// Schedule is a schedule and what has become of it.
type Schedule struct {
	ID                  string `json:"id"`
	schedule.Definition        //nolint:embeddedstructfieldcheck // people look for the id first

	Paused    bool        `json:"paused"`
	CreatedAt time.Time   `json:"created_at"`
	UpdatedAt time.Time   `json:"updated_at"`
	Next      []time.Time `json:"next"`              // the times that come; none while it is paused
	Starting  time.Time   `json:"starting,omitzero"` // the time whose flow is being started
	Queued    []time.Time `json:"queued"`            // the times whose flows wait for the one before them
	Last      *Started    `json:"last,omitempty"`    // the flow that was started last
	Started   uint64      `json:"started"`           // flows
	Missed    uint64      `json:"missed"`            // times that nobody was there for, beside the ones started late
	Skipped   uint64      `json:"skipped"`           // times at which the flow before had not ended
	Failed    uint64      `json:"failed"`            // flows that could not be started
	Error     *NotStarted `json:"error,omitempty"`   // of the last start, where that was one of these
}

// Started is a flow that a schedule started.
type Started struct {
	FlowID    string    `json:"flow_id"`
	PlannedAt time.Time `json:"planned_at"`
	StartedAt time.Time `json:"started_at"`
	Late      bool      `json:"late"`
	Status    string    `json:"status,omitempty"` // none once its history is gone
}

// NotStarted says why a schedule's flow could not be started.
type NotStarted struct {
	Message   string    `json:"message"`
	PlannedAt time.Time `json:"planned_at"`
	At        time.Time `json:"at"`
}

// ScheduleOf shows a schedule, with up to n times that come. Its secret is a
// mark.
func ScheduleOf(r *schedule.Record, n int) Schedule {
	out := Schedule{
		ID: r.ID, Definition: r.Definition, Paused: r.Paused, CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt,
		Next: r.Next(r.After, n), Queued: make([]time.Time, 0, len(r.Queue)),
		Started: r.Started, Missed: r.Missed, Skipped: r.Skipped, Failed: r.Failed,
	}
	if out.Next == nil {
		out.Next = []time.Time{}
	}
	if out.Flow.CallbackSecret != "" {
		out.Flow.CallbackSecret = mark
	}
	if r.Starting != nil {
		out.Starting = r.Starting.PlannedAt
	}
	for _, q := range r.Queue {
		out.Queued = append(out.Queued, q.PlannedAt)
	}
	if l := r.Last; l != nil {
		out.Last = &Started{FlowID: l.FlowID, PlannedAt: l.PlannedAt, StartedAt: l.StartedAt, Late: l.Late}
	}
	if e := r.Error; e != nil {
		out.Error = &NotStarted{Message: e.Message, PlannedAt: e.PlannedAt, At: e.At}
	}
	return out
}
