package webhook_test

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/sluiceflow/sluice/pkg/token"
	"github.com/sluiceflow/sluice/services/gateway/internal/webhook"
	"github.com/sluiceflow/sluice/services/internal/tokenindex"
)

const (
	succeeded = `{"success": true, "outputs": {"a": 1, "b": [1.50]}}`
	same      = `{ "outputs": {"b": [15e-1], "a": 1.0}, "success": true, "unknown": "ignored"}`
	other     = `{"success": true, "outputs": {"a": 2}}`
	failed    = `{"success": false, "error": "declined"}`
	busyBody  = `{"success": false, "error": "busy", "not_completed": true, "retry_after_ms": 5000}`
)

// A post of a story, and what the worker must see.
type post struct {
	query, body string
	status      int
	code        string
	retry       string           // Retry-After
	before      func(g *gateway) // what happens first
}

func TestAnswersOfTheContract(t *testing.T) {
	t.Parallel()
	for name, posts := range map[string][]post{
		"a success and its repeats": {
			{body: succeeded, status: 200, code: "accepted"},
			{body: same, status: 200, code: "replayed"},
			{body: same, query: "?attempt=2", status: 200, code: "replayed"},
			{body: other, status: 409, code: "conflict"},
			{body: failed, status: 409, code: "conflict"},
		},
		"not completed, then a success of the next attempt": {
			{body: busyBody, status: 200, code: "accepted"},
			{body: busyBody, status: 200, code: "replayed"},
			{body: failed, query: "?attempt=2", status: 200, code: "accepted", before: marked(tokenindex.Superseded, 1)},
			{body: failed, status: 410, code: "closed"},
			{body: succeeded, query: "?attempt=2", status: 409, code: "conflict"},
			{body: succeeded, query: "?attempt=3", status: 503, code: "contested", retry: "1"},
			{body: succeeded, query: "?attempt=3", status: 200, code: "accepted", before: marked(tokenindex.Superseded, 2)},
		},
		"a final failure of the second attempt, then a success that names none": {
			{body: failed, query: "?attempt=2", status: 200, code: "accepted", before: marked(tokenindex.Superseded, 1)},
			{body: succeeded, status: 503, code: "contested", retry: "1"},
			{body: failed, query: "?attempt=2", status: 200, code: "replayed"},
			{body: succeeded, status: 409, code: "conflict", before: decided(failed)},
		},
		"a failure of a superseded attempt": {
			{body: failed, status: 410, code: "closed", before: marked(tokenindex.Superseded, 1)},
			{body: `{"success": false, "attempt": 1}`, status: 410, code: "closed"},
			{body: `{"success": false, "attempt": 2}`, status: 200, code: "accepted"},
		},
		"a work item that is closed": {
			{body: succeeded, status: 410, code: "closed", before: marked(tokenindex.Closed, 0)},
			{body: "no JSON", status: 400, code: "invalid_result"},
		},
		"a bad request leaves the token usable": {
			{body: `{"outputs": {}}`, status: 400, code: "invalid_result"},
			{body: `{"success": true, "success": true}`, status: 400, code: "invalid_result"},
			{body: `{"success": true, "not_completed": true}`, status: 400, code: "invalid_result"},
			{body: `{"success": true, "attempt": 1}`, query: "?attempt=2", status: 400, code: "invalid_result"},
			{body: succeeded, query: "?attempt=0", status: 400, code: "invalid_result"},
			{body: succeeded, query: "?attempt=4294967296", status: 400, code: "invalid_result"},
			{body: succeeded, query: "?attempt=%zz", status: 400, code: "invalid_result"},
			{body: "", status: 400, code: "invalid_result"},
			{body: `{"success": true, "outputs": {"a": "` + strings.Repeat("x", 1000) + `"}}`, status: 413, code: "body_too_large"},
			{body: `{"success": true, "attempt": 2}`, query: "?attempt=2", status: 200, code: "accepted"},
		},
		"the stream is not there, then full, then refuses": {
			{body: succeeded, status: 503, code: "unavailable", retry: "1", before: func(g *gateway) {
				g.set(func() { g.down = errors.New("down") })
			}},
			{body: succeeded, status: 503, code: "unavailable", retry: "5", before: func(g *gateway) {
				g.set(func() { g.down, g.full = nil, errors.New("full") })
			}},
			{body: other, status: 503, code: "unavailable", retry: "1", before: func(g *gateway) {
				g.set(func() { g.full, g.refuse = nil, errors.New("no") })
			}},
			{body: other, status: 200, code: "accepted", before: func(g *gateway) { g.set(func() { g.refuse = nil }) }},
		},
		"another payload while one is being stored": {
			{body: succeeded, status: 503, code: "unavailable", retry: "1", before: func(g *gateway) { g.set(func() { g.refuse = errors.New("no") }) }},
			{body: other, status: 503, code: "busy", retry: "1", before: func(g *gateway) { g.set(func() { g.refuse = nil }) }},
			{body: same, status: 200, code: "accepted"},
		},
		"a gateway was killed before the ack, the equal payload comes again": {
			{body: succeeded, status: 200, code: "accepted", before: killedBeforeAck(succeeded)},
			{body: other, status: 409, code: "conflict"},
		},
		"a gateway was killed before the ack, another payload comes": {
			{body: other, status: 503, code: "contested", retry: "1", before: killedBeforeAck(succeeded)},
			{body: other, status: 409, code: "conflict", before: decided(succeeded)},
			{body: succeeded, status: 200, code: "replayed"},
		},
		"the index was flushed": {
			{body: succeeded, status: 200, code: "accepted"},
			{body: succeeded, status: 200, code: "accepted", before: func(g *gateway) { g.rdb.FlushAll(g.t.Context()) }},
			{body: succeeded, status: 200, code: "replayed"},
		},
		"a server that may have lost what it acknowledged": {
			{body: succeeded, status: 200, code: "accepted", before: func(g *gateway) { g.set(func() { g.lossy = true }) }},
			{body: succeeded, status: 200, code: "replayed"},
			{body: succeeded, status: 200, code: "accepted", before: func(g *gateway) { g.set(func() { g.connectedWith = "S2" }) }},
			{body: succeeded, status: 200, code: "replayed"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := start(t)
			for i, p := range posts {
				if p.before != nil {
					p.before(g)
				}
				got := g.post(g.mint(0), p.query, p.body)
				if got.status != p.status || got.code() != p.code || got.header.Get("Retry-After") != p.retry {
					t.Errorf("post %d: %d %s, Retry-After %q, want %d %s %q: %s", i+1, got.status, got.code(),
						got.header.Get("Retry-After"), p.status, p.code, p.retry, got.text)
				}
				checkForm(t, got)
			}
			if strings.Contains(g.log.String(), g.mint(0)) {
				t.Error("the log holds a whole token")
			}
		})
	}
}

