package answer_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/sluiceflow/sluice/services/dispatcher/internal/answer"
)

func TestClassifyCallback(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		answer answer.Answer
		class  answer.Class
		reason string
		after  time.Duration
	}{
		{"200", answer.Answer{Status: 200, Body: []byte("thanks")}, answer.Succeeded, "", 0},
		{"204", answer.Answer{Status: 204}, answer.Succeeded, "", 0},
		{"200 that says no", answer.Answer{Status: 200, Body: []byte(`{"success":false}`)}, answer.Succeeded, "", 0},
		{"200 that breaks off", answer.Answer{Status: 200, Err: errors.New("EOF")}, answer.Succeeded, "", 0},
		{"200 of any size", answer.Answer{Status: 200, TooLarge: true}, answer.Succeeded, "", 0},
		{"301", answer.Answer{Status: 301}, answer.NotCompleted, "301", 0},
		{"400", answer.Answer{Status: 400}, answer.NotCompleted, "400", 0},
		{"404", answer.Answer{Status: 404, RetryAfter: "9"}, answer.NotCompleted, "404", 9 * time.Second},
		{"410", answer.Answer{Status: 410, RetryAfter: "9"}, answer.Failed, "410 Gone", 0},
		{"429", answer.Answer{Status: 429, RetryAfter: "7"}, answer.NotCompleted, "429", 7 * time.Second},
		{"503", answer.Answer{Status: 503, RetryAfter: "86400"}, answer.NotCompleted, "503", time.Hour},
		{"no answer", answer.Answer{Err: errors.New("connection refused")}, answer.NotCompleted, "refused", 0},
		{"not allowed", answer.Answer{Refused: true, Err: errors.New("it is private")}, answer.Failed, "private", 0},
	} {
		class, reason, after := answer.ClassifyCallback(tt.answer, now())
		if class != tt.class || !strings.Contains(reason, tt.reason) || (reason == "") != (tt.reason == "") || after != tt.after {
			t.Errorf("%s: got %s, %q, %s", tt.name, class, reason, after)
		}
	}
}
