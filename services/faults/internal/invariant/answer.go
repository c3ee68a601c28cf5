package invariant

import (
	"net/http"

	"github.com/sluiceflow/sluice/services/faults/internal/ledger"
)

// answer is invariant 4 for one post with a token that is ours.
func (c *check) answer(p ledger.Post, outcomes []*said, t told) {
	if p.Kind == ledger.Garbage {
		c.garbage(p)
		return
	}
	digest := p.Outcome.Digest()
	stands := t.has(digest) && p.Kind != ledger.NotCompleted
	switch {
	case p.OK() && p.Code != "accepted" && p.Code != "replayed":
		c.broken(Answers, p.Flow, "step %s: %d says neither accepted nor replayed (%s)", p.Step, p.Status, p.Note)
		return
	case p.Status == 0, p.OK(), p.Status >= 500:
		return
	case p.Status == http.StatusConflict:
		// An index that lost the outcome that stands takes the next for it, until
		// the engine says otherwise.
		if (stands && !c.IndexLost) || !t.other(digest, outcomes) {
			c.broken(Answers, p.Flow, "step %s: 409 to a %s (%s), and no other outcome of the token stands", p.Step, p.Kind, p.Note)
		}
	case p.Status == http.StatusGone:
		c.gone(p, t)
	default:
		c.broken(Answers, p.Flow, "step %s: %d (%s) to a good %s with a good token (%s)", p.Step, p.Status, p.Code, p.Kind, p.Note)
	}
	c.consumed(p, digest, outcomes, t)
}

// garbage must be refused, whatever else is true.
func (c *check) garbage(p ledger.Post) {
	switch p.Status {
	case 0, http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType:
	default:
		if p.Status < 500 {
			c.broken(Answers, p.Flow, "step %s: %d to garbage (%s)", p.Step, p.Status, p.Note)
		}
	}
}

// gone checks that a 410 is for a work item that takes no outcome any more, or
// for an attempt that is over.
func (c *check) gone(p ledger.Post, t told) {
	end := t.closed
	if t.undoes && p.Kind == ledger.Success && c.Book.Steps[p.Step].Undone {
		end = t.quiet // a success is undone after the end too
	}
	ended := !end.IsZero() && end.Before(p.Answered.Add(clockSlack))
	closed := (ended || t.failed) && !t.final()
	superseded := p.Kind != ledger.Success && p.Attempt <= t.passed
	if !closed && !t.failed && !superseded {
		c.broken(Answers, p.Flow, "step %s: 410 to a %s of attempt %d (%s), and it is open or has an outcome", p.Step, p.Kind, p.Attempt, p.Note)
	}
}

// consumed checks that an outcome that got nothing but 4xx is not in the history.
func (c *check) consumed(p ledger.Post, digest string, outcomes []*said, t told) {
	for _, s := range outcomes {
		if s.digest == digest && (s.stored || s.maybe) {
			return
		}
	}
	if t.has(digest) {
		c.broken(Answers, p.Flow, "step %s: a %s that was only ever refused (%d) is applied (%s)", p.Step, p.Kind, p.Status, p.Note)
	}
}

func (t *told) has(digest string) bool {
	for _, r := range t.applied {
		if r.digest == digest {
			return true
		}
	}
	return false
}

// final reports whether an outcome that somebody sent is applied.
func (t *told) final() bool {
	for _, r := range t.applied {
		if r.kind != ledger.NotCompleted && !t.failed {
			return true
		}
	}
	return false
}

// other reports whether another outcome than this stands, or was accepted.
func (t *told) other(digest string, outcomes []*said) bool {
	for _, r := range t.applied {
		if r.kind != ledger.NotCompleted && r.digest != digest {
			return true
		}
	}
	for _, s := range outcomes {
		if s.stored && s.kind != ledger.NotCompleted && s.digest != digest {
			return true
		}
	}
	return false
}

// forged is invariant 7: bad tokens all get the same answer, and nothing that
// came with one is anywhere.
func (c *check) forged() {
	answers := map[string]bool{}
	for _, p := range c.Book.Posts {
		if p.Kind != ledger.Forged {
			continue
		}
		switch {
		case p.Status == http.StatusNotFound:
			answers[p.Told] = true
			if len(answers) > 1 {
				c.broken(Secret, p.Flow, "step %s: a bad token (%s) learns more than others: %.300s", p.Step, p.Note, p.Told)
				delete(answers, p.Told)
			}
		case p.Status != 0 && p.Status != http.StatusTooManyRequests && p.Status < 500:
			c.broken(Secret, p.Flow, "step %s: a bad token (%s) gets %d", p.Step, p.Note, p.Status)
		}
		c.unapplied(p)
	}
}

// unapplied looks for what a bad token brought, anywhere in the flow. Whoever
// forges says what no honest worker says.
func (c *check) unapplied(p ledger.Post) {
	digest := p.Outcome.Digest()
	for _, e := range c.Flows[p.Flow].Events {
		if outcomeOf(e).Digest() == digest {
			c.broken(Secret, p.Flow, "step %s: what came with a bad token (%s) is applied", e.StepID, p.Note)
		}
	}
}
