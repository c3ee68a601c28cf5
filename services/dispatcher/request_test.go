package dispatcher_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/sluiceflow/sluice/pkg/step"
	"github.com/sluiceflow/sluice/pkg/token"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/fault"
	"github.com/sluiceflow/sluice/services/internal/testkit"
)

const testSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

type received struct {
	header http.Header
	body   []byte
	method string
}

func receive(t *testing.T, r *rig, inv *sluicev1.Invocation) received {
	t.Helper()
	got := make(chan received, 1)
	inv.Endpoint = serve(t, func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		got <- received{req.Header, body, req.Method}
		succeed(w)
	})
	r.start()
	r.invoke(inv)
	r.settled()
	select {
	case g := <-got:
		return g
	default:
		t.Fatal("the endpoint was not called")
		return received{}
	}
}

func TestTheRequestIsTheContracts(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	deadline := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	inv := invocation("order.1", "")
	inv.Type = sluicev1.StepType_STEP_TYPE_ASYNC
	inv.Work.Attempt = 2
	inv.WebhookUrl = "https://sluice.example/webhook/order.1/charge/" + testToken + "?attempt=2"
	inv.DeadlineNs = deadline.UnixNano()
	inv.Labels = map[string]string{"tenant": "a"}
	got := receive(t, r, inv)

	for name, want := range map[string]string{
		"Content-Type": "application/json", "Accept": "application/json",
		"User-Agent": "Sluice/1.2.3", "Idempotency-Key": testToken,
	} {
		if v := got.header.Get(name); v != want || got.method != http.MethodPost {
			t.Errorf("%s: %q, want %q (%s)", name, v, want, got.method)
		}
	}
	if parts := strings.Split(got.header.Get("Traceparent"), "-"); len(parts) != 4 || len(parts[1]) != 32 || len(parts[2]) != 16 {
		t.Errorf("traceparent = %q", got.header.Get("Traceparent"))
	}
	if v := got.header.Get("Webhook-Signature"); v != "" {
		t.Errorf("signed without a secret: %q", v)
	}
	want := `{"arguments":{"amount":12.50},"metadata":{"flow_id":"order.1","step_id":"charge","receipt_token":"` + testToken +
		`","attempt":2,"webhook_url":"` + inv.GetWebhookUrl() + `","deadline":"` + deadline.Format(time.RFC3339) + `","labels":{"tenant":"a"}}}`
	if !sameJSON(t, string(got.body), want) {
		t.Errorf("body = %s\nwant   %s", got.body, want)
	}
	if !strings.Contains(string(got.body), "12.50") {
		t.Errorf("a number lost its precision: %s", got.body)
	}
}

func TestWhatIsNotSetIsLeftOut(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	inv := invocation("plain", "")
	inv.Arguments = nil
	inv.WebhookUrl = "https://sluice.example/only-for-async-steps"
	got := receive(t, r, inv)
	want := `{"arguments":{},"metadata":{"flow_id":"plain","step_id":"charge","receipt_token":"` + testToken + `","attempt":1}}`
	var body struct {
		Metadata map[string]any `json:"metadata"`
	}
	if err := json.Unmarshal(got.body, &body); err != nil {
		t.Fatal(err)
	}
	delete(body.Metadata, "labels") // an object, be it empty
	if len(body.Metadata) != 4 || !strings.Contains(string(got.body), `"arguments":{}`) {
		t.Errorf("body = %s\nwant   %s", got.body, want)
	}
}

