package flow

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
)

// applyMail changes a mailbox by one event.
func (s *State) applyMail(e *sluicev1.Event, values [][]byte, at int64) error {
	if opened := e.GetMailboxOpened(); opened != nil {
		key, err := resolve(values, opened.GetKey())
		switch {
		case err != nil:
			return fmt.Errorf("%w: mailbox_opened: %w", ErrMalformed, err)
		case s.mail != nil:
			return fmt.Errorf("%w: mailbox_opened twice", ErrMalformed)
		}
		s.mail = newMailbox()
		s.mail.run, s.mail.name, s.mail.key = opened.GetRun(), opened.GetName(), key
		s.Created = at
		return nil
	}
	m := s.mail
	if m == nil {
		return fmt.Errorf("%w: the mailbox was not opened", ErrMalformed)
	}
	switch k := e.GetKind().(type) {
	case *sluicev1.Event_MessageKept:
		outputs, err := resolveAll(values, k.MessageKept.GetOutputs())
		switch {
		case err != nil:
			return fmt.Errorf("%w: message_kept: %w", ErrMalformed, err)
		case k.MessageKept.GetNumber() != m.last+1:
			return fmt.Errorf("%w: message %d after %d", ErrMalformed, k.MessageKept.GetNumber(), m.last)
		}
		m.last++
		m.keep(&message{number: m.last, id: k.MessageKept.GetId(), outputs: outputs, expires: k.MessageKept.GetExpiresNs()})
		m.remember(k.MessageKept.GetId(), k.MessageKept.GetExpiresNs(), at)
	case *sluicev1.Event_WaiterAdded:
		id := waiterOf(k.WaiterAdded.GetFlowId(), k.WaiterAdded.GetWork())
		if m.waiters[id] != nil {
			return fmt.Errorf("%w: the waiter %v is there already", ErrMalformed, id)
		}
		m.join(id, at)
	case *sluicev1.Event_MessageMatched:
		return m.applyMatched(k.MessageMatched)
	case *sluicev1.Event_WaiterGone:
		return m.applyGone(k.WaiterGone)
	case *sluicev1.Event_MessageExpired:
		if m.take(k.MessageExpired.GetNumber()) == nil {
			return fmt.Errorf("%w: there is no message %d that could expire", ErrMalformed, k.MessageExpired.GetNumber())
		}
	case *sluicev1.Event_FlowRetired:
		s.Retired = true
	default:
		return fmt.Errorf("%w: %T is no event of a mailbox that this release knows", ErrMalformed, k)
	}
	return nil
}

func (m *mailbox) applyMatched(e *sluicev1.MessageMatched) error {
	id := waiterOf(e.GetFlowId(), e.GetWork())
	w := m.waiters[id]
	if w == nil {
		return fmt.Errorf("%w: message %d for %v, which does not wait", ErrMalformed, e.GetNumber(), id)
	}
	if w.message == nil {
		if w.message = m.take(e.GetNumber()); w.message == nil {
			return fmt.Errorf("%w: there is no message %d", ErrMalformed, e.GetNumber())
		}
		m.matched[id] = w
	}
	if w.message.number != e.GetNumber() {
		return fmt.Errorf("%w: messages %d and %d for one waiter", ErrMalformed, w.message.number, e.GetNumber())
	}
	w.given++
	w.again = e.GetAgainNs()
	return nil
}

func (m *mailbox) applyGone(e *sluicev1.WaiterGone) error {
	id := waiterOf(e.GetFlowId(), e.GetWork())
	w := m.waiters[id]
	if w == nil || e.GetTaken() && w.message == nil {
		return fmt.Errorf("%w: %v is gone, or took something, and was never there", ErrMalformed, id)
	}
	delete(m.waiters, id)
	delete(m.matched, id)
	if w.message != nil && !e.GetTaken() {
		m.keep(w.message)
	}
	if len(m.queue) > 64+2*len(m.waiters) {
		m.queue = m.ordered()
	}
	return nil
}

// ordered are the waiters in the order in which they came.
func (m *mailbox) ordered() []waiterID {
	return slices.SortedFunc(maps.Keys(m.waiters), func(a, b waiterID) int {
		return cmp.Compare(m.waiters[a].place, m.waiters[b].place)
	})
}

