package load

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/sluiceflow/sluice/pkg/client"
	"github.com/sluiceflow/sluice/pkg/step"
	"github.com/sluiceflow/sluice/services/faults/internal/ledger"
)

const (
	// napping is how long a wait for a time takes.
	napping = 1200 * time.Millisecond
	// word is the name of the load's messages. Their key is the flow's order.
	word = "word"
	// person answers what a step asks.
	person = "the load"
)

// waitKind waits for a time and for two messages of one name and key, which may come
// before or after somebody waits for them; some of its flows ask a person too.
func (l *Load) waitKind() kind {
	nap := waiting("nap", step.Wait{DurationMS: napping.Milliseconds()}, "order")
	nap.knows.Lasts = napping
	thank := l.part("thank", step.KindAsync, "again-out")
	thank.knows.Earliest = napping
	review := waiting("review", step.Wait{Approval: &step.Approval{Approvers: 1}}, "order")
	review.Attributes = map[string]step.Attribute{
		"order":    {Role: step.RoleRequired, Type: step.TypeString},
		"approved": {Role: step.RoleOutput, Type: step.TypeBoolean},
	}
	review.knows.Asks = 1
	settle := l.part("settle", step.KindAsync)
	settle.Attributes["approved"] = step.Attribute{Role: step.RoleRequired, Type: step.TypeBoolean}
	return kind{
		goal: "thank", held: true, needs: true,
		parts: []part{nap, heard("hear", "nap-out"), heard("again", "hear-out"), thank, review, settle},
		prepare: func(r *client.StartRequest, _ *rand.Rand) {
			if l.asks(r.ID) {
				r.Goals = append(r.Goals, settle.ID)
			}
		},
		meanwhile: l.words,
	}
}

// waiting is a step that calls nobody.
func waiting(id string, w step.Wait, required ...string) part {
	p := part{Definition: step.Definition{
		ID: id, Type: step.KindWait, Wait: &w,
		Attributes: map[string]step.Attribute{output(id): {Role: step.RoleOutput, Type: step.TypeString}},
	}}
	for _, name := range required {
		p.Attributes[name] = step.Attribute{Role: step.RoleRequired, Type: step.TypeString}
	}
	return p
}

// heard is a step that waits for the next message of its flow.
func heard(id, after string) part {
	p := waiting(id, step.Wait{Message: &step.WaitMessage{Name: word, Key: &step.Script{Language: "cel", Script: "order"}}}, "order", after)
	p.knows.Takes = word
	return p
}

// asks reports whether a flow asks a person.
func (l *Load) asks(id string) bool { return l.dice("asks", id).IntN(4) == 0 }

// words sends a flow its two messages, one after the other, and answers what it asks.
// The first may come again at any time.
func (l *Load) words(ctx context.Context, id string, dice *rand.Rand) {
	if !pause(ctx, time.Duration(dice.IntN(2000))*time.Millisecond) {
		return
	}
	l.say(ctx, id, "hear")
	if dice.IntN(3) == 0 {
		l.say(ctx, id, "hear")
	}
	if !pause(ctx, time.Duration(dice.IntN(400))*time.Millisecond) {
		return
	}
	l.say(ctx, id, "again")
	if dice.IntN(3) == 0 {
		l.say(ctx, id, "hear")
	}
	if l.asks(id) {
		l.decide(ctx, client.Decision{Flow: id, Step: "review", By: person, Comment: "of " + id}, dice.IntN(3) > 0)
	}
}

// say sends the message that a step of a flow waits for, until it is stored or
// refused.
func (l *Load) say(ctx context.Context, flow, stepID string) {
	said := "word of " + flow + " for " + stepID
	m := client.Message{Name: word, Key: flow, ID: flow + "-" + stepID, Outputs: map[string]any{output(stepID): said}}
	for n := 0; ; n++ {
		status := statusOf(l.console().PostMessage(ctx, m))
		l.cfg.Ledger.Message(ledger.Message{
			Flow: flow, Step: stepID, ID: m.ID, Outputs: canonical(ledger.Values{output(stepID): text(said)}), Status: status,
		})
		if (status >= 200 && status < 500) || !pause(ctx, patience(n)) {
			return
		}
	}
}

// decide answers what a step asks, again and again until that is stored: at first it
// may not ask yet. A flow that ended otherwise asks nothing any more.
func (l *Load) decide(ctx context.Context, d client.Decision, approved bool) {
	do := l.console().Reject
	if approved {
		do = l.console().Approve
	}
	for n := 0; ; n++ {
		_, err := do(ctx, d)
		status := statusOf(err)
		l.cfg.Ledger.Decision(ledger.Decision{Flow: d.Flow, Step: d.Step, By: d.By, Comment: d.Comment, Approved: approved, Status: status})
		if (status >= 200 && status < 300) || status >= 400 && status < 500 && l.hasEnded(ctx, d.Flow) || !pause(ctx, patience(n)) {
			return
		}
	}
}

func (l *Load) hasEnded(ctx context.Context, id string) bool {
	digest, err := l.console().FlowStatus(ctx, id)
	return err == nil && digest.Status.Ended()
}
