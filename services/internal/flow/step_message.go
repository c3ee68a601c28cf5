package flow

import (
	"encoding/json"
	"fmt"

	"github.com/sluiceflow/sluice/pkg/step"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
)

// messageRef names a message of a mailbox; none has the number 0.
type messageRef struct{ run, number uint64 }

// maxKey is how many bytes of JSON a key may have.
const maxKey = 4096

func (s *State) waitMessage(i int) *sluicev1.WaitMessage {
	return s.Plan.Steps[i].Proto.GetWait().GetMessage()
}

// asksKey reports whether a work item waits for a message of which the key is not
// known.
func (s *State) asksKey(i int, it *Item) bool {
	return s.waitMessage(i) != nil && it.keyed != it.Attempt && it.Status == sluicev1.WorkStatus_WORK_STATUS_ACTIVE && !s.over()
}

// listens reports whether a work item waits for a message in that attempt, and its
// mailbox was told.
func (s *State) listens(it *Item, attempt uint32) bool {
	return it.Status == sluicev1.WorkStatus_WORK_STATUS_ACTIVE && it.Attempt == attempt && it.keyed == attempt && !s.over()
}

// keyed takes what a key script gave, and tells the mailbox of that key. A second
// result of the same attempt changes nothing.
func (t *Turn) keyed(c *sluicev1.ScriptResult, at Position) Verdict {
	work, outcome := c.GetWork(), c.GetOutcome()
	i, it := t.s.item(work.GetStepId(), work.GetItem())
	if it == nil || work.GetRun() != t.s.Run {
		return Verdict{Kind: Absent}
	}
	t.expire(i, int(work.GetItem()), at.Time)
	if !t.s.asksKey(i, it) || work.GetAttempt() != it.Attempt || work.GetGeneration() != it.Generation {
		return Verdict{}
	}
	if !outcome.GetSuccess() {
		t.failWork(i, int(work.GetItem()), "key: "+outcome.GetError(), nil)
		return Verdict{}
	}
	key := keyOf(outcome.GetOutputs())
	if len(key) > maxKey {
		t.failWork(i, int(work.GetItem()), fmt.Sprintf("key: %d bytes are more than a key may have (%d)", len(key), maxKey), nil)
		return Verdict{}
	}
	digest, err := step.CanonicalDigest(key)
	if err != nil {
		t.failWork(i, int(work.GetItem()), fmt.Sprintf("key: %v", err), nil)
		return Verdict{}
	}
	t.emit(t.workEvent(i, int(work.GetItem()), &sluicev1.Event{Kind: &sluicev1.Event_WaitKeyed{WaitKeyed: &sluicev1.WaitKeyed{
		Mailbox: MailboxID(t.s.waitMessage(i).GetName(), digest), Key: t.values.ref(key),
	}}}))
	return Verdict{}
}

// keyOf is the key that a script gave: its result, which is an object where it gave
// outputs of several names, or of another.
func keyOf(outputs map[string][]byte) json.RawMessage {
	if value, ok := outputs["result"]; ok && len(outputs) == 1 {
		return value
	}
	object := make(map[string]json.RawMessage, len(outputs))
	for name, value := range outputs {
		object[name] = value
	}
	return jsonText(object)
}

// deliverMessage takes the message that a work item waits for. Whoever waits no
// more says so, and whether it had taken that message: its mailbox keeps it else
// from others.
func (t *Turn) deliverMessage(c *sluicev1.DeliverMessage, at Position) Verdict {
	work, ref := c.GetWork(), messageRef{c.GetMessage().GetRun(), c.GetMessage().GetNumber()}
	if work == nil || c.GetMailbox() == "" {
		return Verdict{Kind: Impossible, Reason: "a message without a work item or a mailbox"}
	}
	i, it := t.s.item(work.GetStepId(), work.GetItem())
	if it == nil || work.GetRun() != t.s.Run || t.s.waitMessage(i) == nil {
		return Verdict{Answer: []*sluicev1.Command{endOfWait(c.GetMailbox(), t.s.ID, work, messageRef{})}}
	}
	t.expire(i, int(work.GetItem()), at.Time)
	if !t.s.listens(it, work.GetAttempt()) || it.mailbox != c.GetMailbox() {
		return Verdict{Answer: []*sluicev1.Command{endOfWait(c.GetMailbox(), t.s.ID, work, it.tookIn(work.GetAttempt()))}}
	}
	if ref.number == 0 {
		return Verdict{} // it was only asked
	}
	t.emit(t.workEvent(i, int(work.GetItem()), &sluicev1.Event{Kind: &sluicev1.Event_MessageTaken{MessageTaken: &sluicev1.MessageTaken{
		Message: &sluicev1.MessageRef{Run: ref.run, Number: ref.number}, Id: c.GetMessageId(),
	}}}))
	t.succeed(i, int(work.GetItem()), &sluicev1.Outcome{Success: true, Outputs: c.GetOutputs()}, nil, false)
	return Verdict{}
}

