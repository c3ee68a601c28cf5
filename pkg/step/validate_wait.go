package step

import (
	"time"
	"unicode/utf8"
)

// MaxApprovers is how many people one step can ask.
const MaxApprovers = 32

// maxTitle is how many characters the title of an approval may have.
const maxTitle = 256

// waits looks at what a step of type wait waits for.
func (v *validation) waits(d Definition) {
	if d.Type != KindWait {
		v.check(d.Wait == nil, "wait", "is for steps of type wait only")
		return
	}
	v.check(d.HTTP == nil, "http", "is for steps of type sync and async only")
	if d.WorkConfig != nil {
		v.waitWork(*d.WorkConfig)
	}
	if d.Wait == nil {
		v.add("wait", "is required for a step of type wait")
		return
	}
	w := *d.Wait
	given := 0
	for _, is := range []bool{w.DurationMS != 0, w.Until != "", w.Message != nil, w.Approval != nil} {
		if is {
			given++
		}
	}
	v.check(given == 1, "wait", "needs one of duration_ms, until, message and approval")
	v.milliseconds("wait.duration_ms", w.DurationMS, 0)
	if _, ok := w.Moment(); w.Until != "" && !ok {
		v.add("wait.until", "must be a moment as RFC 3339 writes it, such as 2030-01-31T09:00:00Z, from 1970 to 2261")
	}
	if w.DurationMS != 0 || w.Until != "" {
		v.timeOutputs(d)
	}
	if w.Approval != nil {
		v.approval(d)
	}
	if w.Message != nil {
		v.message(*w.Message)
	}
	v.milliseconds("wait.timeout_ms", w.TimeoutMS, 0)
	v.onTimeout(d)
}

// waitWork refuses limits that would end a wait, or would seem to: it has its own.
func (v *validation) waitWork(w WorkConfig) {
	const instead = "is not for steps of type wait: they have wait.timeout_ms"
	v.check(w.TimeoutMS <= 0, "work_config.timeout_ms", instead)
	v.check(w.DeadlineMS <= 0, "work_config.deadline_ms", instead)
}

// timeOutputs are the outputs of a wait for a time: when it was over, or only
// that it was.
func (v *validation) timeOutputs(d Definition) {
	for _, name := range sortedNames(d.Attributes) {
		a := d.Attributes[name]
		if a.Role != RoleOutput {
			continue
		}
		kind := a.EffectiveType()
		if d.HasForEach() {
			kind = a.ElementType()
		}
		v.check(!kind.valid() || kind == TypeString || kind == TypeNumber || kind == TypeBoolean || kind == TypeAny, "attributes."+name+".type",
			"must be string, number, boolean or any: a wait for a time gives when it was over, or true")
	}
}

// approval looks at what people are asked, and at the types of what comes of it.
func (v *validation) approval(d Definition) {
	a := d.Wait.Approval
	v.check(a.Approvers >= 0 && a.Approvers <= MaxApprovers, "wait.approval.approvers", "must be 0 to %d; 0 means 1", MaxApprovers)
	v.check(utf8.RuneCountInString(a.Title) <= maxTitle, "wait.approval.title", "has at most %d characters", maxTitle)
	gives := map[string]Type{"approved": TypeBoolean, "by": TypeString, "comment": TypeString}
	for _, name := range sortedNames(gives) {
		kind := gives[name]
		output, ok := d.Attributes[name]
		if !ok || output.Role != RoleOutput || !output.EffectiveType().valid() {
			continue
		}
		said := output.EffectiveType()
		if d.HasForEach() {
			said = output.ElementType()
		}
		v.check(said == kind || said == TypeAny, "attributes."+name+".type", "must be %s or any: that is what an approval gives", kind)
	}
}

func (v *validation) message(m WaitMessage) {
	if n := utf8.RuneCountInString(m.Name); n < 1 || n > maxNameLen {
		v.add("wait.message.name", "a name has 1 to %d characters", maxNameLen)
	}
	if m.Key == nil {
		v.add("wait.message.key", "is required: it gives the key that the message must have")
	}
	v.script("wait.message.key", m.Key)
}

func (v *validation) onTimeout(d Definition) {
	then := d.Wait.OnTimeout
	if then == nil {
		return
	}
	v.check(d.Wait.TimeoutMS > 0, "wait.on_timeout", "needs wait.timeout_ms")
	for _, name := range sortedNames(then.Outputs) {
		field := "wait.on_timeout.outputs." + name
		a, declared := d.Attributes[name]
		if !declared {
			continue // it stays in the step's outputs
		}
		if a.Role != RoleOutput {
			v.add(field, "is an input of the step")
			continue
		}
		kind := a.EffectiveType()
		if d.HasForEach() {
			kind = a.ElementType()
		}
		v.check(!kind.valid() || kind.Accepts(then.Outputs[name]), field, "is not of type %s", kind)
	}
}

// Moment returns the time of Until, or false where that is none that can be
// waited for.
func (w Wait) Moment() (time.Time, bool) {
	at, err := time.Parse(time.RFC3339, w.Until)
	if err != nil || at.Year() < 1970 || at.Year() > 2261 {
		return time.Time{}, false
	}
	return at, true
}
