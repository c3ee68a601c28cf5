package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluiceflow/sluice/pkg/client"
	"github.com/sluiceflow/sluice/pkg/step"
)

// console is a control API that answers by one function, and remembers what it
// was asked last.
type console struct {
	asked, body string
	header      http.Header
}

func serve(t *testing.T, answer http.HandlerFunc) (*client.Client, *console) {
	t.Helper()
	seen := &console{}
	var one sync.Mutex // a broken connection's request and the next are otherwise at once
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		one.Lock()
		defer one.Unlock()
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		seen.asked, seen.body, seen.header = r.Method+" "+r.URL.RequestURI(), string(body), r.Header
		answer(rw, r)
	}))
	t.Cleanup(server.Close)
	c, err := client.New(server.URL, client.Options{Key: "k1"})
	if err != nil {
		t.Fatal(err)
	}
	return c, seen
}

func says(status int, body string) http.HandlerFunc {
	return func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Retry-After", "3")
		rw.WriteHeader(status)
		_, _ = io.WriteString(rw, body)
	}
}

const aSchedule = `{"id":"a","every_ms":1000,"overlap":"skip","flow":{"goals":["a"],"init":{"n":12345678901234567890.50}},"paused":false,` +
	`"created_at":"2026-01-01T00:00:00Z","updated_at":"2026-01-02T00:00:00Z","next":["2026-01-03T00:00:00Z"],"queued":[],` +
	`"last":{"flow_id":"a@20260102T000000Z","planned_at":"2026-01-02T00:00:00Z","started_at":"2026-01-02T00:01:00Z","late":true,"status":"active"},` +
	`"started":1,"missed":2,"skipped":3,"failed":4,"error":{"message":"no","planned_at":"2026-01-02T00:00:00Z","at":"2026-01-02T00:00:00Z"}}`

