package dispatcher_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/proc"
)

// expectation is what the engine is told; the zero value is that it is told
// nothing, because the call was accepted.
type expectation struct {
	outcome string // succeeded, failed or not_completed
	says    string // part of the error
	status  int32
	afterMS int64
}

type answerRow struct {
	name    string
	handler http.HandlerFunc
	sync    expectation
	async   expectation
}

func reply(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func replyAfter(status int, retryAfter string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", retryAfter)
		w.WriteHeader(status)
	}
}

func redirect(status int, location string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if location != "" {
			w.Header().Set("Location", location)
		}
		w.WriteHeader(status)
	}
}

// hijack answers by raw bytes and closes the connection.
func hijack(raw string) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		_, _ = io.Copy(io.Discard, req.Body)
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_, _ = io.WriteString(conn, raw)
			_ = conn.Close()
		}
	}
}

// both is for answers that mean the same to sync and async steps.
func both(name string, handler http.HandlerFunc, e expectation) answerRow {
	return answerRow{name, handler, e, e}
}

func answerRows() []answerRow {
	failed := func(says string, status int32) expectation { return expectation{"failed", says, status, 0} }
	again := func(says string, status int32, afterMS int64) expectation {
		return expectation{"not_completed", says, status, afterMS}
	}
	rows := []answerRow{
		{"success", reply(200, `{"success": true, "outputs": {"id": 1.10}}`), expectation{"succeeded", "", 200, 0}, expectation{}},
		{"created", reply(201, `{"success": true}`), expectation{"succeeded", "", 201, 0}, expectation{}},
		{"nothing", reply(204, ""), failed("StepResult", 204), expectation{}},
		{"an empty 200", reply(200, ""), failed("StepResult", 200), expectation{}},
		{"no success", reply(202, `{"ok": 1}`), failed("success", 202), expectation{}},
		{"no JSON", reply(200, `<html>`), failed("StepResult", 200), expectation{}},
		both("failure", reply(200, `{"success": false, "error": "card declined"}`), failed("card declined", 200)),
		both("not completed", reply(200, `{"success": false, "error": "busy", "not_completed": true, "retry_after_ms": 1234}`), again("busy", 200, 1234)),
		both("408", reply(408, ""), again("408", 408, 0)),
		both("425", reply(425, ""), again("425", 425, 0)),
		both("429 with Retry-After", replyAfter(429, "7"), again("429", 429, 7000)),
		both("500", reply(500, "oops"), again("500", 500, 0)),
		both("503 with a day's Retry-After", replyAfter(503, "86400"), again("503", 503, 3_600_000)),
		both("404", reply(404, `{"success": true}`), failed("404", 404)),
		both("400 with a long body", reply(400, strings.Repeat("x", 3<<20)), failed("400", 400)),
		both("301", redirect(301, "/elsewhere"), failed("redirect", 301)),
		both("307", redirect(307, "/elsewhere"), failed("redirect", 307)),
		both("302 to nowhere", redirect(302, ""), failed("redirect", 302)),
		both("302 to what is no URL", redirect(302, "::%zz"), failed("redirect", 302)),
		both("304", reply(304, ""), failed("304", 304)),
		both("a body over the limit", reply(200, strings.Repeat(" ", 1<<20)+`{"success": true}`), failed("MAX_BODY_BYTES", 200)),
		both("a body without end", endless, failed("MAX_BODY_BYTES", 200)),
		both("a body that breaks off", hijack("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"success\""), again("broke off", 200, 0)),
		both("no HTTP", hijack("hello\r\n\r\n"), again("malformed", 0, 0)),
		both("no answer", hijack(""), again("EOF", 0, 0)),
	}
	return rows
}

func endless(w http.ResponseWriter, _ *http.Request) {
	chunk := bytes.Repeat([]byte(" "), 64<<10)
	for range 16384 { // 1 GiB
		if _, err := w.Write(chunk); err != nil {
			return
		}
	}
}