// A success is not stored again for its repeats, but it is when a later attempt
// says so: an engine that had it would have begun none.
func TestASuccessThatIsAskedForOnceMoreIsStoredAgain(t *testing.T) {
	t.Parallel()
	g := start(t)
	for i, p := range []struct {
		query  string
		stored int
	}{{"", 1}, {"", 1}, {"?attempt=2", 2}, {"", 2}} {
		if got := g.post(g.mint(0), p.query, succeeded); got.status != http.StatusOK || len(g.stored()) != p.stored {
			t.Errorf("post %d: %d %s, %d stored, want %d", i+1, got.status, got.text, len(g.stored()), p.stored)
		}
	}
}

// checkForm checks what all answers have in common.
func checkForm(t *testing.T, a answer) {
	t.Helper()
	if replayed := a.header.Get("Idempotency-Replayed") == "true"; replayed != (a.code() == "replayed") {
		t.Errorf("Idempotency-Replayed is %t with %s", replayed, a.code())
	}
	if a.status < 400 {
		return
	}
	if a.header.Get("Content-Type") != "application/problem+json" || a.body["error"] != a.body["detail"] ||
		a.body["status"] != nil && a.body["status"] != float64(a.status) {
		t.Errorf("no problem: %s", a.text)
	}
	instance, _ := a.body["instance"].(string)
	tok := strings.TrimSuffix(instance, "/heartbeat")
	tok = tok[strings.LastIndex(tok, "/")+1:]
	if !strings.HasPrefix(instance, "/webhook") || len(tok) > 8 {
		t.Errorf("instance %q", instance)
	}
}

