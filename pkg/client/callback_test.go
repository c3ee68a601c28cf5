package client_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sluiceflow/sluice/pkg/client"
	"github.com/sluiceflow/sluice/pkg/event"
)

const callbackSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// signed is a callback, signed by the text of Standard Webhooks.
func signed(t *testing.T, body string, at time.Time) *http.Request {
	t.Helper()
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(callbackSecret, "whsec_"))
	if err != nil {
		t.Fatal(err)
	}
	stamp := strconv.FormatInt(at.Unix(), 10)
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("msg_1." + stamp + "." + body))
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/ended", strings.NewReader(body))
	r.Header.Set("Webhook-Id", "msg_1")
	r.Header.Set("Webhook-Timestamp", stamp)
	r.Header.Set("Webhook-Signature", "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	return r
}

func TestReadCallback(t *testing.T) {
	t.Parallel()
	const body = `{"type":"flow_failed","flow_id":"f","status":"failed","outputs":{"x":1.50},"error":"no","completed_at":"2026-03-01T12:00:00Z","labels":{"team":"pay"}}`
	got, err := client.ReadCallback(signed(t, body, time.Now()), callbackSecret)
	if err != nil || got.Type != event.FlowFailed || got.FlowID != "f" || string(got.Outputs["x"]) != "1.50" || got.Error != "no" || got.Labels["team"] != "pay" {
		t.Errorf("got %+v, %v", got, err)
	}
	unsigned := signed(t, body, time.Now())
	unsigned.Header.Del("Webhook-Signature")
	if _, err := client.ReadCallback(unsigned, callbackSecret); !errors.Is(err, client.ErrSignature) {
		t.Errorf("unsigned: %v", err)
	}
	changed := signed(t, body, time.Now())
	changed.Body = http.NoBody
	if _, err := client.ReadCallback(changed, callbackSecret); !errors.Is(err, client.ErrSignature) {
		t.Errorf("changed: %v", err)
	}
	for _, off := range []time.Duration{-6 * time.Minute, 6 * time.Minute} {
		if _, err := client.ReadCallback(signed(t, body, time.Now().Add(off)), callbackSecret); !errors.Is(err, client.ErrSignature) {
			t.Errorf("sent %s from now: %v", off, err)
		}
	}
	for _, off := range []time.Duration{-4 * time.Minute, 4 * time.Minute} {
		if _, err := client.ReadCallback(signed(t, body, time.Now().Add(off)), callbackSecret); err != nil {
			t.Errorf("sent %s from now: %v", off, err)
		}
	}
	if _, err := client.ReadCallback(signed(t, "no JSON", time.Now()), callbackSecret); err == nil || errors.Is(err, client.ErrSignature) {
		t.Errorf("no JSON: %v", err)
	}
	if got, err := client.ReadCallback(signed(t, body, time.Now().Add(-time.Hour)), ""); err != nil || got.FlowID != "f" {
		t.Errorf("without a secret: %+v, %v", got, err)
	}
}
