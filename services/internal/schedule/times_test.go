package schedule_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sluiceflow/sluice/pkg/step"
	"github.com/sluiceflow/sluice/services/internal/schedule"
)

func at(t *testing.T, text string) time.Time {
	t.Helper()
	parsed, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// record is a schedule whose times count from a moment.
func record(t *testing.T, d schedule.Definition, from time.Time) *schedule.Record {
	t.Helper()
	if err := d.Validate(); err != nil {
		t.Fatal(err)
	}
	r := &schedule.Record{ID: "s", Definition: d}
	r.Settle(from)
	return r
}

// The clocks of Berlin go from 02:00 to 03:00 on 29 March 2026 (01:00 UTC), and
// from 03:00 back to 02:00 on 25 October (01:00 UTC). Those of Lord Howe are moved
// by half an hour.
func TestTimes(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		d    schedule.Definition
		from string
		want string
	}{
		"cron is by UTC": {
			schedule.Definition{Cron: "30 2 * * *"},
			"2026-03-28T12:00:00Z",
			"2026-03-29T02:30:00Z 2026-03-30T02:30:00Z",
		},
		"or by the clocks of a zone": {
			schedule.Definition{Cron: "0 9 * * 1-5", TimeZone: "America/New_York"},
			"2026-07-03T12:00:00Z",
			"2026-07-03T13:00:00Z 2026-07-06T13:00:00Z",
		},
		"a word": {schedule.Definition{Cron: "@daily"}, "2026-03-28T12:00:00Z", "2026-03-29T00:00:00Z"},
		"what clocks skip is at the time that it would have been": {
			schedule.Definition{Cron: "30 2 * * *", TimeZone: "Europe/Berlin"},
			"2026-03-27T12:00:00Z",
			"2026-03-28T01:30:00Z 2026-03-29T01:30:00Z 2026-03-30T00:30:00Z",
		},
		"and all of what they skip": {
			schedule.Definition{Cron: "*/20 2 * * *", TimeZone: "Europe/Berlin"},
			"2026-03-28T12:00:00Z",
			"2026-03-29T01:00:00Z 2026-03-29T01:20:00Z 2026-03-29T01:40:00Z 2026-03-30T00:00:00Z",
		},
		"two that fall together are one": {
			schedule.Definition{Cron: "30 2,3 * * *", TimeZone: "Europe/Berlin"},
			"2026-03-28T12:00:00Z",
			"2026-03-29T01:30:00Z 2026-03-30T00:30:00Z 2026-03-30T01:30:00Z",
		},
		"in the order of time": {
			schedule.Definition{Cron: "0,30 2-3 * * *", TimeZone: "Europe/Berlin"},
			"2026-03-28T12:00:00Z",
			"2026-03-29T01:00:00Z 2026-03-29T01:30:00Z 2026-03-30T00:00:00Z",
		},
		"what clocks show twice is once": {
			schedule.Definition{Cron: "30 2 * * *", TimeZone: "Europe/Berlin"},
			"2026-10-24T12:00:00Z",
			"2026-10-25T00:30:00Z 2026-10-26T01:30:00Z",
		},
		"also for who looks in between": {
			schedule.Definition{Cron: "30 2 * * *", TimeZone: "Europe/Berlin"},
			"2026-10-25T01:00:00Z",
			"2026-10-26T01:30:00Z",
		},
		"each quarter goes on through what is skipped": {
			schedule.Definition{Cron: "*/30 * * * *", TimeZone: "Europe/Berlin"},
			"2026-03-29T00:15:00Z",
			"2026-03-29T00:30:00Z 2026-03-29T01:00:00Z 2026-03-29T01:30:00Z",
		},
		"and through what is shown twice": {
			schedule.Definition{Cron: "0 * * * *", TimeZone: "Europe/Berlin"},
			"2026-10-24T23:30:00Z",
			"2026-10-25T00:00:00Z 2026-10-25T01:00:00Z 2026-10-25T02:00:00Z",
		},
		"half an hour is skipped": {
			schedule.Definition{Cron: "15 2 * * *", TimeZone: "Australia/Lord_Howe"},
			"2026-10-02T20:00:00Z",
			"2026-10-03T15:45:00Z 2026-10-04T15:15:00Z",
		},
		"and shown twice": {
			schedule.Definition{Cron: "45 1 * * *", TimeZone: "Australia/Lord_Howe"},
			"2026-04-04T00:00:00Z",
			"2026-04-04T14:45:00Z 2026-04-05T15:15:00Z",
		},
		"a leap day": {schedule.Definition{Cron: "0 0 29 2 *"}, "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z"},
		"every counts from the beginning": {
			schedule.Definition{EveryMS: 90_500},
			"2026-03-29T00:00:07.25Z",
			"2026-03-29T00:01:37.75Z 2026-03-29T00:03:08.25Z",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := record(t, tt.d, at(t, tt.from))
			want := strings.Fields(tt.want)
			var got []string
			for _, next := range r.Next(r.After, len(want)) {
				got = append(got, next.Format(time.RFC3339Nano))
			}
			if !slices.Equal(got, want) {
				t.Errorf("got  %v\nwant %v", got, want)
			}
		})
	}
}