func marked(kind tokenindex.Kind, attempt uint32) func(g *gateway) {
	return func(g *gateway) {
		g.mark(tokenindex.Mark{Kind: kind, Attempt: attempt, Revision: 1})
	}
}

// decided marks that the engine decided for a payload.
func decided(body string) func(g *gateway) {
	return func(g *gateway) {
		g.mark(tokenindex.Mark{Kind: tokenindex.Decided, Success: body != failed, Digest: digestOf(g.t, body), Revision: 1})
	}
}

func (g *gateway) mark(m tokenindex.Mark) {
	g.t.Helper()
	m.TokenHash = token.Hash(g.mint(0))
	if err := g.index.Mark(g.t.Context(), []tokenindex.Mark{m}); err != nil {
		g.t.Fatal(err)
	}
}

// killedBeforeAck leaves the claim of a gateway that is no more.
func killedBeforeAck(body string) func(g *gateway) {
	return func(g *gateway) {
		claim := fmt.Sprintf("%x s 1 1", digestOf(g.t, body))
		if err := g.rdb.HSet(g.t.Context(), "sluice:token:"+token.Hash(g.mint(0)), "c", claim).Err(); err != nil {
			g.t.Fatal(err)
		}
	}
}

func TestWhatIsStored(t *testing.T) {
	t.Parallel()
	g := start(t)
	g.post(g.mint(3), "?attempt=2", busyBody)
	g.post(g.mint(4), "", succeeded)
	killedBeforeAck(succeeded)(g)
	g.post(g.mint(0), "", other)
	all := g.stored()
	if len(all) != 3 {
		t.Fatalf("stored %v", all)
	}
	first, second, third := all[0], all[1], all[2]
	if w := first.GetWork(); w.GetRun() != 7 || w.GetStepId() != stepID || w.GetItem() != 3 || w.GetAttempt() != 2 {
		t.Errorf("work %v", w)
	}
	if o := first.GetOutcome(); o.GetSuccess() || !o.GetNotCompleted() || o.GetError() != "busy" || o.GetRetryAfterMs() != 5000 {
		t.Errorf("outcome %v", o)
	}
	if second.GetWork().GetAttempt() != 1 || string(second.GetOutcome().GetOutputs()["b"]) != "[1.50]" || second.GetContested() {
		t.Errorf("the success: %v", second)
	}
	if !third.GetContested() {
		t.Errorf("past a lapsed claim: %v, want it contested", third)
	}
	if g.commands[0].GetFlowId() != flowID {
		t.Errorf("flow %q", g.commands[0].GetFlowId())
	}
}

func TestBadTokensLearnNothing(t *testing.T) {
	t.Parallel()
	g := start(t)
	g.redis.Stop() // nor is it asked
	tok := g.mint(0)
	forged := []byte(tok)
	forged[3] ^= 1
	var first string
	for name, path := range map[string]string{
		"forged":           "/webhook/" + flowID + "/" + stepID + "/" + string(forged),
		"another flow":     "/webhook/order-2/" + stepID + "/" + tok,
		"another step":     "/webhook/" + flowID + "/refund/" + tok,
		"cut":              "/webhook/" + flowID + "/" + stepID + "/" + tok[:20],
		"a longer one":     "/webhook/" + flowID + "/" + stepID + "/" + tok + "A",
		"no token":         "/webhook/" + flowID + "/" + stepID + "/",
		"no step":          "/webhook/" + flowID + "/" + tok,
		"a part too many":  "/webhook/" + flowID + "/" + stepID + "/" + tok + "/other",
		"a forged one's":   "/webhook/" + flowID + "/" + stepID + "/" + string(forged) + "/heartbeat",
		"another flow's":   "/webhook/order-2/" + stepID + "/" + tok + "/heartbeat",
		"nobody's":         "/webhook/" + flowID + "/" + stepID + "/heartbeat",
		"too many of them": "/webhook/" + flowID + "/" + stepID + "/" + tok + "/heartbeat/heartbeat",
		"no id":            "/webhook/.hidden/" + stepID + "/" + tok,
		"an escaped slash": "/webhook/" + flowID + "%2F" + stepID + "/" + stepID + "/" + tok,
	} {
		got := g.do(http.MethodPost, path, "text/plain", "no JSON")
		if got.status != http.StatusNotFound || got.code() != "not_found" {
			t.Errorf("%s: %d %s", name, got.status, got.text)
		}
		checkForm(t, got)
		delete(got.body, "instance")
		if said := fmt.Sprint(got.body); first == "" {
			first = said
		} else if said != first {
			t.Errorf("%s: %s, and elsewhere %s", name, said, first)
		}
	}
	if got := g.post(tok, "", succeeded); got.status != 200 {
		t.Errorf("the token itself: %d %s", got.status, got.text)
	}
}

