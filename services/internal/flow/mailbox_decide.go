package flow

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
)

// decideMail decides a command to a mailbox.
func (t *Turn) decideMail(cmd *sluicev1.Command, at Position) Verdict {
	if t.s.Retired {
		return Verdict{Kind: Postponed} // there is another one by then
	}
	switch k := cmd.GetKind().(type) {
	case *sluicev1.Command_PostMessage:
		return t.postMessage(k.PostMessage)
	case *sluicev1.Command_AwaitMessage:
		return t.awaitMessage(k.AwaitMessage)
	}
	if t.s.mail == nil {
		return Verdict{Kind: Absent}
	}
	switch k := cmd.GetKind().(type) {
	case *sluicev1.Command_EndWait:
		return t.endWait(k.EndWait)
	case *sluicev1.Command_Wake:
		return t.wakeMailbox(at)
	default:
		return Verdict{Kind: Impossible, Reason: fmt.Sprintf("a mailbox takes no command %T", k)}
	}
}

// openMailbox begins a mailbox that is not there yet.
func (t *Turn) openMailbox(name string, key []byte) {
	if t.s.mail == nil {
		t.emit(&sluicev1.Event{Kind: &sluicev1.Event_MailboxOpened{MailboxOpened: &sluicev1.MailboxOpened{
			Run: t.env.Run, Name: name, Key: t.values.ref(key),
		}}})
	}
}

// postMessage takes a message in: for whoever waits for it, or for whoever will.
func (t *Turn) postMessage(c *sluicev1.PostMessage) Verdict {
	outputs := make(map[string]json.RawMessage, len(c.GetOutputs()))
	for name, value := range c.GetOutputs() {
		outputs[name] = value
	}
	size := sizeOf(outputs)
	switch m := t.s.mail; {
	case size > t.env.ArgumentBytes:
		return refused(sluicev1.ReplyCode_REPLY_CODE_INVALID, fmt.Sprintf("outputs of %d bytes are more than can be kept (%d)", size, t.env.ArgumentBytes))
	case m == nil:
	case m.knows(c.GetId(), t.now):
		return refused(sluicev1.ReplyCode_REPLY_CODE_REPEATED, "")
	case len(m.messages) >= maxKept, len(m.messages) > 0 && m.size()+size > t.env.CommitBytes/4:
		return refused(sluicev1.ReplyCode_REPLY_CODE_CONFLICT,
			fmt.Sprintf("%d messages of this name and key wait for somebody, and that is all that is kept", len(m.messages)))
	}
	t.openMailbox(c.GetName(), c.GetKey())
	t.emit(&sluicev1.Event{Kind: &sluicev1.Event_MessageKept{MessageKept: &sluicev1.MessageKept{
		Number: t.s.mail.last + 1, Id: c.GetId(), Outputs: t.values.refs(outputs), ExpiresNs: t.now + max(1, saturating(c.GetTtlMs(), millisecond)),
	}}})
	t.match()
	return done()
}

// awaitMessage takes a waiter in.
func (t *Turn) awaitMessage(c *sluicev1.AwaitMessage) Verdict {
	if c.GetWaiterFlowId() == "" || c.GetWork() == nil {
		return Verdict{Kind: Impossible, Reason: "a wait without a work item"}
	}
	id := waiterOf(c.GetWaiterFlowId(), c.GetWork())
	if t.s.mail != nil && t.s.mail.waiters[id] != nil {
		return Verdict{}
	}
	t.openMailbox(c.GetName(), c.GetKey())
	t.emit(&sluicev1.Event{Kind: &sluicev1.Event_WaiterAdded{WaiterAdded: &sluicev1.WaiterAdded{FlowId: id.flow, Work: id.work()}}})
	t.match()
	return Verdict{}
}