// Whoever looks, however often and when: each time is taken or missed, once, and
// the times are those that one look at all of them finds.
func TestEachTimeIsTakenOrMissedOnce(t *testing.T) {
	t.Parallel()
	base := time.Date(2026, 3, 28, 20, 0, 0, 0, time.UTC)
	rapid.Check(t, func(t *rapid.T) {
		d := rapid.SampledFrom([]schedule.Definition{
			{Cron: "*/7 * * * *", TimeZone: "Europe/Berlin"},
			{Cron: "*/10 1-3 * * *", TimeZone: "Europe/Berlin"},
			{Cron: "30 2 * * *", TimeZone: "Europe/Berlin"},
			{EveryMS: 60_000},
			{EveryMS: 3_599_999},
		}).Draw(t, "definition")
		d.Overlap = schedule.Allow
		from := base
		if rapid.Bool().Draw(t, "autumn") {
			from = time.Date(2026, 10, 24, 20, 0, 0, 0, time.UTC)
		}
		r := &schedule.Record{ID: "s", Definition: d}
		r.Settle(from)
		now := from
		started := map[string]bool{}
		for range rapid.IntRange(1, 60).Draw(t, "looks") {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(90*time.Minute)).Draw(t, "passes")))
			if !r.Decide(now, true) {
				continue
			}
			id := schedule.FlowID(r.ID, r.Starting.PlannedAt)
			if started[id] || r.Starting.PlannedAt.After(now) {
				t.Fatalf("%s at %s", id, now)
			}
			started[id] = true
			r.Begun(now)
		}
		whole := &schedule.Record{ID: "s", Definition: d}
		whole.Settle(from)
		whole.Decide(now, true)
		all := whole.Missed
		if whole.Starting != nil {
			all++
		}
		if r.Started+r.Missed != all || r.Started != uint64(len(started)) {
			t.Fatalf("%d started and %d missed of %d", r.Started, r.Missed, all)
		}
	})
}

func TestDefinitionsThatMakeNoSense(t *testing.T) {
	t.Parallel()
	for text, field := range map[string]string{
		`{}`: "cron", `{"cron":"* * * * *","every_ms":1000}`: "every_ms", `{"every_ms":999}`: "every_ms", `{"every_ms":-1}`: "every_ms",
		`{"every_ms":31622400001}`: "every_ms", `{"every_ms":60000,"time_zone":"UTC"}`: "time_zone",
		`{"cron":"often"}`: "cron", `{"cron":"* * * *"}`: "cron", `{"cron":"* * * * * *"}`: "cron", `{"cron":"60 * * * *"}`: "cron",
		`{"cron":"TZ=UTC * * * * *"}`: "cron", `{"cron":"CRON_TZ=UTC"}`: "cron", `{"cron":"@every 1h"}`: "cron", `{"cron":"0 0 30 2 *"}`: "cron",
		`{"cron":"* * * * *","time_zone":"Berlin"}`: "time_zone", `{"cron":"* * * * *","time_zone":"Local"}`: "time_zone",
		`{"cron":"* * * * *","time_zone":"../etc/passwd"}`: "time_zone", `{"cron":"* * * * *","overlap":"kill"}`: "overlap",
	} {
		var d schedule.Definition
		if err := json.Unmarshal([]byte(text), &d); err != nil {
			t.Fatal(err)
		}
		err := d.Validate()
		mistakes, ok := err.(step.FieldErrors) //nolint:errorlint // it is not wrapped
		if !ok || len(mistakes) != 1 || mistakes[0].Field != field {
			t.Errorf("%s: %v, want a mistake in %s", text, err, field)
		}
	}
}
