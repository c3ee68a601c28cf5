package outcome_test

import (
	"bytes"
	"testing"

	"github.com/sluiceflow/sluice/pkg/step"
	"github.com/sluiceflow/sluice/services/internal/outcome"
)

func parse(t *testing.T, text string) step.Result {
	t.Helper()
	r, err := step.ParseResult([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestOf(t *testing.T) {
	t.Parallel()
	ok := outcome.Of(parse(t, `{"success":true,"outputs":{"n":12345678901234567890.10}}`))
	if !ok.GetSuccess() || string(ok.GetOutputs()["n"]) != "12345678901234567890.10" || len(ok.GetDigest()) != 16 {
		t.Errorf("a success became %v", ok)
	}
	busy := outcome.Of(parse(t, `{"success":false,"error":"busy","not_completed":true,"retry_after_ms":5000}`))
	if busy.GetSuccess() || !busy.GetNotCompleted() || busy.GetError() != "busy" || busy.GetRetryAfterMs() != 5000 {
		t.Errorf("a not-completed became %v", busy)
	}
	same := outcome.Of(parse(t, `{"outputs":{"n":1.234567890123456789010e19},"success":true}`))
	if !bytes.Equal(ok.GetDigest(), same.GetDigest()) {
		t.Error("equal payloads have different digests")
	}
}
