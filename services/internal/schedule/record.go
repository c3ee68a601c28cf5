package schedule

import (
	"fmt"
	"slices"
	"time"

	"github.com/sluiceflow/sluice/pkg/step"
)

const (
	// maxQueue is how many flows of a schedule wait for the one before them; what
	// comes past them is skipped.
	maxQueue = 100
	// lateAfter is from when on a time counts as missed and its flow as late.
	// What takes over from a killed engine does so in five seconds.
	lateAfter = 10 * time.Second
)

// Labels of a flow that a schedule started.
const (
	LabelSchedule  = "sluice.schedule"   // the schedule's id
	LabelPlannedAt = "sluice.planned_at" // the time that it is started for
	LabelLate      = "sluice.late"       // true, where that time was missed
)

// Record is a schedule and what has become of it. All that is decided about it
// is written down here before it is done, so that whoever reads it knows what
// to do. A copy of it may be changed without changing the other.
type Record struct {
	Definition

	ID        string    `json:"id"`
	Paused    bool      `json:"paused,omitempty"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`

	// After is up to when its times are dealt with; zero means up to when the
	// record was stored, by the log's clock.
	After time.Time `json:"after,omitzero"`
	// Anchor is what every_ms counts from; zero means when the record was stored.
	Anchor time.Time `json:"anchor,omitzero"`

	// Starting is the flow that is to be started now. Until it is in the log,
	// nothing else is decided.
	Starting *Start `json:"starting,omitempty"`
	// Queue are those that wait for the one before them.
	Queue []Start `json:"queue,omitempty"`
	Last  *Start  `json:"last,omitempty"`

	Started uint64 `json:"started"`
	Missed  uint64 `json:"missed"`  // times that passed while nobody could start them, and that a later one stands for
	Skipped uint64 `json:"skipped"` // times at which the flow before had not ended
	Failed  uint64 `json:"failed"`  // starts that could not be

	// Error is what kept the last start from being; nil once one was.
	Error *Failure `json:"error,omitempty"`
}

// Start is a flow that a schedule starts.
type Start struct {
	PlannedAt time.Time `json:"planned_at"`
	// Late says that the time was missed.
	Late      bool      `json:"late,omitempty"`
	FlowID    string    `json:"flow_id,omitempty"`
	StartedAt time.Time `json:"started_at,omitzero"`
}

// Failure says why a flow could not be started.
type Failure struct {
	Message   string    `json:"message"`
	PlannedAt time.Time `json:"planned_at"`
	At        time.Time `json:"at"`
}

// FlowID is the id of the flow that a schedule starts for a time.
func FlowID(id string, planned time.Time) string {
	layout := "20060102T150405Z"
	if planned.Nanosecond() != 0 {
		layout = "20060102T150405.000Z"
	}
	return id + "@" + planned.UTC().Format(layout)
}

// RequestDigest tells a flow that the schedule started for a time from one that
// somebody else started under its id. A changed definition is no other request:
// the time has its flow.
func RequestDigest(id string, planned time.Time) ([]byte, error) {
	digest, err := step.CanonicalDigest(fmt.Appendf(nil, `{"schedule":%q,"planned_at":%q}`, id, planned.UTC().Format(time.RFC3339Nano)))
	if err != nil {
		return nil, fmt.Errorf("digest of a schedule's start: %w", err)
	}
	return digest, nil
}

// Settle fills in what the record leaves to the time at which it was stored.
func (r *Record) Settle(stored time.Time) {
	stored = stored.UTC()
	if r.After.IsZero() {
		r.After = stored
	}
	if r.Anchor.IsZero() {
		r.Anchor = stored.Truncate(time.Millisecond)
	}
}

// Next returns up to n times after a moment, fewer where there are not so many,
// and none while the schedule is paused. The record is settled.
func (r *Record) Next(after time.Time, n int) []time.Time {
	times, err := r.times(r.Anchor)
	if err != nil || r.Paused {
		return nil
	}
	var list []time.Time
	for at := times.next(after); !at.IsZero() && len(list) < n; at = times.next(at) {
		list = append(list, at)
	}
	return list
}

// NeedsLast reports whether what Decide decides depends on the flow that was
// started last.
func (r *Record) NeedsLast() bool { return r.Overlap != Allow && r.Last != nil }

// Decide moves the record on to now, and reports whether it changed it. Free says
// that the flow that was started last has ended. Of the times that passed since
// the last look the latest is taken, and stands for the others: they were
// missed. The record is settled.
func (r *Record) Decide(now time.Time, free bool) bool {
	if r.Paused || r.Starting != nil {
		return false
	}
	changed := r.take(now, free)
	if free && r.Starting == nil && len(r.Queue) > 0 {
		first := r.Queue[0]
		r.Starting, r.Queue = &first, slices.Clone(r.Queue[1:])
		changed = true
	}
	return changed
}

// take decides about the times that passed.
func (r *Record) take(now time.Time, free bool) bool {
	times, err := r.times(r.Anchor)
	if err != nil {
		return false // it was validated; a zone that is unknown here is known elsewhere
	}
	last, n := times.due(r.After, now)
	if n == 0 {
		return false
	}
	r.After = last
	r.Missed += n - 1
	start := Start{PlannedAt: last, Late: now.Sub(last) >= lateAfter}
	switch {
	case r.Overlap == Queue && len(r.Queue) < maxQueue:
		r.Queue = append(slices.Clone(r.Queue), start)
	case free && r.Overlap != Queue:
		r.Starting = &start
	default:
		r.Skipped++
	}
	return true
}

// Begun notes that the flow that was to be started is in the log.
func (r *Record) Begun(at time.Time) {
	last := *r.Starting
	last.FlowID, last.StartedAt = FlowID(r.ID, last.PlannedAt), at
	r.Last, r.Starting, r.Error = &last, nil, nil
	r.Started++
}

// GiveUp notes that the flow that was to be started cannot be.
func (r *Record) GiveUp(why string, at time.Time) {
	r.Error = &Failure{Message: why, PlannedAt: r.Starting.PlannedAt, At: at}
	r.Starting = nil
	r.Failed++
}

// Redefine gives the record another definition, whose times count from now on.
func (r *Record) Redefine(d Definition) {
	if d.EveryMS != r.EveryMS {
		r.Anchor = time.Time{}
	}
	r.Definition, r.After, r.Error = d, time.Time{}, nil
	if d.Overlap != Queue {
		r.Skipped += uint64(len(r.Queue))
		r.Queue = nil
	}
}

// Pause stops the schedule, or lets it go on: times that pass in a pause are not
// missed. A flow that is being started is started.
func (r *Record) Pause(paused bool) {
	r.Paused = paused
	if !paused {
		r.After = time.Time{}
	}
}
