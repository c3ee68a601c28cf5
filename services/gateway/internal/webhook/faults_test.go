package webhook_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluiceflow/sluice/pkg/step"
	"github.com/sluiceflow/sluice/pkg/token"
	"github.com/sluiceflow/sluice/services/gateway/internal/webhook"
	"github.com/sluiceflow/sluice/services/internal/testkit"
	"github.com/sluiceflow/sluice/services/internal/tokenindex"
)

func digestOf(t *testing.T, body string) []byte {
	t.Helper()
	result, err := step.ParseResult([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return result.Digest()
}

// answers posts many bodies of one token at once and counts what came back, and
// which bodies got a 200.
func (g *gateway) answers(bodies []string) (codes map[string]int, good map[string]bool) {
	codes, good = map[string]int{}, map[string]bool{}
	var (
		mu    sync.Mutex
		posts sync.WaitGroup
		slots = make(chan struct{}, 100)
	)
	for _, body := range bodies {
		posts.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			got := g.post(g.mint(0), "", body)
			mu.Lock()
			defer mu.Unlock()
			codes[got.code()]++
			if got.status == http.StatusOK {
				good[body] = true
			}
		})
	}
	posts.Wait()
	return codes, good
}

func TestAThousandAtOnce(t *testing.T) {
	t.Parallel()
	for name, payloads := range map[string]int{"equal": 1, "two": 2, "all different": 1000} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// On a busy machine Redis may be too slow for some of them: those are refused
			// here, for without it the engine would be the one to choose.
			g := start(t, func(o *webhook.Options) { o.RequireIndex = true })
			bodies := make([]string, 1000)
			for i := range bodies {
				bodies[i] = fmt.Sprintf(`{"success": true, "outputs": {"n": %d}}`, i%payloads)
			}
			codes, good := g.answers(bodies)
			late := codes["unavailable"] > 0
			if len(good) > 1 || len(good) == 0 && !late {
				t.Errorf("%d payloads got a 200: %v", len(good), good)
			}
			if n := codes["accepted"] + codes["replayed"] + codes["busy"] + codes["conflict"] + codes["unavailable"] + codes["contested"]; n != len(bodies) {
				t.Errorf("answers %v", codes)
			}
			digests := map[string]bool{}
			for _, w := range g.stored() {
				digests[string(w.GetOutcome().GetDigest())] = true
			}
			if n := len(digests); n != 1 && !late || n == 0 && len(good) > 0 {
				t.Errorf("%d payloads were stored", len(digests))
			}
		})
	}
}

func TestFlushedWhileItIsStored(t *testing.T) {
	t.Parallel()
	g := start(t)
	hold := make(chan struct{})
	g.set(func() { g.hold = hold })
	first := make(chan answer, 1)
	go func() { first <- g.post(g.mint(0), "", succeeded) }()
	testkit.Eventually(t, 5*time.Second, func() bool { return len(g.stored()) == 1 })
	if err := g.rdb.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	g.set(func() { g.hold = nil })
	if got := g.post(g.mint(0), "", other); got.code() != "accepted" {
		t.Errorf("after the flush: %d %s", got.status, got.text)
	}
	close(hold)
	if got := <-first; got.code() != "contested" {
		t.Errorf("stored beside another: %d %s, want it contested", got.status, got.text)
	}
}

func TestAnAckThatDoesNotCome(t *testing.T) {
	t.Parallel()
	g := start(t)
	g.set(func() { g.hold = make(chan struct{}) })
	began := time.Now()
	got := g.post(g.mint(0), "", succeeded)
	if took := time.Since(began); got.code() != "unavailable" || took > tokenindex.ClaimLease {
		t.Errorf("%d %s after %s, want it unavailable within the lease", got.status, got.text, took)
	}
	g.set(func() { g.hold = nil })
	if got := g.post(g.mint(0), "", same); got.code() != "accepted" {
		t.Errorf("the same again: %d %s", got.status, got.text)
	}
}

func TestWithoutRedis(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		require bool
		want    string
	}{{name: "accept", want: "accepted"}, {name: "reject", require: true, want: "unavailable"}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			g := start(t, func(o *webhook.Options) { o.RequireIndex = tt.require })
			g.redis.Stop()
			for range 6 { // past the failures that open the breaker
				if got := g.post(g.mint(0), "", succeeded); got.code() != tt.want {
					t.Errorf("without Redis: %d %s", got.status, got.text)
				}
			}
			if n := len(g.stored()); (n > 0) == tt.require {
				t.Errorf("%d were stored", n)
			}
			g.redis.Start()
			testkit.Eventually(t, 5*time.Second, func() bool { return g.post(g.mint(1), "", succeeded).code() == "replayed" })
			if !strings.Contains(g.log.String(), "token index answers again") {
				t.Errorf("the log does not say that it is back: %s", g.log)
			}
		})
	}
}

// dying is an index that is lost between the claim and the ack.
type dying struct{ *tokenindex.Index }

func (d dying) Accept(ctx context.Context, c tokenindex.Claim, _ string) error {
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	return d.Index.Accept(ctx, c, "")
}

func TestRedisLostAfterTheClaim(t *testing.T) {
	t.Parallel()
	for require, want := range map[bool]string{false: "accepted", true: "unavailable"} {
		g := start(t, func(o *webhook.Options) {
			index, ok := o.Index.(*tokenindex.Index)
			if !ok {
				t.Fatal("no index")
			}
			o.RequireIndex, o.Index = require, dying{index}
		})
		if got := g.post(g.mint(0), "", succeeded); got.code() != want || len(g.stored()) != 1 {
			t.Errorf("required %t: %d %s, %d stored", require, got.status, got.text, len(g.stored()))
		}
	}
}

