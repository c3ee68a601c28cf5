package console

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/sluiceflow/sluice/pkg/step"
	"github.com/sluiceflow/sluice/services/console/internal/view"
	"github.com/sluiceflow/sluice/services/internal/fault"
	"github.com/sluiceflow/sluice/services/internal/httpapi"
	"github.com/sluiceflow/sluice/services/internal/schedule"
)

const (
	// scheduleAttempts bounds how often a change of a schedule is made while its
	// engine writes too.
	scheduleAttempts = 20
	// nextTimes is how many times a schedule shows ahead.
	nextTimes = 5
)

type scheduleRequest struct {
	Cron     string        `json:"cron"`
	EveryMS  int64         `json:"every_ms"`
	TimeZone string        `json:"time_zone"`
	Overlap  string        `json:"overlap"`
	Flow     *startRequest `json:"flow"`
}

type scheduleAnswer struct {
	Schedule view.Schedule `json:"schedule"`
	Message  string        `json:"message"`
}

func (c *Console) putSchedule(ec echo.Context) error {
	id, err := scheduleID(ec)
	if err != nil {
		return err
	}
	var r scheduleRequest
	if err := c.decode(ec, &r); err != nil {
		return err
	}
	d, err := c.checkSchedule(r)
	if err != nil {
		return err
	}
	status, message := http.StatusOK, fmt.Sprintf("schedule %q is updated", id)
	stored, err := c.changeSchedule(ec.Request().Context(), id, func(old *schedule.Record) (bool, error) {
		if old == nil {
			status, message = http.StatusCreated, fmt.Sprintf("schedule %q is made", id)
			return true, nil
		}
		if same, err := equalDefinitions(old.Definition, d); same || err != nil {
			message = fmt.Sprintf("schedule %q is the same as before", id)
			return false, err
		}
		return true, nil
	}, func(r *schedule.Record) { r.Redefine(d) })
	if err != nil {
		return err
	}
	return answer(ec, status, scheduleAnswer{view.ScheduleOf(&stored, nextTimes), message})
}

// checkSchedule refuses what makes no sense, with the field's name. The goals are
// looked for when a flow starts: its steps may be registered by then.
func (c *Console) checkSchedule(r scheduleRequest) (schedule.Definition, error) {
	d := schedule.Definition{Cron: r.Cron, EveryMS: r.EveryMS, TimeZone: r.TimeZone, Overlap: schedule.Overlap(r.Overlap)}
	if err := d.Validate(); err != nil {
		return d, err //nolint:wrapcheck // it says all
	}
	switch {
	case r.Flow == nil:
		return d, wrong("flow", "is required")
	case r.Flow.ID != "":
		return d, wrong("flow.id", "is made of the schedule's id and the time")
	case r.Flow.StartAt != "":
		return d, wrong("flow.start_at", "is the schedule's")
	}
	f, err := c.check(*r.Flow)
	if err != nil {
		return d, within("flow.", err)
	}
	d.Flow = schedule.Flow{
		Goals: f.goals, Init: f.init, Labels: f.labels, TimeoutMS: f.limit, CallbackURL: f.callbackURL, CallbackSecret: f.callbackSecret,
	}
	return d, nil
}

// within says of the fields of a problem where they stand.
func within(prefix string, err error) error {
	p, ok := errors.AsType[*httpapi.ProblemError](err)
	if !ok {
		return err
	}
	mistakes := make([]step.FieldError, len(p.Fields))
	for i, f := range p.Fields {
		mistakes[i] = step.FieldError{Field: prefix + f.Name, Message: f.Message}
	}
	return invalid(mistakes...)
}

func equalDefinitions(a, b schedule.Definition) (bool, error) {
	var digests [2]string
	for i, d := range []schedule.Definition{a, b} {
		text, err := json.Marshal(d)
		if err != nil {
			return false, fmt.Errorf("write a schedule: %w", err)
		}
		digest, err := step.CanonicalDigest(text)
		if err != nil {
			return false, fmt.Errorf("compare schedules: %w", err)
		}
		digests[i] = string(digest)
	}
	return digests[0] == digests[1], nil
}

