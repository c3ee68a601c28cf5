package dispatcher_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluiceflow/sluice/pkg/subject"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/dead"
	"github.com/sluiceflow/sluice/services/internal/testkit"
)

// callback tells the end of a flow that completed.
func callback(flowID, endpoint string) *sluicev1.Invocation {
	return &sluicev1.Invocation{
		FlowId: flowID, Endpoint: endpoint, Labels: map[string]string{"team": "pay"},
		Work: &sluicev1.WorkRef{Run: 7, StepId: subject.CallbackStep},
		Callback: &sluicev1.Callback{
			Revision: 4, Status: sluicev1.FlowStatus_FLOW_STATUS_COMPLETED,
			Outputs:     map[string][]byte{"paid": []byte("12345678901234567890.10")},
			CompletedNs: time.Date(2026, 3, 1, 12, 0, 0, 500, time.UTC).UnixNano(),
			Signed:      true, Secret: base64.RawURLEncoding.EncodeToString([]byte(testSecret)),
		},
	}
}

// A shop is an endpoint that is called back.
type shop struct {
	url string

	mu    sync.Mutex
	calls []received
}

// open starts a shop whose nth call, from 1, is answered by a function.
func open(t *testing.T, answer func(n int) int) *shop {
	t.Helper()
	s := &shop{}
	s.url = serve(t, func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		s.mu.Lock()
		s.calls = append(s.calls, received{req.Header, body, req.Method})
		n := len(s.calls)
		s.mu.Unlock()
		w.WriteHeader(answer(n))
	})
	return s
}

func always(status int) func(int) int { return func(int) int { return status } }

func (s *shop) seen() []received {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]received(nil), s.calls...)
}

// signature is what Standard Webhooks signs a message with, made by its text.
func signature(t *testing.T, secret string, got received) string {
	t.Helper()
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.%s", got.header.Get("Webhook-Id"), got.header.Get("Webhook-Timestamp"), got.body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// letter waits for the one dead letter that there is to be.
func (r *rig) letter() dead.Stored {
	r.t.Helper()
	var letter dead.Stored
	testkit.Eventually(r.t, patience, func() error {
		list, _, err := dead.Open(r.bus).List(r.t.Context(), "", 0, 10)
		if err == nil && len(list) != 1 {
			err = fmt.Errorf("there are %d dead letters", len(list))
		}
		if err == nil {
			letter = list[0]
		}
		return err
	})
	return letter
}

func TestACallbackIsTheContracts(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	s := open(t, always(http.StatusNoContent))
	r.invoke(callback("order.1", s.url))
	r.settled()
	calls := s.seen()
	if len(calls) != 1 {
		t.Fatalf("called %d times", len(calls))
	}
	got := calls[0]
	for name, want := range map[string]string{
		"Content-Type": "application/json", "User-Agent": "Sluice/1.2.3",
		"Webhook-Signature": signature(t, testSecret, got), "Idempotency-Key": "",
	} {
		if v := got.header.Get(name); v != want || got.method != http.MethodPost {
			t.Errorf("%s: %q, want %q (%s)", name, v, want, got.method)
		}
	}
	if got.header.Get("Traceparent") == "" || got.header.Get("Webhook-Id") == "" || got.header.Get("Webhook-Timestamp") == "" {
		t.Errorf("headers %v", got.header)
	}
	const want = `{"type":"flow_completed","flow_id":"order.1","status":"completed","outputs":{"paid":12345678901234567890.10},` +
		`"completed_at":"2026-03-01T12:00:00.0000005Z","labels":{"team":"pay"}}`
	if string(got.body) != want {
		t.Errorf("body = %s\nwant   %s", got.body, want)
	}
	if _, err := r.stored("order.1"); !errors.Is(err, errNoReport) {
		t.Errorf("the engine is told: %v", err)
	}
}

func TestOtherEndingsAreToldToo(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	s := open(t, always(http.StatusOK))
	inv := callback("f", s.url)
	inv.Labels, inv.Callback.Outputs, inv.Callback.Omitted = nil, nil, []string{"report"}
	inv.Callback.Status, inv.Callback.Error = sluicev1.FlowStatus_FLOW_STATUS_FAILED, "declined"
	inv.Callback.Signed, inv.Callback.Secret = false, ""
	r.invoke(inv)
	r.settled()
	got := s.seen()[0]
	const want = `{"type":"flow_failed","flow_id":"f","status":"failed","outputs":{},"omitted":["report"],"error":"declined",` +
		`"completed_at":"2026-03-01T12:00:00.0000005Z","labels":{}}`
	if string(got.body) != want {
		t.Errorf("body = %s\nwant   %s", got.body, want)
	}
	if got.header.Get("Webhook-Id") == "" || got.header.Get("Webhook-Signature") != "" {
		t.Errorf("headers of a callback without a secret: %v", got.header)
	}
}

func TestACallbackIsTriedUntilItIsTaken(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	s := open(t, func(n int) int { return []int{500, 404, 302, 200}[min(n, 4)-1] })
	r.invoke(callback("f", s.url))
	r.settled()
	calls := s.seen()
	if len(calls) != 4 {
		t.Fatalf("called %d times", len(calls))
	}
	for _, c := range calls {
		if c.header.Get("Webhook-Id") != calls[0].header.Get("Webhook-Id") || string(c.body) != string(calls[0].body) {
			t.Errorf("a repeat is another message: %v %s", c.header, c.body)
		}
		if want := signature(t, testSecret, c); c.header.Get("Webhook-Signature") != want {
			t.Errorf("signed %q, want %q", c.header.Get("Webhook-Signature"), want)
		}
	}
	// Another ending of the same flow is another message.
	other := callback("f", s.url)
	other.Callback.Revision++
	r.invoke(other)
	r.settled()
	if last := s.seen()[4]; last.header.Get("Webhook-Id") == calls[0].header.Get("Webhook-Id") {
		t.Error("two endings have one id")
	}
	if n, err := r.count(r.bus.Dead()); n != 0 || err != nil {
		t.Errorf("%d dead letters (%v)", n, err)
	}
}

// A dispatcher that dies before the ack leaves the callback to the next one.
func TestACallbackThatIsCutShortIsMadeAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.cfg.DrainTimeout = 10 * time.Millisecond
	url, called, release := hang(t, succeed)
	stop := r.start()
	r.invoke(callback("f", url))
	wait(t, called)
	stop()
	r.start()
	wait(t, called)
	release()
	r.settled()
}

