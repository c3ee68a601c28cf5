package flow

import (
	"slices"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/plan"
)

// advance starts, skips and fails pending steps until nothing more follows, and
// ends the flow when its goals say so. It is called when a step ended or the
// flow began or goes on: only then can a pending step's lot have changed. While
// the flow is paused it does nothing, nor before the time that it was started for.
func (t *Turn) advance() {
	if !t.begun() {
		return
	}
	for !t.s.over() && !t.s.paused() {
		before := len(t.events)
		t.checkGoals()
		if t.s.over() {
			return
		}
		t.settlePending(t.readiness)
		if len(t.events) == before {
			if t.running() || t.waiting {
				return
			}
			if t.breakTie(); t.waiting && len(t.events) == before {
				return
			}
		}
	}
}

// settlePending asks judge about each pending step and does what it says.
func (t *Turn) settlePending(judge func(i int) (readiness, []string)) {
	needed := t.needed()
	t.waiting = false
	for i := range t.s.Steps {
		if t.s.Steps[i].Status != sluicev1.StepStatus_STEP_STATUS_PENDING {
			continue
		}
		if !needed[i] {
			t.skipStep(i, notNeeded, nil)
			continue
		}
		if st := &t.s.Steps[i]; st.asked || st.held {
			if st.held {
				t.startStep(i)
			}
			continue
		}
		switch ready, lacking := judge(i); ready {
		case waiting:
		case startable:
			t.startStep(i)
		case unreachable:
			t.failStep(i, unavailable, lacking)
		}
	}
}

type readiness int

const (
	waiting readiness = iota
	startable
	unreachable
)

// readiness says whether a pending step can start: its required inputs are
// there and nobody who still may run could give its optional ones.
func (t *Turn) readiness(i int) (readiness, []string) {
	ready := startable
	var lacking []string
	for _, input := range t.s.Plan.Steps[i].Inputs {
		if !awaited(input) || t.has(input.Name) {
			continue
		}
		open := slices.ContainsFunc(input.Providers, func(p int) bool { return p != i && !t.s.Steps[p].final() })
		switch {
		case open:
			ready = waiting
		case input.Role == sluicev1.AttributeRole_ATTRIBUTE_ROLE_REQUIRED:
			lacking = append(lacking, input.Name)
		}
	}
	if len(lacking) > 0 {
		return unreachable, lacking
	}
	return ready, nil
}

// withoutOptional is readiness for a flow in which nothing runs: whoever waits
// for an optional input waits in vain.
func (t *Turn) withoutOptional(i int) (readiness, []string) {
	var lacking []string
	for _, input := range t.s.Plan.Steps[i].Inputs {
		if input.Role == sluicev1.AttributeRole_ATTRIBUTE_ROLE_REQUIRED && !t.has(input.Name) {
			lacking = append(lacking, input.Name)
		}
	}
	if len(lacking) > 0 {
		return waiting, lacking
	}
	return startable, nil
}

// breakTie ends a wait of pending steps for each other. Registration refuses
// such cycles, but a flow must not hang because one got through: first those
// start that lack only optional inputs, and when there are none, the rest can
// never run.
func (t *Turn) breakTie() {
	before := len(t.events)
	t.settlePending(t.withoutOptional)
	if len(t.events) > before || t.waiting {
		return
	}
	t.settlePending(func(i int) (readiness, []string) {
		_, lacking := t.withoutOptional(i)
		return unreachable, lacking
	})
}

// running reports whether something will be heard of by itself: of a step that
// runs, or of a predicate.
func (t *Turn) running() bool {
	return slices.ContainsFunc(t.s.Steps, func(st Step) bool {
		return st.Status == sluicev1.StepStatus_STEP_STATUS_ACTIVE || st.asked
	})
}

func (t *Turn) has(attribute string) bool {
	_, ok := t.s.Attributes[attribute]
	return ok
}

// awaited reports whether a step waits for the input: a const's value stands.
func awaited(input plan.Input) bool {
	return input.Role == sluicev1.AttributeRole_ATTRIBUTE_ROLE_REQUIRED ||
		input.Role == sluicev1.AttributeRole_ATTRIBUTE_ROLE_OPTIONAL
}

// needed marks the pending steps whose outputs somebody still waits for, walking
// back from the goals through inputs that have no value yet.
func (t *Turn) needed() []bool {
	needed := make([]bool, len(t.s.Steps))
	stack := slices.Clone(t.s.Plan.Goals)
	for len(stack) > 0 {
		i := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if needed[i] || t.s.Steps[i].Status != sluicev1.StepStatus_STEP_STATUS_PENDING {
			continue
		}
		needed[i] = true
		for _, input := range t.s.Plan.Steps[i].Inputs {
			if awaited(input) && !t.has(input.Name) {
				stack = append(stack, input.Providers...)
			}
		}
	}
	return needed
}