// Each method asks for what the contract says and reads what it answers.
func TestCalls(t *testing.T) {
	t.Parallel()
	d := step.Definition{ID: "a.b:c@1", Type: step.KindSync, HTTP: &step.HTTP{Endpoint: "http://w/"}}
	const definition = `{"id":"a.b:c@1","type":"sync","http":{"endpoint":"http://w/"}}`
	for _, tt := range []struct {
		name        string
		status      int
		answer      string
		call        func(ctx context.Context, c *client.Client) (any, error)
		asked, body string
		want        string // what was read, as JSON
	}{
		{"register", 201, `{"step":{},"message":""}`, func(ctx context.Context, c *client.Client) (any, error) {
			return c.RegisterStep(ctx, d)
		}, "POST /engine/step", definition, "true"},
		{"register again", 200, `{"step":{},"message":""}`, func(ctx context.Context, c *client.Client) (any, error) {
			return c.RegisterStep(ctx, d)
		}, "POST /engine/step", definition, "false"},
		{"update", 200, `{}`, func(ctx context.Context, c *client.Client) (any, error) {
			return nil, c.UpdateStep(ctx, d)
		}, "PUT /engine/step/a.b:c@1", definition, "null"},
		{"delete step", 200, `{}`, func(ctx context.Context, c *client.Client) (any, error) {
			return nil, c.DeleteStep(ctx, "a")
		}, "DELETE /engine/step/a", "", "null"},
		{"step", 200, definition, func(ctx context.Context, c *client.Client) (any, error) {
			return c.Step(ctx, "a")
		}, "GET /engine/step/a", "", definition},
		{"steps", 200, `{"steps":[` + definition + `],"count":1}`, func(ctx context.Context, c *client.Client) (any, error) {
			return c.Steps(ctx)
		}, "GET /engine/step", "", `[` + definition + `]`},
		{
			"plan", 200, `{"goals":["a"],"required":["x"],"steps":{},"attributes":{"x":{"providers":[],"consumers":["a"]}},"excluded":{"satisfied":["b"],"missing":{"c":["y"]}}}`,
			func(ctx context.Context, c *client.Client) (any, error) {
				return c.Plan(ctx, []string{"a"}, map[string]any{"x": json.Number("1.50")})
			}, "POST /engine/plan", `{"goals":["a"],"init":{"x":1.50}}`,
			`{"goals":["a"],"required":["x"],"steps":{},"attributes":{"x":{"providers":[],"consumers":["a"]}},"excluded":{"satisfied":["b"],"missing":{"c":["y"]}}}`,
		},
		{"start", 201, `{"flow_id":"f"}`, func(ctx context.Context, c *client.Client) (any, error) {
			return c.StartFlow(ctx, client.StartRequest{ID: "f", Goals: []string{"a"}, Labels: map[string]string{"l": "v"}, TimeoutMS: 9, CallbackURL: "http://c/", CallbackSecret: "whsec_x"})
		}, "POST /engine/flow", `{"id":"f","goals":["a"],"labels":{"l":"v"},"timeout_ms":9,"callback_url":"http://c/","callback_secret":"whsec_x"}`, `"f"`},
		{"status", 200, `{"status":"failed","created_at":"2026-01-01T00:00:00Z","error":"no"}`, func(ctx context.Context, c *client.Client) (any, error) {
			return c.FlowStatus(ctx, "f")
		}, "GET /engine/flow/f/status", "", `{"status":"failed","created_at":"2026-01-01T00:00:00Z","error":"no"}`},
		{"status at the end", 200, `{"status":"failed","created_at":"2026-01-01T00:00:00Z"}`, func(ctx context.Context, c *client.Client) (any, error) {
			return c.FlowStatus(ctx, "f", client.Wait(1500*time.Millisecond))
		}, "GET /engine/flow/f/status?wait_ms=1500", "", `{"status":"failed","created_at":"2026-01-01T00:00:00Z"}`},
		{"state at the end", 200, `{"id":"f","status":"completed"}`, func(ctx context.Context, c *client.Client) (any, error) {
			state, err := c.Flow(ctx, "f", client.Wait(client.MaxWait))
			return state.Status, err
		}, "GET /engine/flow/f?wait_ms=60000", "", `"completed"`},
		{"start and wait", 201, `{"flow_id":"f","flow":{"id":"f","status":"completed"}}`, func(ctx context.Context, c *client.Client) (any, error) {
			state, err := c.StartAndWait(ctx, client.StartRequest{ID: "f", Goals: []string{"a"}}, time.Second)
			return []string{state.ID, string(state.Status)}, err
		}, "POST /engine/flow?wait_ms=1000", `{"id":"f","goals":["a"]}`, `["f","completed"]`},
		{"start and wait, no state", 201, `{"flow_id":"f"}`, func(ctx context.Context, c *client.Client) (any, error) {
			state, err := c.StartAndWait(ctx, client.StartRequest{Goals: []string{"a"}}, time.Second)
			return []string{state.ID, string(state.Status)}, err
		}, "POST /engine/flow?wait_ms=1000", `{"goals":["a"]}`, `["f",""]`},
		{
			"events", 200, `{"events":[{"type":"attribute_set","flow_id":"f","key":"k","value":1.50,"time":"2026-01-01T00:00:00Z","revision":2}]}`,
			func(ctx context.Context, c *client.Client) (any, error) {
				events, err := c.FlowEvents(ctx, "f")
				return events[0].Value, err
			}, "GET /engine/flow/f/events", "", `1.50`,
		},
		{"cancel", 200, `{}`, func(ctx context.Context, c *client.Client) (any, error) {
			return nil, c.CancelFlow(ctx, "f", "why")
		}, "POST /engine/flow/f/cancel", `{"reason":"why"}`, "null"},
		{"pause", 200, `{}`, func(ctx context.Context, c *client.Client) (any, error) {
			return nil, c.PauseFlow(ctx, "f", "")
		}, "POST /engine/flow/f/pause", `{}`, "null"},
		{"resume", 200, `{}`, func(ctx context.Context, c *client.Client) (any, error) {
			return nil, c.ResumeFlow(ctx, "f", "why")
		}, "POST /engine/flow/f/resume", `{"reason":"why"}`, "null"},
		{"retry", 200, `{}`, func(ctx context.Context, c *client.Client) (any, error) {
			return nil, c.RetryFlow(ctx, "f", "why")
		}, "POST /engine/flow/f/retry", `{"reason":"why"}`, "null"},
		{"retry of a step", 200, `{}`, func(ctx context.Context, c *client.Client) (any, error) {
			return nil, c.RetryStep(ctx, client.Override{Flow: "f", Step: "s", Item: "3", Reason: "why"})
		}, "POST /engine/flow/f/step/s/retry", `{"item":"3","reason":"why"}`, "null"},
		{"skip", 200, `{}`, func(ctx context.Context, c *client.Client) (any, error) {
			return nil, c.SkipStep(ctx, client.Override{Flow: "f", Step: "s"})
		}, "POST /engine/flow/f/step/s/skip", `{}`, "null"},
		{"complete", 200, `{}`, func(ctx context.Context, c *client.Client) (any, error) {
			return nil, c.CompleteStep(ctx, client.Override{Flow: "f", Step: "s"}, map[string]any{"a": json.Number("1.50")})
		}, "POST /engine/flow/f/step/s/complete", `{"outputs":{"a":1.50}}`, "null"},
		{"fail", 200, `{}`, func(ctx context.Context, c *client.Client) (any, error) {
			return nil, c.FailStep(ctx, client.Override{Flow: "f", Step: "s", Reason: "why"}, "no")
		}, "POST /engine/flow/f/step/s/fail", `{"error":"no","reason":"why"}`, "null"},
		{"approve", 200, `{"message":"It was approved by ann."}`, func(ctx context.Context, c *client.Client) (any, error) {
			return c.Approve(ctx, client.Decision{Flow: "f", Step: "s", Item: "2", By: "ann", Comment: "good"})
		}, "POST /engine/flow/f/step/s/approve", `{"by":"ann","comment":"good","item":"2"}`, `"It was approved by ann."`},
		{"reject", 200, `{"message":"It was rejected by ann."}`, func(ctx context.Context, c *client.Client) (any, error) {
			return c.Reject(ctx, client.Decision{Flow: "f", Step: "s"})
		}, "POST /engine/flow/f/step/s/reject", `{}`, `"It was rejected by ann."`},
		{"message", 202, `{"message":"the message is stored"}`, func(ctx context.Context, c *client.Client) (any, error) {
			return nil, c.PostMessage(ctx, client.Message{
				Name: "paid", Key: json.Number("17.0"), Outputs: map[string]any{"amount": 3}, ID: "m-1", TTL: time.Second,
			})
		}, "POST /engine/message", `{"name":"paid","key":17.0,"outputs":{"amount":3},"id":"m-1","ttl_ms":1000}`, "null"},
		{"start later", 201, `{"flow_id":"f"}`, func(ctx context.Context, c *client.Client) (any, error) {
			return c.StartFlow(ctx, client.StartRequest{ID: "f", Goals: []string{"a"}, StartAt: time.Date(2030, 1, 31, 9, 30, 0, 0, time.UTC)})
		}, "POST /engine/flow", `{"id":"f","goals":["a"],"start_at":"2030-01-31T09:30:00Z"}`, `"f"`},
		{"put schedule", 201, `{"schedule":{},"message":""}`, func(ctx context.Context, c *client.Client) (any, error) {
			return c.PutSchedule(ctx, "a@b", client.ScheduleDefinition{
				Cron: "@daily", TimeZone: "Europe/Berlin", Overlap: client.OverlapQueue, Flow: client.StartRequest{Goals: []string{"a"}},
			})
		}, "PUT /engine/schedule/a@b", `{"cron":"@daily","time_zone":"Europe/Berlin","overlap":"queue","flow":{"goals":["a"]}}`, "true"},
		{"put schedule again", 200, `{}`, func(ctx context.Context, c *client.Client) (any, error) {
			return c.PutSchedule(ctx, "a", client.ScheduleDefinition{EveryMS: 1000, Flow: client.StartRequest{Goals: []string{"a"}}})
		}, "PUT /engine/schedule/a", `{"every_ms":1000,"flow":{"goals":["a"]}}`, "false"},
		{"schedule", 200, aSchedule, func(ctx context.Context, c *client.Client) (any, error) {
			return c.Schedule(ctx, "a")
		}, "GET /engine/schedule/a", "", aSchedule},
		{"schedules", 200, `{"schedules":[` + aSchedule + `],"count":1}`, func(ctx context.Context, c *client.Client) (any, error) {
			return c.Schedules(ctx)
		}, "GET /engine/schedule", "", "[" + aSchedule + "]"},
		{"delete schedule", 200, `{}`, func(ctx context.Context, c *client.Client) (any, error) {
			return nil, c.DeleteSchedule(ctx, "a")
		}, "DELETE /engine/schedule/a", "", "null"},
		{"pause schedule", 200, `{}`, func(ctx context.Context, c *client.Client) (any, error) {
			return nil, c.PauseSchedule(ctx, "a")
		}, "POST /engine/schedule/a/pause", "", "null"},
		{"resume schedule", 200, `{}`, func(ctx context.Context, c *client.Client) (any, error) {
			return nil, c.ResumeSchedule(ctx, "a")
		}, "POST /engine/schedule/a/resume", "", "null"},
		{"delete flow", 204, ``, func(ctx context.Context, c *client.Client) (any, error) {
			return nil, c.DeleteFlow(ctx, "f")
		}, "DELETE /engine/flow/f", "", "null"},
		{
			"dead letter", 200, `{"id":7,"what":"command","class":"panic","reason":"r","subject":"s","flow_id":"f","stream":"C","sequence":3,"stored_at":"2026-01-01T00:00:00Z",` +
				`"dead_at":"2026-01-01T00:00:09Z","deliveries":2,"redrives":1,"size":5,"headers":{"a":"b"},"message":{"n":1.50},"data":"AAE=","truncated":true}`,
			func(ctx context.Context, c *client.Client) (any, error) { return c.DeadLetter(ctx, 7) }, "GET /engine/dead/7", "",
			`{"id":7,"what":"command","class":"panic","reason":"r","subject":"s","flow_id":"f","stream":"C","sequence":3,"stored_at":"2026-01-01T00:00:00Z",` +
				`"dead_at":"2026-01-01T00:00:09Z","deliveries":2,"redrives":1,"size":5,"headers":{"a":"b"},"message":{"n":1.50},"data":"AAE=","truncated":true}`,
		},
		{"redrive", 200, `{}`, func(ctx context.Context, c *client.Client) (any, error) {
			return nil, c.RedriveDeadLetter(ctx, 7)
		}, "POST /engine/dead/7/redrive", "", "null"},
		{"drop", 204, ``, func(ctx context.Context, c *client.Client) (any, error) {
			return nil, c.DropDeadLetter(ctx, 7)
		}, "DELETE /engine/dead/7", "", "null"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, seen := serve(t, says(tt.status, tt.answer))
			got, err := tt.call(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			if seen.asked != tt.asked || seen.body != tt.body {
				t.Errorf("asked %s %s", seen.asked, seen.body)
			}
			if seen.header.Get("Authorization") != "Bearer k1" || (tt.body != "" && seen.header.Get("Content-Type") != "application/json") {
				t.Errorf("headers %v", seen.header)
			}
			text, err := json.Marshal(got)
			if err != nil || string(text) != tt.want {
				t.Errorf("read %s, %v", text, err)
			}
		})
	}
}