// mailEffects are what a commit of a mailbox asks for: that messages are given to
// whom they were matched with, as far as nothing was heard of them since.
func (s *State) mailEffects(c *sluicev1.Commit) Effects {
	fx := Effects{Timer: s.mailboxDue(), Trim: c.GetSnapshot() != nil}
	for _, e := range c.GetEvents() {
		if e.GetFlowRetired() != nil {
			fx.Retired = true
		}
		matched := e.GetMessageMatched()
		if matched == nil || s.mail == nil {
			continue
		}
		id := waiterOf(matched.GetFlowId(), matched.GetWork())
		w := s.mail.matched[id]
		if w == nil || w.message.number != matched.GetNumber() {
			continue
		}
		fx.Commands = append(fx.Commands, &sluicev1.Command{FlowId: id.flow, Kind: &sluicev1.Command_DeliverMessage{
			DeliverMessage: &sluicev1.DeliverMessage{
				Work: id.work(), Mailbox: s.ID, Message: &sluicev1.MessageRef{Run: s.mail.run, Number: w.message.number},
				MessageId: w.message.id, Outputs: bytesOf(w.message.outputs),
			},
		}})
	}
	return fx
}

func (m *mailbox) snapshot(values *valueTable) *sluicev1.MailboxState {
	if m == nil {
		return nil
	}
	out := &sluicev1.MailboxState{Run: m.run, Name: m.name, Key: values.ref(m.key), Last: m.last}
	for _, id := range m.ordered() {
		w := m.waiters[id]
		state := &sluicev1.WaiterState{
			FlowId: id.flow, Run: id.run, StepId: id.step, Item: id.item, Generation: id.generation, Attempt: id.attempt,
			Given: w.given, AgainNs: w.again,
		}
		if w.message != nil {
			state.Message = w.message.snapshot(values)
		}
		out.Waiters = append(out.Waiters, state)
	}
	for _, kept := range m.messages {
		out.Messages = append(out.Messages, kept.snapshot(values))
	}
	for _, k := range m.known {
		out.Known = append(out.Known, &sluicev1.KnownMessage{Id: k.id, UntilNs: k.until})
	}
	return out
}

func (k *message) snapshot(values *valueTable) *sluicev1.MessageState {
	return &sluicev1.MessageState{Number: k.number, Id: k.id, Outputs: values.refs(k.outputs), ExpiresNs: k.expires}
}

func restoreMessage(snap *sluicev1.MessageState, values [][]byte) (*message, error) {
	outputs, err := resolveAll(values, snap.GetOutputs())
	return &message{number: snap.GetNumber(), id: snap.GetId(), outputs: outputs, expires: snap.GetExpiresNs()}, err
}

// restoreMailbox makes the state of a mailbox that a snapshot was taken of.
func (s *State) restoreMailbox(snap *sluicev1.Snapshot) error {
	s.restoreFlow(snap)
	if snap.GetMailbox() == nil {
		return nil
	}
	var err error
	if s.mail, err = mailboxOf(snap.GetMailbox(), snap.GetValues()); err != nil {
		return fmt.Errorf("%w: snapshot of a mailbox: %w", ErrMalformed, err)
	}
	return nil
}

// mailboxOf makes a mailbox of a snapshot.
func mailboxOf(snap *sluicev1.MailboxState, values [][]byte) (*mailbox, error) {
	m := newMailbox()
	var err error
	if m.key, err = resolve(values, snap.GetKey()); err != nil {
		return nil, err
	}
	m.run, m.name, m.last = snap.GetRun(), snap.GetName(), snap.GetLast()
	for _, state := range snap.GetWaiters() {
		id := waiterID{state.GetFlowId(), state.GetStepId(), state.GetRun(), state.GetItem(), state.GetGeneration(), state.GetAttempt()}
		if m.waiters[id] != nil {
			return nil, fmt.Errorf("the waiter %v stands twice", id)
		}
		m.join(id, 0)
		w := m.waiters[id]
		w.given, w.again = state.GetGiven(), state.GetAgainNs()
		if state.GetMessage() != nil {
			if w.message, err = restoreMessage(state.GetMessage(), values); err != nil {
				return nil, err
			}
			m.matched[id] = w
		}
	}
	for _, state := range snap.GetMessages() {
		kept, err := restoreMessage(state, values)
		if err != nil {
			return nil, err
		}
		if n := len(m.messages); n > 0 && m.messages[n-1].number >= kept.number {
			return nil, fmt.Errorf("message %d after %d", kept.number, m.messages[n-1].number)
		}
		m.messages = append(m.messages, kept)
	}
	for _, k := range snap.GetKnown() {
		m.known = append(m.known, knownMessage{k.GetId(), k.GetUntilNs()})
	}
	return m, nil
}
