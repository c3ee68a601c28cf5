package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/sluiceflow/sluice/pkg/client"
	"github.com/sluiceflow/sluice/pkg/event"
	"github.com/sluiceflow/sluice/pkg/step"
	"github.com/sluiceflow/sluice/services/internal/testkit"
)

// A flow's end is told through all roles: the first time nobody takes it.
func TestTheEndOfAFlowIsToldToWhoAsked(t *testing.T) {
	t.Parallel()
	const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	p, _ := startDev(t, t.TempDir())
	api, err := client.New(p.url(), client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var told []event.Callback
	ids := map[string]bool{}
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/charge" {
			_, _ = io.WriteString(rw, `{"success":true,"outputs":{"paid":1.50}}`)
			return
		}
		callback, err := client.ReadCallback(r, secret)
		if err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		told = append(told, callback)
		ids[r.Header.Get("Webhook-Id")] = true
		if len(told) == 1 {
			rw.WriteHeader(http.StatusInternalServerError)
		}
	}))
	t.Cleanup(server.Close)
	charge := step.Definition{
		ID: "charge", Name: "Charge", Type: step.KindSync, HTTP: &step.HTTP{Endpoint: server.URL + "/charge"},
		Attributes: map[string]step.Attribute{"paid": {Role: step.RoleOutput, Type: step.TypeNumber}},
	}
	if _, err := api.RegisterStep(t.Context(), charge); err != nil {
		t.Fatal(err)
	}
	var state client.FlowState
	testkit.Eventually(t, soon, func() (err error) { // an engine that just takes its partitions may be late
		state, err = api.StartAndWait(t.Context(), client.StartRequest{
			ID: "f", Goals: []string{"charge"}, CallbackURL: server.URL + "/ended", CallbackSecret: secret,
		}, 20*time.Second)
		return err
	})
	if state.Status != client.Completed {
		t.Fatalf("got %+v", state)
	}
	testkit.Eventually(t, soon, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(told) >= 2
	})
	mu.Lock()
	defer mu.Unlock()
	if got := told[1]; got.Type != event.FlowCompleted || got.FlowID != "f" || got.Status != "completed" ||
		string(got.Outputs["paid"]) != "1.50" || !got.CompletedAt.Equal(state.CompletedAt) || len(ids) != 1 {
		t.Errorf("got %+v under the ids %v", got, ids)
	}
}