// endWait takes a waiter out. What was given to it and not taken is there for the
// next one.
func (t *Turn) endWait(c *sluicev1.EndWait) Verdict {
	m, id := t.s.mail, waiterOf(c.GetWaiterFlowId(), c.GetWork())
	w := m.waiters[id]
	if w == nil {
		return Verdict{}
	}
	taken := c.GetTaken()
	t.emit(&sluicev1.Event{Kind: &sluicev1.Event_WaiterGone{WaiterGone: &sluicev1.WaiterGone{
		FlowId: id.flow, Work: id.work(),
		Taken: w.message != nil && taken.GetRun() == m.run && taken.GetNumber() == w.message.number,
	}}})
	t.match()
	return Verdict{}
}

// match gives messages to waiters, in the order in which both came.
func (t *Turn) match() {
	m := t.s.mail
	t.expireMessages()
	for len(m.messages) > 0 {
		id, ok := m.free()
		if !ok {
			return
		}
		t.give(id, m.messages[0].number, 0)
	}
}

// give gives a message to a waiter, to which it was given so often before.
func (t *Turn) give(id waiterID, number uint64, before uint32) {
	pause := min(giveAgain<<min(before, 16), maxGiveAgain)
	t.emit(&sluicev1.Event{Kind: &sluicev1.Event_MessageMatched{MessageMatched: &sluicev1.MessageMatched{
		Number: number, FlowId: id.flow, Work: id.work(), AgainNs: t.now + pause,
	}}})
}

// expireMessages forgets the messages that were kept for long enough.
func (t *Turn) expireMessages() {
	var over []uint64
	for _, kept := range t.s.mail.messages {
		if kept.expires <= t.now {
			over = append(over, kept.number)
		}
	}
	for _, number := range over {
		t.emit(&sluicev1.Event{Kind: &sluicev1.Event_MessageExpired{MessageExpired: &sluicev1.MessageExpired{Number: number}}})
	}
}

// wakeMailbox does what is due: it forgets messages, gives some again of which
// nothing was heard, and gives the mailbox up where nothing is left of it.
func (t *Turn) wakeMailbox(at Position) Verdict {
	m := t.s.mail
	t.expireMessages()
	for _, id := range m.overdue(t.now) {
		t.give(id, m.waiters[id].message.number, m.waiters[id].given)
	}
	if len(m.waiters) > 0 {
		return Verdict{Answer: t.ask(m.doubtful(t.now))}
	}
	if !m.empty() || len(t.events) > 0 || t.now < m.gone(t.s.Updated) {
		return Verdict{}
	}
	// What may still be delivered again would be new to the next one.
	if len(t.cause) > 0 || t.s.folded.above(t.env.Floor, at.Sequence) {
		return Verdict{Kind: Postponed}
	}
	t.emit(&sluicev1.Event{Kind: &sluicev1.Event_FlowRetired{FlowRetired: &sluicev1.FlowRetired{}}})
	return Verdict{}
}

// ask asks waiters whether they wait: with a message that is none. The sweep wakes a
// mailbox that has nothing else to wait for.
func (t *Turn) ask(ids []waiterID) []*sluicev1.Command {
	var asked []*sluicev1.Command
	for _, id := range ids {
		asked = append(asked, &sluicev1.Command{FlowId: id.flow, Kind: &sluicev1.Command_DeliverMessage{
			DeliverMessage: &sluicev1.DeliverMessage{Work: id.work(), Mailbox: t.s.ID},
		}})
	}
	return asked
}

// overdue are the waiters of which nothing was heard since they were given a
// message, in the order in which they came; so many that a commit holds them.
func (m *mailbox) overdue(now int64) []waiterID {
	var ids []waiterID
	for _, id := range slices.SortedFunc(maps.Keys(m.matched), func(a, b waiterID) int {
		return cmp.Compare(m.matched[a].place, m.matched[b].place)
	}) {
		if m.matched[id].again <= now && len(ids) < maxDue {
			ids = append(ids, id)
		}
	}
	return ids
}
