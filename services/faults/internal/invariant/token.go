package invariant

import (
	"time"

	"github.com/sluiceflow/sluice/pkg/event"
	"github.com/sluiceflow/sluice/services/faults/internal/ledger"
)

const (
	// maxIgnored is how many ignored outcomes of a work item are written down.
	maxIgnored = 16
	// clockSlack is how far the log's clock may be from ours.
	clockSlack = 2 * time.Second
)

// posts are the webhooks with one token that is ours.
type posts struct {
	flow, step, token string
	list              []ledger.Post
}

// byToken groups the posts with genuine tokens.
func (c *check) byToken() map[string]*posts {
	out := map[string]*posts{}
	for _, p := range c.Book.Posts {
		if p.Kind == ledger.Forged {
			continue
		}
		key := p.Flow + " " + p.Step + " " + p.Token
		if out[key] == nil {
			out[key] = &posts{flow: p.Flow, step: p.Step, token: p.Token}
		}
		out[key].list = append(out[key].list, p)
	}
	return out
}

// said is one outcome of a token in one attempt, and what became of its posts.
type said struct {
	digest  string
	attempt uint32
	kind    ledger.Kind
	first   time.Time // of the first answer with a 2xx
	stored  bool      // one got a 2xx
	maybe   bool      // one got no answer, or a 5xx
}

// told is what a history says about a token.
type told struct {
	applied []recorded // succeeded, failed and not completed
	ignored map[ignoredAs]int
	closed  time.Time // when the flow's end was decided; zero while it runs
	undoes  bool      // it ended in such a way that successes are undone
	quiet   time.Time // when nothing more could come of the flow; zero before
	failed  bool      // the work item failed without an outcome of the token
	passed  uint32    // the last attempt that is over, or superseded
}

type recorded struct {
	digest  string
	kind    ledger.Kind
	attempt uint32
}

type ignoredAs struct {
	kind    ledger.Kind
	attempt uint32
}

// token judges all that was said with one token.
func (c *check) token(_ string, p *posts) {
	h := c.Flows[p.flow]
	outcomes := outcomesOf(p)
	record := recordOf(h, p)
	c.recorded(p, outcomes, record)
	c.oneResult(p, outcomes, record)
	for _, post := range p.list {
		c.answer(post, outcomes, record)
	}
}

func outcomesOf(p *posts) []*said {
	type key struct {
		digest  string
		attempt uint32
	}
	known := map[key]*said{}
	var out []*said
	for _, post := range p.list {
		if post.Kind == ledger.Garbage {
			continue
		}
		k := key{post.Outcome.Digest(), post.Attempt}
		s := known[k]
		if s == nil {
			s = &said{digest: k.digest, attempt: k.attempt, kind: post.Kind}
			known[k] = s
			out = append(out, s)
		}
		if post.OK() && (!s.stored || post.Answered.Before(s.first)) {
			s.stored, s.first = true, post.Answered
		}
		s.maybe = s.maybe || post.Status == 0 || post.Status >= 500
	}
	return out
}

func recordOf(h History, p *posts) told {
	t := told{ignored: map[ignoredAs]int{}}
	sent, undone := map[string]bool{}, false
	for _, post := range p.list {
		sent[post.Outcome.Digest()] = true
	}
	for _, e := range h.Events {
		t.flow(e)
		if e.StepID != p.step || e.Token != prefix(p.token) {
			continue
		}
		if undone = undone || e.Type == event.WorkCompensating; undone && e.Type != event.CompletionIgnored {
			continue // of the calls that undo it
		}
		switch e.Type { //nolint:exhaustive // the rest is not about outcomes
		case event.WorkSucceeded:
			t.add(ledger.Success, ledger.Outcome{Kind: ledger.Success, Outputs: e.Outputs}, e.Attempt)
		case event.WorkFailed:
			o := ledger.Outcome{Kind: ledger.Failure, Error: e.Error}
			t.failed = !sent[o.Digest()]
			t.add(ledger.Failure, o, e.Attempt)
		case event.WorkNotCompleted:
			t.add(ledger.NotCompleted, ledger.Outcome{Kind: ledger.NotCompleted, Error: e.Error}, e.Attempt)
			t.passed = max(t.passed, e.Attempt)
		case event.WorkTimedOut, event.RetryScheduled:
			t.passed = max(t.passed, e.Attempt)
		case event.CompletionIgnored:
			t.ignored[ignoredAs{kindOf(e.Outcome), e.Attempt}]++
		}
	}
	return t
}