func TestGuessersAreSlowedDownAndGoodTokensAreNot(t *testing.T) {
	t.Parallel()
	g := start(t, func(o *webhook.Options) { o.BadTokens = bounded(t, 1) }) // the next is free after a minute
	if got := g.post("guess", "", succeeded); got.status != http.StatusNotFound {
		t.Fatalf("the first guess: %d", got.status)
	}
	got := g.post("guess", "", succeeded)
	if got.status != http.StatusTooManyRequests || got.header.Get("Retry-After") != "60" {
		t.Errorf("the next guess: %d, Retry-After %q", got.status, got.header.Get("Retry-After"))
	}
	checkForm(t, got)
	if got := g.post(g.mint(0), "", succeeded); got.code() != "accepted" {
		t.Errorf("a good token: %d %s", got.status, got.text)
	}
}

func TestMethodsAndMediaTypes(t *testing.T) {
	t.Parallel()
	g := start(t)
	path := "/webhook/" + flowID + "/" + stepID + "/" + g.mint(0)
	for _, method := range []string{"GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "STRANGE"} {
		got := g.do(method, path, "application/json", succeeded)
		if got.status != http.StatusMethodNotAllowed || got.header.Get("Allow") != "POST" {
			t.Errorf("%s: %d, Allow %q", method, got.status, got.header.Get("Allow"))
		}
		checkForm(t, got)
	}
	for _, media := range []string{"", "text/plain", "application/x-www-form-urlencoded"} {
		got := g.do(http.MethodPost, path, media, succeeded)
		if got.status != http.StatusUnsupportedMediaType {
			t.Errorf("media type %q: %d", media, got.status)
		}
		checkForm(t, got)
	}
	escaped := strings.NewReplacer(":", "%3A", "@", "%40", "+", "%2B").Replace(path)
	if got := g.do(http.MethodPost, escaped, "application/json; charset=utf-8", succeeded); got.code() != "accepted" {
		t.Errorf("an escaped path: %d %s", got.status, got.text)
	}
	counted := map[string]float64{}
	families, err := g.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			for _, label := range m.GetLabel() {
				counted[family.GetName()+" "+label.GetValue()] = m.GetCounter().GetValue()
			}
		}
	}
	want := map[string]float64{
		"sluice_webhooks_total accepted": 1, "sluice_webhooks_total method_not_allowed": 7, "sluice_webhooks_total unsupported_media_type": 3,
	}
	if !maps.Equal(counted, want) {
		t.Errorf("counted %v, want %v", counted, want)
	}
}

func TestAFieldIsNamed(t *testing.T) {
	t.Parallel()
	g := start(t)
	for field, body := range map[string]string{
		"success": `{"success": "yes"}`, "outputs": `{"success": true, "outputs": []}`, "error": `{"success": false, "error": 1}`,
		"attempt": `{"success": true, "attempt": -1}`, "retry_after_ms": `{"success": false, "retry_after_ms": 5}`,
	} {
		if got := g.post(g.mint(0), "", body); got.status != 400 || got.body["field"] != field {
			t.Errorf("%s: %d %s, want the field %s", body, got.status, got.text, field)
		}
	}
}
