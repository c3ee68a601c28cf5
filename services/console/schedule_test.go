package console_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sluiceflow/sluice/services/internal/schedule"
)

const nightly = `{"cron":"30 2 * * *","time_zone":"Europe/Berlin","overlap":"queue",
	"flow":{"goals":["charge"],"init":{"order":"A-1"},"labels":{"team":"pay"},"timeout_ms":60000,
	"callback_url":"https://shop.example/","callback_secret":"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}}`

func TestScheduleLife(t *testing.T) {
	t.Parallel()
	s := newSite(t, config(t))
	s.do(get, "/engine/schedule", "").want(http.StatusOK).has("schedules", "[]", "count", "0")
	s.do(put, "/engine/schedule/nightly", nightly).want(http.StatusCreated).has(
		"schedule.id", `"nightly"`, "schedule.cron", `"30 2 * * *"`, "schedule.time_zone", `"Europe/Berlin"`, "schedule.overlap", `"queue"`,
		"schedule.flow.goals", `["charge"]`, "schedule.flow.callback_secret", `"********"`, "schedule.paused", "false", "schedule.every_ms", "")
	s.do(put, "/engine/schedule/nightly", strings.ReplaceAll(nightly, `"init":{"order":"A-1"}`, `"init": { "order" : "A-1" }`)).
		want(http.StatusOK).has("message", `"schedule \"nightly\" is the same as before"`)

	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	shown := s.do(get, "/engine/schedule/nightly", "").want(http.StatusOK)
	for i := range 5 {
		next, err := time.Parse(`"`+time.RFC3339+`"`, shown.at(fmt.Sprintf("next.%d", i)))
		if err != nil || next.Before(time.Now()) || next.In(berlin).Hour() > 3 || next.In(berlin).Minute() != 30 {
			t.Errorf("next: %s: %v", shown.text, err)
		}
	}
	if shown.at("next.5") != "" || strings.Contains(shown.text, "MfKQ9r8GKY") {
		t.Error(shown.text)
	}

	s.do(post, "/engine/schedule/nightly/resume", "").problem(http.StatusConflict, "conflict", "")
	s.do(post, "/engine/schedule/nightly/pause", "").want(http.StatusOK).has("schedule.paused", "true", "schedule.next", "[]")
	s.do(post, "/engine/schedule/nightly/pause", "").problem(http.StatusConflict, "conflict", "")
	s.do(put, "/engine/schedule/nightly", `{"every_ms":60000,"flow":{"goals":["charge"]}}`).want(http.StatusOK).has(
		"schedule.paused", "true", "schedule.overlap", `"skip"`, "schedule.every_ms", "60000", "schedule.cron", "", "schedule.flow", `{"goals":["charge"]}`)
	s.do(post, "/engine/schedule/nightly/resume", "{}").want(http.StatusOK).has("schedule.paused", "false")
	s.do(put, "/engine/schedule/a:b@c", nightly).want(http.StatusCreated)
	s.do(get, "/engine/schedule", "").has("count", "2", "schedules.0.id", `"a:b@c"`, "schedules.1.id", `"nightly"`)

	s.do(del, "/engine/schedule/nightly", "").want(http.StatusOK)
	for _, call := range [][2]string{{get, ""}, {del, ""}, {post, "/pause"}, {post, "/resume"}} {
		s.do(call[0], "/engine/schedule/nightly"+call[1], "").problem(http.StatusNotFound, "unknown_schedule", "")
	}
	s.do(put, "/engine/schedule/nightly", nightly).want(http.StatusCreated).has("schedule.started", "0")
}

// What the engine wrote down shows, with what has become of the last flow.
func TestAScheduleShowsWhatBecameOfIt(t *testing.T) {
	t.Parallel()
	s := newSite(t, config(t))
	s.order()
	s.do(put, "/engine/schedule/s", nightly).want(http.StatusCreated)
	store, err := schedule.OpenStore(t.Context(), s.bus)
	if err != nil {
		t.Fatal(err)
	}
	e, err := store.Get(t.Context(), "s")
	if err != nil {
		t.Fatal(err)
	}
	planned := time.Date(2026, 1, 31, 1, 30, 0, 0, time.UTC)
	e.Starting = &schedule.Start{PlannedAt: planned, Late: true}
	e.Begun(planned.Add(time.Hour))
	e.Missed, e.Skipped, e.Queue = 2, 3, []schedule.Start{{PlannedAt: planned.Add(24 * time.Hour)}}
	e.Starting = &schedule.Start{PlannedAt: planned.Add(48 * time.Hour)}
	e.GiveUp("unknown goals: charge", planned.Add(49*time.Hour))
	if _, err := store.Put(t.Context(), e.Record, e.Revision); err != nil {
		t.Fatal(err)
	}
	const id = "s@20260131T013000Z"
	s.do(get, "/engine/schedule/s", "").has("last", `{"flow_id":"`+id+`","planned_at":"2026-01-31T01:30:00Z","started_at":"2026-01-31T02:30:00Z","late":true}`)
	s.do(post, "/engine/flow", `{"id":"`+id+`","goals":["charge"],"init":{"order":"1"}}`).want(http.StatusCreated)
	s.do(get, "/engine/schedule/s", "").has(
		"last.flow_id", `"`+id+`"`, "last.status", `"active"`, "started", "1", "missed", "2", "skipped", "3", "failed", "1",
		"queued", `["2026-02-01T01:30:00Z"]`, "starting", "",
		"error", `{"message":"unknown goals: charge","planned_at":"2026-02-02T01:30:00Z","at":"2026-02-02T02:30:00Z"}`)
	s.do(post, "/engine/flow/"+id+"/cancel", "").want(http.StatusOK)
	s.do(get, "/engine/schedule/s", "").has("last.status", `"canceled"`)
}