// flow takes note of when the flow ends, and how.
func (t *told) flow(e event.Event) {
	switch {
	case e.Type.Ends():
		t.closed, t.undoes = e.Time, e.Type != event.FlowCompleted
	case e.Ending != "":
		t.closed, t.undoes = e.Time, true
	case e.Type == event.FlowDeactivated:
		t.quiet = e.Time
	}
}

func (t *told) add(kind ledger.Kind, o ledger.Outcome, attempt uint32) {
	t.applied = append(t.applied, recorded{o.Digest(), kind, attempt})
}

func kindOf(outcome string) ledger.Kind {
	switch outcome {
	case "succeeded":
		return ledger.Success
	case "failed":
		return ledger.Failure
	default:
		return ledger.NotCompleted
	}
}

// times is how often an outcome was applied. Attempts that came to nothing are
// told apart, for each may come to nothing in the same words.
func (t *told) times(s *said) int {
	n := 0
	for _, r := range t.applied {
		if r.digest == s.digest && (s.kind != ledger.NotCompleted || r.attempt == s.attempt) {
			n++
		}
	}
	return n
}

// recorded is invariant 1: each outcome that got a 2xx is there once, applied or
// ignored, and nothing is there that nobody sent.
func (c *check) recorded(p *posts, outcomes []*said, t told) {
	must, may := map[ignoredAs]int{}, map[ignoredAs]int{}
	sent := map[string]bool{}
	for _, s := range outcomes {
		sent[s.digest] = true
		n := t.times(s)
		if n > 1 {
			c.broken(Recorded, p.flow, "step %s: the %s of attempt %d is applied %d times", p.step, s.kind, s.attempt, n)
		}
		as := ignoredAs{s.kind, s.attempt}
		if n > 0 {
			if c.Lossy {
				may[as]++
			}
			continue
		}
		if s.stored {
			must[as]++
		}
		if s.stored || s.maybe {
			may[as]++
		}
	}
	for _, r := range t.applied {
		if r.kind == ledger.Success && !sent[r.digest] {
			c.broken(Recorded, p.flow, "step %s: what is applied was never sent: %.200s", p.step, r.digest)
		}
	}
	c.ignored(p, t, must, may)
}

func (c *check) ignored(p *posts, t told, must, may map[ignoredAs]int) {
	total := 0
	for as, n := range t.ignored {
		total += n
		if n > may[as] {
			c.broken(Recorded, p.flow, "step %s: %d outcomes (%s, attempt %d) are recorded as ignored, and %d can have been",
				p.step, n, as.kind, as.attempt, may[as])
		}
	}
	if total >= maxIgnored {
		return
	}
	for as, n := range must {
		if t.ignored[as] < n {
			c.broken(Recorded, p.flow, "step %s: %d outcomes (%s, attempt %d) got a 2xx and were not applied, and %d are recorded as ignored",
				p.step, n, as.kind, as.attempt, t.ignored[as])
		}
	}
}

// oneResult is invariant 2.
func (c *check) oneResult(p *posts, outcomes []*said, t told) {
	final := 0
	for _, r := range t.applied {
		if r.kind != ledger.NotCompleted {
			final++
		}
	}
	if final > 1 {
		c.broken(OneResult, p.flow, "step %s: the token has %d outcomes", p.step, final)
	}
	if c.IndexLost {
		return
	}
	for i, a := range outcomes {
		for _, b := range outcomes[i+1:] {
			if a.stored && b.stored && t.conflicting(a, b) {
				c.broken(OneResult, p.flow, "step %s: a %s of attempt %d and a %s of attempt %d both got a 2xx",
					p.step, a.kind, a.attempt, b.kind, b.attempt)
			}
		}
	}
}

// conflicting reports whether two outcomes of a token cannot both count. A
// failure of an attempt that was superseded stands in nobody's way.
func (t *told) conflicting(a, b *said) bool {
	if a.digest == b.digest || a.kind == ledger.NotCompleted || b.kind == ledger.NotCompleted {
		return false
	}
	return (a.kind == b.kind && a.attempt == b.attempt) || (t.stands(a) && t.stands(b))
}

func (t *told) stands(s *said) bool { return s.kind == ledger.Success || s.attempt > t.passed }
