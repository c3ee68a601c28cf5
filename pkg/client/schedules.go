package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// Overlap says what happens when a schedule is due and the flow that it started
// last has not ended.
type Overlap string

// The ways to overlap.
const (
	OverlapSkip  Overlap = "skip"  // nothing starts; the default
	OverlapQueue Overlap = "queue" // the flow starts when the one before it ended
	OverlapAllow Overlap = "allow" // it starts all the same
)

// ScheduleDefinition says which flow is started, and when: by Cron or by EveryMS.
type ScheduleDefinition struct {
	// Cron has five fields, such as "30 2 * * *", or is a word such as @daily.
	Cron string `json:"cron,omitempty"`
	// EveryMS is the time between two flows in milliseconds, from 1,000 on.
	EveryMS int64 `json:"every_ms,omitempty"`
	// TimeZone is that of Cron, such as "Europe/Berlin"; empty is UTC.
	TimeZone string  `json:"time_zone,omitempty"`
	Overlap  Overlap `json:"overlap,omitempty"`
	// Flow is what is started. It has no ID and no StartAt of its own.
	Flow StartRequest `json:"flow"`
}

// Schedule is a schedule and what has become of it.
type Schedule struct {
	ID                 string `json:"id"`
	ScheduleDefinition        //nolint:embeddedstructfieldcheck // as the API writes it

	Paused    bool      `json:"paused"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
	// Next are the times that come, one in lists; none while it is paused.
	Next []time.Time `json:"next"`
	// Starting is the time whose flow is being started.
	Starting time.Time `json:"starting,omitzero"`
	// Queued are the times whose flows wait for the one before them.
	Queued []time.Time `json:"queued"`
	// Last is the flow that was started last; nil before the first.
	Last *ScheduledFlow `json:"last,omitempty"`
	// Started counts flows, Missed the times that nobody was there for beside
	// those that were started late, Skipped those at which the flow before had not
	// ended, Failed the flows that could not be started.
	Started uint64 `json:"started"`
	Missed  uint64 `json:"missed"`
	Skipped uint64 `json:"skipped"`
	Failed  uint64 `json:"failed"`
	// Error says why the last flow could not be started; nil where it was.
	Error *ScheduleError `json:"error,omitempty"`
}

// UnmarshalJSON keeps the text of the init values, so that numbers are not
// rounded and the definition can be put again as it is.
func (s *Schedule) UnmarshalJSON(data []byte) error {
	type plain Schedule
	var text struct {
		Flow struct {
			Init map[string]json.RawMessage `json:"init"`
		} `json:"flow"`
	}
	if err := json.Unmarshal(data, (*plain)(s)); err != nil {
		return fmt.Errorf("read a schedule: %w", err)
	}
	if err := json.Unmarshal(data, &text); err != nil {
		return fmt.Errorf("read a schedule's init: %w", err)
	}
	for name, value := range text.Flow.Init {
		s.Flow.Init[name] = value
	}
	return nil
}

// ScheduledFlow is a flow that a schedule started.
type ScheduledFlow struct {
	FlowID    string    `json:"flow_id"`
	PlannedAt time.Time `json:"planned_at"`
	StartedAt time.Time `json:"started_at"`
	// Late says that nobody was there at the time.
	Late bool `json:"late"`
	// Status is empty in lists, and once the flow's history is gone.
	Status Status `json:"status,omitempty"`
}

// ScheduleError says why a schedule's flow could not be started.
type ScheduleError struct {
	Message   string    `json:"message"`
	PlannedAt time.Time `json:"planned_at"`
	At        time.Time `json:"at"`
}

// PutSchedule makes a schedule or replaces its definition, and reports whether it
// is new. The same definition again changes nothing; the times of another one
// count from now on.
func (c *Client) PutSchedule(ctx context.Context, id string, d ScheduleDefinition) (created bool, err error) {
	status, err := c.call(ctx, http.MethodPut, []string{"schedule", id}, nil, d, nil)
	return status == http.StatusCreated, err
}

// Schedule reads a schedule, its secret replaced by a mark.
func (c *Client) Schedule(ctx context.Context, id string) (Schedule, error) {
	var s Schedule
	_, err := c.call(ctx, http.MethodGet, []string{"schedule", id}, nil, nil, &s)
	return s, err
}

// Schedules reads all schedules, sorted by id.
func (c *Client) Schedules(ctx context.Context) ([]Schedule, error) {
	var list struct {
		Schedules []Schedule `json:"schedules"`
	}
	_, err := c.call(ctx, http.MethodGet, []string{"schedule"}, nil, nil, &list)
	return list.Schedules, err
}

// DeleteSchedule removes a schedule. Flows that it started go on.
func (c *Client) DeleteSchedule(ctx context.Context, id string) error {
	_, err := c.call(ctx, http.MethodDelete, []string{"schedule", id}, nil, nil, nil)
	return err
}

// PauseSchedule lets a schedule start nothing until it is resumed.
func (c *Client) PauseSchedule(ctx context.Context, id string) error {
	_, err := c.call(ctx, http.MethodPost, []string{"schedule", id, "pause"}, nil, nil, nil)
	return err
}

// ResumeSchedule lets a paused schedule go on. What was due meanwhile is not
// started.
func (c *Client) ResumeSchedule(ctx context.Context, id string) error {
	_, err := c.call(ctx, http.MethodPost, []string{"schedule", id, "resume"}, nil, nil, nil)
	return err
}