func TestFlow(t *testing.T) {
	t.Parallel()
	c, _ := serve(t, says(200, `{"id":"f","status":"active","created_at":"2026-01-01T00:00:00Z","last_updated":"2026-01-01T00:00:01Z",
		"plan":{"goals":["a"]},"attributes":{"x":{"value":1.50,"step":"a"}},
		"executions":{"a":{"status":"active","work_items":{"0":{"status":"not_completed","token":"AbCdEfGh","attempt":1,"retry_count":1,"next_retry_at":"2026-01-01T00:00:09Z"}}}}}`))
	f, err := c.Flow(t.Context(), "f")
	if err != nil {
		t.Fatal(err)
	}
	item := f.Executions["a"].WorkItems["0"]
	if f.Status != client.Active || string(f.Attributes["x"].Value) != "1.50" || item.Status != client.NotCompleted || item.NextRetryAt.IsZero() {
		t.Errorf("read %+v", f)
	}
}

func TestProblems(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, body string
		status     int
		code, text string
		temporary  bool
	}{
		{
			"a field", `{"type":"urn:sluice:problem:invalid","title":"Bad Request","status":400,"detail":"must not be empty","field":"goals","errors":[{"field":"goals","message":"must not be empty"}]}`,
			400, "invalid", "400 Bad Request: must not be empty (goals)", false,
		},
		{"unavailable", `{"type":"urn:sluice:problem:unavailable","detail":"full"}`, 503, "unavailable", "503 Service Unavailable: full", true},
		{"a proxy's", "<html>\nmuch", 502, "", "502 Bad Gateway: <html>", true},
		{"a redirect's end", "", 304, "", "304 Not Modified", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, _ := serve(t, says(tt.status, tt.body))
			_, err := c.StartFlow(t.Context(), client.StartRequest{})
			p, ok := errors.AsType[*client.Problem](err)
			if !ok {
				t.Fatalf("got %v", err)
			}
			if p.Code() != tt.code || p.Error() != tt.text || p.Temporary() != tt.temporary || client.StatusOf(err) != tt.status || p.RetryAfter != 3*time.Second {
				t.Errorf("got %+v: %v", p, p)
			}
		})
	}
}

