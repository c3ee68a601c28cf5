package flow

import (
	"bytes"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"encoding/json"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/sluiceflow/sluice/pkg/step"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
)

// How much of the ids of its parent and step a child flow's id shows to people.
const (
	childShowsFlow = 48
	childShowsStep = 40
)

// childID names the flow that an attempt of a work item starts, and the request
// that asks for it. Attempts are never counted anew, so each has a flow of its
// own, and whoever asks for one again asks for the same.
func childID(flowID string, run uint64, stepID string, item, attempt uint32) (id string, request []byte) {
	numbers := make([]byte, 0, 16)
	numbers = binary.BigEndian.AppendUint64(numbers, run)
	numbers = binary.BigEndian.AppendUint32(numbers, item)
	numbers = binary.BigEndian.AppendUint32(numbers, attempt)
	sum := sha256.Sum256(bytes.Join([][]byte{[]byte(flowID), []byte(stepID), numbers}, []byte{0}))
	letters := base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)
	return flowID[:min(len(flowID), childShowsFlow)] + "." + stepID[:min(len(stepID), childShowsStep)] + "." +
		letters.EncodeToString(sum[:16]), sum[:]
}

// startsFlow reports whether the step's work items are child flows.
func (s *State) startsFlow(i int) bool {
	return s.Plan.Steps[i].Proto.GetType() == sluicev1.StepType_STEP_TYPE_FLOW
}

// ChildFlow returns the id of the flow that the work item's last attempt started,
// or nothing where it started none.
func (s *State) ChildFlow(i, j int) string {
	attempt := s.Steps[i].Items[j].Attempt
	if attempt == 0 || !s.startsFlow(i) {
		return ""
	}
	id, _ := s.childOf(i, j, attempt)
	return id
}

func (s *State) childOf(i, j int, attempt uint32) (id string, request []byte) {
	return childID(s.ID, s.Run, s.Plan.Steps[i].ID, uint32(j), attempt) //nolint:gosec // far fewer than 2^32 work items
}

// wants reports whether the child that an attempt started may go on.
func (s *State) wants(i, j int, attempt uint32) bool {
	it := &s.Steps[i].Items[j]
	return !s.over() && it.Status == sluicev1.WorkStatus_WORK_STATUS_ACTIVE && it.Attempt == attempt
}

// Wants reports whether a child flow may go on that was started for that attempt.
func (s *State) Wants(work *sluicev1.WorkRef) bool {
	i, it := s.item(work.GetStepId(), work.GetItem())
	return it != nil && work.GetRun() == s.Run && s.wants(i, int(work.GetItem()), work.GetAttempt())
}

// childSize is what starting a child of the step takes beside its inputs.
func (s *State) childSize(i int) int {
	return len(s.Plan.Steps[i].Proto.GetChild().GetPlan())
}

// mayStartChild reports whether one more child flow of the step may start in this
// turn: each is a command with a plan of its own.
func (t *Turn) mayStartChild(i int) bool {
	if !t.s.startsFlow(i) {
		return true
	}
	size := t.s.childSize(i)
	if t.childBytes > 0 && t.childBytes+size > t.env.CommitBytes {
		return false
	}
	t.childBytes += size
	return true
}

// startChild goes on with a child flow that has started. Its inputs are values of
// another flow: only now can be seen whether they are what its steps say.
func (t *Turn) startChild() {
	if wrong := t.wrongInit(); wrong != "" {
		t.fail(wrong)
		return
	}
	t.advance()
}

// wrongInit says which of the values that a child flow was started with is not of
// the type that a step of it says, or nothing.
func (t *Turn) wrongInit() string {
	for i := range t.s.Plan.Steps {
		def := &t.s.Plan.Steps[i]
		for _, a := range def.Proto.GetAttributes() {
			given, ok := t.s.Attributes[a.GetName()]
			if !ok || a.GetRole() == sluicev1.AttributeRole_ATTRIBUTE_ROLE_CONST {
				continue
			}
			isOutput := a.GetRole() == sluicev1.AttributeRole_ATTRIBUTE_ROLE_OUTPUT
			if wrong := wrongType(a, def.ForEach && isOutput, given.Value); wrong != "" {
				return fmt.Sprintf("init.%s is not %s, as step %q has it", a.GetName(), wrong, def.ID)
			}
		}
	}
	return ""
}

