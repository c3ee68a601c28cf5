package answer_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/sluiceflow/sluice/services/dispatcher/internal/answer"
)

func now() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

// cell is what one cell of the contract's table says.
type cell struct {
	class answer.Class
	text  string // part of the error
	after int64  // retry_after_ms
}

// Whatever a 2xx says, what was asked for is undone; else it is as for any call.
func TestClassifyCompensations(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		answer answer.Answer
		want   cell
	}{
		{answer.Answer{Status: 204}, cell{class: answer.Succeeded}},
		{answer.Answer{Status: 200, Body: []byte("OK")}, cell{class: answer.Succeeded}},
		{answer.Answer{Status: 200, TooLarge: true}, cell{class: answer.Succeeded}},
		{answer.Answer{Status: 200, Err: errors.New("unexpected EOF")}, cell{class: answer.Succeeded}},
		{answer.Answer{Status: 503, RetryAfter: "2"}, cell{answer.NotCompleted, "503", 2000}},
		{answer.Answer{Err: errors.New("connection refused")}, cell{answer.NotCompleted, "refused", 0}},
		{answer.Answer{Status: 302}, cell{answer.Failed, "redirects", 0}},
		{answer.Answer{Status: 404}, cell{answer.Failed, "404", 0}},
		{answer.Answer{Refused: true, Err: errors.New("not allowed")}, cell{answer.Failed, "not allowed", 0}},
	} {
		check(t, "", answer.Classify(answer.Call{Compensates: true, Now: now()}, tt.answer), tt.want)
	}
	repeated := answer.Classify(answer.Call{Compensates: true, Repeated: true, Now: now()}, answer.Answer{Status: 404})
	check(t, "repeated", repeated, cell{answer.NotCompleted, "404", 0})
}

func TestClassify(t *testing.T) {
	t.Parallel()
	const accepted, succeeded, failed, again = answer.Accepted, answer.Succeeded, answer.Failed, answer.NotCompleted
	body := func(text string) answer.Answer { return answer.Answer{Status: 200, Body: []byte(text)} }
	status := func(status int, after string) answer.Answer {
		return answer.Answer{Status: status, RetryAfter: after}
	}
	const noResult = "not a StepResult"
	for _, tt := range []struct {
		name        string
		answer      answer.Answer
		sync, async cell
	}{
		{"2xx success", body(`{"success":true,"outputs":{"a":1}}`), cell{class: succeeded}, cell{class: accepted}},
		{"201 success", answer.Answer{Status: 201, Body: []byte(`{"success":true}`)}, cell{class: succeeded}, cell{class: accepted}},
		{"2xx failure", body(`{"success":false,"error":"declined"}`), cell{failed, "declined", 0}, cell{failed, "declined", 0}},
		{
			"2xx not completed", body(`{"success":false,"error":"busy","not_completed":true,"retry_after_ms":5000}`),
			cell{again, "busy", 5000},
			cell{again, "busy", 5000},
		},
		{"2xx empty", body(""), cell{failed, noResult, 0}, cell{class: accepted}},
		{"204", answer.Answer{Status: 204}, cell{failed, noResult, 0}, cell{class: accepted}},
		{"2xx without success", body(`{"outputs":{}}`), cell{failed, noResult, 0}, cell{class: accepted}},
		{"2xx not JSON", body("OK"), cell{failed, noResult, 0}, cell{class: accepted}},
		{"2xx of another shape", body(`{"success":"no"}`), cell{failed, noResult, 0}, cell{class: accepted}},
		{"2xx null", body(`null`), cell{failed, noResult, 0}, cell{class: accepted}},
		{"2xx over the limit", answer.Answer{Status: 200, TooLarge: true}, cell{failed, "over the limit", 0}, cell{failed, "over the limit", 0}},
		{"2xx that breaks off", answer.Answer{Status: 200, Err: errors.New("unexpected EOF")}, cell{again, "EOF", 0}, cell{again, "EOF", 0}},
		{"408", status(408, ""), cell{again, "408 Request Timeout", 0}, cell{again, "408", 0}},
		{"425", status(425, ""), cell{again, "425 Too Early", 0}, cell{again, "425", 0}},
		{"429", status(429, "7"), cell{again, "429", 7000}, cell{again, "429", 7000}},
		{"500", status(500, ""), cell{again, "500", 0}, cell{again, "500", 0}},
		{"503 with Retry-After", status(503, "120"), cell{again, "503", 120_000}, cell{again, "503", 120_000}},
		{"599", status(599, ""), cell{again, "599", 0}, cell{again, "599", 0}},
		{"a status that HTTP does not have", status(799, ""), cell{again, "799", 0}, cell{again, "799", 0}},
		{"no answer", answer.Answer{Err: errors.New("connection refused")}, cell{again, "refused", 0}, cell{again, "refused", 0}},
		{"400", status(400, ""), cell{failed, "400 Bad Request", 0}, cell{failed, "400", 0}},
		{"401", status(401, ""), cell{failed, "401", 0}, cell{failed, "401", 0}},
		{"404", status(404, "9"), cell{failed, "404", 0}, cell{failed, "404", 0}},
		{"499", status(499, ""), cell{failed, "499", 0}, cell{failed, "499", 0}},
		{"301", status(301, ""), cell{failed, "redirects", 0}, cell{failed, "redirects", 0}},
		{"307", status(307, ""), cell{failed, "redirects", 0}, cell{failed, "redirects", 0}},
		{
			"an address that is not allowed",
			answer.Answer{Refused: true, Err: errors.New("not allowed")},
			cell{failed, "not allowed", 0},
			cell{failed, "not allowed", 0},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			check(t, "sync", answer.Classify(answer.Call{Now: now()}, tt.answer), tt.sync)
			check(t, "async", answer.Classify(answer.Call{Async: true, Now: now()}, tt.answer), tt.async)
		})
	}
}