// What a gateway works on at once is bounded, also where the stream hangs; those
// without a valid token take nothing of that.
func TestNoMoreAtOnceThanMayBe(t *testing.T) {
	t.Parallel()
	g := start(t, func(o *webhook.Options) { o.Concurrent = 1 })
	hold := make(chan struct{})
	g.set(func() { g.hold = hold })
	first := make(chan string, 1)
	go func() { first <- g.post(g.mint(0), "", succeeded).code() }()
	testkit.Eventually(t, 5*time.Second, func() bool { return len(g.stored()) == 1 })
	got := g.post(g.mint(1), "", succeeded)
	if got.code() != "unavailable" || got.header.Get("Retry-After") != "1" || len(g.stored()) != 1 {
		t.Errorf("one more than may be: %d %s", got.status, got.text)
	}
	if got := g.post("bad", "", succeeded); got.status != http.StatusNotFound {
		t.Errorf("a bad token: %d %s", got.status, got.text)
	}
	g.set(func() { g.hold = nil })
	close(hold)
	if code := <-first; code != "accepted" {
		t.Errorf("the first: %s", code)
	}
	if got := g.post(g.mint(1), "", succeeded); got.code() != "accepted" {
		t.Errorf("sent again: %d %s", got.status, got.text)
	}
}

func TestASlowClientHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	g := start(t)
	var dialer net.Dialer
	conn, err := dialer.DialContext(t.Context(), "tcp", strings.TrimPrefix(g.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	head := "POST /webhook/%s/%s/%s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
	if _, err := fmt.Fprintf(conn, head, flowID, stepID, g.mint(0), len(succeeded), succeeded[:10]); err != nil {
		t.Fatal(err)
	}
	if got := g.post(g.mint(0), "", other); got.code() != "accepted" {
		t.Errorf("beside a slow client: %d %s: half a body holds the token", got.status, got.text)
	}
	if _, err := fmt.Fprint(conn, succeeded[10:]); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusConflict {
		t.Errorf("the slow client: %d, want a conflict", resp.StatusCode)
	}
}

func TestAWorkerThatHangsUpIsServedToTheEnd(t *testing.T) {
	t.Parallel()
	g := start(t)
	hold := make(chan struct{})
	g.set(func() { g.hold = hold })
	ctx, hangUp := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, g.url+"/webhook/"+flowID+"/"+stepID+"/"+g.mint(0), strings.NewReader(succeeded))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	done := make(chan struct{})
	go func() {
		defer close(done)
		if resp, err := http.DefaultClient.Do(req); err == nil {
			resp.Body.Close()
		}
	}()
	testkit.Eventually(t, 5*time.Second, func() bool { return len(g.stored()) == 1 })
	hangUp()
	<-done
	g.set(func() { g.hold = nil })
	close(hold)
	testkit.Eventually(t, 5*time.Second, func() bool { return g.post(g.mint(0), "", succeeded).code() == "replayed" })
}

func FuzzPath(f *testing.F) {
	ring := newRing(f)
	tok := ring.Mint(token.Claims{FlowID: flowID, StepID: stepID, Run: 7})
	for _, path := range []string{"/webhook/" + flowID + "/" + stepID + "/" + tok, "/webhook/" + flowID + "/" + stepID + "/" + tok + "/heartbeat", "/webhook/a%2Fb/c/d", "/webhook///", "/webhook/%zz/b/" + tok} {
		f.Add(path)
	}
	s := &store{}
	handler := serve(f, webhook.Options{Store: s, Index: always{}, Announce: s.announce, Ring: func() *token.Ring { return ring }, Metrics: prometheus.NewRegistry()})
	f.Fuzz(func(t *testing.T, path string) {
		req := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(succeeded))
		req.Header.Set("Content-Type", "application/json")
		u, err := req.URL.Parse(path)
		if err != nil || !strings.HasPrefix(u.EscapedPath(), "/webhook/") {
			return
		}
		req.URL = u
		s.set(func() { s.commands, s.shown = nil, nil })
		rec := httptest.NewRecorder()
		handler.ServeHTTP(rec, req)
		ours := len(s.stored()) == 1 && s.commands[0].GetFlowId() == flowID && s.commands[0].GetCompleteWork().GetWork().GetStepId() == stepID ||
			len(s.shown) == 1 && s.shown[0].GetFlowId() == flowID && s.shown[0].GetWork().GetStepId() == stepID
		switch rec.Code {
		case http.StatusOK:
			if !ours || !strings.Contains(req.URL.Path, tok) {
				t.Errorf("%q was accepted as %v", path, s.commands)
			}
		case http.StatusNotFound, http.StatusTooManyRequests, http.StatusBadRequest:
			// A problem names flow and step, and one may be called like a token.
			parts := strings.Split(strings.TrimPrefix(u.Path, "/webhook/"), "/")
			named := strings.Contains(strings.Join(parts[:min(2, len(parts))], "/"), tok)
			if len(s.stored())+len(s.shown) > 0 || !named && strings.Contains(rec.Body.String(), tok) {
				t.Errorf("%q: %d, stored %v: %s", path, rec.Code, s.commands, rec.Body)
			}
		default:
			t.Errorf("%q: %d %s", path, rec.Code, rec.Body)
		}
	})
}

// always claims.
type always struct{}

func (always) Begin(context.Context, tokenindex.Outcome) (tokenindex.Answer, tokenindex.Claim, error) {
	return tokenindex.Claimed, tokenindex.Claim{}, nil
}
func (always) Accept(context.Context, tokenindex.Claim, string) error { return nil }

func (always) Heartbeat(context.Context, string, step.Heartbeat, string) (bool, error) {
	return true, nil
}