func TestAStartWithoutAnAnswerNamesItsFlow(t *testing.T) {
	t.Parallel()
	c, seen := serve(t, says(503, `{"type":"urn:sluice:problem:unavailable","detail":"no engine answered in time","flow_id":"made-1"}`))
	_, err := c.StartFlow(t.Context(), client.StartRequest{Goals: []string{"a"}})
	p, ok := errors.AsType[*client.Problem](err)
	if !ok || p.FlowID != "made-1" || !p.Temporary() {
		t.Fatalf("got %v", err)
	}
	_, _ = c.StartFlow(t.Context(), client.StartRequest{ID: p.FlowID, Goals: []string{"a"}})
	if seen.body != `{"id":"made-1","goals":["a"]}` {
		t.Errorf("again it asked %s", seen.body)
	}
}

func TestIDsAreChecked(t *testing.T) {
	t.Parallel()
	c, seen := serve(t, says(200, `{}`))
	for _, id := range []string{"", "..", "a/b", "a b", strings.Repeat("x", 129)} {
		if _, err := c.Flow(t.Context(), id); err == nil {
			t.Errorf("%q was asked for", id)
		}
	}
	if seen.asked != "" {
		t.Errorf("asked %s", seen.asked)
	}
	for _, address := range []string{"", "console", "ftp://x", "http://", "http://%zz"} {
		if _, err := client.New(address, client.Options{}); err == nil {
			t.Errorf("%q is an address", address)
		}
	}
}