// tookIn is the message that a work item took in that attempt; the zero one when it
// took none.
func (it *Item) tookIn(attempt uint32) messageRef {
	if it.keyed != attempt {
		return messageRef{}
	}
	return it.took
}

// awaitEffect tells a mailbox of a work item that waits.
func (s *State) awaitEffect(e *sluicev1.Event, values [][]byte) *sluicev1.Command {
	i, it := s.item(e.GetStepId(), e.GetItem())
	if it == nil || !s.listens(it, e.GetAttempt()) {
		return nil
	}
	key, err := resolve(values, e.GetWaitKeyed().GetKey())
	if err != nil {
		return nil // a commit that was replayed has its values
	}
	return &sluicev1.Command{FlowId: e.GetWaitKeyed().GetMailbox(), Kind: &sluicev1.Command_AwaitMessage{AwaitMessage: &sluicev1.AwaitMessage{
		WaiterFlowId: s.ID, Work: s.workRef(e), Name: s.waitMessage(i).GetName(), Key: key,
	}}}
}

// endEffect tells a mailbox of a work item that waited in the attempt of an event,
// and does not any more.
func (s *State) endEffect(e *sluicev1.Event) *sluicev1.Command {
	switch e.GetKind().(type) {
	case *sluicev1.Event_WorkSucceeded, *sluicev1.Event_WorkFailed, *sluicev1.Event_StepOverridden:
	default:
		return nil
	}
	i, it := s.item(e.GetStepId(), e.GetItem())
	if it == nil || e.Item == nil || s.waitMessage(i) == nil || it.mailbox == "" || s.listens(it, e.GetAttempt()) {
		return nil
	}
	return endOfWait(it.mailbox, s.ID, s.workRef(e), it.tookIn(e.GetAttempt()))
}

func (s *State) workRef(e *sluicev1.Event) *sluicev1.WorkRef {
	return &sluicev1.WorkRef{
		Run: s.Run, StepId: e.GetStepId(), Item: e.GetItem(), Generation: e.GetGeneration(), Attempt: e.GetAttempt(),
	}
}

// endWaits tells mailboxes of all that a flow waited for when it ended.
func (s *State) endWaits() []*sluicev1.Command {
	var told []*sluicev1.Command
	for i := range s.Steps {
		if s.waitMessage(i) == nil {
			continue
		}
		for j := range s.Steps[i].Items {
			if it := &s.Steps[i].Items[j]; it.mailbox != "" && it.keyed == it.Attempt && !it.final() {
				told = append(told, endOfWait(it.mailbox, s.ID, &sluicev1.WorkRef{
					Run: s.Run, StepId: s.Plan.Steps[i].ID, Item: uint32(j), Generation: it.Generation, Attempt: it.Attempt,
				}, messageRef{}))
			}
		}
	}
	return told
}

func endOfWait(mailbox, flowID string, work *sluicev1.WorkRef, took messageRef) *sluicev1.Command {
	end := &sluicev1.EndWait{WaiterFlowId: flowID, Work: work}
	if took.number != 0 {
		end.Taken = &sluicev1.MessageRef{Run: took.run, Number: took.number}
	}
	return &sluicev1.Command{FlowId: mailbox, Kind: &sluicev1.Command_EndWait{EndWait: end}}
}