func TestAnswersMeanWhatTheContractSays(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.cfg.EndpointConcurrency, r.cfg.CallConcurrency = 64, 1024 // none is parked, and none passes for a repeated one
	rows := answerRows()
	mux := http.NewServeMux()
	for i, row := range rows {
		mux.HandleFunc(fmt.Sprintf("/%d", i), row.handler)
	}
	url := serve(t, mux.ServeHTTP)
	for i := range rows {
		inv := invocation(fmt.Sprintf("sync-%d", i), fmt.Sprintf("%s/%d", url, i))
		r.invoke(inv)
		inv.FlowId, inv.Type = fmt.Sprintf("async-%d", i), sluicev1.StepType_STEP_TYPE_ASYNC
		r.invoke(inv)
	}
	r.start()
	r.settled()
	for i, row := range rows {
		check(t, r, "sync, "+row.name, fmt.Sprintf("sync-%d", i), row.sync)
		check(t, r, "async, "+row.name, fmt.Sprintf("async-%d", i), row.async)
	}
}

func check(t *testing.T, r *rig, name, flowID string, want expectation) {
	t.Helper()
	got, err := r.stored(flowID)
	if want == (expectation{}) {
		if !errors.Is(err, errNoReport) {
			t.Errorf("%s: report %v (%v), want none", name, got, err)
		}
		return
	}
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	o := got.GetOutcome()
	is := expectation{outcome(o), want.says, got.GetHttpStatus(), o.GetRetryAfterMs()}
	if is != want || !strings.Contains(o.GetError(), want.says) {
		t.Errorf("%s: %+v, error %q, want %+v", name, is, o.GetError(), want)
	}
	if got.GetWork().GetStepId() != "charge" || got.GetWork().GetRun() != 7 || got.GetWork().GetAttempt() != 1 {
		t.Errorf("%s: about %v", name, got.GetWork())
	}
	if len(o.GetDigest()) == 0 {
		t.Errorf("%s: no digest", name)
	}
}

func outcome(o *sluicev1.Outcome) string {
	switch {
	case o.GetSuccess():
		return "succeeded"
	case o.GetNotCompleted():
		return "not_completed"
	}
	return "failed"
}

func TestOutputsKeepTheirPrecision(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	url := serve(t, reply(200, `{"success": true, "outputs": {"id": 12345678901234567890.10}}`))
	r.start()
	r.invoke(invocation("precise", url))
	if got := string(r.report("precise").GetOutcome().GetOutputs()["id"]); got != "12345678901234567890.10" {
		t.Errorf("output = %s", got)
	}
}

func TestWhatIsNeverCalled(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.cfg.AllowPrivateEndpoints = false
	called := make(chan struct{}, 10)
	url := serve(t, func(http.ResponseWriter, *http.Request) { called <- struct{}{} })
	r.invoke(invocation("loopback", url))
	r.invoke(invocation("metadata", "http://169.254.169.254/latest"))
	r.invoke(invocation("file", "file:///etc/passwd"))
	r.invoke(invocation("nonsense", "http://a b/%"))
	r.start()
	for _, flowID := range []string{"loopback", "metadata", "file", "nonsense"} {
		got := r.report(flowID)
		if outcome(got.GetOutcome()) != "failed" || !strings.Contains(got.GetOutcome().GetError(), "not allowed") {
			t.Errorf("%s: %v, want it refused for good", flowID, got)
		}
	}
	if len(called) != 0 {
		t.Error("a private address was called")
	}
}

func TestNobodyThere(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	nobody, err := proc.FreeAddr(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r.invoke(invocation("closed", "http://"+nobody))
	unknown := invocation("unknown", "http://nobody.invalid/")
	unknown.CallTimeoutMs = patience.Milliseconds() / 2
	r.invoke(unknown)
	slow, _, _ := hang(t, succeed)
	late := invocation("late", slow)
	late.CallTimeoutMs = 50
	r.invoke(late)
	r.start()
	for flowID, says := range map[string]string{"closed": "refused", "unknown": "nobody.invalid", "late": "no answer within 50ms"} {
		got := r.report(flowID)
		if outcome(got.GetOutcome()) != "not_completed" || got.GetHttpStatus() != 0 || !strings.Contains(got.GetOutcome().GetError(), says) {
			t.Errorf("%s: %v, want not completed, %q", flowID, got, says)
		}
	}
}