func TestFlowsReadsPages(t *testing.T) {
	t.Parallel()
	var asked []string
	c, _ := serve(t, func(rw http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.RawQuery)
		page := map[string]string{
			"":   `{"flows":[{"id":"a","digest":{"status":"active"}},{"id":"b","digest":{"status":"failed"}}],"count":2,"next":"n1"}`,
			"n1": `{"flows":[{"id":"c","digest":{"status":"active"}}],"count":1}`,
		}
		says(200, page[r.URL.Query().Get("cursor")])(rw, r)
	})
	var ids strings.Builder
	filter := client.FlowFilter{
		Statuses: []client.Status{client.Active, client.Failed}, Labels: []string{"l=v"}, IDPrefix: "p", PageSize: 2,
		Since: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
	}
	for f, err := range c.Flows(t.Context(), filter) {
		if err != nil {
			t.Fatal(err)
		}
		ids.WriteString(f.ID)
	}
	const query = "id_prefix=p&label=l%3Dv&limit=2&since=2026-01-01T00%3A00%3A00Z&status=active&status=failed"
	if ids.String() != "abc" || len(asked) != 2 || asked[0] != query || asked[1] != "cursor=n1&"+query {
		t.Errorf("read %s by %q", ids.String(), asked)
	}
	for _, err := range c.Flows(t.Context(), client.FlowFilter{}) {
		if err != nil {
			t.Error(err)
		}
		break
	}
	if len(asked) != 3 {
		t.Errorf("%d pages were read for one flow", len(asked)-2)
	}
}

