package flow

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/sluiceflow/sluice/pkg/step"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
)

// A MemoKey is equal for equal work: a step that does the same, with equal
// inputs.
type MemoKey [sha256.Size]byte

// A Memo is what equal work came to.
type Memo struct {
	Key     MemoKey
	Outputs map[string]json.RawMessage
}

// memoResult gives a work item what equal work came to. It comes as a command, so
// that replay needs no memory.
func (t *Turn) memoResult(c *sluicev1.MemoResult, at Position) Verdict {
	work, outcome := c.GetWork(), c.GetOutcome()
	if work == nil || !outcome.GetSuccess() {
		return Verdict{Kind: Impossible, Reason: "memo result without work item or success"}
	}
	if work.GetRun() != t.s.Run {
		return Verdict{Kind: Absent}
	}
	i, it := t.s.item(work.GetStepId(), work.GetItem())
	if it == nil {
		return Verdict{Kind: Impossible, Reason: fmt.Sprintf("step %q has no work item %d", work.GetStepId(), work.GetItem())}
	}
	t.expire(i, int(work.GetItem()), at.Time)
	if t.refusal(i, work, outcome) == "" {
		t.memoized = true
		t.applyOutcome(i, int(work.GetItem()), outcome, nil, false)
		t.memoized = false
	}
	return Verdict{}
}

// memoKey returns what equal work is known by, and reports false where the step's
// successes are not remembered.
func (s *State) memoKey(i, j int) (MemoKey, bool) {
	def := s.Plan.Steps[i].Proto
	if !def.GetMemoizable() {
		return MemoKey{}, false
	}
	// What the step does: neither how it is named nor how it is retried.
	same := &sluicev1.PlannedStep{
		Id: def.GetId(), Type: def.GetType(), Attributes: def.GetAttributes(), Endpoint: def.GetEndpoint(), Script: def.GetScript(),
	}
	if def.GetHasCredentials() { // which no plan holds, and which may say on whose behalf it is
		same.RegistryRevision = def.GetRegistryRevision()
	}
	function, err := proto.MarshalOptions{Deterministic: true}.Marshal(same)
	if err != nil {
		return MemoKey{}, false
	}
	text, err := json.Marshal(s.inputsOf(i, j))
	if err != nil {
		return MemoKey{}, false
	}
	inputs, err := step.CanonicalDigest(text)
	if err != nil {
		return MemoKey{}, false
	}
	h := sha256.New()
	h.Write(inputs) // of one length
	h.Write(function)
	return MemoKey(h.Sum(nil)), true
}

// memos adds to the effects what is known of the work that an event of c is
// about: under which key its outcome may be known, for the invocation that was
// added last, or which outcome it had. What a person gave is no outcome of the
// step's.
func (s *State) memos(fx *Effects, c *sluicev1.Commit, e *sluicev1.Event) {
	i, it := s.item(e.GetStepId(), e.GetItem())
	if it == nil || e.Item == nil || !s.Plan.Steps[i].Proto.GetMemoizable() {
		return
	}
	switch k := e.GetKind().(type) {
	case *sluicev1.Event_WorkStarted:
		if key, ok := s.memoKey(i, int(e.GetItem())); ok {
			if fx.Recalls == nil {
				fx.Recalls = map[*sluicev1.Invocation]MemoKey{}
			}
			fx.Recalls[fx.Invocations[len(fx.Invocations)-1]] = key
		}
	case *sluicev1.Event_WorkSucceeded:
		if k.WorkSucceeded.GetMemoized() || !it.succeeded() || it.Generation != e.GetGeneration() || repaired(c, e.GetStepId()) {
			return
		}
		if key, ok := s.memoKey(i, int(e.GetItem())); ok {
			fx.Memos = append(fx.Memos, Memo{Key: key, Outputs: it.Outputs})
		}
	}
}

// repaired reports whether a commit repairs a step.
func repaired(c *sluicev1.Commit, stepID string) bool {
	for _, e := range c.GetEvents() {
		if e.GetStepOverridden() != nil && e.GetStepId() == stepID {
			return true
		}
	}
	return false
}