// changeSchedule makes a change of a schedule as it is, or of a new one where
// wanted takes nil, and returns what is there then.
func (c *Console) changeSchedule(
	ctx context.Context, id string, wanted func(old *schedule.Record) (bool, error), change func(*schedule.Record),
) (schedule.Record, error) {
	for range scheduleAttempts {
		e, err := c.schedules.Get(ctx, id)
		old := &e.Record
		switch {
		case fault.KindOf(err) == fault.NotFound:
			old = nil
			e = schedule.Entry{Record: schedule.Record{ID: id, CreatedAt: time.Now().UTC()}}
		case err != nil:
			return e.Record, err //nolint:wrapcheck // it says all
		}
		if ok, err := wanted(old); !ok || err != nil {
			return e.Record, err
		}
		change(&e.Record)
		e.UpdatedAt = time.Now().UTC()
		_, err = c.schedules.Put(ctx, e.Record, e.Revision)
		switch {
		case fault.KindOf(err) == fault.Conflict: // its engine was faster
			continue
		case err != nil:
			return e.Record, err //nolint:wrapcheck // it says all
		}
		stored := e.Record
		stored.Settle(time.Now())
		return stored, nil
	}
	return schedule.Record{}, fault.Newf(fault.Unavailable, "console.changeSchedule", "schedule %q keeps changing", id)
}

func (c *Console) getSchedule(ec echo.Context) error {
	id, err := scheduleID(ec)
	if err != nil {
		return err
	}
	ctx := ec.Request().Context()
	e, err := c.schedules.Get(ctx, id)
	if err != nil {
		return unknownSchedule(id, err)
	}
	shown := view.ScheduleOf(&e.Record, nextTimes)
	if shown.Last != nil {
		switch state, broken, err := c.load(ctx, shown.Last.FlowID); {
		case errors.Is(err, errNoFlow): // its history is gone
		case err != nil:
			return err
		case broken != "":
			shown.Last.Status = "failed"
		default:
			shown.Last.Status = view.DigestOf(state).Status
		}
	}
	return answer(ec, http.StatusOK, shown)
}

func (c *Console) listSchedules(ec echo.Context) error {
	if err := onlyQuery(ec); err != nil {
		return err
	}
	entries, err := c.schedules.List(ec.Request().Context())
	if err != nil {
		return err
	}
	list := make([]view.Schedule, 0, len(entries))
	for i := range entries {
		list = append(list, view.ScheduleOf(&entries[i].Record, 1))
	}
	return answer(ec, http.StatusOK, struct {
		Schedules []view.Schedule `json:"schedules"`
		Count     int             `json:"count"`
	}{list, len(list)})
}

func (c *Console) deleteSchedule(ec echo.Context) error {
	id, err := scheduleID(ec)
	if err != nil {
		return err
	}
	ctx := ec.Request().Context()
	for range scheduleAttempts {
		e, err := c.schedules.Get(ctx, id)
		if err != nil {
			return unknownSchedule(id, err)
		}
		err = c.schedules.Delete(ctx, id, e.Revision)
		switch {
		case fault.KindOf(err) == fault.Conflict:
			continue
		case err != nil:
			return err
		}
		return answer(ec, http.StatusOK, map[string]string{"message": fmt.Sprintf("schedule %q is deleted; flows that it started go on", id)})
	}
	return fault.Newf(fault.Unavailable, "console.deleteSchedule", "schedule %q keeps changing", id)
}

func (c *Console) pauseSchedule(ec echo.Context) error { return c.setPaused(ec, true, "is paused") }

func (c *Console) resumeSchedule(ec echo.Context) error { return c.setPaused(ec, false, "goes on") }

func (c *Console) setPaused(ec echo.Context, paused bool, what string) error {
	id, err := scheduleID(ec)
	if err != nil {
		return err
	}
	var r struct{}
	if err := c.decodeOptional(ec, &r); err != nil {
		return err
	}
	stored, err := c.changeSchedule(ec.Request().Context(), id, func(old *schedule.Record) (bool, error) {
		switch {
		case old == nil:
			return false, unknownSchedule(id, fault.Newf(fault.NotFound, "console.setPaused", "there is no schedule %q", id))
		case old.Paused && paused:
			return false, problem(http.StatusConflict, "conflict", fmt.Sprintf("schedule %q is paused", id))
		case !old.Paused && !paused:
			return false, problem(http.StatusConflict, "conflict", fmt.Sprintf("schedule %q is not paused", id))
		}
		return true, nil
	}, func(r *schedule.Record) { r.Pause(paused) })
	if err != nil {
		return err
	}
	return answer(ec, http.StatusOK, scheduleAnswer{view.ScheduleOf(&stored, nextTimes), fmt.Sprintf("schedule %q %s", id, what)})
}

// scheduleID checks a request about one schedule.
func scheduleID(ec echo.Context) (string, error) {
	id, err := readID(ec)
	if err != nil {
		return "", err
	}
	if err := schedule.CheckID(id); err != nil {
		return "", wrong("id", "%s", err)
	}
	return id, nil
}

func unknownSchedule(id string, err error) error {
	if fault.KindOf(err) != fault.NotFound {
		return err
	}
	return problem(http.StatusNotFound, "unknown_schedule", fmt.Sprintf("there is no schedule %q", id))
}