func TestDeadLettersReadsPages(t *testing.T) {
	t.Parallel()
	var asked []string
	c, _ := serve(t, func(rw http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.RawQuery)
		page := map[string]string{
			"":  `{"letters":[{"id":9},{"id":8}],"count":2,"next":"8"}`,
			"8": `{"letters":[{"id":3}],"count":1}`,
		}
		says(200, page[r.URL.Query().Get("cursor")])(rw, r)
	})
	var ids []uint64
	for l, err := range c.DeadLetters(t.Context(), client.DeadFilter{What: "command", PageSize: 2}) {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, l.ID)
	}
	if !slices.Equal(ids, []uint64{9, 8, 3}) || len(asked) != 2 || asked[0] != "limit=2&what=command" || asked[1] != "cursor=8&limit=2&what=command" {
		t.Errorf("read %v by %q", ids, asked)
	}
	for _, err := range c.DeadLetters(t.Context(), client.DeadFilter{}) {
		if err != nil {
			t.Error(err)
		}
		break
	}
	if len(asked) != 3 {
		t.Errorf("%d pages were read for one letter", len(asked)-2)
	}
}

func TestFlowsEndsWithAnError(t *testing.T) {
	t.Parallel()
	c, _ := serve(t, says(503, ""))
	n := 0
	for _, err := range c.Flows(t.Context(), client.FlowFilter{}) {
		if n++; client.StatusOf(err) != 503 {
			t.Errorf("got %v", err)
		}
	}
	if n != 1 {
		t.Errorf("%d times", n)
	}
}

func TestWaitFlow(t *testing.T) {
	t.Parallel()
	n := 0
	c, _ := serve(t, func(rw http.ResponseWriter, r *http.Request) {
		n++
		switch n {
		case 1:
			says(200, `{"status":"active"}`)(rw, r)
		case 2:
			says(503, ``)(rw, r)
		case 3:
			panic(http.ErrAbortHandler)
		default:
			says(200, `{"status":"canceled"}`)(rw, r)
		}
	})
	d, err := c.WaitFlow(t.Context(), "f")
	if err != nil || d.Status != client.Canceled || n != 4 {
		t.Errorf("got %v, %v after %d", d, err, n)
	}
}

// A request waits for less than the HTTP client does.
func TestWaitFlowIsMorePatientThanItsRequests(t *testing.T) {
	t.Parallel()
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.RequestURI())
		says(200, `{"status":"completed"}`)(rw, r)
	}))
	t.Cleanup(server.Close)
	for _, timeout := range []time.Duration{0, 4 * time.Second, time.Hour} {
		c, err := client.New(server.URL, client.Options{HTTP: &http.Client{Timeout: timeout}})
		if err != nil {
			t.Fatal(err)
		}
		if d, err := c.WaitFlow(t.Context(), "f"); err != nil || d.Status != client.Completed {
			t.Errorf("got %v, %v", d, err)
		}
	}
	const path = "/engine/flow/f/status?wait_ms="
	if want := []string{path + "20000", path + "2000", path + "20000"}; !slices.Equal(asked, want) {
		t.Errorf("asked %q, want %q", asked, want)
	}
}

func TestWaitFlowGivesUp(t *testing.T) {
	t.Parallel()
	c, _ := serve(t, says(404, ``))
	if _, err := c.WaitFlow(t.Context(), "f"); client.StatusOf(err) != 404 {
		t.Errorf("got %v", err)
	}
	ctx, end := context.WithCancelCause(t.Context())
	asked := 0
	c, _ = serve(t, func(rw http.ResponseWriter, _ *http.Request) {
		if asked++; asked == 2 {
			end(context.DeadlineExceeded)
		}
		rw.WriteHeader(http.StatusServiceUnavailable)
	})
	if _, err := c.WaitFlow(ctx, "f"); !errors.Is(err, context.DeadlineExceeded) || client.StatusOf(err) != 503 {
		t.Errorf("got %v", err)
	}
}

// What a process says of itself is read also while it is not ready.
func TestReady(t *testing.T) {
	t.Parallel()
	c, seen := serve(t, says(http.StatusServiceUnavailable, `{"service":"console","status":"not ready","checks":{"nats":"gone"},"durability":"synced"}`))
	got, err := c.Ready(t.Context())
	if err != nil || got.Status != "not ready" || got.Checks["nats"] != "gone" || got.Durability != "synced" || seen.asked != "GET /ready" {
		t.Errorf("asked %s, got %+v, %v", seen.asked, got, err)
	}
	for name, answer := range map[string]http.HandlerFunc{
		"no console": says(http.StatusOK, `{}`), "no JSON": says(http.StatusOK, "<html>"), "refused": says(http.StatusForbidden, ""),
	} {
		c, _ := serve(t, answer)
		if got, err := c.Ready(t.Context()); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