// wrongType says what a value should be and is not, or nothing.
func wrongType(a *sluicev1.StepAttribute, gathered bool, value json.RawMessage) string {
	kind := step.Type(a.GetType())
	if a.GetForEach() {
		element := step.Attribute{Type: kind}.ElementType()
		if _, err := step.Elements(value, element); err != nil {
			return "an array of values of type " + string(element)
		}
		return ""
	}
	if gathered {
		kind = step.TypeArray
	}
	if !kind.Accepts(value) {
		return "of type " + string(kind)
	}
	return ""
}

// childEnded gives a work item what the end of its child flow comes to. What comes
// too late, or again, changes nothing: its child is told all the same that it was
// heard.
func (t *Turn) childEnded(c *sluicev1.ChildEnded, at Position) Verdict {
	work, outcome := c.GetWork(), c.GetOutcome()
	if work == nil || outcome == nil {
		return Verdict{Kind: Impossible, Reason: "end of a child flow without work item or outcome"}
	}
	if work.GetRun() != t.s.Run {
		return Verdict{Kind: Absent}
	}
	i, ok := t.s.Plan.Index[work.GetStepId()]
	if !ok || !t.s.startsFlow(i) {
		return Verdict{Kind: Impossible, Reason: fmt.Sprintf("step %q starts no child flow", work.GetStepId())}
	}
	if outcome.GetSuccess() {
		outcome = t.s.outcomeOf(i, outcome)
	}
	return t.reportCall(&sluicev1.ReportCall{Work: work, Outcome: outcome}, at)
}

// outcomeOf names what a child gave as the step's outputs are named.
func (s *State) outcomeOf(i int, o *sluicev1.Outcome) *sluicev1.Outcome {
	outputs := map[string][]byte{}
	for name, from := range s.Plan.Steps[i].Proto.GetChild().GetOutputs() {
		if value, ok := o.GetOutputs()[from]; ok {
			outputs[name] = value
		}
	}
	return &sluicev1.Outcome{Success: true, Outputs: outputs}
}

// cancelChild ends a child flow because its parent does not want it any more. One
// that is not there is canceled from the start: the command that starts it may
// still be on its way.
func (t *Turn) cancelChild(c *sluicev1.CancelChild) Verdict {
	if !t.s.Exists() {
		t.emit(&sluicev1.Event{Kind: &sluicev1.Event_FlowStarted{FlowStarted: &sluicev1.FlowStarted{
			Run: t.env.Run, Labels: c.GetLabels(), RequestDigest: c.GetRequestDigest(),
			ParentFlowId: c.GetParentFlowId(), ParentStepId: c.GetParent().GetWork().GetStepId(), Parent: c.GetParent(),
		}}})
	}
	if t.s.over() || t.s.Parent == nil || !bytes.Equal(t.s.RequestDigest, c.GetRequestDigest()) {
		return Verdict{}
	}
	t.end(Ending{Status: sluicev1.FlowStatus_FLOW_STATUS_CANCELED, Reason: c.GetReason()})
	return Verdict{}
}

// parentHeard lets go of a child flow that ended.
func (t *Turn) parentHeard(c *sluicev1.ParentHeard) Verdict {
	if t.s.untold() && t.s.Final() && proto.Equal(c.GetWork(), t.s.Parent.GetWork()) {
		t.emit(&sluicev1.Event{Kind: &sluicev1.Event_ParentTold{ParentTold: &sluicev1.ParentTold{}}})
		t.deactivate()
	}
	return Verdict{}
}

// untold reports whether the flow is a child whose parent has not heard of its end.
func (s *State) untold() bool { return s.Parent != nil && !s.Told }