func TestClassifyRepeatedCalls(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		answer answer.Answer
		want   cell
	}{
		{"400", answer.Answer{Status: 400}, cell{answer.NotCompleted, "repeated", 0}},
		{"409", answer.Answer{Status: 409, RetryAfter: "3"}, cell{answer.NotCompleted, "repeated", 3000}},
		{"429", answer.Answer{Status: 429}, cell{answer.NotCompleted, "429", 0}},
		{"302", answer.Answer{Status: 302}, cell{answer.Failed, "redirects", 0}},
		{"over the limit", answer.Answer{Status: 200, TooLarge: true}, cell{answer.Failed, "limit", 0}},
		{"failure", answer.Answer{Status: 200, Body: []byte(`{"success":false,"error":"no"}`)}, cell{answer.Failed, "no", 0}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, async := range []bool{false, true} {
				check(t, "repeated", answer.Classify(answer.Call{Async: async, Repeated: true, Now: now()}, tt.answer), tt.want)
			}
		})
	}
}

func TestDependsOnRepetition(t *testing.T) {
	t.Parallel()
	for status := range 600 {
		want := status >= 400 && status < 500 && status != 408 && status != 425 && status != 429
		if got := (answer.Answer{Status: status}).DependsOnRepetition(); got != want {
			t.Errorf("%d: %v, want %v", status, got, want)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]int64{
		"":                              0,
		"0":                             0,
		" 5 ":                           5000,
		"3600":                          3600_000,
		"3601":                          3600_000,
		"99999999999999999999999":       3600_000,
		"-5":                            0,
		"1.5":                           0,
		"soon":                          0,
		"Sun, 01 Mar 2026 12:01:00 GMT": 60_000,
		"Sun, 01 Mar 2026 11:00:00 GMT": 0,
		"Mon, 02 Mar 2026 12:00:00 GMT": 3600_000,
	} {
		verdict := answer.Classify(answer.Call{Now: now()}, answer.Answer{Status: 503, RetryAfter: header})
		if got := verdict.Result.RetryAfterMS; got != want {
			t.Errorf("Retry-After %q: %d ms, want %d", header, got, want)
		}
	}
}

func check(t *testing.T, kind string, got answer.Verdict, want cell) {
	t.Helper()
	if got.Class != want.class || got.Result.RetryAfterMS != want.after || !strings.Contains(got.Result.Error, want.text) {
		t.Errorf("%s: %s %q after %d ms, want %s %q after %d ms", kind,
			got.Class, got.Result.Error, got.Result.RetryAfterMS, want.class, want.text, want.after)
	}
	if wantSuccess := want.class == answer.Succeeded; got.Result.Success != wantSuccess {
		t.Errorf("%s: success = %v, want %v", kind, got.Result.Success, wantSuccess)
	}
	if wantAgain := want.class == answer.NotCompleted; got.Result.NotCompleted != wantAgain {
		t.Errorf("%s: not_completed = %v, want %v", kind, got.Result.NotCompleted, wantAgain)
	}
}