func TestCallsWithCredentials(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.secrets = secrets{secret: testSecret, headers: map[string]string{
		"authorization": "Bearer abc", "content-type": "text/plain",
	}}
	inv := invocation("signed", "")
	inv.HasCredentials = true
	got := receive(t, r, inv)
	if v := got.header.Get("Authorization"); v != "Bearer abc" {
		t.Errorf("Authorization: %q", v)
	}
	if v := got.header.Get("Content-Type"); v != "application/json" {
		t.Errorf("the step's header replaced ours: Content-Type: %q", v)
	}
	hook, err := standardwebhooks.NewWebhook(testSecret)
	if err != nil {
		t.Fatal(err)
	}
	if err := hook.Verify(got.body, got.header); err != nil {
		t.Errorf("the signature does not verify: %v", err)
	}
	if err := hook.Verify(append(got.body, ' '), got.header); err == nil {
		t.Error("the signature verifies another body")
	}
	if strings.Contains(got.header.Get("Webhook-Id"), testToken) {
		t.Error("the message's id shows the token")
	}
}

func TestCredentialsThatAreGoneFailTheWork(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.secrets = secrets{err: fault.Newf(fault.NotFound, "test", "no such step")}
	inv := invocation("gone", "http://127.0.0.1:1/")
	inv.HasCredentials = true
	r.start()
	r.invoke(inv)
	if got := r.report("gone").GetOutcome(); outcome(got) != "failed" || !strings.Contains(got.GetError(), "no such step") {
		t.Errorf("outcome = %v", got)
	}
}

func TestCredentialsThatAreAwayDelayTheCall(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	url := serve(t, reply(404, ""))
	inv := invocation("later", url)
	inv.HasCredentials = true
	r.secrets = secrets{err: unavailable()}
	stop := r.start()
	r.invoke(inv)
	r.deliveredTwice()
	stop()
	r.secrets = secrets{secret: testSecret}
	r.start()
	// Parked, not called: its 404 is the first answer and counts.
	if got := r.report("later").GetOutcome(); outcome(got) != "failed" {
		t.Errorf("outcome = %v, want failed for good", got)
	}
}

func sameJSON(t *testing.T, a, b string) bool {
	t.Helper()
	var x, y any
	if err := json.Unmarshal([]byte(a), &x); err != nil {
		t.Fatalf("%s: %v", a, err)
	}
	if err := json.Unmarshal([]byte(b), &y); err != nil {
		t.Fatalf("%s: %v", b, err)
	}
	p, _ := json.Marshal(x)
	q, _ := json.Marshal(y)
	return string(p) == string(q)
}

func TestALaterAttemptLearnsTheLastProgress(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		attempt uint32
		beats   uint32 // the attempt that is heard of; 0 for none
		want    string
	}{
		"a second attempt":                     {2, 1, `{"progress":0.4,"message":"half"}`},
		"a repeat of it":                       {2, 2, `{"progress":0.4,"message":"half"}`},
		"a repeat of it after it was given up": {2, 3, ""},
		"a first one":                          {1, 1, ""},
		"one that nobody said much of":         {2, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			calls := 0
			if tt.beats > 0 {
				beat := step.Heartbeat{Progress: step.Progress{Progress: 0.4, Message: "half"}, Attempt: tt.beats}
				if _, err := r.index.Heartbeat(t.Context(), token.Hash(testToken), beat, ""); err != nil {
					t.Fatal(err)
				}
			}
			// A call waits a moment for Redis and goes without it then: the next one has it.
			testkit.Eventually(t, patience, func() error {
				calls++
				inv := invocation(fmt.Sprintf("order-%d", calls), "")
				inv.Type, inv.Work.Attempt = sluicev1.StepType_STEP_TYPE_ASYNC, tt.attempt
				var body struct {
					Metadata struct {
						LastProgress json.RawMessage `json:"last_progress"`
					} `json:"metadata"`
				}
				if err := json.Unmarshal(receive(t, r, inv).body, &body); err != nil {
					t.Fatal(err)
				}
				got := string(body.Metadata.LastProgress)
				if got != tt.want && got != "" {
					t.Fatalf("last_progress is %s, want %s", got, tt.want)
				}
				if got != tt.want {
					return fmt.Errorf("call %d has no last_progress, want %s", calls, tt.want)
				}
				return nil
			})
		})
	}
}
