package webhook_test

import (
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/sluiceflow/sluice/pkg/token"
	"github.com/sluiceflow/sluice/services/gateway/internal/webhook"
	"github.com/sluiceflow/sluice/services/internal/tokenindex"
)

func (g *gateway) beat(query, body string) answer {
	g.t.Helper()
	media := "application/json"
	if body == "" {
		media = ""
	}
	return g.do(http.MethodPost, "/webhook/"+flowID+"/"+stepID+"/"+g.mint(0)+"/heartbeat"+query, media, body)
}

func TestAnswersToHeartbeats(t *testing.T) {
	t.Parallel()
	posted := func(query, body string) func(g *gateway) {
		return func(g *gateway) {
			if got := g.post(g.mint(0), query, body); got.code() != "accepted" {
				g.t.Errorf("the outcome: %d %s", got.status, got.text)
			}
		}
	}
	for name, beats := range map[string][]post{
		"of a work item that runs": {
			{body: "", status: 200, code: "heard"},
			{body: `{}`, status: 200, code: "heard"},
			{body: `{"progress": 0.4, "message": "half", "more": 1}`, query: "?attempt=2", status: 200, code: "heard"},
			{body: `{"attempt": 2}`, query: "?attempt=2", status: 200, code: "heard"},
		},
		"that make no sense": {
			{body: `{"progress": 40}`, status: 400, code: "invalid_heartbeat"},
			{body: `{"progress": "0.4"}`, status: 400, code: "invalid_heartbeat"},
			{body: `{"message": "` + strings.Repeat("x", 500) + `", "message": ""}`, status: 400, code: "invalid_heartbeat"},
			{body: `no JSON`, status: 400, code: "invalid_heartbeat"},
			{body: `{"attempt": 1}`, query: "?attempt=2", status: 400, code: "invalid_heartbeat"},
			{body: `{"message": "` + strings.Repeat("x", 1000) + `"}`, status: 413, code: "body_too_large"},
			{body: `{"progress": 1}`, status: 200, code: "heard"},
		},
		"of a work item that succeeded": {
			{body: "", status: 410, code: "closed", before: posted("", succeeded)},
		},
		"of a work item that failed": {
			{body: "", status: 410, code: "closed", before: posted("", failed)},
		},
		"of an attempt that came to nothing": {
			{body: "", status: 200, code: "heard", before: posted("", busyBody)},
			{body: "", query: "?attempt=1", status: 200, code: "heard", before: marked(tokenindex.Superseded, 1)},
			{body: "", query: "?attempt=2", status: 200, code: "heard"},
		},
		"of a work item that is closed": {
			{body: "", status: 410, code: "closed", before: marked(tokenindex.Closed, 0)},
			{body: `{"progress": 40}`, status: 400, code: "invalid_heartbeat"},
		},
		"while Redis is away, and after": {
			{body: "", status: 503, code: "unavailable", retry: "1", before: func(g *gateway) { g.redis.Stop() }},
			{body: "", status: 200, code: "heard", before: func(g *gateway) { g.redis.Start() }},
		},
		"where what was accepted may be lost": {
			{body: "", status: 410, code: "closed", before: func(g *gateway) {
				g.set(func() { g.lossy = true })
				posted("", succeeded)(g)
			}},
			{body: "", status: 200, code: "heard", before: func(g *gateway) { g.set(func() { g.connectedWith = "S2" }) }},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := start(t)
			kept := 0
			for i, p := range beats {
				if p.before != nil {
					p.before(g)
				}
				got := g.beat(p.query, p.body)
				if got.status != p.status || got.code() != p.code || got.header.Get("Retry-After") != p.retry {
					t.Errorf("heartbeat %d: %d %s, Retry-After %q, want %d %s %q: %s", i+1, got.status, got.code(),
						got.header.Get("Retry-After"), p.status, p.code, p.retry, got.text)
				}
				if got.status == http.StatusOK {
					kept++
				} else if instance, _ := got.body["instance"].(string); !strings.HasSuffix(instance, "/"+token.Prefix(g.mint(0))+"/heartbeat") {
					t.Errorf("instance %q", instance)
				}
			}
			g.set(func() {
				if len(g.shown) != kept {
					t.Errorf("%d heartbeats were shown, want those that were kept: %d", len(g.shown), kept)
				}
			})
			if strings.Contains(g.log.String(), g.mint(0)) {
				t.Error("the log holds a whole token")
			}
		})
	}
}

func TestHeartbeatsAreShownAndKept(t *testing.T) {
	t.Parallel()
	g := start(t)
	if got := g.beat("?attempt=2", `{"progress": 0.25, "message": "a quarter"}`); got.status != http.StatusOK {
		t.Fatalf("%d %s", got.status, got.text)
	}
	shown := g.shown[0]
	if w := shown.GetWork(); shown.GetFlowId() != flowID || w.GetStepId() != stepID || w.GetRun() != 7 || w.GetAttempt() != 2 ||
		shown.GetProgress() != 0.25 || shown.GetMessage() != "a quarter" || shown.GetToken() != token.Prefix(g.mint(0)) || shown.GetTimeNs() == 0 {
		t.Errorf("shown %v", shown)
	}
	p, err := g.index.LastProgress(t.Context(), token.Hash(g.mint(0)), 2)
	if err != nil || p.Progress != 0.25 || p.Message != "a quarter" {
		t.Errorf("kept %v, %v", p, err)
	}
	if stored := g.stored(); len(stored) != 0 {
		t.Errorf("a heartbeat is in the log: %v", stored)
	}
}

func TestOtherMethodsOnAHeartbeatAndWhatIsCounted(t *testing.T) {
	t.Parallel()
	g := start(t, func(o *webhook.Options) { o.BadTokens = bounded(t, 1) })
	path := "/webhook/" + flowID + "/" + stepID + "/" + g.mint(0) + "/heartbeat"
	if got := g.do(http.MethodGet, path, "", ""); got.status != http.StatusMethodNotAllowed || got.header.Get("Allow") != "POST" {
		t.Errorf("GET: %d, Allow %q", got.status, got.header.Get("Allow"))
	}
	if got := g.do(http.MethodPost, path, "text/plain", "hello"); got.status != http.StatusUnsupportedMediaType {
		t.Errorf("text: %d", got.status)
	}
	g.beat("", "")
	forged := []byte(path)
	forged[len(forged)-len("/heartbeat")-5] ^= 1
	for range 2 { // as many as are let through, and one
		g.do(http.MethodPost, string(forged), "", "")
	}
	if got := g.beat("", ""); got.status != http.StatusOK {
		t.Errorf("a good token after many bad ones: %d", got.status)
	}
	families, err := g.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	counted := map[string]float64{}
	for _, family := range families {
		if family.GetName() == "sluice_heartbeats_total" {
			for _, m := range family.GetMetric() {
				counted[m.GetLabel()[0].GetValue()] = m.GetCounter().GetValue()
			}
		}
	}
	want := map[string]float64{"heard": 2, "method_not_allowed": 1, "unsupported_media_type": 1, "not_found": 1, "too_many_bad_tokens": 1}
	if !maps.Equal(counted, want) {
		t.Errorf("counted %v, want %v", counted, want)
	}
}
