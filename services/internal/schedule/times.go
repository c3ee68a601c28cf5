package schedule

import (
	"errors"
	"fmt"
	"strings"
	"time"
	_ "time/tzdata" // a container may have no time zones of its own

	"github.com/robfig/cron/v3"
)

// Times are the moments at which a schedule is due.
type Times interface {
	// next is the first one after a moment; the zero time means that there is
	// none.
	next(after time.Time) time.Time
	// due says how many there are after a moment up to another one, and which is
	// the last.
	due(after, now time.Time) (last time.Time, n uint64)
}

// times are those of a definition that was validated. Those of every_ms count
// from the anchor.
func (d *Definition) times(anchor time.Time) (Times, error) {
	if d.EveryMS > 0 {
		return every{time.Duration(d.EveryMS) * time.Millisecond, anchor}, nil
	}
	spec, err := parseCron(d.Cron)
	if err != nil {
		return nil, err
	}
	zone, err := loadZone(d.TimeZone)
	if err != nil {
		return nil, err
	}
	return calendar{spec, zone}, nil
}

// every are moments at equal distances.
type every struct {
	step   time.Duration
	anchor time.Time // the first one is a step later
}

// count is how many there are up to a moment.
func (e every) count(until time.Time) int64 { return int64(max(0, until.Sub(e.anchor)) / e.step) }

func (e every) at(n int64) time.Time { return e.anchor.Add(time.Duration(n) * e.step).UTC() }

func (e every) next(after time.Time) time.Time { return e.at(e.count(after) + 1) }

func (e every) due(after, now time.Time) (last time.Time, n uint64) {
	seen, until := e.count(after), e.count(now)
	if until <= seen {
		return time.Time{}, 0
	}
	return e.at(until), uint64(until - seen) //nolint:gosec // it is positive
}

// calendar are the moments that a cron expression says, by the clocks of a zone.
type calendar struct {
	spec *cron.SpecSchedule
	zone *time.Location
}

// parseCron reads five fields or a word such as @daily.
func parseCron(text string) (*cron.SpecSchedule, error) {
	switch {
	case strings.Contains(text, "TZ="):
		return nil, errors.New("the time zone stands in time_zone")
	case strings.HasPrefix(text, "@every"):
		return nil, errors.New("what counts from now on stands in every_ms")
	}
	parsed, err := cron.ParseStandard(text)
	if err != nil {
		return nil, fmt.Errorf("is no cron expression: %w", err)
	}
	spec, ok := parsed.(*cron.SpecSchedule)
	if !ok {
		return nil, errors.New("is no cron expression")
	}
	return spec, nil
}

// eachHour reports whether the expression leaves out no hour of a day. Then it
// means a distance in time, such as a quarter of an hour, and goes on through the
// hour that clocks skip or show twice. Else it means what clocks show.
func (c calendar) eachHour() bool {
	const all = 1<<24 - 1
	return c.spec.Hour&all == all
}

func (c calendar) next(after time.Time) time.Time {
	after = after.In(c.zone)
	if c.eachHour() {
		return utc(c.spec.Next(after))
	}
	shown := wall(after)
	if !c.changes(after) {
		return utc(c.instant(c.spec.Next(shown)))
	}
	// Near a change the order of what clocks show is not that of time.
	var first time.Time
	for at := c.spec.Next(shown.Add(-nearChange)); !at.IsZero(); at = c.spec.Next(at) {
		found := c.instant(at)
		if found.After(after) && (first.IsZero() || found.Before(first)) {
			first = found
		}
		if !first.IsZero() && at.After(shown.Add(nearChange)) {
			break
		}
	}
	return utc(first)
}

func (c calendar) due(after, now time.Time) (last time.Time, n uint64) {
	for at := c.next(after); !at.IsZero() && !at.After(now); at = c.next(at) {
		last = at
		n++
	}
	return last, n
}

const (
	// nearChange is more than any clock was ever moved by for the time of year.
	nearChange = 3 * time.Hour
	// aroundChange is a distance at which a change is over or has not begun.
	aroundChange = 24 * time.Hour
)

// changes reports whether the clocks are moved within a day of a moment.
func (c calendar) changes(at time.Time) bool {
	return offset(at.Add(-aroundChange)) != offset(at.Add(aroundChange))
}

// instant is when the zone's clocks show a time, given as if it were UTC. The
// first of two where they show it twice; and where they skip it, when they would
// have shown it had they not been moved: 02:30 is at 03:30 then (RFC 5545 says the
// same).
func (c calendar) instant(shown time.Time) time.Time {
	if shown.IsZero() {
		return shown
	}
	before := shown.Add(-offset(shown.Add(-aroundChange).In(c.zone))).In(c.zone)
	if wall(before).Equal(shown) {
		return before
	}
	if after := shown.Add(-offset(shown.Add(aroundChange).In(c.zone))).In(c.zone); wall(after).Equal(shown) {
		return after
	}
	return before
}

// wall is what clocks show, as if it were UTC.
func wall(at time.Time) time.Time {
	return at.Add(offset(at)).UTC()
}

func offset(at time.Time) time.Duration {
	_, seconds := at.Zone()
	return time.Duration(seconds) * time.Second
}

// utc keeps the zero time as it is.
func utc(at time.Time) time.Time {
	if at.IsZero() {
		return time.Time{}
	}
	return at.UTC()
}