func TestACallbackThatNobodyTakesIsDead(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.cfg.CallbackRetryFor = 3 * time.Second
	r.start()
	s := open(t, always(http.StatusServiceUnavailable))
	r.invoke(callback("f", s.url))
	letter := r.letter()
	if letter.GetClass() != "undelivered" || letter.GetWhat() != dead.Invocation || letter.GetReason() != "nobody took the callback for 3s: the endpoint answered 503 Service Unavailable" {
		t.Errorf("letter %v", letter.DeadLetter)
	}
	if n := len(s.seen()); n < 2 {
		t.Errorf("tried %d times", n)
	}
	r.settled()
}

func TestACallbackThatIsNotWantedIsDeadAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	s := open(t, func(n int) int { return []int{http.StatusGone, http.StatusOK}[min(n, 2)-1] })
	r.invoke(callback("f", s.url))
	letter := r.letter()
	if letter.GetClass() != "undelivered" || letter.GetReason() != "the endpoint answered 410 Gone" || len(s.seen()) != 1 {
		t.Errorf("letter %v after %d calls", letter.DeadLetter, len(s.seen()))
	}
	r.settled()
	// What is redriven is the same message.
	if err := dead.Open(r.bus).Redrive(t.Context(), letter.ID); err != nil {
		t.Fatal(err)
	}
	r.settled()
	calls := s.seen()
	if len(calls) != 2 || calls[0].header.Get("Webhook-Id") != calls[1].header.Get("Webhook-Id") {
		t.Errorf("called %d times", len(calls))
	}
}

func TestWhoMayNotBeCalledBack(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change func(r *rig, inv *sluicev1.Invocation)
		class  string
		reason string
	}{
		"a private address": {
			func(r *rig, _ *sluicev1.Invocation) { r.cfg.AllowPrivateEndpoints = false },
			"undelivered", "ALLOW_PRIVATE_ENDPOINTS",
		},
		"another host": {
			func(r *rig, _ *sluicev1.Invocation) { r.cfg.EndpointAllowHosts = []string{"shop.example"} },
			"undelivered", "ENDPOINT_ALLOW_HOSTS",
		},
		"without its key": {
			func(_ *rig, inv *sluicev1.Invocation) { inv.Callback.Secret = "" },
			"impossible", "token key is gone",
		},
		"with a secret that is none": {
			func(_ *rig, inv *sluicev1.Invocation) { inv.Callback.Secret = "!" },
			"impossible", "base64url",
		},
		"of a flow that runs": {
			func(_ *rig, inv *sluicev1.Invocation) { inv.Callback.Status = sluicev1.FlowStatus_FLOW_STATUS_ACTIVE },
			"impossible", "has not ended",
		},
		"in place of a step": {
			func(_ *rig, inv *sluicev1.Invocation) { inv.Work.StepId = "charge" },
			"misplaced", "subject of a step",
		},
		"a step in its place": {
			func(_ *rig, inv *sluicev1.Invocation) { inv.Callback = nil },
			"impossible", "no token",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			s := open(t, always(http.StatusOK))
			inv := callback("f", s.url)
			tt.change(r, inv)
			r.start()
			r.invoke(inv)
			if letter := r.letter(); letter.GetClass() != tt.class || !strings.Contains(letter.GetReason(), tt.reason) {
				t.Errorf("letter %v", letter.DeadLetter)
			}
			r.settled()
			if n := len(s.seen()); n != 0 {
				t.Errorf("called %d times", n)
			}
		})
	}
}

func TestDelaysOfCallbacks(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for name, change := range map[string]func(){
		"CALLBACK_RETRY_FOR": func() { r.cfg.CallbackRetryFor = 0 },
		"RETRY_BACKOFF_TYPE": func() { r.cfg.RetryBackoffType = "soon" },
		"RETRY_BACKOFF_MS":   func() { r.cfg.RetryBackoffMS = -1 },
		"RETRY_MAX_BACKOFF":  func() { r.cfg.RetryMaxBackoffMS = 1 },
	} {
		good := r.cfg
		change()
		if err := r.cfg.Validate(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
		r.cfg = good
	}
	if err := r.cfg.Validate(); err != nil {
		t.Error(err)
	}
}
