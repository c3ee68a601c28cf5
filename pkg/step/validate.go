package step

import (
	"cmp"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"math"
	"unicode/utf8"

	"github.com/sluiceflow/sluice/pkg/subject"
)

// Limits bound a definition. The zero value means the defaults.
type Limits struct {
	// Labels is how many labels a step may have; 0 means 32.
	Labels int
	// Attributes is how many inputs and outputs a step may have; 0 means 256.
	Attributes int
}

const (
	defaultLabels     = 32
	defaultAttributes = 256
	maxNameLen        = 128
	// maxMS is ten years: sums of such times fit into nanoseconds.
	maxMS = int64(10 * 365 * 24 * 3600 * 1000)

	missing = "this release does not have it"
)

// Validate returns every mistake in the definition as [FieldErrors], or nil.
func (d Definition) Validate(l Limits) error {
	var v validation
	v.identity(d, l)
	v.absent(d)
	for _, name := range sortedNames(d.Attributes) {
		v.attribute(name, d.Attributes[name])
	}
	v.call(d)
	v.scripts(d)
	v.waits(d)
	v.child(d)
	if d.WorkConfig != nil {
		v.work(*d.WorkConfig)
		v.check(d.Type == KindAsync || d.WorkConfig.HeartbeatTimeoutMS <= 0, "work_config.heartbeat_timeout_ms",
			"is for async steps only: the others have no webhook to send heartbeats to")
	}
	if len(v.errs) == 0 {
		return nil
	}
	return v.errs
}

// validation collects mistakes.
type validation struct{ errs FieldErrors }

func (v *validation) add(field, format string, args ...any) {
	v.errs = append(v.errs, FieldError{field, fmt.Sprintf(format, args...)})
}

// check adds the mistake unless ok.
func (v *validation) check(ok bool, field, format string, args ...any) {
	if !ok {
		v.add(field, format, args...)
	}
}

func (v *validation) identity(d Definition, l Limits) {
	if err := subject.CheckID(d.ID); err != nil {
		v.add("id", "%v", err)
	}
	switch d.Type {
	case KindSync, KindAsync, KindScript, KindFlow, KindWait:
	default:
		v.add("type", "must be sync, async, script, flow or wait")
	}
	v.check(utf8.RuneCountInString(d.Name) <= maxNameLen, "name", "has at most %d characters", maxNameLen)
	v.count("labels", len(d.Labels), cmp.Or(l.Labels, defaultLabels))
	if _, ok := d.Labels[""]; ok {
		v.add("labels", "a label needs a name")
	}
	v.count("attributes", len(d.Attributes), cmp.Or(l.Attributes, defaultAttributes))
}

func (v *validation) count(field string, n, most int) {
	v.check(n <= most, field, "at most %d", most)
}

// absent names what the contract has and this release does not.
func (v *validation) absent(d Definition) {
	v.check(d.NATS == nil, "nats", missing)
	v.check(!d.Memoizable || d.Type != KindWait && d.Type != KindFlow, "memoizable", "is not for a step that waits or starts a flow")
}

func (v *validation) attribute(name string, a Attribute) {
	field := "attributes." + name
	if n := utf8.RuneCountInString(name); n < 1 || n > maxNameLen {
		v.add(field, "a name has 1 to %d characters", maxNameLen)
	}
	v.check(a.Type == "" || a.Type.valid(), field+".type",
		"must be string, number, boolean, object, array, null or any")
	v.check(!a.ForEach || a.Role != RoleOutput, field+".for_each", "is for required, optional and const inputs only")
	switch a.Role {
	case RoleRequired, RoleOutput:
		v.check(a.Default == nil, field+".default", "is for optional and const inputs only")
	case RoleConst:
		v.check(a.Default != nil, field+".default", "is required: it is the value of a const")
		v.defaultValue(field, a)
	case RoleOptional:
		v.defaultValue(field, a)
	default:
		v.add(field+".role", "must be required, optional, const or output")
	}
}

func (v *validation) defaultValue(field string, a Attribute) {
	if a.Default == nil {
		return
	}
	value := stdjson.RawMessage(*a.Default)
	if _, err := CanonicalDigest(value); err != nil {
		problem, _ := errors.AsType[*FieldError](err)
		v.add(field+".default", "must be JSON text: %s", problem.Message)
		return
	}
	if a.ForEach {
		if _, err := Elements(value, a.ElementType()); err != nil {
			v.add(field+".default", "%v", err)
		}
		return
	}
	kind := a.EffectiveType()
	v.check(!kind.valid() || kind.Accepts(value), field+".default", "is not of type %s", kind)
}

func (v *validation) work(w WorkConfig) {
	const field = "work_config."
	v.check(w.MaxRetries >= -1, field+"max_retries", "must be %d to %d", -1, math.MaxInt32)
	backoff := int64(0)
	if w.BackoffMS != nil {
		backoff = *w.BackoffMS
		v.milliseconds(field+"backoff_ms", backoff, 0)
	}
	if w.MaxBackoffMS != nil {
		limit := *w.MaxBackoffMS
		v.milliseconds(field+"max_backoff_ms", limit, 0)
		v.check(limit == 0 || limit >= backoff, field+"max_backoff_ms", "must not be less than backoff_ms")
	}
	v.check(w.BackoffType == "" || w.BackoffType.valid(),
		field+"backoff_type", "must be fixed, linear or exponential")
	v.check(w.Parallelism >= 0, field+"parallelism", "must be 0 to %d", math.MaxInt32)
	v.milliseconds(field+"timeout_ms", w.TimeoutMS, -1)
	v.milliseconds(field+"heartbeat_timeout_ms", w.HeartbeatTimeoutMS, 0)
	v.milliseconds(field+"deadline_ms", w.DeadlineMS, 0)
}

func (v *validation) milliseconds(field string, value, least int64) {
	if value < least || value > maxMS {
		v.errs = append(v.errs, *wholeRange(field, least, maxMS))
	}
}
