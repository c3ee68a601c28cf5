package dispatcher_test

import (
	"net/http"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
)

// compensation asks to undo a success.
func compensation(flowID, endpoint string) *sluicev1.Invocation {
	inv := invocation(flowID, endpoint)
	inv.Compensate, inv.Outputs = true, map[string][]byte{"receipt": []byte(`"r-1"`)}
	return inv
}

func TestTheCompensationsRequest(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.secrets = secrets{secret: testSecret, headers: map[string]string{"authorization": "Bearer abc"}}
	deadline := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	inv := compensation("order-1", "")
	inv.HasCredentials, inv.DeadlineNs, inv.Work.Attempt = true, deadline.UnixNano(), 2
	got := receive(t, r, inv)
	want := `{"inputs":{"amount":12.50},"outputs":{"receipt":"r-1"},"metadata":{"flow_id":"order-1","step_id":"charge","receipt_token":"` +
		testToken + `","attempt":2,"deadline":"` + deadline.Format(time.RFC3339) + `"}}`
	if !sameJSON(t, string(got.body), want) {
		t.Errorf("body = %s\nwant   %s", got.body, want)
	}
	if got.method != http.MethodPost || got.header.Get("Idempotency-Key") != testToken || got.header.Get("Authorization") != "Bearer abc" {
		t.Errorf("%s with %v", got.method, got.header)
	}
	hook, err := standardwebhooks.NewWebhook(testSecret)
	if err != nil {
		t.Fatal(err)
	}
	if err := hook.Verify(got.body, got.header); err != nil {
		t.Errorf("the signature does not verify: %v", err)
	}
	// A worker that remembers the ids of what it got must not take it for the
	// invocation.
	inv = invocation("order-2", "")
	inv.HasCredentials, inv.Work.Attempt = true, 2
	if work := receive(t, r, inv); work.header.Get("Webhook-Id") == got.header.Get("Webhook-Id") {
		t.Error("an invocation and its compensation have one id")
	}
}

func TestWhatCompensationsComeTo(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	mux := http.NewServeMux()
	mux.HandleFunc("/done", reply(http.StatusNoContent, ""))
	mux.HandleFunc("/says-no", reply(http.StatusOK, `{"success": false}`))
	mux.HandleFunc("/busy", replyAfter(http.StatusServiceUnavailable, "3"))
	mux.HandleFunc("/gone", reply(http.StatusGone, ""))
	url := serve(t, mux.ServeHTTP)
	r.start()
	for path, want := range map[string]expectation{
		"done":    {"succeeded", "", 204, 0},
		"says-no": {"succeeded", "", 200, 0},
		"busy":    {"not_completed", "", 503, 3000},
		"gone":    {"failed", "", 410, 0},
	} {
		r.invoke(compensation(path, url+"/"+path))
		got := r.report(path)
		is := expectation{outcome(got.GetOutcome()), "", got.GetHttpStatus(), got.GetOutcome().GetRetryAfterMs()}
		if is != want || !got.GetCompensate() || got.GetWork().GetAttempt() != 1 {
			t.Errorf("%s: %+v, want %+v (%v)", path, is, want, got)
		}
	}
	r.invoke(invocation("work", url+"/gone"))
	if r.report("work").GetCompensate() {
		t.Error("an invocation is reported as a compensation")
	}
}
