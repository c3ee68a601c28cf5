// Package schedule is what starts flows by time: when a schedule is due, what is
// done about it, and the bucket that remembers.
package schedule

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sluiceflow/sluice/pkg/step"
	"github.com/sluiceflow/sluice/pkg/subject"
)

// Overlap says what happens when a schedule is due and the flow that it started
// last has not ended.
type Overlap string

// The ways to overlap.
const (
	Skip  Overlap = "skip"  // nothing starts; what "" means
	Queue Overlap = "queue" // the flow starts when the one before it ended
	Allow Overlap = "allow" // it starts all the same
)

const (
	// MinEvery is the shortest time between two flows of a schedule with
	// every_ms.
	MinEvery = time.Second
	// MaxEvery is the longest.
	MaxEvery = 366 * 24 * time.Hour
	// MaxID is how long a schedule's id may be: its flows' ids are longer.
	MaxID = 100
)

// Definition is a schedule as people write it.
type Definition struct {
	Cron     string  `json:"cron,omitempty"`
	EveryMS  int64   `json:"every_ms,omitempty"`
	TimeZone string  `json:"time_zone,omitempty"` // of Cron; "" is UTC
	Overlap  Overlap `json:"overlap"`
	Flow     Flow    `json:"flow"`
}

// Flow is what is started.
type Flow struct {
	Goals          []string                   `json:"goals"`
	Init           map[string]json.RawMessage `json:"init,omitempty"`
	Labels         map[string]string          `json:"labels,omitempty"`
	TimeoutMS      int64                      `json:"timeout_ms,omitempty"`
	CallbackURL    string                     `json:"callback_url,omitempty"`
	CallbackSecret string                     `json:"callback_secret,omitempty"`
}

// CheckID says what is wrong with a schedule's id.
func CheckID(id string) error {
	if err := subject.CheckID(id); err != nil {
		return err //nolint:wrapcheck // it says all
	}
	if len(id) > MaxID {
		return fmt.Errorf("has %d characters, and may have %d", len(id), MaxID)
	}
	return nil
}

// Validate reports every field that makes no sense, but for those of the flow. It
// gives the defaults their names.
func (d *Definition) Validate() error {
	var mistakes step.FieldErrors
	wrong := func(field, format string, args ...any) {
		mistakes = append(mistakes, step.FieldError{Field: field, Message: fmt.Sprintf(format, args...)})
	}
	switch {
	case d.Cron == "" && d.EveryMS == 0:
		wrong("cron", `say when flows start: by cron, such as "30 2 * * *", or by every_ms`)
	case d.Cron != "" && d.EveryMS != 0:
		wrong("every_ms", "cron and every_ms together make no sense")
	case d.EveryMS != 0:
		if d.EveryMS < MinEvery.Milliseconds() || d.EveryMS > MaxEvery.Milliseconds() {
			wrong("every_ms", "must be a whole number from %d to %d", MinEvery.Milliseconds(), MaxEvery.Milliseconds())
		}
		if d.TimeZone != "" {
			wrong("time_zone", "is for cron: every_ms counts time that passes")
		}
	default:
		d.validateCron(wrong)
	}
	if d.Overlap == "" {
		d.Overlap = Skip
	}
	if !slices.Contains([]Overlap{Skip, Queue, Allow}, d.Overlap) {
		wrong("overlap", "must be skip, queue or allow")
	}
	if len(mistakes) > 0 {
		return mistakes
	}
	return nil
}

func (d *Definition) validateCron(wrong func(field, format string, args ...any)) {
	spec, err := parseCron(d.Cron)
	if err != nil {
		wrong("cron", "%s", err)
	}
	zone, zoneErr := loadZone(d.TimeZone)
	if zoneErr != nil {
		wrong("time_zone", "%s", zoneErr)
	}
	if err == nil && zoneErr == nil && (calendar{spec, zone}).next(time.Now()).IsZero() {
		wrong("cron", "is a time that does not come in the next five years")
	}
}

// loadZone finds a time zone by its name.
func loadZone(name string) (*time.Location, error) {
	if name == "" {
		return time.UTC, nil
	}
	if strings.EqualFold(name, "local") {
		return nil, fmt.Errorf("%q says nothing to other machines", name)
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf(`%q is no time zone such as "Europe/Berlin"`, name)
	}
	return zone, nil
}
